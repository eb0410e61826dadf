//! Schedules and their ledger.
//!
//! Whoever changes a schedule, or what became of its instants, locks its row first: the ticker of any process, a person
//! who redefines it, pauses it or runs it by hand. So a ledger has one writer at a time, and its primary key (schedule and
//! instant) stands behind that.

mod agenda;
mod define;
mod fire;
mod ledger;
mod record;

pub(in crate::store) use agenda::{AFTER, NEXT, OVERDUE};
pub use agenda::{Agenda, Due};
pub use define::{Defined, NewSchedule, Owns, Removed};
pub use fire::{Come, Entry, Fired, Judge, Verdict};
pub(in crate::store) use fire::{DUE, WAITING};
pub use ledger::{BackfillTask, LedgerRow};
pub(in crate::store) use ledger::{LEDGER, PURGE_FIRES};

use super::connection::{Connection, Store, now, utc};
use super::error::StoreError;
use super::queues::Pause;
use super::row::Key;
use super::sql::{Bind, select, statement};
use crate::task::{TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::sql_types::{Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;

/// Who manages a schedule: the configuration, a file that was applied, or whoever called.
pub const BY_CONFIG: &str = "config";

/// A schedule as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    pub name: Arc<str>,
    /// JSON: `task::schedule::Definition`.
    pub definition: String,
    pub managed_by: String,
    /// Rises with each change of the definition.
    pub version: u32,
    /// The earliest instant that is in no ledger yet; None: it has ended.
    pub next_fire_at: Option<Timestamp>,
    /// Fires so far that count towards `max_fires`.
    pub fires: u32,
    /// Of the definition, for the statement that counts failures.
    pub pause_after: Option<u32>,
    /// The instant that waits for the task of an earlier one.
    pub waiting: Option<Timestamp>,
    /// The latest instant in the ledger.
    pub last: Option<LastFire>,
    /// The latest task that it submitted.
    pub last_task: Option<TaskId>,
    /// None: it is not paused, or was until a time that is over.
    pub pause: Option<Pause>,
    /// When its latest pause began and ended, where it has ended by itself.
    pub was_paused: Option<(Timestamp, Timestamp)>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The latest instant in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFire {
    pub at: Timestamp,
    pub outcome: String,
}

/// What of a row is read, as it holds now: a pause that has run out is none.
macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT name, definition, managed_by, version, next_fire_at, fires, pause_after, waiting_fire_at, \
             last_fire_at, last_outcome, last_task_id, \
             IF(resume_at IS NULL OR resume_at > NOW(6), paused_at, NULL), pause_reason, paused_by, resume_at, \
             IF(resume_at <= NOW(6), paused_at, NULL), created_at, updated_at FROM schedules ",
            $rest
        )
    };
}
use columns;

const ONE: &str = columns!("WHERE name = ?");
const ONE_LOCKED: &str = columns!("WHERE name = ? FOR UPDATE");
const PAGE: &str = columns!("WHERE name > ? ORDER BY name LIMIT ?");
const PAUSE: &str = "UPDATE schedules SET paused_at = NOW(6), pause_reason = ?, paused_by = ?, \
     resume_at = NOW(6) + INTERVAL ? MICROSECOND WHERE name = ?";
/// Failures from before are forgiven: else it would pause again at once.
const RESUME: &str = "UPDATE schedules SET paused_at = NULL, pause_reason = NULL, paused_by = NULL, resume_at = NULL, \
     failures_from = NOW(6) WHERE name = ?";

type RowSql = (
    Text,
    Text,
    Text,
    Unsigned<Integer>,
    Nullable<Datetime>,
    Unsigned<Integer>,
    Nullable<Unsigned<Integer>>,
    Nullable<Datetime>,
    Nullable<Datetime>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<Datetime>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Datetime>,
    Nullable<Datetime>,
    Datetime,
    Datetime,
);
type RowTuple = (
    String,
    String,
    String,
    u32,
    Option<NaiveDateTime>,
    u32,
    Option<u32>,
    Option<NaiveDateTime>,
    Option<NaiveDateTime>,
    Option<String>,
    Option<Key>,
    Option<NaiveDateTime>,
    Option<String>,
    Option<String>,
    Option<NaiveDateTime>,
    Option<NaiveDateTime>,
    NaiveDateTime,
    NaiveDateTime,
);

fn row(
    (
        name,
        definition,
        managed_by,
        version,
        next_fire_at,
        fires,
        pause_after,
        waiting,
        last_at,
        last_outcome,
        last_task,
        paused_at,
        reason,
        by,
        resume_at,
        was_paused_at,
        created_at,
        updated_at,
    ): RowTuple,
) -> ScheduleRow {
    ScheduleRow {
        name: name.into(),
        definition,
        managed_by,
        version,
        next_fire_at: next_fire_at.map(utc),
        fires,
        pause_after,
        waiting: waiting.map(utc),
        last: last_at.zip(last_outcome).map(|(at, outcome)| LastFire { at: utc(at), outcome }),
        last_task: last_task.map(TaskId::from),
        pause: paused_at.map(|since| Pause { since: utc(since), reason, by, resume_at: resume_at.map(utc) }),
        was_paused: was_paused_at.zip(resume_at).map(|(from, to)| (utc(from), utc(to))),
        created_at: utc(created_at),
        updated_at: utc(updated_at),
    }
}

async fn one(conn: &mut Connection, text: &'static str, name: &str) -> QueryResult<Option<ScheduleRow>> {
    Ok(select::<RowSql>(text, vec![Bind::Text(name)]).get_result::<RowTuple>(conn).await.optional()?.map(row))
}

impl Store {
    /// One schedule; None: there is none of this name.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn schedule(&self, name: Arc<str>) -> Result<Option<ScheduleRow>, StoreError> {
        self.run("schedules", move |conn, _| {
            let name = Arc::clone(&name);
            async move { one(conn, ONE, &name).await }.boxed()
        })
        .await
    }

    /// Schedules in order of their names, behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn schedules(&self, after: Option<Arc<str>>, limit: u32) -> Result<Vec<ScheduleRow>, StoreError> {
        self.run("schedules", move |conn, _| {
            let after = after.clone();
            async move {
                let binds = vec![Bind::Text(after.as_deref().unwrap_or_default()), Bind::Number(limit.into())];
                let rows: Vec<RowTuple> = select::<RowSql>(PAGE, binds).load(conn).await?;
                Ok(rows.into_iter().map(row).collect())
            }
            .boxed()
        })
        .await
    }

    /// Pauses a schedule from now on; a pause that holds already is replaced. None: there is none of this name.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same; asking again does no harm.
    pub async fn pause_schedule(
        &self,
        name: Arc<str>,
        pause: super::queues::NewPause,
    ) -> Result<Option<ScheduleRow>, StoreError> {
        let asked = Arc::new((name, pause));
        self.run("schedules", move |conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                let (name, pause) = &*asked;
                conn.transaction(async |conn| {
                    let micros = pause.resume_in.map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
                    let binds = vec![
                        Bind::OptText(pause.reason.as_deref()),
                        Bind::Text(&pause.by),
                        Bind::OptSigned(micros),
                        Bind::Text(name),
                    ];
                    statement(PAUSE, binds).execute(conn).await?;
                    one(conn, ONE, name).await
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Ends a schedule's pause, if it has one: it goes on with the next instant that comes. None: there is none of
    /// this name.
    ///
    /// # Errors
    /// As of [`Store::pause_schedule`].
    pub async fn resume_schedule(&self, name: Arc<str>) -> Result<Option<ScheduleRow>, StoreError> {
        self.run("schedules", move |conn, _| {
            let name = Arc::clone(&name);
            async move {
                conn.transaction(async |conn| {
                    statement(RESUME, vec![Bind::Text(&name)]).execute(conn).await?;
                    one(conn, ONE, &name).await
                })
                .await
            }
            .boxed()
        })
        .await
    }
}
