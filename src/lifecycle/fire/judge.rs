//! What becomes of the instants of one schedule. A judge is asked while the schedule's row is locked: it reads the row
//! and the registry, waits for nothing, and never fails; what it cannot make a task of is an entry that says so.

use super::Firing;
use crate::lifecycle::submit::admit;
use crate::store::schedules::{Come, Entry, Judge, ScheduleRow, Verdict};
use crate::task::schedule::{Definition, Instant, Outcome, Plan, Standing, Summary, plan};
use crate::task::{Fault, NewTask, Submission, Timestamp, When};
use chrono::TimeDelta;
use std::cell::OnceCell;
use std::sync::Arc;

/// Payloads of one schedule's tasks in one transaction, in bytes, about: the one that passes it is the last.
const MAX_BYTES: usize = 4 << 20;

impl Firing {
    /// Judges what has come.
    pub(super) fn judge(&self) -> Judge {
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
    pub(super) fn settle(&self) -> Judge {
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
    pub(super) fn fail(&self, name: Arc<str>) -> Judge {
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
    pub(in crate::lifecycle) fn task_for(
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
pub(super) fn give_up() -> Judge {
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
