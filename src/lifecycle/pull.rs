//! Pull: workers outside, in any language, claim over REST, say that they live, and report how their attempts ended.
//!
//! ```text
//!  claim ──► (the worker runs it) ──► complete, fail
//!              │ heartbeat: renews its lease; hears of cancels, and of what it has lost
//! ```
//!
//! Such a worker is a row in `workers` like any other, under the same lease, rescue and fencing; only what a
//! process of ours knows by itself (which attempts it holds, and when their time is over) comes with its
//! heartbeats. What waits for it is in MySQL alone, in a lane of its own, so Redis may be away.

mod claim;
mod report;

pub use claim::{Ask, Given};
pub use report::{Heard, Named, Reported};

use super::Tools;
use crate::store::StoreError;
use crate::task::{TaskId, WorkerId};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A worker's call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("worker {0} has no lease: it was silent for longer than that, or was never there; claim without worker_id")]
    NoLease(WorkerId),
    #[error("this process is stopping")]
    Stopping,
}

/// Where workers outside come to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    tools: Tools,
    lease: Duration,
    stop: CancellationToken,
    /// Tasks that claims of this process are about to take: no two try for the same.
    wanted: Arc<Mutex<HashSet<TaskId>>>,
}

impl Desk {
    /// `lease` is how long a worker counts as alive after each sign of life; waits end at `stop`.
    #[must_use]
    pub fn new(tools: Tools, lease: Duration, stop: CancellationToken) -> Self {
        Self { tools, lease, stop, wanted: Arc::default() }
    }
}
