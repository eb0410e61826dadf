//! The scheduler role: applies the configuration's schedules, fires what is due, purges what
//! is old. Optional; any number of processes may run it.
//!
//! What must happen once is guarded in MySQL: a fire locks the schedule's row and inserts a
//! ledger row that is unique on schedule and instant.

mod purger;
mod ticker;

use crate::lifecycle::fire::Firing;
use crate::lifecycle::schedule::ScheduleError;
use crate::store::StoreError;
use crate::store::schedules::BY_CONFIG;
use crate::store::tasks::Retention;
use crate::task::schedule::Read;
use crate::telemetry::Episode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Wait between tries to apply the schedules.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// A schedule of the configuration.
#[derive(Debug, Clone)]
pub struct ScheduleSpec {
    pub name: Arc<str>,
    pub read: Read,
}

/// What the scheduler works with.
#[derive(Debug, Clone)]
pub struct Parts {
    pub firing: Firing,
    pub retention: Retention,
    /// How long ledger rows are kept.
    pub retain_fires: Duration,
    /// The configuration's schedules, the built-in heartbeat among them.
    pub schedules: Vec<ScheduleSpec>,
}

/// Runs the scheduler role until stopped. `ready` is called when the schedules are applied.
pub async fn run(parts: Parts, stop: CancellationToken, ready: impl FnOnce() + Send) {
    if !apply(&parts, &stop).await {
        return;
    }
    ready();
    tokio::join!(ticker::run(&parts, &stop), purger::run(&parts, &stop));
}

/// Brings the schedules table to the configuration; false: stopped first.
async fn apply(parts: &Parts, stop: &CancellationToken) -> bool {
    let trouble = Episode::new("applying schedules");
    loop {
        let applied = async {
            for ScheduleSpec { name, read } in &parts.schedules {
                match parts.firing.define(name, read, BY_CONFIG, None).await {
                    Ok(_) => {}
                    Err(ScheduleError::Store(error)) => return Err(error),
                    Err(other) => return Err(StoreError::Unexpected(format!("schedule {name}: {other}"))),
                }
            }
            let names = parts.schedules.iter().map(|spec| Arc::clone(&spec.name)).collect();
            parts.firing.tools.store.keep_configured(names).await
        };
        match applied.await {
            Ok(()) => {
                trouble.succeeded();
                tracing::info!(schedules = parts.schedules.len(), "schedules applied");
                return true;
            }
            Err(error) => trouble.failed(&error),
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(RETRY_WAIT) => {}
        }
    }
}
