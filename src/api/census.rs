//! What `/metrics` says of the whole installation, counted in the database: how many workers live, since one that is gone
//! cannot say so itself, and how deep the queues are that nobody dispatches. Each process counts, so that it is known
//! whichever of them is left.

use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two counts.
const INTERVAL: Duration = Duration::from_secs(10);
/// And no sooner than this many times what the last one took: a deep queue takes its time.
const COST: u32 = 100;

/// Counts until stopped. What cannot be counted is not shown.
pub async fn count(store: &Store, metrics: &Metrics, stop: CancellationToken) {
    let mut shown = HashSet::new();
    loop {
        let began = Instant::now();
        // That the database is away is said by whoever pings it.
        if count_workers(store, metrics).await.is_err() {
            metrics.workers.reset();
        }
        match count_queues(store, metrics).await {
            Ok(queues) => {
                shown.difference(&queues).for_each(|queue: &Arc<str>| metrics.forget_queue(queue));
                shown = queues;
            }
            Err(_) => shown.drain().for_each(|queue| metrics.forget_queue(&queue)),
        }
        let wait = INTERVAL.max(began.elapsed() * COST);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn count_workers(store: &Store, metrics: &Metrics) -> Result<(), StoreError> {
    let workers = store.live_workers().await?;
    let outside = workers.iter().filter(|worker| worker.outside).count();
    for (kind, count) in [("process", workers.len() - outside), ("pull", outside)] {
        metrics.workers.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    Ok(())
}

/// Shows the queues that nobody dispatches, and says which those are.
async fn count_queues(store: &Store, metrics: &Metrics) -> Result<HashSet<Arc<str>>, StoreError> {
    let mut counted = HashSet::new();
    for queue in store.queue_rows().await?.into_iter().filter(|queue| queue.dispatcher.is_none()) {
        let depth = store.depth(Arc::clone(&queue.name)).await?;
        metrics.show_queue(&queue.name, depth.by_status(), depth.oldest());
        counted.insert(queue.name);
    }
    Ok(counted)
}
