//! How many workers live, for `/metrics`: of the database, since a worker that is gone cannot say so itself. Each process
//! counts, so that it is known whichever of them is left.

use crate::store::Store;
use crate::telemetry::Metrics;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two counts.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts until stopped. What cannot be counted is not shown.
pub async fn count_workers(store: &Store, metrics: &Metrics, stop: CancellationToken) {
    loop {
        // That the database is away is said by whoever pings it.
        match store.live_workers().await {
            Ok(workers) => {
                let outside = workers.iter().filter(|worker| worker.outside).count();
                for (kind, count) in [("process", workers.len() - outside), ("pull", outside)] {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    metrics.workers.with_label_values(&[kind]).set(count);
                }
            }
            Err(_) => metrics.workers.reset(),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
