//! Group commit: concurrent callers share one flush.
//!
//! ```text
//!  submit ──► channel ──► the next batch ──► flush ──► answers
//!  submit ──►        ──►  (it begins when the last one ends, or beside it when it is large)
//! ```
//!
//! A lone caller waits for nothing, and under load a batch is whatever arrived during the flush before it. The only
//! timer is for a flush that hangs: behind it nobody waits for longer. A commit costs as much for one row as for fifty, so two small
//! flushes at once would be slower than one; only a batch in which that hardly counts goes beside another.
//! Batches are bounded in rows and in bytes, the waiting line in items; a full line holds its callers back.

use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Bytes at which the batches of submissions and of outcomes close. With one item more, a
/// statement of such a batch must fit into the server's `max_allowed_packet`.
pub const BATCH_BYTES: usize = 4 << 20;

/// A batch that has waited for this long goes beside one that hangs, whatever its size.
const HANGS: Duration = Duration::from_secs(1);

/// The bounds of one batcher.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A batch closes at the first item that takes it to this many rows.
    pub rows: usize,
    /// A batch closes at the first item that takes it to this many bytes.
    pub bytes: usize,
    /// Most items waiting for a flush.
    pub waiting: usize,
    /// Flushes at once.
    pub lanes: usize,
    /// Rows from which on a batch may be flushed beside another, and not behind it.
    pub beside: usize,
}

struct Waiting<T, R> {
    item: T,
    size: Size,
    answer: oneshot::Sender<R>,
}

/// What one item adds to its batch.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub rows: usize,
    pub bytes: usize,
}

/// The batcher has stopped, or its flush broke off: nothing is known of the item's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batcher has stopped")]
pub struct Stopped;

/// Where callers hand in items. Cheap to clone; when the last clone is dropped what waits is
/// flushed and the service ends.
#[derive(Debug)]
pub struct Batcher<T, R> {
    line: mpsc::Sender<Waiting<T, R>>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self { line: self.line.clone() }
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Starts the service on the current runtime. `flush` answers each item in order; a missing
    /// answer reaches its caller as [`Stopped`]. The set ends when every batcher is dropped and what
    /// waited is flushed.
    pub fn start<F, Fut>(bounds: Bounds, flush: F) -> (Self, JoinSet<()>)
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<R>> + Send + 'static,
    {
        let (line, waiting) = mpsc::channel(bounds.waiting.max(1));
        let mut service = JoinSet::new();
        service.spawn(serve(bounds, waiting, flush));
        (Self { line }, service)
    }

    /// Hands in an item of about this size and waits for its answer.
    ///
    /// # Errors
    /// [`Stopped`] when the service has ended.
    pub async fn submit(&self, item: T, size: Size) -> Result<R, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.line.send(Waiting { item, size, answer }).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Hands in an item for whose answer nobody waits, if there is room in the line. Whether there was.
    pub fn offer(&self, item: T, size: Size) -> bool {
        let (answer, _) = oneshot::channel();
        self.line.try_send(Waiting { item, size, answer }).is_ok()
    }
}

async fn serve<T, R, F, Fut>(bounds: Bounds, mut line: mpsc::Receiver<Waiting<T, R>>, flush: F)
where
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<R>> + Send + 'static,
{
    let mut lanes = JoinSet::new();
    while let Some(first) = line.recv().await {
        let mut batch = Batch::of(first);
        let mut open = true;
        let patience = tokio::time::sleep(HANGS);
        tokio::pin!(patience);
        loop {
            while !batch.is_full(bounds)
                && let Ok(next) = line.try_recv()
            {
                batch.add(next);
            }
            while lanes.try_join_next().is_some() {}
            if lanes.is_empty() || batch.is_large(bounds) && lanes.len() < bounds.lanes {
                break;
            }
            tokio::select! {
                _ = lanes.join_next() => {}
                () = &mut patience, if lanes.len() < bounds.lanes => break,
                next = line.recv(), if open && !batch.is_full(bounds) => match next {
                    Some(next) => batch.add(next),
                    None => open = false,
                },
            }
        }
        let Batch { items, answers, .. } = batch;
        let flushing = flush(items);
        lanes.spawn(async move {
            for (answer, result) in answers.into_iter().zip(flushing.await) {
                // A caller that has gone needs no answer.
                let _ = answer.send(result);
            }
        });
    }
    while lanes.join_next().await.is_some() {}
}

/// What the next flush takes.
struct Batch<T, R> {
    items: Vec<T>,
    answers: Vec<oneshot::Sender<R>>,
    size: Size,
}

impl<T, R> Batch<T, R> {
    fn of(first: Waiting<T, R>) -> Self {
        let mut batch = Self { items: Vec::new(), answers: Vec::new(), size: Size { rows: 0, bytes: 0 } };
        batch.add(first);
        batch
    }

    fn add(&mut self, next: Waiting<T, R>) {
        let Waiting { item, size, answer } = next;
        self.items.push(item);
        self.answers.push(answer);
        self.size.rows = self.size.rows.saturating_add(size.rows);
        self.size.bytes = self.size.bytes.saturating_add(size.bytes);
    }

    fn is_large(&self, bounds: Bounds) -> bool {
        self.size.rows >= bounds.beside || self.is_full(bounds)
    }

    fn is_full(&self, bounds: Bounds) -> bool {
        self.size.rows >= bounds.rows || self.size.bytes >= bounds.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    const BOUNDS: Bounds = Bounds { rows: 4, bytes: 100, waiting: 64, lanes: 1, beside: 4 };

    type Gated = Batcher<u32, (u32, usize)>;

    /// A batcher whose flushes wait for a permit, and which answers each item with its batch's
    /// size; and how many flushes have begun.
    fn gated(bounds: Bounds) -> (Gated, Arc<Semaphore>, Arc<AtomicUsize>, JoinSet<()>) {
        let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let inner = (Arc::clone(&gate), Arc::clone(&begun));
        let (batcher, lanes) = Batcher::start(bounds, move |items: Vec<u32>| {
            let (gate, begun) = inner.clone();
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
                items.iter().map(|i| (*i, items.len())).collect()
            }
        });
        (batcher, gate, begun, lanes)
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    /// Everybody has done what there is to do.
    async fn settled() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_second_flush_runs_beside_the_first_only_when_its_batch_is_large() {
        let plain = Bounds { lanes: 2, ..BOUNDS };
        let row = Size { rows: 1, bytes: 1 };
        // The items that make a batch large: by rows, by rows of which an item has several, by bytes, and
        // before it is full.
        for (bounds, size, large, full) in [
            (plain, row, 4, 4),
            (plain, Size { rows: 3, bytes: 1 }, 2, 2),
            (plain, Size { rows: 1, bytes: 50 }, 2, 2),
            (Bounds { beside: 3, ..plain }, row, 3, 4),
        ] {
            let (batcher, gate, begun, _lanes) = gated(bounds);
            let submit = |item: u32| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.submit(item, size).await.unwrap().1 })
            };
            let flushes = async || {
                settled().await;
                begun.load(Ordering::Relaxed)
            };
            let mut calls = vec![submit(0)];
            assert_eq!(flushes().await, 1, "a lone one waits for nothing");
            for item in 1..large {
                calls.push(submit(item));
                assert_eq!(flushes().await, 1, "{item} may still be joined: {bounds:?} {size:?}");
            }
            calls.push(submit(large));
            assert_eq!(flushes().await, 2, "{bounds:?} {size:?}");
            // However large the third is, there are two lanes; it grows until it is full.
            for item in 0..2 * full {
                calls.push(submit(large + 1 + item));
            }
            assert_eq!(flushes().await, 2);
            gate.add_permits(1);
            assert_eq!(flushes().await, 3);
            gate.add_permits(100);
            let mut sizes = Vec::new();
            for call in calls {
                sizes.push(call.await.unwrap());
            }
            let times = |size: u32, times: u32| vec![usize::try_from(size).unwrap(); usize::try_from(times).unwrap()];
            assert_eq!(
                sizes,
                [times(1, 1), times(large, large), times(full, 2 * full)].concat(),
                "{bounds:?} {size:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_behind_a_flush_that_hangs() {
        let (batcher, gate, begun, _lanes) = gated(Bounds { lanes: 2, ..BOUNDS });
        let submit = |item: u32| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.submit(item, Size { rows: 1, bytes: 1 }).await.unwrap().1 })
        };
        let hangs = submit(0);
        until(|| begun.load(Ordering::Relaxed) == 1).await;
        let calls = [hangs, submit(1)];
        settled().await;
        assert_eq!(begun.load(Ordering::Relaxed), 1, "too few to go beside another");
        tokio::time::advance(HANGS * 2).await;
        settled().await;
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        gate.add_permits(2);
        for call in calls {
            assert_eq!(call.await.unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn what_waits_when_the_last_caller_goes_is_flushed() {
        let (batcher, gate, begun, mut lanes) = gated(BOUNDS);
        let calls: Vec<_> = (0..3)
            .map(|item| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.submit(item, Size { rows: 1, bytes: 1 }).await })
            })
            .collect();
        drop(batcher);
        until(|| begun.load(Ordering::Relaxed) == 1).await;
        gate.add_permits(2);
        while lanes.join_next().await.is_some() {}
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
    }

    /// One item that is being flushed, and `waiting` more in line: the sizes of their batches.
    async fn sizes(bytes: usize, waiting: u32) -> Vec<usize> {
        let (batcher, gate, begun, _lanes) = gated(BOUNDS);
        let submit = |item: u32| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.submit(item, Size { rows: 1, bytes }).await.unwrap() })
        };
        let mut calls = vec![submit(0)];
        until(|| begun.load(Ordering::Relaxed) == 1).await;
        for item in 1..=waiting {
            calls.push(submit(item));
            settled().await;
        }
        gate.add_permits(100);
        let mut sizes = Vec::new();
        for (i, call) in calls.into_iter().enumerate() {
            let (item, size) = call.await.unwrap();
            assert_eq!(usize::try_from(item).unwrap(), i, "each caller gets its own answer");
            sizes.push(size);
        }
        sizes
    }

    #[tokio::test]
    async fn a_lone_item_is_flushed_alone_and_what_waits_shares_the_next() {
        assert_eq!(sizes(1, 3).await, [1, 3, 3, 3]);
    }

    #[tokio::test]
    async fn rows_and_bytes_bound_a_batch() {
        assert_eq!(sizes(1, 5).await, [1, 4, 4, 4, 4, 1]);
        assert_eq!(sizes(60, 4).await, [1, 2, 2, 2, 2]);
    }

    #[tokio::test]
    async fn what_is_offered_is_flushed_and_refused_where_the_line_is_full() {
        let (batcher, gate, begun, mut lanes) = gated(Bounds { waiting: 3, ..BOUNDS });
        let offer = |item| batcher.offer(item, Size { rows: 4, bytes: 1 });
        assert!(offer(0));
        until(|| begun.load(Ordering::Relaxed) == 1).await;
        // One is in hand as the next batch, three wait in line.
        assert!(offer(1));
        settled().await;
        assert_eq!([2, 3, 4, 5].map(offer), [true, true, true, false]);
        gate.add_permits(100);
        drop(batcher);
        while lanes.join_next().await.is_some() {}
        assert_eq!(begun.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn a_missing_answer_is_said_and_dropping_the_last_caller_ends_the_lanes() {
        let (batcher, mut lanes) = Batcher::<u8, u8>::start(BOUNDS, |_| async { vec![] });
        assert_eq!(batcher.submit(1, Size { rows: 1, bytes: 1 }).await, Err(Stopped));
        drop(batcher);
        while lanes.join_next().await.is_some() {}
    }
}
