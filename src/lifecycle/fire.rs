//! Fire: instants have come, and exactly one scheduler decides what becomes of each.
//!
//! The decision is pure (`task::schedule::plan`), and is made while the schedule's row is locked: `judge` has
//! what it needs of the rest, such as the task as the registry admits it. Here is in what transactions it is asked, so that
//! no schedule holds up another, and what follows the commit.

mod judge;

use super::submit::{Defaults, hand_over};
use super::{Tools, cancel};
use crate::store::StoreError;
use crate::store::schedules::{Fired, Judge};
use crate::task::{Task, Timestamp};
use judge::give_up;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Schedules that are judged in one transaction.
const TOGETHER: u64 = 128;
/// Waiting instants that are looked at in one pass.
const WAITING: u64 = 128;
/// Instants of one pass that the log names one by one; of more it says how many.
const MAX_LINES: usize = 20;
/// Schedules that the metrics name; further ones are `other`.
const MAX_LABELS: usize = 1000;

/// What firing works with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Firing {
    pub tools: Tools,
    pub(super) defaults: Defaults,
    /// Largest payload, in bytes.
    pub(super) max_payload: usize,
    labels: Arc<Mutex<HashSet<Arc<str>>>>,
}

impl Firing {
    /// `max_payload`: in bytes.
    #[must_use]
    pub fn new(tools: Tools, defaults: Defaults, max_payload: usize) -> Self {
        Self { tools, defaults, max_payload, labels: Arc::default() }
    }

    /// Records everything that has come, and submits its tasks. Says when the next instant comes, and the database's
    /// clock.
    ///
    /// # Errors
    /// When the database cannot be reached; the next pass goes on from there.
    pub async fn pass(&self) -> Result<(Option<Timestamp>, Timestamp), StoreError> {
        loop {
            match self.tools.store.fire_waiting(WAITING, self.settle()).await {
                Ok(settled) if settled.is_empty() => break,
                Ok(settled) => self.follow(settled),
                Err(error) if error.is_transient() && !matches!(error, StoreError::TimedOut) => return Err(error),
                // Too much at once, or one of them is to blame.
                Err(error) => {
                    self.settle_each(&error).await?;
                    break;
                }
            }
        }
        loop {
            match self.tools.store.fire_due(TOGETHER, self.judge()).await {
                Ok(fired) if fired.is_empty() => break,
                Ok(fired) => self.follow(fired),
                Err(error) if error.is_transient() && !matches!(error, StoreError::TimedOut) => return Err(error),
                // Too much at once, or one of them is to blame: alone it holds up nobody else.
                Err(error) => self.isolate(&error).await?,
            }
        }
        self.tools.store.next_fire().await
    }

    /// Fires what is due of one schedule.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(super) async fn fire_this(&self, name: &Arc<str>) -> Result<(), StoreError> {
        loop {
            match self.tools.store.fire_this(Arc::clone(name), self.judge()).await {
                Ok(None) => return Ok(()),
                // There may be more than one transaction takes.
                Ok(Some(fired)) => self.follow(vec![fired]),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => return self.give_up(name, &error).await,
            }
        }
    }

    /// Each of the schedules that are due alone; one that the database will not take is passed over.
    async fn isolate(&self, error: &StoreError) -> Result<(), StoreError> {
        tracing::warn!(%error, "some schedules could not fire together; each is tried alone");
        for _ in 0..TOGETHER {
            let judged = Judged::default();
            match self.tools.store.fire_due(1, judged.noting(self.judge())).await {
                Ok(fired) if fired.is_empty() => return Ok(()),
                Ok(fired) => self.follow(fired),
                // What one transaction takes is bounded: whoever is late alone is so because of the database.
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let Some(name) = judged.name() else { return Err(error) };
                    self.give_up(&name, &error).await?;
                }
            }
        }
        Ok(())
    }

    /// The same of the instants that wait.
    async fn settle_each(&self, error: &StoreError) -> Result<(), StoreError> {
        tracing::warn!(%error, "some instants that waited could not fire together; each is tried alone");
        let mut blamed: Option<Arc<str>> = None;
        for _ in 0..WAITING {
            let judged = Judged::default();
            let judge = match blamed.take() {
                Some(name) => self.fail(name),
                None => self.settle(),
            };
            match self.tools.store.fire_waiting(1, judged.noting(judge)).await {
                Ok(settled) if settled.is_empty() => return Ok(()),
                Ok(settled) => self.follow(settled),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let Some(name) = judged.name() else { return Err(error) };
                    tracing::error!(schedule = &*name, %error, "an instant that waited could not fire");
                    blamed = Some(name);
                }
            }
        }
        Ok(())
    }

    /// What has come of a schedule that the database will not take has failed.
    async fn give_up(&self, name: &Arc<str>, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(schedule = &**name, %error, "a schedule could not fire");
        let failed = self.tools.store.fire_this(Arc::clone(name), give_up()).await?;
        self.follow(failed.into_iter().collect());
        Ok(())
    }

    /// After the commit: the tasks go on their way, and what happened is told.
    pub(super) fn follow(&self, fired: Vec<Fired>) {
        let tools = &self.tools;
        let instants: usize = fired.iter().map(|one| one.entries.len()).sum();
        if instants > MAX_LINES {
            tracing::info!(instants, schedules = fired.len(), "instants of schedules were recorded");
        }
        for Fired { schedule, entries, tasks, cancelled, paused } in fired {
            let label = self.label(&schedule);
            for (at, outcome, count) in entries {
                tools.metrics.schedule_fires.with_label_values(&[label, outcome.as_str()]).inc_by(count.into());
                if instants <= MAX_LINES {
                    tracing::info!(schedule = &*schedule, fire_at = %at, outcome = outcome.as_str(), "an instant of a schedule was recorded");
                }
            }
            if let Some(reason) = paused {
                tracing::warn!(schedule = &*schedule, reason, "a schedule paused itself");
            }
            if let Some(asked) = cancelled {
                cancel::follow(tools, asked);
            }
            self.submitted(label, &tasks);
        }
    }

    /// The same for tasks that were submitted by hand.
    pub(super) fn handed_over(&self, schedule: &Arc<str>, outcome: &str, tasks: &[Task]) {
        let label = self.label(schedule);
        let count = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        self.tools.metrics.schedule_fires.with_label_values(&[label, outcome]).inc_by(count);
        self.submitted(label, tasks);
    }

    fn submitted(&self, label: &str, tasks: &[Task]) {
        let tools = &self.tools;
        for task in tasks {
            let at = task.created_at.signed_duration_since(Timestamp::UNIX_EPOCH).to_std().unwrap_or_default();
            tools.metrics.schedule_last_success.with_label_values(&[label]).set(at.as_secs_f64());
            let name = tools.registry.label(&task.name);
            tools.metrics.tasks_submitted.with_label_values(&[&*task.queue, name]).inc();
        }
        hand_over(tasks.iter(), tools);
    }

    fn label<'a>(&self, schedule: &'a Arc<str>) -> &'a str {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if labels.contains(schedule) || (labels.len() < MAX_LABELS && labels.insert(Arc::clone(schedule))) {
            schedule
        } else {
            "other"
        }
    }
}

/// Whom a judge has judged last: where the database will not take it, the one to blame, and not whichever is the most
/// overdue by then.
#[derive(Default)]
struct Judged(Arc<Mutex<Option<Arc<str>>>>);

impl Judged {
    fn noting(&self, judge: Judge) -> Judge {
        let seen = Arc::clone(&self.0);
        Arc::new(move |come, now| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&come.row.name));
            judge(come, now)
        })
    }

    fn name(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
