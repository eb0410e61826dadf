//! Fire: instants have come, and exactly one scheduler decides what becomes of each.
//!
//! The decision is pure (`task::schedule::plan`), and is made while the schedule's row is locked. Here is what it needs of
//! the rest: the task as the registry admits it, and what follows the commit.

use super::submit::{Defaults, admit, hand_over};
use super::{Tools, cancel};
use crate::store::StoreError;
use crate::store::schedules::{Come, Entry, Fired, Judge, ScheduleRow, Verdict};
use crate::task::schedule::{Definition, Instant, Outcome, Plan, Standing, Summary, plan};
use crate::task::{Fault, NewTask, Submission, Task, Timestamp, When};
use chrono::TimeDelta;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Schedules that are judged in one transaction.
const TOGETHER: u64 = 128;
/// Waiting instants that are looked at in one pass.
const WAITING: u64 = 128;
/// Payloads of one schedule's tasks in one transaction, in bytes, about: the one that passes it is the last.
const MAX_BYTES: usize = 4 << 20;
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

    /// Judges what has come.
    fn judge(&self) -> Judge {
        let firing = self.clone();
        Arc::new(move |come, now| firing.verdict(come, now))
    }

    fn verdict(&self, come: &Come, now: Timestamp) -> Verdict {
        let row = &come.row;
        let Some(due) = row.next_fire_at else { return Verdict::default() };
        let (definition, submission) = match Definition::from_json(&row.definition, self.max_payload) {
            Ok(read) => (read.definition, read.task),
            Err(why) => {
                tracing::error!(schedule = &*row.name, why, "a schedule's definition cannot be read; it ends");
                let refused = Entry { at: due, outcome: Outcome::Refused, instants: 1, since: None, task: None };
                return Verdict { entries: vec![refused], ..Verdict::default() };
            }
        };
        let enough = definition.pause_after_failures.filter(|enough| come.failures >= *enough);
        let pause = enough.filter(|_| row.pause.is_none()).map(|enough| match enough {
            1 => "its latest task failed".to_owned(),
            several => format!("its latest {several} tasks failed"),
        });
        let standing = Standing {
            due,
            now,
            paused: row.pause.is_some() || pause.is_some(),
            was_paused: row.was_paused,
            fires: row.fires,
            // One that waits is fired before any later one, also where the task before it has just ended.
            busy: come.busy || row.waiting.is_some(),
            waiting: row.waiting.is_some(),
        };
        let Plan { summary, instants, mut next, cancels } = plan(&definition, standing);
        let mut entries: Vec<Entry> = summary.into_iter().map(entry).collect();
        let template = OnceCell::new();
        let mut bytes = 0;
        for Instant { at, outcome } in instants {
            // What is left is due, and comes next.
            if bytes >= MAX_BYTES {
                next = Some(at);
                break;
            }
            let entry = self.entry(row, &template, &definition, &submission, at, outcome);
            bytes += entry.task.as_ref().map_or(0, |task| task.payload.len());
            entries.push(entry);
        }
        // One that was refused has not fired, and does not end the schedule: what comes next is looked at.
        let refused = entries.iter().any(|entry| entry.outcome == Outcome::Refused);
        let next = if refused { next.or_else(|| definition.next_after(now)) } else { next };
        Verdict { entries, next, cancels, pause }
    }

    /// Judges an instant that waited: the task before it has ended.
    fn settle(&self) -> Judge {
        let firing = self.clone();
        Arc::new(move |come, _| {
            let (Some(at), Ok(read)) =
                (come.row.waiting, Definition::from_json(&come.row.definition, firing.max_payload))
            else {
                return Verdict::default();
            };
            let template = OnceCell::new();
            let entry = firing.entry(&come.row, &template, &read.definition, &read.task, at, Outcome::Fired);
            Verdict { entries: vec![entry], ..Verdict::default() }
        })
    }

    /// The judge of one instant that waited and that the database will not take; of others as ever.
    fn fail(&self, name: Arc<str>) -> Judge {
        let settle = self.settle();
        Arc::new(move |come, now| match come.row.waiting {
            Some(at) if come.row.name == name => {
                let failed = Entry { at, outcome: Outcome::Failed, instants: 1, since: None, task: None };
                Verdict { entries: vec![failed], ..Verdict::default() }
            }
            _ => settle(come, now),
        })
    }

    /// An instant with what is submitted, where it submits. The task is admitted once for all instants of a schedule.
    fn entry(
        &self,
        row: &ScheduleRow,
        template: &OnceCell<Option<NewTask>>,
        definition: &Definition,
        submission: &Submission,
        at: Timestamp,
        outcome: Outcome,
    ) -> Entry {
        let without = |outcome| Entry { at, outcome, instants: 1, since: None, task: None };
        if !outcome.submits() {
            return without(outcome);
        }
        let admitted = || match self.template(&row.name, submission) {
            Ok(task) => Some(task),
            Err(faults) => {
                let why: Vec<String> =
                    faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect();
                tracing::error!(schedule = &*row.name, fire_at = %at, why = why.join("; "), "a schedule's task was refused");
                None
            }
        };
        match template.get_or_init(admitted) {
            Some(template) => Entry { task: Some(at_instant(template.clone(), definition, at)), ..without(outcome) },
            None => without(Outcome::Refused),
        }
    }

    /// A schedule's task for an instant: later by its jitter.
    pub(super) fn task_for(
        &self,
        name: &Arc<str>,
        definition: &Definition,
        submission: &Submission,
        at: Timestamp,
    ) -> Result<NewTask, Vec<Fault>> {
        Ok(at_instant(self.template(name, submission)?, definition, at))
    }

    /// What is wrong with a schedule's task beside its own words: a type that nobody knows, say. `sees`: whether who asks
    /// may see a type.
    #[must_use]
    pub fn faults(&self, submission: &Submission, sees: &dyn Fn(&str) -> bool) -> Vec<Fault> {
        admit(submission.clone(), &self.tools.registry, &self.defaults, sees).err().unwrap_or_default()
    }

    /// A schedule's task, as the registry admits it.
    fn template(&self, name: &Arc<str>, submission: &Submission) -> Result<NewTask, Vec<Fault>> {
        let mut task = admit(submission.clone(), &self.tools.registry, &self.defaults, &|_| true)?;
        task.schedule = Some(Arc::clone(name));
        // Its ledger row makes a fire count once; it holds no key.
        task.unique = None;
        Ok(task)
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

/// Later than the instant by its jitter.
fn at_instant(mut task: NewTask, definition: &Definition, at: Timestamp) -> NewTask {
    let delay = task.schedule.as_deref().map(|name| definition.delay(name, at)).unwrap_or_default();
    if !delay.is_zero() {
        task.when = When::At(at + TimeDelta::from_std(delay).unwrap_or_default());
    }
    task
}

/// A row that stands for several instants: a microsecond after the last of them, where no instant is.
fn entry(Summary { first, last, count, outcome }: Summary) -> Entry {
    Entry { at: last + TimeDelta::microseconds(1), outcome, instants: count, since: Some(first), task: None }
}

/// The judge of a schedule that the database will not take: what has come of it has failed.
fn give_up() -> Judge {
    Arc::new(|come, now| {
        let Some(due) = come.row.next_fire_at else { return Verdict::default() };
        let failed = Entry { at: due, outcome: Outcome::Failed, instants: 1, since: None, task: None };
        let Ok(read) = Definition::from_json(&come.row.definition, usize::MAX) else {
            return Verdict { entries: vec![failed], ..Verdict::default() };
        };
        let standing =
            Standing { due, now, paused: true, was_paused: None, fires: come.row.fires, busy: false, waiting: false };
        let plan = plan(&read.definition, standing);
        let one = plan.as_one(Outcome::Failed).filter(|one| one.count > 1).map_or(failed, entry);
        Verdict { entries: vec![one], next: plan.next, ..Verdict::default() }
    })
}
