//! Explain: why a task does not run, or what became of it. The facts are gathered here, and judged by a pure function:
//! what is said of a task can be read, and tested, without a server.
//!
//! ```text
//!  rows, index, workers, stream, registry ──► Facts ──► judge ──► Explanation
//! ```

mod cause;
mod judge;

pub use cause::{Cause, Code, Explanation, Fields, Next};
pub use judge::judge;

use super::Tools;
use super::lookup::Lookup;
use crate::store::StoreError;
use crate::store::queues::QueueRow;
use crate::store::roster::Roster;
use crate::store::tasks::{Holder, PastAttempt, Stand};
use crate::stream::StreamState;
use crate::task::{Status, Task, TaskId, Timestamp, Way};
use std::sync::Arc;
use std::time::Duration;

/// Looks until the row and its place in the index are of one moment.
const TRIES: u32 = 4;
/// How long Redis may take.
const STREAM_LIMIT: Duration = Duration::from_secs(1);

/// What is known of a task, at about one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The database's clock.
    pub now: Timestamp,
    pub task: Task,
    pub stand: Stand,
    /// How many tasks stand before it in the backlog; one more than [`crate::store::tasks::MAX_AHEAD`]: more than are counted. None: it
    /// is not there.
    pub ahead: Option<u64>,
    /// None: there is no such row.
    pub queue: Option<QueueRow>,
    /// Every worker.
    pub roster: Roster,
    /// What its queue's stream holds; Err: Redis does not answer.
    pub stream: Result<StreamState, String>,
    /// What this process knows of its type; None: nothing.
    pub kind: Option<Kind>,
    /// Its latest attempt that did not simply succeed, where it waits for another one.
    pub last: Option<PastAttempt>,
    /// Who holds its unique key, where it has ended and that is another task.
    pub holder: Option<Holder>,
}

/// A task type, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub way: Way,
    /// How many attempts may be in flight, and how many are (in a stream, or running); where it has such a limit.
    pub limit: Option<(u32, u64)>,
}

/// Explains a task. None: there is none with this id.
///
/// # Errors
/// When the database cannot be reached.
pub async fn explain(tools: &Tools, lookup: &Lookup, id: TaskId) -> Result<Option<Explanation>, StoreError> {
    Ok(gather(tools, lookup, id).await?.map(|facts| judge(&facts)))
}

async fn gather(tools: &Tools, lookup: &Lookup, id: TaskId) -> Result<Option<Facts>, StoreError> {
    let Some((task, now, stand, ahead)) = place(tools, lookup, id).await? else { return Ok(None) };
    let queue = tools.store.queue_row(Arc::clone(&task.queue));
    let (queue, roster, stream, kind, last, holder) = tokio::try_join!(
        queue,
        tools.store.roster(),
        async { Ok(stream(tools, &task).await) },
        kind(tools, &task),
        last(tools, &task),
        holder(tools, &task),
    )?;
    Ok(Some(Facts { now, task, stand, ahead, queue, roster, stream, kind, last, holder }))
}

type Placed = (Task, Timestamp, Stand, Option<u64>);

/// The task with its place in the index; it may move while it is looked at.
async fn place(tools: &Tools, lookup: &Lookup, id: TaskId) -> Result<Option<Placed>, StoreError> {
    let mut tries = 0;
    loop {
        let Some(spot) = tools.store.spot(id).await? else { return Ok(None) };
        let Some(task) = lookup.task(id).await? else { return Ok(None) };
        tries += 1;
        if (task.status, task.attempt) != (spot.status, spot.attempt) && tries < TRIES {
            continue;
        }
        let ahead = match spot.stand {
            Stand::Backlog | Stand::Outside => Some(tools.store.ahead(Arc::clone(&task.queue), id, spot).await?),
            Stand::Done | Stand::Until(_) | Stand::Flight | Stand::Held => None,
        };
        return Ok(Some((task, spot.now, spot.stand, ahead)));
    }
}

async fn stream(tools: &Tools, task: &Task) -> Result<StreamState, String> {
    if task.status.is_terminal() {
        return Ok(StreamState::default());
    }
    match tokio::time::timeout(STREAM_LIMIT, tools.stream.glance(&task.queue)).await {
        Ok(state) => state.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn kind(tools: &Tools, task: &Task) -> Result<Option<Kind>, StoreError> {
    let Some(known) = tools.registry.get(&task.name) else { return Ok(None) };
    let limit = match known.concurrency {
        Some(limit) if !task.status.is_terminal() => {
            Some((limit, tools.store.flying_of(Arc::clone(&task.name)).await?))
        }
        _ => None,
    };
    Ok(Some(Kind { way: tools.registry.way(&task.name), limit }))
}

async fn last(tools: &Tools, task: &Task) -> Result<Option<PastAttempt>, StoreError> {
    match task.status {
        Status::Scheduled | Status::Queued if task.attempt > 0 => tools.store.latest_attempt(task.id).await,
        _ => Ok(None),
    }
}

async fn holder(tools: &Tools, task: &Task) -> Result<Option<Holder>, StoreError> {
    match &task.unique_key {
        Some(key) if task.status.is_terminal() => {
            let holder = tools.store.unique_key_holder(&task.name, key).await?;
            Ok(holder.filter(|holder| holder.id != task.id))
        }
        _ => Ok(None),
    }
}
