//! Finish: outcomes of many attempts are decided, recorded in one transaction, and only then
//! acknowledged.

use super::Tools;
use super::submit::is_soon;
use crate::store::batcher::{BATCH_BYTES, Batcher, Bounds, Size, Stopped};
use crate::store::tasks::{Applied, Finish, Held, Record};
use crate::store::{Store, StoreError};
use crate::task::{Claimed, Next, Outcome, Standing, Status, TaskId, Way, decide};
use crate::telemetry::Episode;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Finish batches. The waiting line is longer than the slots of any sensible worker; a full
/// one keeps slots from being freed, which is the brake. A second batch goes beside the first one only when it is a
/// whole statement: who waits for a task's end waits for one flush more at most, and all share fewer commits.
const BOUNDS: Bounds = Bounds { rows: 512, bytes: BATCH_BYTES, waiting: 4096, lanes: 2, beside: 256 };
/// Bytes of an outcome besides its result, for the batch's bound.
const OUTCOME_BYTES: usize = 256;
/// Wait between tries while the database is away; doubled up to the limit.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(2);

/// An attempt that ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub claimed: Arc<Claimed>,
    pub outcome: Outcome,
    /// The stream entry that brought it.
    pub entry_id: String,
}

/// Records outcomes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Finisher {
    batcher: Batcher<Ended, ()>,
}

impl Finisher {
    /// Starts the finish lanes on the current runtime. They end when every clone is dropped.
    #[must_use]
    pub fn start(tools: Tools) -> (Self, JoinSet<()>) {
        let (batcher, lanes) = Batcher::start(BOUNDS, move |batch: Vec<Ended>| {
            let tools = tools.clone();
            async move {
                let answers = vec![(); batch.len()];
                flush(&tools, batch).await;
                answers
            }
        });
        (Self { batcher }, lanes)
    }

    /// Records an outcome. Returns when it is settled: committed, or discarded because another
    /// attempt owns the task. While the database is away it keeps trying.
    ///
    /// # Errors
    /// [`Stopped`] when the process ends first; the task is then rescued.
    pub async fn finish(&self, ended: Ended) -> Result<(), Stopped> {
        let result = match &ended.outcome {
            Outcome::Success(Some(result)) => result.len(),
            _ => 0,
        };
        self.batcher.submit(ended, Size { rows: 1, bytes: result + OUTCOME_BYTES }).await
    }
}

async fn flush(tools: &Tools, mut batch: Vec<Ended>) {
    let trouble = Episode::new("recording outcomes");
    let mut wait = FIRST_WAIT;
    loop {
        match attempt(tools, batch).await {
            Ok(left) if left.is_empty() => {
                trouble.succeeded();
                return;
            }
            Ok(left) => batch = left,
            Err((error, left)) => {
                trouble.failed(&error);
                batch = left;
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

/// Tries to settle a batch; gives back what is to be tried again.
async fn attempt(tools: &Tools, batch: Vec<Ended>) -> Result<Vec<Ended>, (StoreError, Vec<Ended>)> {
    let finishes = match decide_all(&tools.store, &batch).await {
        Ok(finishes) => finishes,
        Err(error) => return Err((error, batch)),
    };
    let applied = tools.store.finish(finishes.clone()).await;
    let mut left = Vec::new();
    let mut trouble = None;
    let mut settled: HashMap<Arc<str>, Vec<String>> = HashMap::new();
    for ((mut ended, finish), result) in batch.into_iter().zip(finishes).zip(applied) {
        match result {
            Ok(applied) => {
                let done = settled.entry(Arc::clone(&ended.claimed.queue)).or_default();
                done.push(std::mem::take(&mut ended.entry_id));
                settle(tools, &Which::from(&*ended.claimed), &ended.outcome, &finish.record, applied);
            }
            Err(error) if error.is_transient() => {
                trouble = Some(error);
                left.push(ended);
            }
            Err(error) => {
                // Nothing that this attempt could say was taken. Let go, it is a row that says
                // `running` and that nobody holds: the heartbeat releases it.
                tracing::error!(task.id = %ended.claimed.id, attempt = ended.claimed.attempt, %error, "an outcome could not be recorded");
            }
        }
    }
    for (queue, entry_ids) in settled {
        tools.outbox.acknowledge(queue, entry_ids);
    }
    match trouble {
        Some(error) => Err((error, left)),
        None => Ok(left),
    }
}

/// Decides each outcome. Plain successes need nothing from the database.
async fn decide_all(store: &Store, batch: &[Ended]) -> Result<Vec<Finish>, StoreError> {
    let open: Vec<TaskId> =
        batch.iter().filter(|e| !matches!(e.outcome, Outcome::Success(_))).map(|e| e.claimed.id).collect();
    let standings: HashMap<TaskId, Held> = if open.is_empty() {
        HashMap::new()
    } else {
        store.standings(open).await?.into_iter().map(|held| (held.id, held)).collect()
    };
    Ok(batch.iter().map(|ended| finish_of(ended, standings.get(&ended.claimed.id))).collect())
}

fn finish_of(ended: &Ended, held: Option<&Held>) -> Finish {
    let Ended { claimed, outcome, .. } = ended;
    // A row that is gone, or that another attempt owns, fences this finish whatever it says.
    let standing = held.map_or_else(
        || Standing {
            attempt: claimed.attempt,
            forgiven: 0,
            max_attempts: claimed.max_attempts,
            crash_count: 0,
            backoff: Default::default(),
            cancel_requested: false,
        },
        |held| Standing { attempt: claimed.attempt, ..held.standing.clone() },
    );
    let next = decide(outcome, &standing, rand::random());
    record(claimed.id, claimed.attempt, claimed.worker, outcome, next)
}

/// What to write for a decision. Finish and rescue share it.
pub(super) fn record(id: TaskId, attempt: u32, worker: crate::task::WorkerId, outcome: &Outcome, next: Next) -> Finish {
    let error = outcome.error();
    let record = match next {
        Next::Complete => Record::Completed {
            result: match outcome {
                Outcome::Success(result) => result.clone(),
                _ => None,
            },
        },
        Next::Retry(delay) => Record::Retry { delay, error: error.clone() },
        Next::Requeue { forgiven } => Record::Requeue { forgiven, error: error.clone() },
        Next::Fail(reason) => Record::Failed { reason, error: error.clone() },
        Next::Cancel => Record::Cancelled { error: error.clone() },
    };
    let history = (!matches!(outcome, Outcome::Success(_))).then(|| (outcome.as_str(), error));
    Finish { id, attempt, worker, record, history, crashed: matches!(outcome, Outcome::Lost(_)) }
}

/// Records the outcome of one attempt of a worker outside, which runs as its row was just read.
///
/// # Errors
/// When the database cannot be reached. It may then be recorded all the same.
pub(super) async fn record_one(tools: &Tools, held: &Held, outcome: &Outcome) -> Result<Applied, StoreError> {
    let attempt = held.standing.attempt;
    let next = decide(outcome, &held.standing, rand::random());
    let finish = record(held.id, attempt, held.worker, outcome, next);
    let applied = tools.store.finish(vec![finish.clone()]).await.pop().unwrap_or(Ok(Applied::Fenced))?;
    settle(
        tools,
        &Which { id: held.id, attempt, name: &held.name, queue: &held.queue },
        outcome,
        &finish.record,
        applied,
    );
    Ok(applied)
}

/// The attempt that an outcome is of.
struct Which<'a> {
    id: TaskId,
    attempt: u32,
    name: &'a str,
    queue: &'a Arc<str>,
}

impl<'a> From<&'a Claimed> for Which<'a> {
    fn from(claimed: &'a Claimed) -> Self {
        Self { id: claimed.id, attempt: claimed.attempt, name: &claimed.name, queue: &claimed.queue }
    }
}

fn settle(tools: &Tools, which: &Which<'_>, outcome: &Outcome, record: &Record, applied: Applied) {
    let Which { id, attempt, name, queue } = which;
    let (word, status) = match applied {
        Applied::Fenced => {
            tools.metrics.tasks_fenced.inc();
            tracing::warn!(task.id = %id, attempt, outcome = outcome.as_str(), "an outcome was discarded: another attempt owns the task");
            return;
        }
        Applied::Cancelled => ("cancelled", Status::Cancelled),
        Applied::Recorded => (record.outcome(), record.becomes()),
    };
    tools.moved(*id, *attempt, status, queue, name);
    let soon = match record {
        Record::Retry { delay, .. } => is_soon(*delay),
        Record::Requeue { .. } => true,
        Record::Completed { .. } | Record::Failed { .. } | Record::Cancelled { .. } => false,
    };
    // Where its type has a limit, the next one may go.
    if soon || tools.registry.way(name) == Way::Held {
        tools.wake(queue);
    }
    if let Some(error) = outcome.error() {
        tracing::info!(task.id = %id, task.name = name, attempt, outcome = word, error, "attempt ended");
    } else {
        tracing::debug!(task.id = %id, task.name = name, attempt, outcome = word, "attempt ended");
    }
    let label = tools.registry.label(name);
    tools.metrics.tasks_finished.with_label_values(&[&***queue, label, word]).inc();
}
