//! A task's life, one verb a file, in order:
//!
//! ```text
//! submit ─► dispatch ─► claim ─► execute ─► finish          fire: a schedule submits
//!              ▲                              │             rescue: for those who cannot finish
//!              └────────── retry ◄────────────┘             cancel: stopped from outside
//!                                                           expire: not started in time
//!                                                           purge: the end
//! ```
//!
//! `retry`, `run` and `delete` are what operators do to one task by hand, `bulk` cancels and retries many.
//! `pull` is claim and finish for workers outside. `pause` is the verb of a queue: it stops what comes between submit
//! and dispatch. [`lookup`] reads tasks for whoever asks, [`follow`] for whoever watches one; [`wait`] is
//! for whoever waits for a task's end. [`journal`] keeps what attempts say. [`access`] is about keys, not tasks.
//!
//! Each verb knows the store and the stream, and none knows the services that call it: which
//! process runs them, and when, is the business of `api`, `worker` and `scheduler`.

use crate::executor::{Journal, Registry};
use crate::store::Store;
use crate::stream::{Move, Outbox, Stream, Wakes};
use crate::task::{Reason, Status, TaskId};
use crate::telemetry::Metrics;
use std::sync::Arc;

/// What the verbs work with: one set a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tools {
    pub store: Store,
    pub stream: Stream,
    pub outbox: Outbox,
    pub wakes: Wakes,
    pub registry: Arc<Registry>,
    pub journal: Arc<dyn Journal>,
    pub metrics: Metrics,
}

impl Tools {
    /// Wakes a queue's dispatcher, in whichever process it runs.
    pub fn wake(&self, queue: &Arc<str>) {
        self.wakes.wake(queue);
        self.outbox.wake(Arc::clone(queue));
    }

    /// Counts and tells that a task was cancelled since it had expired before it started.
    fn expired(&self, id: TaskId, attempt: u32, queue: &Arc<str>, name: &str) {
        let labels = [&**queue, self.registry.label(name), Reason::Expired.as_str()];
        self.metrics.tasks_finished.with_label_values(&labels).inc();
        self.moved(id, attempt, Status::Cancelled, queue, name);
    }

    /// Tells whoever listens that a task has come into a state.
    fn moved(&self, id: TaskId, attempt: u32, status: Status, queue: &Arc<str>, name: &str) {
        self.outbox.moved(|| Move {
            id,
            attempt,
            status,
            at: chrono::Utc::now(),
            queue: Arc::clone(queue),
            name: name.into(),
        });
    }
}

pub mod access;
pub mod bulk;
pub mod cancel;
pub mod claim;
pub mod delete;
pub mod dispatch;
pub mod execute;
pub mod expire;
pub mod explain;
pub mod finish;
pub mod fire;
pub mod follow;
pub mod journal;
pub mod lookup;
pub mod pause;
pub mod pull;
pub mod purge;
pub mod rescue;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod submit;
pub mod wait;
