//! The ledger: what became of each instant, and what people add to it by hand.

use super::record::insert_with_queues;
use super::{Connection, ONE_LOCKED, one};
use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, select, statement};
use crate::store::tasks::Placed;
use crate::store::tasks::insert::existing;
use crate::task::schedule::Outcome;
use crate::task::{NewTask, Task, TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::collections::HashSet;
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
        // Made before the first try: a try whose answer was lost is found by a later one.
        let now = self.now().await?;
        let asked = Arc::new(Asked { schedule, placed: vec![(now, Placed::new(task, false, now))] });
        let submitted =
            self.run("fire", move |conn, tries| by_hand(conn, Arc::clone(&asked), Outcome::Manual, tries).boxed());
        match submitted.await? {
            None => Ok(None),
            Some(mut tasks) => match tasks.pop() {
                Some(task) => Ok(Some(task)),
                // Somebody else has run it within the same microsecond.
                None => Err(StoreError::Contended("another run of this schedule was faster".to_owned())),
            },
        }
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
        let now = self.now().await?;
        let placed = tasks.into_iter().map(|BackfillTask { at, task }| (at, Placed::new(task, false, now))).collect();
        let asked = Arc::new(Asked { schedule, placed });
        self.run("fire", move |conn, tries| by_hand(conn, Arc::clone(&asked), Outcome::Backfill, tries).boxed()).await
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

/// What a hand has asked for: tasks for instants of a schedule.
struct Asked {
    schedule: Arc<str>,
    placed: Vec<(Timestamp, Placed)>,
}

/// Gives tasks to instants that have none; says which are submitted, by this try or an earlier one. None: there is no
/// such schedule.
async fn by_hand(
    conn: &mut Connection,
    asked: Arc<Asked>,
    outcome: Outcome,
    tries: u32,
) -> QueryResult<Option<Vec<Task>>> {
    let Asked { schedule, placed } = &*asked;
    conn.transaction(async |conn| {
        let Some(row) = one(conn, ONE_LOCKED, schedule).await? else { return Ok(None) };
        let all: Vec<&Placed> = placed.iter().map(|(_, placed)| placed).collect();
        let earlier = if tries > 0 { existing(conn, &all).await? } else { HashSet::new() };
        let mut fresh: Vec<&(Timestamp, Placed)> = Vec::new();
        for one in placed.iter().filter(|(_, placed)| !earlier.contains(&placed.task.id)) {
            if claim_instant(conn, schedule, one, outcome).await? {
                fresh.push(one);
            }
        }
        insert_with_queues(conn, &fresh.iter().map(|(_, placed)| placed).collect::<Vec<_>>()).await?;
        if let Some((at, placed)) = fresh.iter().max_by_key(|(at, _)| at)
            && row.last.as_ref().is_none_or(|last| last.at <= *at)
        {
            let (word, id) = (Bind::Text(outcome.as_str()), Bind::Id(placed.task.id.0));
            let binds = vec![Bind::Time(at.naive_utc()), word, id, Bind::Text(schedule)];
            statement(BY_HAND, binds).execute(conn).await?;
        }
        let submitted: HashSet<TaskId> = fresh.iter().map(|(_, placed)| placed.task.id).chain(earlier).collect();
        let tasks = all.into_iter().filter(|placed| submitted.contains(&placed.task.id));
        Ok(Some(tasks.map(|placed| placed.task.clone()).collect()))
    })
    .await
}

/// The row of an instant, unless it has a task already.
async fn claim_instant(
    conn: &mut Connection,
    schedule: &str,
    (at, placed): &(Timestamp, Placed),
    outcome: Outcome,
) -> QueryResult<bool> {
    let (word, id) = (Bind::Text(outcome.as_str()), Bind::Id(placed.task.id.0));
    let (name, when) = (Bind::Text(schedule), Bind::Time(at.naive_utc()));
    Ok(statement(ADD, vec![name, when, word, id]).execute(conn).await? == 1
        || statement(FILL, vec![word, id, name, when]).execute(conn).await? == 1)
}
