//! Submit: a validated task becomes a committed row, together with whatever else was
//! submitted meanwhile; then its entry, or a wake-up, follows to Redis.
//!
//! The answer waits for the commit and for nothing else: with Redis away it is the same.

mod keyed;

pub use keyed::Receipt;

use super::Tools;
use crate::executor::Registry;
use crate::store::StoreError;
use crate::store::batcher::{BATCH_BYTES, Batcher, Bounds, Size};
use crate::store::tasks::{Insert, MAX_ENTRY_PAYLOAD};
use crate::stream::{Entry, Gates};
use crate::task::name::quoted;
use crate::task::{Backoff, Fault, NewTask, Status, Submission, Task, TaskId, Timestamp, Way, When};
use keyed::{Flights, KeyedBatcher};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinSet;

/// Insert batches: a few hundred rows amortise the commit, more only add latency. Two lanes:
/// one is built while the other waits for the disk.
const BOUNDS: Bounds = Bounds { rows: 512, bytes: BATCH_BYTES, waiting: 8192, lanes: 2, beside: 64 };
/// Bytes of a row besides its payload, for the batch's bound.
const ROW_BYTES: usize = 512;
/// A task due within this time wakes its dispatcher; a later one is seen by the dispatcher's poll.
const SOON: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// Why a task was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It would make one queue too many.
    #[error("the queue {queue:?} would be one more than limits.queues allows ({limit})")]
    TooManyQueues { queue: Arc<str>, limit: usize },
    /// A submission with one of the keys has begun and not ended.
    #[error("a submission with the same key is under way; the answer to it can be had by repeating this one")]
    InFlight,
    /// The idempotency key belongs to a request with another body.
    #[error("this idempotency key was used for a request with another body")]
    OtherRequest,
    /// The idempotency key belongs to a request one of whose tasks is there no more.
    #[error("the first request with this idempotency key was accepted; its task {0} is there no more")]
    FirstGone(TaskId),
    /// The unique key of the task at `index` is held by a task that is there no more.
    #[error("is held{} by the task {id}, which is there no more", until.map(until_when).unwrap_or_default())]
    HolderGone { index: usize, id: TaskId, until: Option<Timestamp> },
    /// The process is stopping.
    #[error("this process is stopping")]
    Stopping,
}

fn until_when(until: Timestamp) -> String {
    format!(" until {}", until.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

/// Accepts tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Submitter {
    shared: Arc<Shared>,
    batcher: Batcher<Vec<Insert>, Result<Vec<Task>, StoreError>>,
    keyed: KeyedBatcher,
}

#[derive(Debug)]
struct Shared {
    tools: Tools,
    gates: Gates,
    /// The queues that are known to exist.
    queues: RwLock<HashSet<Arc<str>>>,
    max_queues: usize,
    flights: Flights,
}

/// Tasks that may be handed in, and how large they are.
struct Prepared {
    group: Vec<Insert>,
    size: Size,
}

impl Submitter {
    /// Starts the insert lanes on the current runtime; at most `max_queues` queues may come to
    /// be. They end when every clone is dropped.
    #[must_use]
    pub fn start(tools: Tools, gates: Gates, max_queues: usize) -> (Self, JoinSet<()>) {
        let inserter = tools.clone();
        let (keyed, mut keyed_lanes) = keyed::start(tools.clone());
        let (batcher, mut lanes) = Batcher::start(BOUNDS, move |batch| {
            let tools = inserter.clone();
            async move {
                let answers = tools.store.insert_tasks(batch).await;
                hand_over(answers.iter().flatten().flatten(), &tools);
                answers
            }
        });
        lanes.spawn(async move { while keyed_lanes.join_next().await.is_some() {} });
        let shared = Shared { tools, gates, queues: RwLock::default(), max_queues, flights: Flights::default() };
        (Self { shared: Arc::new(shared), batcher, keyed }, lanes)
    }

    /// Accepts these tasks, all or none: when this returns they are committed. In their order.
    ///
    /// # Errors
    /// When the database is away, or a queue would be one too many. After
    /// [`StoreError::Lost`] or [`StoreError::TimedOut`] they may have been accepted all the same.
    pub async fn submit(&self, tasks: Vec<NewTask>) -> Result<Vec<Task>, SubmitError> {
        let Prepared { group, size } = self.shared.prepare(tasks).await?;
        let tasks = self.batcher.submit(group, size).await.map_err(|_| SubmitError::Stopping)??;
        self.shared.count(tasks.iter());
        Ok(tasks)
    }
}

/// What a pause needs of submission.
impl Submitter {
    /// Makes sure that a queue exists.
    ///
    /// # Errors
    /// When it would be one too many, or the database is away.
    pub(super) async fn ensure_queue(&self, queue: &Arc<str>) -> Result<(), SubmitError> {
        self.shared.ensure_queue(queue).await
    }

    /// Closes a queue's gate in this process until its dispatcher publishes anew.
    pub(super) fn shut_gate(&self, queue: &str) {
        self.shared.gates.shut(queue);
    }
}

impl Shared {
    /// Makes sure of the queues, and asks their gates.
    async fn prepare(&self, tasks: Vec<NewTask>) -> Result<Prepared, SubmitError> {
        let mut size = Size { rows: tasks.len(), bytes: 0 };
        let mut group = Vec::with_capacity(tasks.len());
        for task in tasks {
            self.ensure_queue(&task.queue).await?;
            let direct = task.when == When::Now && task.way == Way::Stream && self.gates.pass(&task.queue);
            let tags: usize = task.tags.iter().map(String::len).sum();
            size.bytes += task.payload.len() + task.metadata.as_ref().map_or(0, |text| text.len()) + tags + ROW_BYTES;
            group.push(Insert { task, direct });
        }
        Ok(Prepared { group, size })
    }

    /// Counts what was accepted.
    fn count<'a>(&self, tasks: impl Iterator<Item = &'a Task>) {
        for task in tasks {
            let name = self.tools.registry.label(&task.name);
            self.tools.metrics.tasks_submitted.with_label_values(&[&*task.queue, name]).inc();
        }
    }

    async fn ensure_queue(&self, queue: &Arc<str>) -> Result<(), SubmitError> {
        let known = |queue: &Arc<str>| self.queues.read().unwrap_or_else(PoisonError::into_inner).contains(queue);
        if known(queue) {
            return Ok(());
        }
        let existing = self.tools.store.queue_names().await?;
        if !existing.contains(queue) {
            if existing.len() >= self.max_queues {
                return Err(SubmitError::TooManyQueues { queue: Arc::clone(queue), limit: self.max_queues });
            }
            self.tools.store.ensure_queues(vec![Arc::clone(queue)]).await?;
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.extend(existing);
        queues.insert(Arc::clone(queue));
        Ok(())
    }
}

/// After the commit: the entries of tasks that were inserted as dispatched, and for the others a wake-up
/// of their dispatchers, or of the workers outside that wait for such.
pub(super) fn hand_over<'a>(tasks: impl Iterator<Item = &'a Task>, tools: &Tools) {
    let mut entries = Vec::new();
    let (mut woken, mut arrived): (Option<&Arc<str>>, Option<&Arc<str>>) = (None, None);
    for task in tasks {
        tools.moved(task.id, task.attempt, task.status, &task.queue, &task.name);
        if let Some(dispatched_at) = task.dispatched_at {
            let small = task.payload.len() <= MAX_ENTRY_PAYLOAD;
            entries.push(Entry {
                queue: Arc::clone(&task.queue),
                id: task.id,
                name: Arc::clone(&task.name),
                attempt: task.attempt,
                max_attempts: task.max_attempts,
                timeout: task.timeout,
                run_at: task.run_at,
                dispatched_at,
                payload: small.then(|| Arc::clone(&task.payload)),
            });
        } else if task.status == Status::Queued && tools.registry.is_outside(&task.name) {
            if arrived != Some(&task.queue) {
                tools.wakes.arrived(&task.queue);
                arrived = Some(&task.queue);
            }
        } else if task.run_at - task.created_at < SOON && woken != Some(&task.queue) {
            // Mostly they are of one queue; once more does no harm.
            tools.wake(&task.queue);
            woken = Some(&task.queue);
        }
    }
    tools.outbox.append(entries);
}

/// A back-off before the next attempt that is short enough to wake the dispatcher for.
pub(super) fn is_soon(delay: Duration) -> bool {
    chrono::TimeDelta::from_std(delay).is_ok_and(|delay| delay < SOON)
}

/// What a submission that leaves something out gets, after its task type's own defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    pub max_attempts: u32,
    pub timeout: Duration,
    pub backoff: Backoff,
}

/// The queue of submissions and task types that name none.
pub const DEFAULT_QUEUE: &str = "default";

/// Turns a submission into a task that may be inserted: its type must be known, and what it
/// left out comes from the type's defaults, then from the configuration's.
///
/// # Errors
/// When this program has no such task type, with a list of the known ones that whoever asks may see; else all that does
/// not fit the type's schema.
pub fn admit(
    submission: Submission,
    registry: &Registry,
    defaults: &Defaults,
    sees: &dyn Fn(&str) -> bool,
) -> Result<NewTask, Vec<Fault>> {
    let Submission {
        name,
        payload,
        queue,
        priority,
        when,
        timeout,
        max_attempts,
        backoff,
        expires_in,
        tags,
        metadata,
        unique,
    } = submission;
    let Some(task_type) = registry.get(&name) else {
        let detail = format!("{} is not a known task type; known: {}", quoted(&name), registry.known_to(sees));
        return Err(vec![Fault::at("/name", detail)]);
    };
    if let Some(schema) = &task_type.schema {
        let faults = schema.check(&payload);
        if !faults.is_empty() {
            return Err(faults);
        }
    }
    let own = &task_type.defaults;
    Ok(NewTask {
        name: Arc::clone(&task_type.name),
        way: registry.way(&name),
        queue: queue.map(Arc::from).or_else(|| own.queue.clone()).unwrap_or_else(|| DEFAULT_QUEUE.into()),
        priority: priority.or(own.priority).unwrap_or(0),
        payload: payload.into(),
        when: when.unwrap_or(When::Now),
        timeout: timeout.or(own.timeout).unwrap_or(defaults.timeout),
        max_attempts: max_attempts.or(own.max_attempts).unwrap_or(defaults.max_attempts),
        backoff: backoff.or(own.backoff).unwrap_or(defaults.backoff),
        expires_in,
        schedule: None,
        tags,
        metadata: metadata.map(Arc::from),
        unique,
    })
}
