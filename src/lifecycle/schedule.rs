//! What people do with schedules: define, run by hand, backfill, look ahead.

use super::fire::Firing;
use super::submit::DEFAULT_QUEUE;
use crate::store::StoreError;
use crate::store::queues::NewPause;
use crate::store::schedules::{BY_CONFIG, BackfillTask, Defined, NewSchedule, Owns, ScheduleRow};
use crate::task::schedule::{Definition, Read};
use crate::task::{Fault, Submission, Task, Timestamp};
use chrono::TimeDelta;
use std::sync::Arc;

/// Most instants of one backfill.
pub const MAX_BACKFILL: usize = 1000;
/// And of one whose task is large: bytes of their payloads, which are all in one transaction and in the answer.
const BACKFILL_BYTES: usize = 16 << 20;
/// Tries to put what is due of a schedule into its ledger before it is redefined.
const TRIES: u32 = 5;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task is not one that is accepted: its faults, as of the task alone.
    #[error("the schedule's task is not accepted")]
    Refused(Vec<Fault>),
    /// The definition in the database is none.
    #[error("the schedule's definition cannot be read: {0}")]
    Unreadable(String),
    /// There is none of this name.
    #[error("there is no such schedule")]
    Unknown,
    /// The configuration manages it.
    #[error("the configuration manages this schedule")]
    Configured,
    /// It is not the caller's.
    #[error("the schedule is not the caller's")]
    Foreign,
    /// It is new, or defined anew, and has no instant ahead of it.
    #[error("nothing of this schedule would ever be due")]
    Over,
    /// More instants than a backfill may have: [`MAX_BACKFILL`], or as many payloads as are 16 MiB.
    #[error("the range has more than {most} instants")]
    TooMany { most: usize },
}

/// What a backfill came to.
#[derive(Debug)]
pub struct Backfill {
    /// The instants in the range, in order.
    pub instants: Vec<Timestamp>,
    /// The tasks of those that had none.
    pub submitted: Vec<Task>,
}

impl Firing {
    /// Puts a schedule. What has come by the definition before is put into the ledger first. `owns`: None, where every
    /// schedule is the caller's.
    ///
    /// # Errors
    /// `Refused`, `Configured`, `Foreign`, and those of the store.
    pub async fn define(
        &self,
        name: &Arc<str>,
        read: &Read,
        managed_by: &str,
        owns: Option<Owns>,
    ) -> Result<Defined, ScheduleError> {
        let Read { definition, task } = read;
        // Refused at the door, and not an hour later.
        self.task_for(name, definition, task, Timestamp::UNIX_EPOCH).map_err(ScheduleError::Refused)?;
        for _ in 0..TRIES {
            let now = self.tools.store.now().await?;
            let new = NewSchedule {
                name: Arc::clone(name),
                definition: definition.to_json(),
                managed_by: managed_by.to_owned(),
                pause_after: definition.pause_after_failures,
                next_fire_at: definition.next_after(now),
            };
            // One that has ended may be put as it is, again and again: the configuration does so at each start.
            if new.next_fire_at.is_none() && managed_by != BY_CONFIG {
                let there = self.tools.store.schedule(Arc::clone(name)).await?;
                if there.is_none_or(|row| row.definition != new.definition) {
                    return Err(ScheduleError::Over);
                }
            }
            match self.tools.store.define_schedule(new, owns.clone()).await? {
                Defined::IsDue => self.fire_this(name).await?,
                Defined::Configured => return Err(ScheduleError::Configured),
                Defined::Foreign => return Err(ScheduleError::Foreign),
                defined => return Ok(defined),
            }
        }
        Err(StoreError::Contended("the schedule is due again and again".to_owned()).into())
    }

    /// Pauses a schedule. What has come by then is put into the ledger first, as what came before the pause. None: there
    /// is no such schedule.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn pause(&self, name: &Arc<str>, pause: NewPause) -> Result<Option<ScheduleRow>, StoreError> {
        self.fire_this(name).await?;
        self.tools.store.pause_schedule(Arc::clone(name), pause).await
    }

    /// Ends a schedule's pause. What has come by then is put into the ledger first, as what came during a pause. None:
    /// there is no such schedule.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn resume(&self, name: &Arc<str>) -> Result<Option<ScheduleRow>, StoreError> {
        self.fire_this(name).await?;
        self.tools.store.resume_schedule(Arc::clone(name)).await
    }

    /// Submits a schedule's task now, by its definition as it was read.
    ///
    /// # Errors
    /// `Unknown`, `Refused`, and those of the store.
    pub async fn run(&self, name: &Arc<str>, read: Read) -> Result<Task, ScheduleError> {
        let mut definition = read.definition;
        // Whoever runs it by hand means now.
        definition.jitter = std::time::Duration::ZERO;
        let task =
            self.task_for(name, &definition, &read.task, Timestamp::UNIX_EPOCH).map_err(ScheduleError::Refused)?;
        let task = self.tools.store.fire_by_hand(Arc::clone(name), task).await?.ok_or(ScheduleError::Unknown)?;
        self.handed_over(name, "manual", std::slice::from_ref(&task));
        Ok(task)
    }

    /// Submits tasks for the instants of a range that have none: from `from`, and before `to`, at most up to now.
    /// `dry_run`: only says which instants there are.
    ///
    /// # Errors
    /// `Unknown`, `Refused`, `TooMany`, and those of the store.
    pub async fn backfill(
        &self,
        name: &Arc<str>,
        read: &Read,
        from: Timestamp,
        to: Timestamp,
        dry_run: bool,
    ) -> Result<Backfill, ScheduleError> {
        let now = self.tools.store.now().await?;
        let most = (BACKFILL_BYTES / read.task.payload.len().max(1)).clamp(1, MAX_BACKFILL);
        let mut instants = Vec::new();
        let mut next = read.definition.next_after(from - TimeDelta::microseconds(1));
        while let Some(at) = next.filter(|at| *at < to && *at <= now) {
            if instants.len() >= most {
                return Err(ScheduleError::TooMany { most });
            }
            instants.push(at);
            next = read.definition.next_after(at);
        }
        if dry_run {
            return Ok(Backfill { instants, submitted: Vec::new() });
        }
        let task = |at: &Timestamp| {
            let task = self.task_for(name, &read.definition, &read.task, *at)?;
            Ok(BackfillTask { at: *at, task })
        };
        let tasks = instants.iter().map(task).collect::<Result<_, _>>().map_err(ScheduleError::Refused)?;
        let submitted = self.tools.store.backfill(Arc::clone(name), tasks).await?.ok_or(ScheduleError::Unknown)?;
        self.handed_over(name, "backfill", &submitted);
        Ok(Backfill { instants, submitted })
    }

    /// A schedule with its definition, read.
    ///
    /// # Errors
    /// `Unknown`, `Unreadable`, and those of the store.
    pub async fn read(&self, name: &Arc<str>) -> Result<(ScheduleRow, Read), ScheduleError> {
        let row = self.tools.store.schedule(Arc::clone(name)).await?.ok_or(ScheduleError::Unknown)?;
        let read = self.read_row(&row)?;
        Ok((row, read))
    }

    /// A schedule's definition.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn read_row(&self, row: &ScheduleRow) -> Result<Read, ScheduleError> {
        Definition::from_json(&row.definition, self.max_payload).map_err(ScheduleError::Unreadable)
    }

    /// The queue that a schedule's tasks wait in, as their type is known here.
    #[must_use]
    pub fn queue_of(&self, task: &Submission) -> Arc<str> {
        let own = self.tools.registry.get(&task.name).and_then(|task_type| task_type.defaults.queue.clone());
        task.queue.as_deref().map(Arc::from).or(own).unwrap_or_else(|| DEFAULT_QUEUE.into())
    }
}
