//! How deep queues are, counted now and then: to count a queue is to read its part of the index,
//! which takes the database a tenth of a second for some hundred thousand tasks. So what was
//! counted is believed for a while, and no queue is counted twice at once.

use crate::store::Store;
use crate::store::tasks::Depth;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::{Instant, timeout_at};

/// A count is believed for this many times what it took: little of the time is spent on counting.
const COST: u32 = 20;
/// A count is believed for this long at least.
const LEAST: Duration = Duration::from_secs(1);
/// And no longer than this, whatever it cost: it is to say how deep the queue is now.
const MOST: Duration = Duration::from_secs(10);
/// Queues counted at once: well below the pool, which submissions need.
const AT_ONCE: usize = 4;

/// What was counted last, by queue.
#[derive(Debug)]
pub(super) struct Depths {
    /// Locked while it is counted. Names come from rows, so their number is bounded.
    by_queue: Mutex<HashMap<Arc<str>, Arc<AsyncMutex<Count>>>>,
    counting: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Count {
    /// None: it could not be counted.
    depth: Option<Depth>,
    /// None: never counted.
    believed_until: Option<Instant>,
}

impl Default for Depths {
    fn default() -> Self {
        Self { by_queue: Mutex::default(), counting: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Depths {
    /// A queue's depth, as counted within the last seconds. None: it could not be counted until
    /// then; the count goes on, and who asks later finds it.
    pub(super) async fn of(&self, store: &Store, queue: &Arc<str>, until: Instant) -> Option<Depth> {
        let slot = {
            let mut map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(map.entry(Arc::clone(queue)).or_default())
        };
        let known = async {
            let mut count = slot.lock_owned().await;
            if count.believed_until.is_some_and(|until| Instant::now() < until) {
                return count.depth;
            }
            let (store, queue, counting) = (store.clone(), Arc::clone(queue), Arc::clone(&self.counting));
            // In a task of its own: it outlives the patience of who asked.
            let task = tokio::spawn(async move {
                let _permit = counting.acquire_owned().await;
                let began = Instant::now();
                let counted = store.depth(Arc::clone(&queue)).await;
                if let Err(error) = &counted {
                    tracing::debug!(queue = &*queue, %error, "the queue could not be counted");
                }
                let until = Instant::now() + believed_for(began.elapsed());
                *count = Count { depth: counted.ok(), believed_until: Some(until) };
                count.depth
            });
            task.await.ok().flatten()
        };
        timeout_at(until, known).await.ok().flatten()
    }
}

fn believed_for(took: Duration) -> Duration {
    took.saturating_mul(COST).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_believed_for_as_long_as_it_cost_within_bounds() {
        let table = [(1, 1000), (50, 1000), (100, 2000), (400, 8000), (5000, 10_000)];
        for (took, believed) in table.map(|(took, ms)| (Duration::from_millis(took), Duration::from_millis(ms))) {
            assert_eq!(believed_for(took), believed);
        }
    }
}
