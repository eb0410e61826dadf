//! Expire: what has not started by its `expires_at` is cancelled, wherever it waits.
//!
//! No index of `tasks` knows that instant: every task would pay for it at each change of its state. So a task that expires
//! has a row in `task_expiries`, which is inserted with it, and a pass reads there what is due. A claim that meets
//! such a task cancels it too (`claim.rs`), by the same statement: it is what guards the start, and what ends a task that has no row
//! there, since a version before inserted it.

use super::claim::EXPIRE;
use super::insert::Placed;
use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, split, statement};
use crate::task::{Status, TaskId};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Datetime, Integer, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;

pub(in crate::store) static ADD: Texts =
    Texts::new(|rows| format!("INSERT INTO task_expiries (due_at, task_id) VALUES {}", vec!["(?,?)"; rows].join(",")));
/// As [`ADD`], for tasks that are there.
pub(in crate::store) static RENEW: Texts = Texts::new(|ids| {
    format!(
        "INSERT IGNORE INTO task_expiries (due_at, task_id) \
         SELECT expires_at, id FROM tasks WHERE id IN ({}) AND expires_at IS NOT NULL",
        marks(ids)
    )
});
/// Passes of several workers share what is due: each takes what no other has locked.
pub(in crate::store) const DUE: &str = "SELECT due_at, task_id FROM task_expiries WHERE due_at <= NOW(6) \
     ORDER BY due_at, task_id LIMIT ? FOR UPDATE SKIP LOCKED";
/// Locked, so that what is told of them is what became of them.
pub(in crate::store) static STANDING: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, status, attempt, queue, name, COALESCE(expires_at <= NOW(6), FALSE) \
         FROM tasks WHERE id IN ({}) FOR UPDATE",
        marks(ids)
    )
});
pub(in crate::store) static DROP: Texts = Texts::new(|rows| {
    let row = "due_at = ? AND task_id = ?";
    format!("DELETE FROM task_expiries WHERE {}", vec![row; rows].join(" OR "))
});
/// What runs is looked at again: its attempt may be interrupted, or fail and be retried.
pub(in crate::store) static LATER: Texts = Texts::new(|ids| {
    let row = "(NOW(6) + INTERVAL 5 SECOND, ?)";
    format!("INSERT IGNORE INTO task_expiries (due_at, task_id) VALUES {}", vec![row; ids].join(","))
});
/// What is ahead of tasks that go. What is due already goes with the next pass.
pub(in crate::store) static FORGET: Texts = Texts::new(|ids| {
    format!(
        "DELETE e FROM tasks t STRAIGHT_JOIN task_expiries e ON e.due_at = t.expires_at AND e.task_id = t.id \
         WHERE t.id IN ({})",
        marks(ids)
    )
});

type DueRow = (NaiveDateTime, Key);
type StandingRow = (Key, String, u32, String, String, i64);
type StandingSql = (Binary, Text, Unsigned<Integer>, Text, Text, BigInt);

/// A task that was cancelled since it had expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    pub id: TaskId,
    pub attempt: u32,
    pub queue: Arc<str>,
    pub name: Arc<str>,
}

/// One batch of what was due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expiries {
    pub expired: Vec<Expired>,
    /// There may be more.
    pub full: bool,
}

impl Store {
    /// Cancels tasks that have expired and have not started: those of the first 256 that are due.
    ///
    /// # Errors
    /// When the database cannot be reached. They may then be cancelled all the same.
    pub async fn expire(&self) -> Result<Expiries, StoreError> {
        let expiries = self
            .run("expire", |conn, _| async move { conn.transaction(async |conn| expire(conn).await).await }.boxed())
            .await?;
        if !expiries.expired.is_empty() {
            self.saw_batch("expire", expiries.expired.len());
        }
        Ok(expiries)
    }
}

async fn expire(conn: &mut Connection) -> QueryResult<Expiries> {
    let most = u64::try_from(MAX_ROWS).unwrap_or(u64::MAX);
    let due: Vec<DueRow> = select::<(Datetime, Binary)>(DUE, vec![Bind::Number(most)]).load(conn).await?;
    if due.is_empty() {
        return Ok(Expiries::default());
    }
    let ids = padded(&due.iter().map(|(_, id)| Bind::Id(id.0)).collect::<Vec<_>>());
    let rows: Vec<StandingRow> = select::<StandingSql>(STANDING.of(due.len()), ids).load(conn).await?;
    let (mut expired, mut running, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for (id, status, attempt, queue, name, is_due) in rows {
        match Status::parse(&status) {
            Some(Status::Scheduled | Status::Queued) if is_due != 0 => {
                expired.push(Expired { id: TaskId::from(id), attempt, queue: queue.into(), name: name.into() });
            }
            // Another expiry than the row says, or none.
            Some(Status::Scheduled | Status::Queued) => moved.push(Bind::Id(id.0)),
            Some(Status::Running) => running.push(Bind::Id(id.0)),
            Some(Status::Completed | Status::Failed | Status::Cancelled) | None => {}
        }
    }
    if !expired.is_empty() {
        let those = padded(&expired.iter().map(|task| Bind::Id(task.id.0)).collect::<Vec<_>>());
        statement(EXPIRE.of(expired.len()), those).execute(conn).await?;
    }
    let places: Vec<[Bind<'_>; 2]> = due.iter().map(|(at, id)| [Bind::Time(*at), Bind::Id(id.0)]).collect();
    statement(DROP.of(due.len()), padded(&places).concat()).execute(conn).await?;
    if !running.is_empty() {
        statement(LATER.of(running.len()), padded(&running)).execute(conn).await?;
    }
    renew(conn, &moved).await?;
    Ok(Expiries { expired, full: due.len() >= MAX_ROWS })
}

/// Within the transaction that inserts these rows.
pub(super) async fn note(conn: &mut Connection, rows: &[&Placed]) -> QueryResult<()> {
    let places: Vec<[Bind<'_>; 2]> = rows
        .iter()
        .filter_map(|row| Some([Bind::Time(row.task.expires_at?.naive_utc()), Bind::Id(row.task.id.0)]))
        .collect();
    for slice in split(&places) {
        statement(ADD.of(slice.len()), slice.concat()).execute(conn).await?;
    }
    Ok(())
}

/// Of at most 256 tasks that wait again, those whose expiry is ahead.
pub(super) async fn renew(conn: &mut Connection, ids: &[Bind<'_>]) -> QueryResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    statement(RENEW.of(ids.len()), padded(ids)).execute(conn).await.map(|_| ())
}

/// Of at most 256 tasks that are about to be deleted.
pub(super) async fn forget(conn: &mut Connection, ids: &[Bind<'_>]) -> QueryResult<()> {
    statement(FORGET.of(ids.len()), padded(ids)).execute(conn).await.map(|_| ())
}
