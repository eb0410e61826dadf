//! What is counted now and then and believed for a while, so that those who ask often cost what one does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A count is believed for this many times what it took.
const COST: u32 = 20;
/// And for this long at least,
const LEAST: Duration = Duration::from_secs(1);
/// and at most.
const MOST: Duration = Duration::from_secs(10);

/// Until when a count is believed, and the count; None: it could not be had.
type Last<T> = Option<(Instant, Option<T>)>;

/// One count.
#[derive(Debug)]
pub(super) struct Believed<T> {
    /// Locked while it is counted: no two count at once.
    last: Arc<Mutex<Last<T>>>,
}

impl<T> Default for Believed<T> {
    fn default() -> Self {
        Self { last: Arc::default() }
    }
}

impl<T: Clone + Send + 'static> Believed<T> {
    /// The last count, or a new one where that is too old. None: it could not be counted within this time; the count
    /// goes on, and who asks later finds it.
    pub(super) async fn get<E: std::fmt::Display + Send>(
        &self,
        patience: Duration,
        count: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Option<T> {
        let last = Arc::clone(&self.last);
        let known = async {
            let mut last = last.lock_owned().await;
            if let Some((until, value)) = &*last
                && Instant::now() < *until
            {
                return value.clone();
            }
            // In a task of its own: it outlives the patience of who asked.
            let counted = tokio::spawn(async move {
                let began = Instant::now();
                let value = count.await.inspect_err(|error| tracing::debug!(%error, "it could not be counted")).ok();
                let believed = began.elapsed().saturating_mul(COST).clamp(LEAST, MOST);
                *last = Some((Instant::now() + believed, value.clone()));
                value
            });
            counted.await.ok().flatten()
        };
        tokio::time::timeout(patience, known).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test(start_paused = true)]
    async fn what_was_counted_is_believed_for_a_while_and_a_slow_count_is_not_waited_for() {
        let counts = Arc::new(AtomicU64::new(0));
        let believed = Believed::default();
        let count = |takes: u64| {
            let counts = Arc::clone(&counts);
            async move {
                tokio::time::sleep(Duration::from_millis(takes)).await;
                Ok::<_, String>(counts.fetch_add(1, Ordering::Relaxed) + 1)
            }
        };
        let second = Duration::from_secs(1);
        assert_eq!(believed.get(second, count(10)).await, Some(1));
        assert_eq!(believed.get(second, count(10)).await, Some(1));
        tokio::time::sleep(Duration::from_millis(1001)).await;
        assert_eq!(believed.get(second, count(1500)).await, None);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(believed.get(second, count(10)).await, Some(2));
        // It took long: it is believed for longer.
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(believed.get(second, count(10)).await, Some(2));
        assert_eq!(believed.get(second, async { Err::<u64, _>("away") }).await, Some(2));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(believed.get(second, async { Err::<u64, _>("away") }).await, None);
    }
}
