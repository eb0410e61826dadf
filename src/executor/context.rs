//! What a handler knows of the attempt that it runs.

use super::Journal;
use crate::task::{Claimed, TaskId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// One attempt, as its handler sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    claimed: Arc<Claimed>,
    deadline: Instant,
    stop: CancellationToken,
    journal: Arc<dyn Journal>,
}

impl Context {
    pub(crate) fn new(
        claimed: Arc<Claimed>,
        deadline: Instant,
        stop: CancellationToken,
        journal: Arc<dyn Journal>,
    ) -> Self {
        Self { claimed, deadline, stop, journal }
    }

    /// The task's id: the same for every attempt. Pass it on where work must not be done twice.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.claimed.id
    }

    /// The task type's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.claimed.name
    }

    /// The queue it came through.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.claimed.queue
    }

    /// This attempt's number: 1 for the first. It only rises.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.claimed.attempt
    }

    /// How many attempts the task may have, the first included.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.claimed.max_attempts
    }

    /// Adds a line to the task's log. Never waits; a long line is cut, and of an attempt that says too much the rest
    /// is dropped.
    pub fn log(&self, line: impl Into<String>) {
        self.journal.log(&self.claimed, line.into());
    }

    /// Says how far the attempt is, 0 to 1. Never waits; of what comes in quick succession the latest counts.
    pub fn progress(&self, fraction: f64) {
        self.journal.progress(&self.claimed, fraction, None);
    }

    /// As [`progress`](Self::progress), with a word about it.
    pub fn progress_note(&self, fraction: f64, note: impl Into<String>) {
        self.journal.progress(&self.claimed, fraction, Some(note.into()));
    }

    /// When the attempt times out.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Time left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether the attempt should end: timed out, cancelled, draining, or the task was lost to
    /// another worker. A handler that goes on is dropped soon after.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the attempt should end.
    pub async fn cancelled(&self) {
        self.stop.cancelled().await;
    }

    /// A token for libraries that take one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }
}
