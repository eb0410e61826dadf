//! The cron ticker: sleeps until the next instant, has fired what has come.

use super::Parts;
use crate::store::StoreError;
use crate::telemetry::Episode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Longest sleep: a schedule that another process added or changed is seen after it, and an instant that waited for a
/// task which has ended.
const POLL: Duration = Duration::from_secs(1);
/// Shortest sleep while something is due that others are at.
const LEAST: Duration = Duration::from_millis(20);
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

/// Fires what has come; says how long until the next.
async fn tick(parts: &Parts) -> Result<Duration, StoreError> {
    let (next, now) = parts.firing.tools.store.next_fire().await?;
    let behind = next.map_or(0.0, |next| (now - next).to_std().unwrap_or_default().as_secs_f64());
    parts.firing.tools.metrics.schedule_lag.set(behind);
    let (next, now) = parts.firing.pass().await?;
    // By this host's clock: Prometheus compares it with its own, and the database's may be set wrong.
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    parts.firing.tools.metrics.scheduler_last_pass.set(at.as_secs_f64());
    // What is due still is another process's, which has its row: that will have gone on soon.
    let until = next.map(|next| (next - now).to_std().ok().filter(|wait| !wait.is_zero()).unwrap_or(LEAST));
    Ok(until.unwrap_or(POLL).min(POLL))
}
