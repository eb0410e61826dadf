//! Schedules and their ledger. A fire is one transaction: lock the schedule's row, compare
//! its version and instant, insert the ledger row (unique on schedule and instant) and the
//! task, advance the schedule.

use super::connection::{Connection, Store, now, utc};
use super::error::StoreError;
use super::sql::{Bind, select, statement};
use super::tasks::{Placed, insert_rows};
use crate::task::{NewTask, Task, Timestamp};
use chrono::NaiveDateTime;
use diesel::OptionalExtension;
use diesel::QueryResult;
use diesel::sql_types::{Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// A schedule as the configuration defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub name: String,
    pub cron: String,
    pub timezone: String,
    /// JSON: the task to submit.
    pub task: String,
    /// Its first instant, should it be new or should its times have changed.
    pub next_fire_at: Option<Timestamp>,
}

/// A schedule whose instant has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub name: Arc<str>,
    pub cron: String,
    pub timezone: String,
    pub task: String,
    pub version: u32,
    pub fire_at: Timestamp,
}

/// What one look at the schedules shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agenda {
    /// The database's clock.
    pub now: Timestamp,
    /// The most overdue first, at most [`DUE_ROWS`].
    pub due: Vec<Due>,
    /// The earliest instant of a schedule that is not due yet.
    pub next: Option<Timestamp>,
}

/// One fire to record.
#[derive(Debug, Clone, PartialEq)]
pub struct Fire {
    pub schedule: Arc<str>,
    /// The version the decision was made from.
    pub version: u32,
    pub fire_at: Timestamp,
    /// The instant after this one; None: it never fires again.
    pub next_fire_at: Option<Timestamp>,
    pub task: NewTask,
}

/// Most due schedules in one look.
pub const DUE_ROWS: u64 = 100;

const UPSERT: &str = "INSERT INTO schedules (name, cron, timezone, task, managed_by, version, next_fire_at, created_at, updated_at) \
     VALUES (?, ?, ?, ?, 'config', 1, ?, NOW(6), NOW(6)) \
     ON DUPLICATE KEY UPDATE \
     updated_at = IF(cron <> VALUES(cron) OR timezone <> VALUES(timezone) OR task <> VALUES(task), NOW(6), updated_at), \
     version = IF(cron <> VALUES(cron) OR timezone <> VALUES(timezone) OR task <> VALUES(task), version + 1, version), \
     next_fire_at = IF(next_fire_at IS NULL OR cron <> VALUES(cron) OR timezone <> VALUES(timezone), VALUES(next_fire_at), next_fire_at), \
     managed_by = 'config', cron = VALUES(cron), timezone = VALUES(timezone), task = VALUES(task)";
pub(in crate::store) const DUE: &str = "SELECT name, cron, timezone, task, version, next_fire_at FROM schedules \
     WHERE next_fire_at <= ? ORDER BY next_fire_at LIMIT ?";
pub(in crate::store) const NEXT: &str =
    "SELECT next_fire_at FROM schedules WHERE next_fire_at > ? ORDER BY next_fire_at LIMIT 1";

type DueRow = (String, String, String, String, u32, NaiveDateTime);
type DueSql = (Text, Text, Text, Text, Unsigned<Integer>, Datetime);

impl Store {
    /// Brings the schedules that the configuration manages to these definitions. One that is
    /// unchanged keeps its next instant; one that the configuration no longer has is removed,
    /// its ledger stays.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn apply_schedules(&self, definitions: Vec<Definition>) -> Result<(), StoreError> {
        let definitions = Arc::new(definitions);
        self.run("schedules", move |conn, _| {
            let definitions = Arc::clone(&definitions);
            async move { conn.transaction(async |conn| apply(conn, &definitions).await).await }.boxed()
        })
        .await
    }

    /// The schedules that are due, and when the next one will be.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn schedule_agenda(&self) -> Result<Agenda, StoreError> {
        self.run("schedules", |conn, _| {
            async move {
                let now = now(conn).await?;
                let at = Bind::Time(now.naive_utc());
                let rows: Vec<DueRow> = select::<DueSql>(DUE, vec![at, Bind::Number(DUE_ROWS)]).load(conn).await?;
                let next: Option<NaiveDateTime> =
                    select::<Datetime>(NEXT, vec![at]).get_result(conn).await.optional()?;
                let due = |(name, cron, timezone, task, version, fire_at): DueRow| Due {
                    name: name.into(),
                    cron,
                    timezone,
                    task,
                    version,
                    fire_at: utc(fire_at),
                };
                Ok(Agenda { now, due: rows.into_iter().map(due).collect(), next: next.map(utc) })
            }
            .boxed()
        })
        .await
    }

    /// Records a fire and inserts its task. None: another scheduler was faster, or the
    /// schedule has changed; nothing was inserted.
    ///
    /// # Errors
    /// When the database cannot be reached. If the answer was lost after the commit, the next
    /// look finds the schedule advanced.
    pub async fn fire(&self, fire: Fire) -> Result<Option<Task>, StoreError> {
        let fire = Arc::new(fire);
        self.run("fire", move |conn, _| {
            let fire = Arc::clone(&fire);
            async move { conn.transaction(async |conn| record(conn, &fire).await).await }.boxed()
        })
        .await
    }

    /// Moves a schedule that cannot fire past its instant, so that it does not hold up the
    /// others; the ledger says why.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn skip_fire(
        &self,
        due: Due,
        outcome: &'static str,
        next_fire_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let due = Arc::new(due);
        self.run("fire", move |conn, _| {
            let due = Arc::clone(&due);
            async move {
                conn.transaction(async |conn| {
                    if lock(conn, &due.name, due.version, due.fire_at).await? {
                        insert_fire(conn, &due.name, due.fire_at, outcome, None).await?;
                        advance(conn, &due.name, next_fire_at).await?;
                    }
                    Ok(())
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Deletes ledger rows older than the retention, at most a batch; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn purge_fires(&self, retention: Duration) -> Result<usize, StoreError> {
        self.run("purge", move |conn, _| {
            async move {
                let names: Vec<String> =
                    select::<Text>("SELECT DISTINCT schedule FROM schedule_fires", vec![]).load(conn).await?;
                let micros = Bind::Signed(i64::try_from(retention.as_micros()).unwrap_or(i64::MAX));
                let mut purged = 0;
                for name in &names {
                    let text = "DELETE FROM schedule_fires WHERE schedule = ? AND fire_at < NOW(6) - INTERVAL ? MICROSECOND LIMIT 1000";
                    purged += statement(text, vec![Bind::Text(name), micros]).execute(conn).await?;
                }
                Ok(purged)
            }
            .boxed()
        })
        .await
    }
}

async fn apply(conn: &mut Connection, definitions: &[Definition]) -> QueryResult<()> {
    for d in definitions {
        let binds = vec![
            Bind::Text(&d.name),
            Bind::Text(&d.cron),
            Bind::Text(&d.timezone),
            Bind::Text(&d.task),
            Bind::OptTime(d.next_fire_at.map(|t| t.naive_utc())),
        ];
        statement(UPSERT, binds).execute(conn).await?;
    }
    let managed: Vec<String> =
        select::<Text>("SELECT name FROM schedules WHERE managed_by = 'config' FOR UPDATE", vec![]).load(conn).await?;
    for name in managed.iter().filter(|name| !definitions.iter().any(|d| d.name == **name)) {
        statement("DELETE FROM schedules WHERE name = ?", vec![Bind::Text(name)]).execute(conn).await?;
    }
    Ok(())
}

async fn record(conn: &mut Connection, fire: &Fire) -> QueryResult<Option<Task>> {
    if !lock(conn, &fire.schedule, fire.version, fire.fire_at).await? {
        return Ok(None);
    }
    // Workers serve the queues that the table has.
    let queue = "INSERT IGNORE INTO queues (name, created_at) VALUES (?, NOW(6))";
    statement(queue, vec![Bind::Text(&fire.task.queue)]).execute(conn).await?;
    let placed = Placed::new(fire.task.clone(), false, now(conn).await?);
    let fired = insert_fire(conn, &fire.schedule, fire.fire_at, "fired", Some(placed.task.id.0)).await?;
    if fired {
        insert_rows(conn, &[&placed]).await?;
    }
    advance(conn, &fire.schedule, fire.next_fire_at).await?;
    Ok(fired.then_some(placed.task))
}

/// Locks the schedule's row; false if it is not as the decision saw it.
async fn lock(conn: &mut Connection, name: &str, version: u32, fire_at: Timestamp) -> QueryResult<bool> {
    let row: Option<(u32, Option<NaiveDateTime>)> = select::<(Unsigned<Integer>, Nullable<Datetime>)>(
        "SELECT version, next_fire_at FROM schedules WHERE name = ? FOR UPDATE",
        vec![Bind::Text(name)],
    )
    .get_result(conn)
    .await
    .optional()?;
    Ok(row == Some((version, Some(fire_at.naive_utc()))))
}

/// The ledger row. False: this instant has one already.
async fn insert_fire(
    conn: &mut Connection,
    name: &str,
    fire_at: Timestamp,
    outcome: &str,
    task: Option<uuid::Uuid>,
) -> QueryResult<bool> {
    let (text, task) = match task {
        Some(id) => (
            "INSERT IGNORE INTO schedule_fires (schedule, fire_at, outcome, task_id, recorded_at) VALUES (?, ?, ?, ?, NOW(6))",
            Some(Bind::Id(id)),
        ),
        None => (
            "INSERT IGNORE INTO schedule_fires (schedule, fire_at, outcome, recorded_at) VALUES (?, ?, ?, NOW(6))",
            None,
        ),
    };
    let mut binds = vec![Bind::Text(name), Bind::Time(fire_at.naive_utc()), Bind::Text(outcome)];
    binds.extend(task);
    Ok(statement(text, binds).execute(conn).await? == 1)
}

async fn advance(conn: &mut Connection, name: &str, next: Option<Timestamp>) -> QueryResult<()> {
    let binds = vec![Bind::OptTime(next.map(|t| t.naive_utc())), Bind::Text(name)];
    statement("UPDATE schedules SET next_fire_at = ? WHERE name = ?", binds).execute(conn).await.map(|_| ())
}
