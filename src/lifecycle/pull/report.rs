//! Report: a worker says that it lives, which attempts it holds, and how they ended.
//!
//! It may speak of what is no longer its own, late or twice. So each word is compared with the row, as it is by then,
//! before anything comes of it.

use super::{Desk, PullError};
use crate::lifecycle::finish::record_one;
use crate::lifecycle::journal::last_words;
use crate::lifecycle::{Tools, rescue};
use crate::store::StoreError;
use crate::store::tasks::{Applied, Attempt};
use crate::task::{Claimed, Outcome, Status, TaskId, WorkerId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Attempts that nobody names and that one heartbeat releases.
const SPARE_ROWS: usize = 200;

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

impl Desk {
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
