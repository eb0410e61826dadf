//! Purge: finished tasks older than the retention leave, in small batches by primary key.
//!
//! Ids begin with the time the task was accepted, and nothing finishes before it was accepted:
//! so whatever is due lies below an id, and no index on `finished_at` has to be paid for. A
//! pass walks up from the smallest id; what stays (a longer retention, a task that still
//! waits) is walked over once a pass.

use super::{expire, failures};
use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{Status, TaskId};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Datetime, Text};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::time::Duration;
use uuid::Uuid;

/// How long finished rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub completed: Duration,
    /// Of `failed` and `cancelled` tasks.
    pub failed: Duration,
}

/// One batch of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeStep {
    /// Rows deleted.
    pub purged: usize,
    /// Where the next batch begins; None: the pass is over.
    pub next: Option<TaskId>,
}

/// Rows walked over in one batch.
const STEP_ROWS: u64 = 1000;
/// Lines of logs deleted by one statement: a few tasks may have as many as all others together.
pub(super) const PURGE_LINES: usize = 10_000;

pub(in crate::store) const WALK: &str = "SELECT id, status, TIMESTAMPDIFF(MICROSECOND, finished_at, NOW(6)), NOW(6), \
       COALESCE(expires_at > NOW(6), FALSE) \
     FROM tasks WHERE id > ? ORDER BY id LIMIT ?";
/// Whoever retries one of them meanwhile waits, or is seen.
pub(in crate::store) static STILL: Texts = Texts::new(|n| {
    format!(
        "SELECT id, status, TIMESTAMPDIFF(MICROSECOND, finished_at, NOW(6)), NOW(6), \
           COALESCE(expires_at > NOW(6), FALSE) \
         FROM tasks WHERE id IN ({}) FOR UPDATE",
        marks(n)
    )
});
pub(in crate::store) static PURGE: Texts =
    Texts::new(|n| format!("DELETE FROM tasks WHERE id IN ({}) AND lane = 0", marks(n)));
pub(in crate::store) static PURGE_HISTORY: Texts =
    Texts::new(|n| format!("DELETE FROM task_attempts WHERE task_id IN ({})", marks(n)));

pub(in crate::store) static PURGE_LOGS: Texts =
    Texts::new(|n| format!("DELETE FROM task_logs WHERE task_id IN ({}) LIMIT {PURGE_LINES}", marks(n)));

/// The last says that its expiry is ahead: what is looked for then goes with it.
type Row = (Key, String, i64, NaiveDateTime, i64);
type Sql = (Binary, Text, BigInt, Datetime, BigInt);

impl Store {
    /// Walks one batch upward from `after` (None: from the start) and deletes what is due in it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn purge_step(&self, after: Option<TaskId>, retention: Retention) -> Result<PurgeStep, StoreError> {
        let step = self
            .run("purge", move |conn, _| {
                async move {
                    let from = Bind::Id(after.map_or(Uuid::nil(), |id| id.0));
                    let rows: Vec<Row> = select::<Sql>(WALK, vec![from, Bind::Number(STEP_ROWS)]).load(conn).await?;
                    let due = bound(&due(&rows, retention));
                    let mut purged = 0;
                    for chunk in due.chunks(MAX_ROWS) {
                        match conn.transaction(async |conn| purge(conn, chunk, retention).await).await? {
                            Some(rows) => purged += rows,
                            // There may be more lines: the next step begins where this one did.
                            None => return Ok(PurgeStep { purged, next: Some(after.unwrap_or(TaskId(Uuid::nil()))) }),
                        }
                    }
                    Ok(PurgeStep { purged, next: next(&rows, retention) })
                }
                .boxed()
            })
            .await?;
        if step.purged > 0 {
            self.saw_batch("purge", step.purged);
        }
        Ok(step)
    }
}

/// Those whose time has come.
fn due(rows: &[Row], retention: Retention) -> Vec<&Row> {
    rows.iter().filter(|row| is_due(row, retention)).collect()
}

/// Their ids, as they are bound.
fn bound(rows: &[&Row]) -> Vec<Bind<'static>> {
    rows.iter().map(|row| Bind::Id(row.0.0)).collect()
}

/// Deletes these tasks with all that is known of them. None: a part of their logs is gone, and nothing else.
async fn purge(conn: &mut Connection, ids: &[Bind<'_>], retention: Retention) -> QueryResult<Option<usize>> {
    let rows: Vec<Row> = select::<Sql>(STILL.of(ids.len()), padded(ids)).load(conn).await?;
    let due = due(&rows, retention);
    if due.is_empty() {
        return Ok(Some(0));
    }
    let still = bound(&due);
    let lines = statement(PURGE_LOGS.of(still.len()), padded(&still)).execute(conn).await?;
    if lines >= PURGE_LINES {
        return Ok(None);
    }
    statement(PURGE_HISTORY.of(still.len()), padded(&still)).execute(conn).await?;
    let those = |like: fn(&Row) -> bool| -> Vec<Bind<'_>> {
        due.iter().filter(|row| like(row)).map(|row| Bind::Id(row.0.0)).collect()
    };
    let failed = those(|row| row.1 == Status::Failed.as_str());
    if !failed.is_empty() {
        failures::forget(conn, &failed).await?;
    }
    let mortal = those(|row| row.4 != 0);
    if !mortal.is_empty() {
        expire::forget(conn, &mortal).await?;
    }
    Ok(Some(statement(PURGE.of(still.len()), padded(&still)).execute(conn).await?))
}

fn is_due(row: &Row, retention: Retention) -> bool {
    let (_, status, age_us, ..) = row;
    let keep = match Status::parse(status) {
        Some(Status::Completed) => retention.completed,
        Some(Status::Failed | Status::Cancelled) => retention.failed,
        Some(Status::Scheduled | Status::Queued | Status::Running) | None => return false,
    };
    u128::try_from(*age_us).is_ok_and(|age| age > keep.as_micros())
}

/// The last id walked over, unless it is too young for anything above it to be due.
fn next(rows: &[Row], retention: Retention) -> Option<TaskId> {
    let (id, _, _, now, _) = rows.last()?;
    if u64::try_from(rows.len()).is_ok_and(|n| n < STEP_ROWS) {
        return None;
    }
    let made_ms = i64::try_from(id.0.as_u128() >> 80).ok()?;
    let youngest = chrono::TimeDelta::from_std(retention.completed.min(retention.failed)).ok()?;
    let horizon = now.and_utc().checked_sub_signed(youngest)?;
    (made_ms <= horizon.timestamp_millis()).then_some(TaskId::from(*id))
}
