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

use super::finish::record_one;
use super::journal::last_words;
use super::{Tools, rescue};
use crate::store::StoreError;
use crate::store::tasks::{Applied, Attempt, Claim, LostClaim, Offer};
use crate::store::workers::{NewWorker, OUTSIDE};
use crate::task::{Claimed, Outcome, Reason, Status, Task, TaskId, WorkerId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait between two looks for tasks: what another process accepts is found after it.
const LOOK: Duration = Duration::from_millis(500);
/// A claim that waits renews its worker's lease so often in one lease.
const BEATS: u32 = 3;
/// Looks whose tasks were all lost to others, in a row; then it waits as if there were none.
const TRIES: u32 = 8;
/// Payloads in one answer, at most; the first task goes in any case.
const ANSWER_BYTES: u64 = 16 << 20;
/// Attempts that nobody names and that one heartbeat releases.
const SPARE_ROWS: usize = 200;

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// None: it is new.
    pub worker: Option<WorkerId>,
    /// Where it asks from.
    pub host: String,
    pub queues: Vec<Arc<str>>,
    /// Only these task types; None: every one.
    pub names: Option<Vec<String>>,
    /// Most tasks.
    pub max: u32,
    /// How long to wait for the first one.
    pub wait: Duration,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub worker: WorkerId,
    /// How long it counts as alive after each sign of life.
    pub lease: Duration,
    pub tasks: Vec<Task>,
}

/// An attempt that a worker says it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub id: TaskId,
    pub attempt: u32,
    /// How far it is, 0 to 1.
    pub progress: Option<f64>,
    /// A word about it.
    pub progress_note: Option<String>,
    /// Lines for the task's log.
    pub logs: Vec<String>,
}

/// What a worker hears at its heartbeat, of what it named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// To be stopped, and then reported in any way: they end cancelled.
    pub cancel: Vec<TaskId>,
    /// No longer its own: whatever it would report is refused.
    pub lost: Vec<TaskId>,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It is recorded: now, or it was before.
    Recorded,
    /// The attempt is no longer this worker's, or has been recorded otherwise.
    Lost,
    /// There is no such task.
    Unknown,
}

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

/// Some of [`Desk::wanted`], until dropped.
struct Wanted<'a> {
    all: &'a Mutex<HashSet<TaskId>>,
    offers: Vec<(Arc<str>, Offer)>,
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        self.offers.iter().for_each(|(_, offer)| _ = all.remove(&offer.id));
    }
}

impl Desk {
    /// `lease` is how long a worker counts as alive after each sign of life; waits end at `stop`.
    #[must_use]
    pub fn new(tools: Tools, lease: Duration, stop: CancellationToken) -> Self {
        Self { tools, lease, stop, wanted: Arc::default() }
    }

    /// Claims tasks for a worker, and waits for the first one. Dropped before it resolves, it claims no more, and
    /// gives back what it has claimed.
    ///
    /// # Errors
    /// When the worker has no lease, or the database cannot be reached. Some may then be claimed all the
    /// same: the worker's heartbeat, which does not name them, releases them.
    pub async fn claim(&self, ask: Ask) -> Result<Given, PullError> {
        let (mut sender, receiver) = oneshot::channel();
        let desk = self.clone();
        // In a task of its own: a claim that was sent is answered, whoever waits for it.
        tokio::spawn(async move {
            let worker = ask.worker.unwrap_or_else(WorkerId::fresh);
            let given = desk.find(worker, &ask, &mut sender).await;
            if let Err(Ok(given)) = sender.send(given) {
                desk.take_back(given, ask.worker.is_none()).await;
            }
        });
        receiver.await.unwrap_or(Err(PullError::Stopping))
    }

    async fn find(
        &self,
        worker: WorkerId,
        ask: &Ask,
        asker: &mut oneshot::Sender<Result<Given, PullError>>,
    ) -> Result<Given, PullError> {
        let until = Instant::now() + ask.wait;
        let mut renew_at = Instant::now() + self.lease / BEATS;
        self.register(worker, ask).await?;
        // Before the first look, so that nothing comes in between.
        let mut arrivals = self.tools.wakes.arrivals();
        loop {
            let tasks = self.take(worker, ask).await?;
            if !tasks.is_empty() || Instant::now() >= until || asker.is_closed() || self.stop.is_cancelled() {
                return Ok(Given { worker, lease: self.lease, tasks });
            }
            tokio::select! {
                () = asker.closed() => return Ok(Given { worker, lease: self.lease, tasks }),
                () = self.stop.cancelled() => {}
                () = arrivals.any_of(&ask.queues) => {}
                () = tokio::time::sleep_until(until.min(renew_at).min(Instant::now() + LOOK)) => {}
            }
            if Instant::now() >= renew_at {
                renew_at = Instant::now() + self.lease / BEATS;
                if !self.tools.store.renew_outside(worker, self.lease).await? {
                    return Err(PullError::NoLease(worker));
                }
            }
        }
    }

    async fn register(&self, worker: WorkerId, ask: &Ask) -> Result<(), PullError> {
        let names: Vec<&str> = ask.queues.iter().map(|queue| &**queue).collect();
        let queues = serde_json::to_string(&names).unwrap_or_default();
        if ask.worker.is_none() {
            let row = NewWorker { id: worker, host: ask.host.clone(), pid: OUTSIDE, queues, slots: ask.max };
            self.tools.store.register_worker(row, self.lease).await?;
            tracing::info!(worker.id = %worker, host = ask.host, "a worker outside registered");
            return Ok(());
        }
        let renewed = self.tools.store.return_outside(worker, queues, ask.max, self.lease).await?;
        if renewed { Ok(()) } else { Err(PullError::NoLease(worker)) }
    }

    /// Claims what is there, without a wait.
    async fn take(&self, worker: WorkerId, ask: &Ask) -> Result<Vec<Task>, StoreError> {
        for _ in 0..TRIES {
            let wanted = self.want(ask).await?;
            if wanted.offers.is_empty() {
                break;
            }
            let claims =
                wanted.offers.iter().map(|(_, offer)| Claim { id: offer.id, attempt: offer.attempt }).collect();
            let lost = self.tools.store.claim(worker, claims).await?;
            self.count_expired(&wanted.offers, &lost);
            let won: Vec<TaskId> =
                wanted.offers.iter().map(|(_, offer)| offer.id).filter(|id| !lost.contains_key(id)).collect();
            if !won.is_empty() {
                return self.read(worker, won).await;
            }
        }
        Ok(Vec::new())
    }

    /// Chooses what to claim: a fair share of each queue, in the order of each.
    async fn want(&self, ask: &Ask) -> Result<Wanted<'_>, StoreError> {
        let most = usize::try_from(ask.max).unwrap_or(usize::MAX);
        let others = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).len();
        let heads =
            self.tools.store.available(ask.queues.clone(), ask.names.clone(), most.saturating_add(others)).await?;
        let mut queues: Vec<_> = ask.queues.iter().zip(heads).map(|(queue, head)| (queue, head.into_iter())).collect();
        // Nobody is always first.
        let first = rand::random_range(0..queues.len().max(1));
        queues.rotate_left(first);
        let mut all = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = Wanted { all: &self.wanted, offers: Vec::new() };
        let mut bytes = 0;
        while !queues.is_empty() {
            queues.retain_mut(|(queue, head)| {
                let Some(offer) = head.find(|offer| !all.contains(&offer.id)) else { return false };
                bytes += offer.bytes;
                let fits = wanted.offers.len() < most && (bytes <= ANSWER_BYTES || wanted.offers.is_empty());
                if fits {
                    all.insert(offer.id);
                    wanted.offers.push((Arc::clone(queue), offer));
                }
                fits
            });
        }
        drop(all);
        Ok(wanted)
    }

    fn count_expired(&self, offers: &[(Arc<str>, Offer)], lost: &HashMap<TaskId, LostClaim>) {
        let Tools { registry, metrics, .. } = &self.tools;
        for (queue, offer) in offers {
            let Some(why) = lost.get(&offer.id) else { continue };
            if *why == LostClaim::Expired {
                self.tools.moved(offer.id, offer.attempt, Status::Cancelled, queue, &offer.name);
                let labels = [&**queue, registry.label(&offer.name), Reason::Expired.as_str()];
                metrics.tasks_finished.with_label_values(&labels).inc();
            }
            tracing::debug!(task.id = %offer.id, why = why.as_str(), "a claim was lost");
        }
    }

    /// What was claimed, for the answer.
    async fn read(&self, worker: WorkerId, ids: Vec<TaskId>) -> Result<Vec<Task>, StoreError> {
        let store = &self.tools.store;
        let mut tasks = Vec::with_capacity(ids.len());
        for (id, small) in ids.iter().zip(store.small_tasks(ids.clone()).await?) {
            let task = match small {
                Some(task) => Some(task),
                None => store.task(*id).await?, // a large one
            };
            // It may have been released in between, if all of this took a lease.
            tasks.extend(task.filter(|task| task.status == Status::Running && task.worker_id == Some(worker)));
        }
        for task in &tasks {
            let waited = task.started_at.map_or(Duration::ZERO, |at| (at - task.run_at).to_std().unwrap_or_default());
            self.tools.metrics.task_wait.with_label_values(&[&*task.queue]).observe(waited.as_secs_f64());
            self.tools.moved(task.id, task.attempt, task.status, &task.queue, &task.name);
        }
        Ok(tasks)
    }

    /// Who asked has gone: nobody runs these. If that fails, its lease runs out.
    async fn take_back(&self, given: Given, fresh: bool) {
        let Given { worker, tasks, .. } = given;
        let released = async {
            if !tasks.is_empty() {
                let attempts = self.tools.store.attempts(tasks.iter().map(|task| task.id).collect()).await?;
                let held = attempts.into_iter().map(|attempt| attempt.held).filter(|held| held.worker == worker);
                let released = rescue::release(&self.tools, held.collect()).await?;
                tracing::info!(worker.id = %worker, tasks = released, "claimed for somebody who has gone: released");
            }
            // Nobody has heard of it.
            if fresh { self.tools.store.remove_worker(worker).await } else { Ok(()) }
        };
        if let Err(error) = released.await {
            tracing::debug!(worker.id = %worker, %error, "what was claimed for somebody who has gone was not released");
        }
    }

    /// A worker lives, and names the attempts that it holds. Those that it must not see (by queue and task type) are
    /// not its own.
    ///
    /// # Errors
    /// When the worker has no lease, or the database cannot be reached; the next heartbeat does it all.
    pub async fn heartbeat(
        &self,
        worker: WorkerId,
        named: &[Named],
        sees: impl Fn(&str, &str) -> bool,
    ) -> Result<Heard, PullError> {
        let store = &self.tools.store;
        if !store.renew_outside(worker, self.lease).await? {
            return Err(PullError::NoLease(worker));
        }
        let mut heard = Heard::default();
        let attempts = store.attempts(named.iter().map(|named| named.id).collect()).await?;
        let attempts: HashMap<TaskId, Attempt> = attempts.into_iter().map(|found| (found.held.id, found)).collect();
        for Named { id, attempt, progress, progress_note, logs } in named {
            let own = |found: &&Attempt| {
                let seen = sees(&found.held.queue, &found.held.name);
                seen && found.status == Status::Running && found.is_of(worker, *attempt)
            };
            match attempts.get(id).filter(own) {
                None => heard.lost.push(*id),
                Some(found) if found.is_overdue() => {
                    rescue::time_out(&self.tools, found).await?;
                    heard.lost.push(*id);
                }
                Some(found) => {
                    if found.held.standing.cancel_requested {
                        heard.cancel.push(*id);
                    }
                    let claimed = claimed(found);
                    if let Some(fraction) = progress {
                        self.tools.journal.progress(&claimed, *fraction, progress_note.clone());
                    }
                    logs.iter().for_each(|line| self.tools.journal.log(&claimed, line.clone()));
                }
            }
        }
        self.release_unnamed(worker, named, &sees).await?;
        Ok(heard)
    }

    /// Claims whose answers have not reached the worker. It had a lease's time to name them. What the caller must not
    /// see is left alone: it may be another's who has the worker's id.
    async fn release_unnamed(
        &self,
        worker: WorkerId,
        named: &[Named],
        sees: impl Fn(&str, &str) -> bool,
    ) -> Result<(), StoreError> {
        let named: HashSet<(TaskId, u32)> = named.iter().map(|named| (named.id, named.attempt)).collect();
        let mut unnamed = self.tools.store.held_for(worker, self.lease, named.len().saturating_add(SPARE_ROWS)).await?;
        unnamed.retain(|held| sees(&held.queue, &held.name) && !named.contains(&(held.id, held.standing.attempt)));
        if !unnamed.is_empty() {
            let released = rescue::release(&self.tools, unnamed).await?;
            tracing::warn!(worker.id = %worker, tasks = released, "its worker does not know of these tasks: released");
        }
        Ok(())
    }

    /// Records how an attempt ended. What has been recorded is so once more.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be recorded all the same; saying it again does no harm.
    pub async fn report(
        &self,
        id: TaskId,
        worker: WorkerId,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<Reported, StoreError> {
        let Tools { store, registry, metrics, .. } = &self.tools;
        // Twice: whoever overtakes it in between has ended the attempt.
        for _ in 0..2 {
            let Some(found) = store.attempts(vec![id]).await?.pop() else { return Ok(Reported::Unknown) };
            if found.status != Status::Running || !found.is_of(worker, attempt) {
                return self.was_recorded(&found, worker, attempt, outcome).await;
            }
            last_words(&self.tools.journal, &claimed(&found)).await;
            if record_one(&self.tools, &found.held, outcome).await? != Applied::Fenced {
                let labels = [&*found.held.queue, registry.label(&found.held.name)];
                metrics.task_run.with_label_values(&labels).observe(found.age.as_secs_f64());
                return Ok(Reported::Recorded);
            }
        }
        Ok(Reported::Lost)
    }

    async fn was_recorded(
        &self,
        found: &Attempt,
        worker: WorkerId,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<Reported, StoreError> {
        let id = found.held.id;
        let recorded = match outcome {
            Outcome::Success(_) => found.status == Status::Completed && found.is_of(worker, attempt),
            _ => self.tools.store.recorded(id, attempt, worker).await?.is_some_and(|word| word == outcome.as_str()),
        };
        if recorded {
            return Ok(Reported::Recorded);
        }
        self.tools.metrics.tasks_fenced.inc();
        tracing::warn!(task.id = %id, attempt, worker.id = %worker, outcome = outcome.as_str(), "an outcome was discarded: the attempt is no longer its worker's");
        Ok(Reported::Lost)
    }
}

/// What the journal needs to know of an attempt; its payload is not at hand.
fn claimed(attempt: &Attempt) -> Claimed {
    let Attempt { held, timeout, run_at, .. } = attempt;
    Claimed {
        id: held.id,
        attempt: held.standing.attempt,
        worker: held.worker,
        name: Arc::clone(&held.name),
        queue: Arc::clone(&held.queue),
        payload: "null".into(),
        timeout: *timeout,
        max_attempts: held.standing.max_attempts,
        run_at: *run_at,
    }
}
