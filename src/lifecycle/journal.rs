//! Journal: keeps what attempts say while they run, in the database, and never holds an attempt up.
//!
//! ```text
//!  log ──► caps of the attempt ──► bounded line ──► batches of lines         task_logs
//!  progress ──► the latest of each attempt ──► a round, as soon as it is due    tasks
//! ```
//!
//! What does not fit is dropped and counted: an attempt that says too much, or more than the database takes. An
//! attempt that says nothing costs one look at a counter when it ends.

mod progress;
mod spoken;

use crate::executor::Journal;
use crate::store::batcher::{Batcher, Bounds, Size};
use crate::store::tasks::NewLine;
use crate::store::{Store, StoreError};
use crate::task::Claimed;
use crate::telemetry::{Episode, Metrics};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use spoken::Attempts;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// One batch after another: lines are in the database in the order in which they were said, so that whoever reads
/// behind the last line that he has seen misses none.
const BOUNDS: Bounds = Bounds { rows: 1024, bytes: 1 << 20, waiting: WAITING, lanes: 1, beside: usize::MAX };
/// Lines, and their bytes, that may wait for the database.
const WAITING: usize = 16_384;
const WAITING_BYTES: usize = 16 << 20;
/// Bytes of a row besides its line, for the bounds.
const ROW_BYTES: usize = 64;
/// Longest wait for what an ended attempt has said to be in the database, before its outcome is recorded.
pub const LAST_WORDS: Duration = Duration::from_secs(2);
/// Wait between tries while the database is away; doubled up to the limit.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Keeps what attempts say. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
    lines: Batcher<NewLine, ()>,
}

/// What the services have in common with whoever speaks.
#[derive(Debug)]
struct Shared {
    attempts: Mutex<Attempts>,
    /// How many attempts are in there: the look that an attempt which said nothing costs.
    speaking: AtomicUsize,
    /// Bytes of lines that wait.
    waiting: AtomicUsize,
    /// Lines are being dropped, and the log has said so.
    overflowing: AtomicBool,
    /// There is progress to write.
    progress: Notify,
    metrics: Metrics,
}

impl Keeper {
    /// Starts the services on the current runtime. They end some time after every clone was dropped, lines that
    /// waited written.
    #[must_use]
    pub fn start(store: Store, metrics: Metrics) -> (Self, JoinSet<()>) {
        let shared = Arc::new(Shared {
            attempts: Mutex::default(),
            speaking: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            overflowing: AtomicBool::new(false),
            progress: Notify::new(),
            metrics,
        });
        let (writer, kept) = (store.clone(), Arc::clone(&shared));
        let trouble = Arc::new(Episode::new("writing task logs"));
        let (lines, mut services) = Batcher::start(BOUNDS, move |batch: Vec<NewLine>| {
            let (store, shared, trouble) = (writer.clone(), Arc::clone(&kept), Arc::clone(&trouble));
            async move {
                let count = batch.len();
                write(&store, &shared, &trouble, batch.into()).await;
                vec![(); count]
            }
        });
        services.spawn(progress::run(store, Arc::downgrade(&shared)));
        (Self { shared, lines }, services)
    }
}

impl Journal for Keeper {
    fn log(&self, claimed: &Claimed, line: String) {
        let shared = &*self.shared;
        let key = (claimed.id, claimed.attempt);
        // Locked until the lines are handed in: they are in the order of their numbers.
        let mut attempts = shared.lock();
        if let Some((said, numbers)) = attempts.of(key, &shared.speaking) {
            let Some(line) = said.admit(line) else {
                drop(attempts);
                return shared.dropped();
            };
            let gap = said.gap();
            let bridged = gap.is_none_or(|gap| {
                let fits = self.hand_in(numbers.line(key, gap));
                if fits {
                    said.missing = 0;
                    said.waiting += 1;
                }
                fits
            });
            if bridged && self.hand_in(numbers.line(key, line)) {
                said.waiting += 1;
                return;
            }
            said.missing += 1;
        }
        drop(attempts);
        shared.overflow();
        shared.dropped();
    }

    fn progress(&self, claimed: &Claimed, fraction: f64, note: Option<String>) {
        let mut attempts = self.shared.lock();
        let Some((said, _)) = attempts.of((claimed.id, claimed.attempt), &self.shared.speaking) else { return };
        let known = said.progress.is_waiting();
        said.progress.say(claimed.worker, fraction, note);
        drop(attempts);
        // Of what waits already, the service knows when it is due.
        if !known {
            self.shared.progress.notify_one();
        }
    }

    fn end(&self, claimed: &Claimed) -> Option<BoxFuture<'static, ()>> {
        if self.shared.speaking.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let kept = self.shared.lock().end((claimed.id, claimed.attempt), &self.shared.speaking)?;
        // Its last progress does not wait for its second to be over.
        self.shared.progress.notify_one();
        // Never sent, and dropped with the last word.
        Some(kept.map(|_| ()).boxed())
    }
}

impl Keeper {
    /// Whether there was room.
    fn hand_in(&self, line: NewLine) -> bool {
        let bytes = line.line.len() + ROW_BYTES;
        let before = self.shared.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= WAITING_BYTES && self.lines.offer(line, Size { rows: 1, bytes });
        if !fits {
            self.shared.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// An attempt has ended: waits until what it has said is in the database, but no longer than [`LAST_WORDS`]. So the
/// log of a task that has ended is whole. Nothing to wait for where nothing was said.
pub async fn last_words(journal: &Arc<dyn Journal>, claimed: &Claimed) {
    if let Some(kept) = journal.end(claimed) {
        let _ = tokio::time::timeout(LAST_WORDS, kept).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self) {
        self.metrics.task_log_lines.with_label_values(&["dropped"]).inc();
    }

    /// One log line for a whole stretch of drops.
    fn overflow(&self) {
        if !self.overflowing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "lines of task logs are dropped: attempts say more than the database takes; task_log_lines_total counts them"
            );
        }
    }

    /// These lines are in the database, or given up.
    fn written(&self, batch: &[NewLine], outcome: &str) {
        let bytes: usize = batch.iter().map(|line| line.line.len() + ROW_BYTES).sum();
        let before = self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        if before.saturating_sub(bytes) < WAITING_BYTES / 2 && self.overflowing.load(Ordering::Relaxed) {
            self.overflowing.store(false, Ordering::Relaxed);
        }
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        self.metrics.task_log_lines.with_label_values(&[outcome]).inc_by(count);
        self.lock().written(batch.iter().map(|line| (line.id, line.attempt)), &self.speaking);
    }
}

/// Writes a batch, and tries again while the database is away: the waiting line is what bounds that.
async fn write(store: &Store, shared: &Shared, trouble: &Episode, batch: Arc<[NewLine]>) {
    let mut wait = FIRST_WAIT;
    loop {
        match store.add_lines(Arc::clone(&batch)).await {
            Ok(()) => {
                trouble.succeeded();
                return shared.written(&batch, "written");
            }
            Err(error) => {
                trouble.failed(&error);
                if !may_pass(&error) {
                    return shared.written(&batch, "dropped");
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

/// Whether the same may be taken later.
fn may_pass(error: &StoreError) -> bool {
    error.is_transient()
}
