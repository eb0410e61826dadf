//! The cron ticker: sleeps until the next instant, fires what is due.

use super::Parts;
use crate::lifecycle::{fire, submit};
use crate::store::StoreError;
use crate::store::schedules::{DUE_ROWS, Due};
use crate::task::cron::Cron;
use crate::task::{Fault, NewTask, Timestamp, submission};
use crate::telemetry::Episode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest sleep: a schedule that another process added or changed is seen after it.
const POLL: Duration = Duration::from_secs(1);
/// Wait after a failed look.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Ticks until stopped.
pub(super) async fn run(parts: &Parts, stop: &CancellationToken) {
    let trouble = Episode::new("cron ticker");
    loop {
        let wait = match tick(parts).await {
            Ok(wait) => {
                trouble.succeeded();
                wait
            }
            Err(error) => {
                trouble.failed(&error);
                RETRY_WAIT
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Fires what is due; says how long until the next.
async fn tick(parts: &Parts) -> Result<Duration, StoreError> {
    let agenda = parts.tools.store.schedule_agenda().await?;
    let behind = agenda.due.first().map_or(0.0, |due| seconds(agenda.now - due.fire_at));
    parts.tools.metrics.schedule_lag.set(behind);
    let full = u64::try_from(agenda.due.len()).is_ok_and(|n| n >= DUE_ROWS);
    for due in agenda.due {
        match fire_one(parts, due.clone(), agenda.now).await {
            Err(error) if !error.is_transient() => {
                // Passed over, so that it does not hold up the others.
                tracing::error!(schedule = &*due.name, fire_at = %due.fire_at, %error, "a schedule could not fire");
                let next = Cron::parse(&due.cron, &due.timezone)
                    .ok()
                    .and_then(|cron| fire::following(&cron, due.fire_at, agenda.now));
                parts.tools.store.skip_fire(due, "failed", next).await?;
            }
            fired => fired?,
        }
    }
    if full {
        return Ok(Duration::ZERO);
    }
    let until = agenda.next.map_or(POLL, |next| (next - agenda.now).to_std().unwrap_or_default());
    Ok(until.min(POLL))
}

async fn fire_one(parts: &Parts, due: Due, now: Timestamp) -> Result<(), StoreError> {
    let counted = |outcome: &str| parts.tools.metrics.schedule_fires.with_label_values(&[&*due.name, outcome]).inc();
    let (next, task) = match prepare(parts, &due, now) {
        Ok(prepared) => prepared,
        Err((next, why)) => {
            tracing::error!(schedule = &*due.name, fire_at = %due.fire_at, why, "a schedule could not fire");
            parts.tools.store.skip_fire(due.clone(), "refused", next).await?;
            counted("refused");
            return Ok(());
        }
    };
    if let Some(task) = fire::fire(&parts.tools, &due, next, task).await? {
        tracing::info!(schedule = &*due.name, fire_at = %due.fire_at, task.id = %task.id, "schedule fired");
        counted("fired");
        let at = task.created_at.signed_duration_since(Timestamp::UNIX_EPOCH);
        parts.tools.metrics.schedule_last_success.with_label_values(&[&due.name]).set(seconds(at));
        let name = parts.tools.registry.label(&task.name);
        parts.tools.metrics.tasks_submitted.with_label_values(&[&*task.queue, name]).inc();
    }
    Ok(())
}

/// The next instant and the task to submit; or why there is none.
fn prepare(
    parts: &Parts,
    due: &Due,
    now: Timestamp,
) -> Result<(Option<Timestamp>, NewTask), (Option<Timestamp>, String)> {
    let faults = |faults: Vec<String>| faults.join("; ");
    let described = |found: Vec<Fault>| {
        faults(found.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect())
    };
    let cron = Cron::parse(&due.cron, &due.timezone)
        .map_err(|all| (None, faults(all.iter().map(ToString::to_string).collect())))?;
    let next = fire::following(&cron, due.fire_at, now);
    let (submission, found) =
        submission::read(&due.task, parts.max_payload).map_err(|error| (next, error.to_string()))?;
    if !found.is_empty() {
        return Err((next, described(found)));
    }
    let mut task =
        submit::admit(submission, &parts.tools.registry, &parts.defaults).map_err(|found| (next, described(found)))?;
    task.schedule = Some(Arc::clone(&due.name));
    // Its ledger row makes a fire count once; it holds no key.
    task.unique = None;
    Ok((next, task))
}

fn seconds(span: chrono::TimeDelta) -> f64 {
    span.to_std().unwrap_or_default().as_secs_f64()
}
