//! The task as the rest of the program sees it. Rows are the store's affair, JSON the API's.

use super::{Backoff, Reason, Status, TaskId, Unique, WorkerId};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;

/// Every time is UTC from the database's clock, in microseconds.
pub type Timestamp = DateTime<Utc>;

/// When a submitted task becomes eligible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At once.
    Now,
    /// This long after it was accepted.
    After(Duration),
    /// At this instant; one that has passed means at once.
    At(Timestamp),
}

/// How tasks of a type come to who runs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Through their queue's stream.
    Stream,
    /// The same, but no more at once than their type's limit: the others are held back.
    Held,
    /// Workers outside claim them, and no process of ours: they enter no stream.
    Outside,
}

/// A validated task that is about to be inserted. It has no identity yet: the insert batch
/// reads the database's clock once and makes the ids from it.
#[derive(Clone, PartialEq, Debug)]
pub struct NewTask {
    /// The task type; one that the registry knows.
    pub name: Arc<str>,
    pub way: Way,
    pub queue: Arc<str>,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// JSON text, byte for byte as it was sent.
    pub payload: Arc<str>,
    pub when: When,
    /// Runtime limit of one attempt.
    pub timeout: Duration,
    /// Includes the first attempt; at least 1.
    pub max_attempts: u32,
    pub backoff: Backoff,
    /// Cancelled as expired if it has not started this long after it was accepted.
    pub expires_in: Option<Duration>,
    /// The schedule that fired it.
    pub schedule: Option<Arc<str>>,
    pub tags: Vec<String>,
    /// A JSON object, byte for byte.
    pub metadata: Option<Arc<str>>,
    pub unique: Option<Unique>,
}

/// A task as its row says.
#[derive(Clone, PartialEq, Debug)]
pub struct Task {
    pub id: TaskId,
    pub name: Arc<str>,
    pub queue: Arc<str>,
    pub priority: u8,
    pub status: Status,
    pub reason: Option<Reason>,
    pub payload: Arc<str>,
    /// The number of claims so far. It never falls.
    pub attempt: u32,
    /// The attempts that do not count against `max_attempts`.
    pub forgiven: u32,
    pub max_attempts: u32,
    pub timeout: Duration,
    pub backoff: Backoff,
    pub run_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub dispatched_at: Option<Timestamp>,
    pub worker_id: Option<WorkerId>,
    pub cancel_requested_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub schedule: Option<Arc<str>>,
    pub tags: Vec<String>,
    pub metadata: Option<Arc<str>>,
    pub result: Option<Arc<str>>,
    pub last_error: Option<String>,
    /// How far the latest attempt that said so is, or was: 0 to 1.
    pub progress: Option<f64>,
    /// A word about it.
    pub progress_note: Option<String>,
    pub unique_key: Option<Arc<str>>,
}

/// One attempt that a worker owns: what a handler needs to run it.
#[derive(Clone, PartialEq, Debug)]
pub struct Claimed {
    pub id: TaskId,
    /// With the id the fencing token.
    pub attempt: u32,
    pub worker: WorkerId,
    pub name: Arc<str>,
    pub queue: Arc<str>,
    pub payload: Arc<str>,
    pub timeout: Duration,
    pub max_attempts: u32,
    /// When it became eligible; the wait is measured from here.
    pub run_at: Timestamp,
}
