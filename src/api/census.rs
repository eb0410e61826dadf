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
/// Depths no sooner than this many times what they took the last time: a deep queue takes its time.
const COST: u32 = 100;

/// Counts until stopped. What cannot be counted is not shown.
pub async fn count(store: &Store, metrics: &Metrics, stop: CancellationToken) {
    let counting = async {
        let (mut shown, mut due) = (HashSet::new(), Instant::now());
        loop {
            // That the database is away is said by whoever pings it.
            if count_workers(store, metrics).await.is_err() {
                metrics.workers.reset();
            }
            let (began, counts) = (Instant::now(), Instant::now() >= due);
            if look_at_queues(store, metrics, &mut shown, counts).await.is_err() {
                shown.drain().for_each(|queue: Arc<str>| metrics.forget_queue(&queue));
            }
            if counts {
                due = Instant::now() + began.elapsed() * COST;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = counting => {}
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

/// Forgets the queues that have a dispatcher by now, and where it `counts` shows those that have none.
async fn look_at_queues(
    store: &Store,
    metrics: &Metrics,
    shown: &mut HashSet<Arc<str>>,
    counts: bool,
) -> Result<(), StoreError> {
    let rows = store.queue_rows().await?;
    let alone: HashSet<Arc<str>> =
        rows.into_iter().filter(|queue| queue.dispatcher.is_none()).map(|queue| queue.name).collect();
    for queue in shown.extract_if(|queue| !alone.contains(queue)) {
        metrics.forget_queue(&queue);
    }
    if counts {
        for queue in alone {
            let depth = store.depth(Arc::clone(&queue)).await?;
            metrics.show_queue(&queue, depth.by_status(), depth.oldest());
            shown.insert(queue);
        }
    }
    Ok(())
}
