//! The ledger: what became of each instant, and what people add to it by hand.

use super::{Connection, ONE_LOCKED, ScheduleRow, now, one};
use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, select, statement};
use crate::store::tasks::{Placed, insert_rows};
use crate::task::schedule::Outcome;
use crate::task::{NewTask, Task, TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// Newest first, before an instant.
pub(in crate::store) const LEDGER: &str = "SELECT fire_at, outcome, task_id, recorded_at, instants, since \
     FROM schedule_fires WHERE schedule = ? AND fire_at < ? ORDER BY fire_at DESC LIMIT ?";
const ADD: &str = "INSERT IGNORE INTO schedule_fires (schedule, fire_at, outcome, task_id, recorded_at) \
     VALUES (?, ?, ?, ?, NOW(6))";
/// Of one that has no task.
const FILL: &str = "UPDATE schedule_fires SET outcome = ?, task_id = ?, recorded_at = NOW(6) \
     WHERE schedule = ? AND fire_at = ? AND task_id IS NULL AND outcome <> 'waiting'";
const BY_HAND: &str = "UPDATE schedules SET last_fire_at = ?, last_outcome = ?, last_task_id = ? WHERE name = ?";
/// Rows of one batch of the purge.
const PURGED: u64 = 1000;
pub(in crate::store) const PURGE_FIRES: &str =
    "DELETE FROM schedule_fires WHERE fire_at < NOW(6) - INTERVAL ? MICROSECOND ORDER BY fire_at LIMIT ?";

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    pub fire_at: Timestamp,
    pub outcome: String,
    pub task: Option<TaskId>,
    pub recorded_at: Timestamp,
    /// How many instants it stands for: more than one after a long outage. `fire_at` is then a microsecond after the
    /// last of them.
    pub instants: u32,
    /// Of several the first.
    pub since: Option<Timestamp>,
}

/// A task for an instant that has passed.
#[derive(Debug, Clone)]
pub struct BackfillTask {
    pub at: Timestamp,
    pub task: NewTask,
}

type LedgerSql = (Datetime, Text, Nullable<Binary>, Datetime, Unsigned<Integer>, Nullable<Datetime>);
type LedgerTuple = (NaiveDateTime, String, Option<Key>, NaiveDateTime, u32, Option<NaiveDateTime>);

impl Store {
    /// A schedule's ledger, newest first: what lies before `before` (None: all), at most `limit` rows.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn fires(
        &self,
        schedule: Arc<str>,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        self.run("schedules", move |conn, _| {
            let schedule = Arc::clone(&schedule);
            async move {
                let before = before.unwrap_or(Timestamp::from_timestamp(253_402_300_799, 0).unwrap_or_default());
                let binds = vec![Bind::Text(&schedule), Bind::Time(before.naive_utc()), Bind::Number(limit.into())];
                let rows: Vec<LedgerTuple> = select::<LedgerSql>(LEDGER, binds).load(conn).await?;
                let row = |(fire_at, outcome, task, recorded_at, instants, since): LedgerTuple| LedgerRow {
                    fire_at: utc(fire_at),
                    outcome,
                    task: task.map(TaskId::from),
                    recorded_at: utc(recorded_at),
                    instants,
                    since: since.map(utc),
                };
                Ok(rows.into_iter().map(row).collect())
            }
            .boxed()
        })
        .await
    }

    /// Submits a schedule's task now, by hand: in the ledger at the instant of the request. None: there is no such
    /// schedule.
    ///
    /// # Errors
    /// When the database cannot be reached. After a lost answer it may be done: the ledger says so.
    pub async fn fire_by_hand(&self, schedule: Arc<str>, task: NewTask) -> Result<Option<Task>, StoreError> {
        let asked = Arc::new((schedule, task));
        self.run("fire", move |conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                let (schedule, task) = &*asked;
                conn.transaction(async |conn| {
                    let Some(row) = one(conn, ONE_LOCKED, schedule).await? else { return Ok(None) };
                    let now = now(conn).await?;
                    let placed = Placed::new(task.clone(), false, now);
                    add(conn, &row, now, Outcome::Manual, &placed).await?;
                    Ok(Some(placed.task))
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Submits tasks for instants that have passed and have none; gives those that were submitted. None: there is no such
    /// schedule.
    ///
    /// # Errors
    /// When the database cannot be reached. Asking again submits what is still missing.
    pub async fn backfill(
        &self,
        schedule: Arc<str>,
        tasks: Vec<BackfillTask>,
    ) -> Result<Option<Vec<Task>>, StoreError> {
        let asked = Arc::new((schedule, tasks));
        self.run("fire", move |conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                let (schedule, tasks) = &*asked;
                conn.transaction(async |conn| {
                    let Some(row) = one(conn, ONE_LOCKED, schedule).await? else { return Ok(None) };
                    let now = now(conn).await?;
                    let mut submitted = Vec::new();
                    for BackfillTask { at, task } in tasks {
                        let placed = Placed::new(task.clone(), false, now);
                        if add(conn, &row, *at, Outcome::Backfill, &placed).await? {
                            submitted.push(placed.task);
                        }
                    }
                    Ok(Some(submitted))
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Deletes ledger rows older than the retention, the oldest first, at most a batch; says how many, and whether that
    /// was a full batch.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn purge_fires(&self, retention: Duration) -> Result<(usize, bool), StoreError> {
        self.run("purge", move |conn, _| {
            async move {
                let micros = Bind::Signed(i64::try_from(retention.as_micros()).unwrap_or(i64::MAX));
                let purged = statement(PURGE_FIRES, vec![micros, Bind::Number(PURGED)]).execute(conn).await?;
                Ok((purged, u64::try_from(purged).is_ok_and(|purged| purged >= PURGED)))
            }
            .boxed()
        })
        .await
    }
}

/// The row and its task, unless the instant has a task already.
async fn add(
    conn: &mut Connection,
    row: &ScheduleRow,
    at: Timestamp,
    outcome: Outcome,
    placed: &Placed,
) -> QueryResult<bool> {
    let (word, id) = (Bind::Text(outcome.as_str()), Bind::Id(placed.task.id.0));
    let (name, when) = (Bind::Text(&row.name), Bind::Time(at.naive_utc()));
    let added = statement(ADD, vec![name, when, word, id]).execute(conn).await? == 1
        || statement(FILL, vec![word, id, name, when]).execute(conn).await? == 1;
    if !added {
        return Ok(false);
    }
    let queue = "INSERT IGNORE INTO queues (name, created_at) VALUES (?, NOW(6))";
    statement(queue, vec![Bind::Text(&placed.task.queue)]).execute(conn).await?;
    insert_rows(conn, &[placed]).await?;
    if row.last.as_ref().is_none_or(|last| last.at <= at) {
        statement(BY_HAND, vec![when, word, id, name]).execute(conn).await?;
    }
    Ok(true)
}
