//! Dispatch: what is due enters the backlog, the head of the backlog enters the stream, and
//! what the stream has lost comes back.

use super::lane;
use crate::store::connection::{Connection, Store, now, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{TaskId, Timestamp, position};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// Payloads up to this many bytes travel in the stream entry; larger ones stay in the row.
pub const MAX_ENTRY_PAYLOAD: usize = 4096;
/// Most due tasks moved to the backlog at a time.
const PROMOTE_ROWS: u64 = 1000;

/// A queue's near future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// The database's clock.
    pub now: Timestamp,
    /// When the next waiting task is due.
    pub next_due: Option<Timestamp>,
    /// Whether the backlog holds anything.
    pub backlog: bool,
    /// Whether the queue is paused at this instant.
    pub paused: bool,
}

/// A task that has just been taken from the backlog and belongs in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatched {
    pub id: TaskId,
    pub name: String,
    pub attempt: u32,
    pub max_attempts: u32,
    pub timeout: Duration,
    pub run_at: Timestamp,
    pub dispatched_at: Timestamp,
    /// None: too large for an entry.
    pub payload: Option<String>,
}

pub(in crate::store) const OUTLOOK: &str = "SELECT NOW(6), \
     (SELECT CAST(position AS SIGNED) FROM tasks WHERE queue = ? AND lane = 1 ORDER BY position LIMIT 1), \
     CAST(EXISTS(SELECT 1 FROM tasks WHERE queue = ? AND lane = 2) AS SIGNED), \
     CAST(EXISTS(SELECT 1 FROM queues WHERE name = ? AND paused_at IS NOT NULL \
                 AND (resume_at IS NULL OR resume_at > NOW(6))) AS SIGNED)";
/// From the index alone. An UPDATE that orders by a column it changes would read, lock and sort
/// everything that is due to move a batch of it.
pub(in crate::store) const DUE: &str =
    "SELECT id FROM tasks WHERE queue = ? AND lane = 1 AND position <= ? ORDER BY position LIMIT ?";
pub(in crate::store) static PROMOTE: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET status = 'queued', lane = 2, position = (9 - priority) * 9007199254740992 + position \
         WHERE id IN ({}) AND lane = 1 AND position <= ?",
        marks(ids)
    )
});
pub(in crate::store) const BACKLOG: &str = "SELECT id, name, attempt, max_attempts, timeout_ms, run_at, \
     IF(OCTET_LENGTH(payload) <= 4096, payload, NULL) \
     FROM tasks WHERE queue = ? AND lane = 2 ORDER BY position LIMIT ?";
pub(in crate::store) static TAKE: Texts =
    Texts::new(|ids| format!("UPDATE tasks SET lane = 3, dispatched_at = ? WHERE id IN ({}) AND lane = 2", marks(ids)));
pub(in crate::store) static TAKEN: Texts =
    Texts::new(|ids| format!("SELECT id FROM tasks WHERE id IN ({}) AND dispatched_at = ?", marks(ids)));
pub(in crate::store) const STALE: &str = "SELECT id FROM tasks \
     WHERE queue = ? AND lane = 3 AND status = 'queued' AND dispatched_at < ? LIMIT ?";
pub(in crate::store) static UNDISPATCH: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET lane = 2, dispatched_at = NULL WHERE id IN ({}) AND status = 'queued' AND dispatched_at < ?",
        marks(ids)
    )
});
pub(in crate::store) static PUT_BACK: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET lane = 2, dispatched_at = NULL WHERE id IN ({}) AND status = 'queued' AND dispatched_at = ?",
        marks(ids)
    )
});
pub(in crate::store) static HAND_BACK: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET lane = 1, dispatched_at = NULL, position = ? WHERE id IN ({}) AND status = 'queued'",
        marks(ids)
    )
});

/// A row of [`BACKLOG`].
type BacklogRow = (Key, String, u32, u32, u64, NaiveDateTime, Option<String>);
type BacklogSql = (Binary, Text, Unsigned<Integer>, Unsigned<Integer>, Unsigned<BigInt>, Datetime, Nullable<Text>);

impl Store {
    /// Looks at a queue's near future: one statement.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn outlook(&self, queue: Arc<str>) -> Result<Outlook, StoreError> {
        self.run("outlook", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let binds = vec![Bind::Text(&queue); 3];
                let (now, due, backlog, paused): (NaiveDateTime, Option<i64>, i64, i64) =
                    select::<(Datetime, Nullable<BigInt>, BigInt, BigInt)>(OUTLOOK, binds).get_result(conn).await?;
                let next_due = due.and_then(Timestamp::from_timestamp_micros);
                Ok(Outlook { now: utc(now), next_due, backlog: backlog != 0, paused: paused != 0 })
            }
            .boxed()
        })
        .await
    }

    /// Moves waiting tasks that are due into the backlog, at most a batch; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn promote_due(&self, queue: Arc<str>) -> Result<usize, StoreError> {
        self.run("promote", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let due = position::scheduled(now(conn).await?);
                let binds = vec![Bind::Text(&queue), Bind::Number(due), Bind::Number(PROMOTE_ROWS)];
                let ids: Vec<Key> = select::<Binary>(DUE, binds).load(conn).await?;
                let mut moved = 0;
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = padded(&chunk.iter().map(|key| Bind::Id(key.0)).collect::<Vec<_>>());
                    binds.push(Bind::Number(due));
                    moved += statement(PROMOTE.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(moved)
            }
            .boxed()
        })
        .await
    }

    /// Takes up to `limit` tasks from the head of the backlog. What another dispatcher took
    /// first is left out.
    ///
    /// # Errors
    /// When the database cannot be reached. What was taken then is found by the sweep.
    pub async fn take_backlog(&self, queue: Arc<str>, limit: usize) -> Result<Vec<Dispatched>, StoreError> {
        let taken = self
            .run("dispatch", move |conn, _| {
                let queue = Arc::clone(&queue);
                async move { take(conn, &queue, limit).await }.boxed()
            })
            .await?;
        if !taken.is_empty() {
            self.saw_batch("dispatch", taken.len());
        }
        Ok(taken)
    }

    /// Un-dispatches queued tasks that were dispatched before `cutoff`, at most `limit`; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn undispatch_stale(
        &self,
        queue: Arc<str>,
        cutoff: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.run("undispatch", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let cutoff = cutoff.naive_utc();
                let binds = vec![Bind::Text(&queue), Bind::Time(cutoff), Bind::Number(count(limit))];
                let stale: Vec<Key> = select::<Binary>(STALE, binds).load(conn).await?;
                let mut moved = 0;
                for ids in stale.chunks(MAX_ROWS) {
                    let mut binds = padded(&ids.iter().map(|key| Bind::Id(key.0)).collect::<Vec<_>>());
                    binds.push(Bind::Time(cutoff));
                    moved += statement(UNDISPATCH.of(ids.len()), binds).execute(conn).await?;
                }
                Ok(moved)
            }
            .boxed()
        })
        .await
    }

    /// Puts tasks back into the backlog that were taken at this instant and did not reach the
    /// stream.
    ///
    /// # Errors
    /// When the database cannot be reached; the sweep finds them.
    pub async fn put_back(&self, ids: Vec<TaskId>, dispatched_at: Timestamp) -> Result<(), StoreError> {
        let ids = Arc::new(ids);
        self.run("undispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
                    binds.push(Bind::Time(dispatched_at.naive_utc()));
                    statement(PUT_BACK.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Hands queued tasks back, to be dispatched again after `delay`; no attempt is spent.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn hand_back(&self, ids: Vec<TaskId>, delay: Duration) -> Result<usize, StoreError> {
        let ids = Arc::new(ids);
        self.run("undispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let due = position::scheduled(now(conn).await? + delay);
                let mut moved = 0;
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = vec![Bind::Number(due)];
                    binds.extend(padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>()));
                    moved += statement(HAND_BACK.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(moved)
            }
            .boxed()
        })
        .await
    }
}

async fn take(conn: &mut Connection, queue: &str, limit: usize) -> QueryResult<Vec<Dispatched>> {
    let at = now(conn).await?;
    let binds = vec![Bind::Text(queue), Bind::Number(count(limit))];
    let rows: Vec<BacklogRow> = select::<BacklogSql>(BACKLOG, binds).load(conn).await?;
    let mut taken = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(MAX_ROWS) {
        let ids = padded(&chunk.iter().map(|row| Bind::Id(row.0.0)).collect::<Vec<_>>());
        let mut binds = vec![Bind::Time(at.naive_utc())];
        binds.extend(ids.iter().copied());
        let affected = statement(TAKE.of(chunk.len()), binds).execute(conn).await?;
        if affected == chunk.len() {
            taken.extend(chunk.iter().map(|row| dispatched(row, at)));
        } else {
            // Another dispatcher, a cancel or an expiry was faster for some.
            let mut binds = ids;
            binds.push(Bind::Time(at.naive_utc()));
            let mine: Vec<Key> = select::<Binary>(TAKEN.of(chunk.len()), binds).load(conn).await?;
            // More than were taken here: another dispatcher read the clock in the same microsecond,
            // and nobody can say whose they are. The sweep brings back what is nobody's.
            if mine.len() == affected {
                taken.extend(chunk.iter().filter(|row| mine.contains(&row.0)).map(|row| dispatched(row, at)));
            }
        }
    }
    Ok(taken)
}

fn dispatched(row: &BacklogRow, at: Timestamp) -> Dispatched {
    let (id, name, attempt, max_attempts, timeout_ms, run_at, payload) = row;
    Dispatched {
        id: TaskId::from(*id),
        name: name.clone(),
        attempt: *attempt,
        max_attempts: *max_attempts,
        timeout: Duration::from_millis(*timeout_ms),
        run_at: utc(*run_at),
        dispatched_at: at,
        payload: payload.clone(),
    }
}

fn count(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

const _: () = {
    // The SQL texts above carry these as literals.
    assert!(lane::WAITING == 1 && lane::BACKLOG == 2 && lane::FLIGHT == 3 && lane::DONE == 0);
    assert!(position::BAND == 9_007_199_254_740_992 && position::MAX_PRIORITY == 9 && MAX_ENTRY_PAYLOAD == 4096);
};
