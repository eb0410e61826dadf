//! The purge's rhythm.

use super::Parts;
use crate::lifecycle::purge;
use crate::telemetry::Episode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between passes: a hundredth of the shortest retention, within these.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(600);
/// Between the batches of a pass: it never competes with the work.
const PAUSE: Duration = Duration::from_millis(20);

/// Purges until stopped.
pub(super) async fn run(parts: &Parts, stop: &CancellationToken) {
    let trouble = Episode::new("purge");
    let retention = parts.retention;
    let shortest = retention.completed.min(retention.failed).min(parts.retain_fires);
    let interval = (shortest / 100).clamp(SHORTEST, LONGEST);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let pass = async {
            let tasks = purge::pass(&parts.firing.tools.store, retention, PAUSE).await?;
            purge::groups(&parts.firing.tools.store, PAUSE).await?;
            let fires = purge::fires(&parts.firing.tools.store, parts.retain_fires, PAUSE).await?;
            let keys = purge::pass_keys(&parts.firing.tools.store, PAUSE).await?;
            Ok::<_, crate::store::StoreError>((tasks, fires, keys))
        };
        let passed = tokio::select! {
            () = stop.cancelled() => return,
            passed = pass => passed,
        };
        match passed {
            Ok((tasks, fires, keys)) => {
                trouble.succeeded();
                if tasks + fires + keys > 0 {
                    tracing::info!(tasks, fires, keys, "purged what was older than the retention");
                }
            }
            Err(error) => trouble.failed(&error),
        }
    }
}
