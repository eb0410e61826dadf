//! Wait: for a task's end, by whoever asked for it over REST. All who wait share one watch, which is told of ends over
//! Redis and looks at the rows besides: soon after the wait began, since most tasks are short, then ever more seldom.
//!
//! ```text
//!  MoveFeed ──► watch ──► each Waiter of the task
//!                 ▲
//!  pulses ────────┘   one statement for all that are to be looked at
//! ```

use crate::store::Store;
use crate::stream::{Heard, MoveFeed, MoveInbox};
use crate::task::TaskId;
use prometheus::IntGauge;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// From the beginning of a wait to its first look; each later one comes after twice the time.
const FIRST: Duration = Duration::from_millis(5);
/// Longest time between two looks: what a lost notice costs.
const LONGEST: Duration = Duration::from_millis(500);
/// Least time between two looks, whoever they are for.
const GAP: Duration = Duration::from_millis(5);
/// The same after one that failed.
const AWAY: Duration = Duration::from_secs(1);

/// Those who wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waits {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    limit: usize,
    waiting: IntGauge,
}

#[derive(Debug, Default)]
struct Shared {
    awaited: Mutex<HashMap<TaskId, Awaited>>,
    /// Somebody has begun to wait.
    begun: Notify,
}

/// A task that somebody waits for.
#[derive(Debug)]
struct Awaited {
    ended: watch::Sender<()>,
    waiters: usize,
    /// When it is to be looked at, and how long after that again.
    due: Instant,
    interval: Duration,
}

/// As many wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} requests wait for tasks to end in this process, and it takes no more")]
pub struct TooManyWait(usize);

/// One who waits. Dropped, it waits no more.
#[derive(Debug)]
pub struct Waiter {
    id: TaskId,
    shared: Arc<Shared>,
    ended: watch::Receiver<()>,
    waiting: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Waiter {
    /// Resolves when the task has ended, or is gone, since the wait began or since the last call. It may be running
    /// again by then: whoever wants to know reads it.
    pub async fn ended(&mut self) {
        if self.ended.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiting.dec();
        let mut awaited = self.shared.lock();
        if let Some(task) = awaited.get_mut(&self.id) {
            task.waiters = task.waiters.saturating_sub(1);
            if task.waiters == 0 {
                awaited.remove(&self.id);
            }
        }
    }
}

impl Waits {
    /// At most `limit` wait at once; `waiting` says how many do.
    #[must_use]
    pub fn new(limit: usize, waiting: IntGauge) -> Self {
        Self { shared: Arc::default(), places: Arc::new(Semaphore::new(limit)), limit, waiting }
    }

    /// Begins to wait for a task's end. One that has ended already is found at the first look.
    ///
    /// # Errors
    /// When too many wait.
    pub fn begin(&self, id: TaskId) -> Result<Waiter, TooManyWait> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TooManyWait(self.limit))?;
        let due = Instant::now() + FIRST;
        let ended = {
            let mut awaited = self.shared.lock();
            let fresh = || Awaited { ended: watch::Sender::new(()), waiters: 0, due, interval: FIRST };
            let task = awaited.entry(id).or_insert_with(fresh);
            task.waiters += 1;
            // Also for whoever joins others: it may have ended after they were told.
            (task.due, task.interval) = (task.due.min(due), FIRST);
            task.ended.subscribe()
        };
        self.shared.begun.notify_one();
        self.waiting.inc();
        Ok(Waiter { id, shared: Arc::clone(&self.shared), ended, waiting: self.waiting.clone(), _place: place })
    }

    /// Tells those who wait of what has ended, until stopped. Listens to moves only while somebody waits.
    pub async fn watch(&self, store: Store, feed: MoveFeed, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.begun.notified() => {}
            }
            let mut moves = feed.listen();
            let mut next = Instant::now() + FIRST;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    heard = heard(&mut moves) => self.shared.heard(&heard),
                    () = self.shared.begun.notified() => next = next.min(Instant::now() + FIRST),
                    () = sleep_until(next) => match self.shared.look(&store).await {
                        Some(due) => next = due.max(Instant::now() + GAP),
                        None => break,
                    },
                }
            }
        }
    }
}

async fn heard(moves: &mut MoveInbox) -> Heard {
    match moves.next().await {
        Some(heard) => heard,
        None => std::future::pending().await,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was missed is found by looking.
    fn heard(&self, heard: &Heard) {
        if let Heard::Move(told) = heard
            && told.status.is_terminal()
            && let Some(task) = self.lock().get(&told.id)
        {
            task.ended.send_replace(());
        }
    }

    /// Looks at what is due, and at what soon will be. Gives when the next look is due; None: nobody waits.
    async fn look(&self, store: &Store) -> Option<Instant> {
        let now = Instant::now();
        let due = self.due(now);
        if !due.is_empty() {
            match store.pulses(due.clone()).await {
                Ok(pulses) => {
                    let awaited = self.lock();
                    for (id, pulse) in due.iter().zip(pulses) {
                        if pulse.is_none_or(|pulse| pulse.status.is_terminal())
                            && let Some(task) = awaited.get(id)
                        {
                            task.ended.send_replace(());
                        }
                    }
                }
                // It says so to whoever asks it anything else.
                Err(_) => {
                    let later = Instant::now() + AWAY;
                    self.lock().values_mut().for_each(|task| task.due = task.due.max(later));
                }
            }
        }
        self.lock().values().map(|task| task.due).min()
    }

    /// The tasks to look at now, with the next look at each fixed. What is due within half of its interval is looked
    /// at with the others: so many waits need few statements.
    fn due(&self, now: Instant) -> Vec<TaskId> {
        let mut due = Vec::new();
        for (id, task) in self.lock().iter_mut() {
            if task.due <= now + task.interval / 2 {
                task.interval = (task.interval * 2).min(LONGEST);
                task.due = now + task.interval;
                due.push(*id);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TaskId {
        TaskId(uuid::Uuid::now_v7())
    }

    fn gauge() -> IntGauge {
        IntGauge::new("waiting", "waiting").unwrap()
    }

    #[tokio::test]
    async fn there_are_no_more_waits_than_may_be_and_a_place_that_was_left_is_free() {
        let waits = Waits::new(2, gauge());
        let task = id();
        let (first, _second) = (waits.begin(task).unwrap(), waits.begin(task).unwrap());
        assert_eq!(waits.begin(id()).unwrap_err(), TooManyWait(2));
        drop(first);
        assert_eq!(waits.shared.lock()[&task].waiters, 1);
        drop(waits.begin(id()).unwrap());
        // Nobody waits for it any more: nothing is left of it.
        assert_eq!((waits.shared.lock().len(), waits.waiting.get()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_joins_others_is_told_as_soon_as_who_waits_alone() {
        let waits = Waits::new(2, gauge());
        let task = id();
        let mut first = waits.begin(task).unwrap();
        for _ in 0..10 {
            tokio::time::advance(LONGEST).await;
            assert_eq!(waits.shared.due(Instant::now()), [task]);
        }
        // It ends, and those are told who wait by then.
        waits.shared.lock()[&task].ended.send_replace(());
        first.ended().await;
        let mut second = waits.begin(task).unwrap();
        assert!(waits.shared.lock()[&task].due <= Instant::now() + FIRST);
        tokio::time::timeout(LONGEST, second.ended()).await.unwrap_err();
        waits.shared.lock()[&task].ended.send_replace(());
        second.ended().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_looked_at_ever_more_seldom_and_many_share_a_look() {
        let waits = Waits::new(1000, gauge());
        let mut waiters = Vec::new();
        for _ in 0..1000 {
            waiters.push(waits.begin(id()).unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let (mut looks, mut rows) = (0, 0);
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let next = waits.shared.lock().values().map(|task| task.due).min().unwrap();
            sleep_until(next).await;
            looks += 1;
            rows += waits.shared.due(Instant::now()).len();
        }
        assert!(looks < 80, "{looks} looks in 10 s");
        assert!((20_000..=50_000).contains(&rows), "{rows} rows in 10 s");
    }
}
