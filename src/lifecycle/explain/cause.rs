//! What an explanation is made of.

use crate::task::{Status, Timestamp};
use std::time::Duration;

/// Why a task does not run, or what became of it: the words that programs may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// It is to start later, as its submission said.
    Scheduled,
    /// An attempt failed, and the next one comes after a wait.
    BackingOff,
    /// A worker that lacks its type, or had no slot for it, gave it back; it is offered again after a wait.
    HandedBack,
    /// It waits in its queue's backlog.
    Backlog,
    /// It is in its queue's stream, and waits for a free slot.
    Dispatched,
    /// Its queue is paused.
    QueuePaused,
    /// No live worker process serves its queue.
    NoWorker,
    /// No worker process dispatches its queue at the moment.
    NoDispatcher,
    /// As many of its type are in flight as may be.
    TypeLimited,
    /// It waits for a worker outside to claim it.
    WaitsForPullWorker,
    /// The process that was asked knows no such task type.
    UnknownType,
    /// Redis does not answer: nothing new reaches the workers.
    RedisDown,
    /// A worker runs it.
    Running,
    /// Somebody has asked to cancel it, and its worker has yet to stop it.
    CancelRequested,
    /// The worker that ran it gives no sign of life.
    WorkerLost,
    /// It has completed.
    Completed,
    /// It has failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It was not started before it expired: it is cancelled, or is about to be.
    Expired,
    /// It has ended, and another task has its unique key: it cannot be retried.
    UniqueKeyHeld,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 20] = [
        Code::Scheduled,
        Code::BackingOff,
        Code::HandedBack,
        Code::Backlog,
        Code::Dispatched,
        Code::QueuePaused,
        Code::NoWorker,
        Code::NoDispatcher,
        Code::TypeLimited,
        Code::WaitsForPullWorker,
        Code::UnknownType,
        Code::RedisDown,
        Code::Running,
        Code::CancelRequested,
        Code::WorkerLost,
        Code::Completed,
        Code::Failed,
        Code::Cancelled,
        Code::Expired,
        Code::UniqueKeyHeld,
    ];

    /// The word over REST.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::Scheduled => "scheduled",
            Code::BackingOff => "backing_off",
            Code::HandedBack => "handed_back",
            Code::Backlog => "backlog",
            Code::Dispatched => "dispatched",
            Code::QueuePaused => "queue_paused",
            Code::NoWorker => "no_worker",
            Code::NoDispatcher => "no_dispatcher",
            Code::TypeLimited => "type_limited",
            Code::WaitsForPullWorker => "waits_for_pull_worker",
            Code::UnknownType => "unknown_type",
            Code::RedisDown => "redis_down",
            Code::Running => "running",
            Code::CancelRequested => "cancel_requested",
            Code::WorkerLost => "worker_lost",
            Code::Completed => "completed",
            Code::Failed => "failed",
            Code::Cancelled => "cancelled",
            Code::Expired => "expired",
            Code::UniqueKeyHeld => "unique_key_held",
        }
    }
}

/// One cause, in words and in fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    pub code: Code,
    /// A sentence without its full stop.
    pub detail: String,
    pub fields: Fields,
}

/// What a cause's sentence says, for programs. Each code has its own; the others are None.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// How long that is from now.
    pub wait: Option<Duration>,
    /// How long its last attempt took.
    pub took: Option<Duration>,
    /// Who paused the queue.
    pub by: Option<String>,
    /// Why the queue was paused, or the task's own reason.
    pub reason: Option<String>,
    /// Attempts that count against `max_attempts`.
    pub attempt: Option<u32>,
    pub max_attempts: Option<u32>,
    pub outcome: Option<String>,
    pub error: Option<String>,
    pub queue: Option<String>,
    pub name: Option<String>,
    pub priority: Option<u8>,
    /// Tasks that stand before it, as far as they are counted.
    pub ahead: Option<u64>,
    /// There are more than were counted.
    pub ahead_is_more: Option<bool>,
    /// Entries in the queue's stream that no worker has read: what is already on its way.
    pub window: Option<u64>,
    /// Those that workers have read, and whose tasks run or are about to.
    pub in_flight: Option<u64>,
    pub limit: Option<u32>,
    /// Live workers that serve the queue, and their slots.
    pub workers: Option<u64>,
    pub slots: Option<u64>,
    /// The other task.
    pub task_id: Option<String>,
    pub worker_id: Option<String>,
    pub host: Option<String>,
    pub lease_until: Option<Timestamp>,
    pub progress: Option<f64>,
    pub progress_note: Option<String>,
}

impl Cause {
    pub(super) fn new(code: Code, detail: impl Into<String>, fields: Fields) -> Self {
        Self { code, detail: detail.into(), fields }
    }
}

/// What will happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// None: when that will be is not known.
    pub at: Option<Timestamp>,
    /// A sentence without its full stop.
    pub detail: String,
}

/// An explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub status: Status,
    /// One sentence.
    pub summary: String,
    /// The one that matters most comes first.
    pub causes: Vec<Cause>,
    /// None: nothing will, or nobody knows.
    pub next: Option<Next>,
}
