//! Claim: tasks for a worker outside, and a wait for the first one.
//!
//! The client at the other end may go at any time, and what was claimed for it must not wait for its lease to run out:
//! so a claim runs in a task of its own, notices that nobody waits for it, and gives back what it has.

use super::{Desk, PullError};
use crate::lifecycle::rescue;
use crate::store::StoreError;
use crate::store::tasks::{Claim, LostClaim, Offer};
use crate::store::workers::{NewWorker, OUTSIDE};
use crate::task::{Status, Task, TaskId, WorkerId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Longest wait between two looks for tasks: what another process accepts is found after it.
const LOOK: Duration = Duration::from_millis(500);
/// A claim that waits renews its worker's lease so often in one lease.
const BEATS: u32 = 3;
/// Looks whose tasks were all lost to others, in a row; then it waits as if there were none.
const TRIES: u32 = 8;
/// Payloads in one answer, at most; the first task goes in any case.
const ANSWER_BYTES: u64 = 16 << 20;

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
        for (queue, offer) in offers {
            let Some(why) = lost.get(&offer.id) else { continue };
            if *why == LostClaim::Expired {
                self.tools.expired(offer.id, offer.attempt, queue, &offer.name);
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
}
