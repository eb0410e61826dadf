//! Dispatch: what is due enters the backlog, the head of the backlog is read for the stream, and
//! what an API put into the stream itself comes back from where that lost it.

use super::lane;
use crate::store::connection::{Store, now, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::position::{self, BAND, BANDS};
use crate::task::{TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::sql_types::{BigInt, Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::collections::HashMap;
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

/// A task of the backlog, as its stream entry needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: TaskId,
    pub name: String,
    pub attempt: u32,
    pub max_attempts: u32,
    pub timeout: Duration,
    pub run_at: Timestamp,
    /// None: too large for an entry.
    pub payload: Option<String>,
}

pub(in crate::store) const OUTLOOK: &str = "SELECT NOW(6), \
     (SELECT CAST(position AS SIGNED) FROM tasks WHERE queue = ? AND lane = 1 ORDER BY position LIMIT 1), \
     CAST(? OR EXISTS(SELECT 1 FROM tasks WHERE queue = ? AND lane = 2) AS SIGNED), \
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
/// From the index alone: most of the head may be in the stream already. One range for each priority's band.
pub(in crate::store) const HEAD: &str = "SELECT id, position FROM tasks WHERE queue = ? AND lane = 2 AND ( \
     position BETWEEN ? AND ? OR position BETWEEN ? AND ? OR position BETWEEN ? AND ? OR position BETWEEN ? AND ? OR \
     position BETWEEN ? AND ? OR position BETWEEN ? AND ? OR position BETWEEN ? AND ? OR position BETWEEN ? AND ? OR \
     position BETWEEN ? AND ? OR position BETWEEN ? AND ?) ORDER BY position LIMIT ?";
pub(in crate::store) static WAITING: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, name, attempt, max_attempts, timeout_ms, run_at, IF(OCTET_LENGTH(payload) <= 4096, payload, NULL) \
         FROM tasks WHERE id IN ({}) AND lane = 2",
        marks(ids)
    )
});
pub(in crate::store) const STALE: &str = "SELECT id FROM tasks \
     WHERE queue = ? AND lane = 3 AND status = 'queued' AND dispatched_at < ? LIMIT ?";
pub(in crate::store) static UNDISPATCH: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET lane = 2, dispatched_at = NULL WHERE id IN ({}) AND status = 'queued' AND dispatched_at < ?",
        marks(ids)
    )
});
pub(in crate::store) static HAND_BACK: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET lane = 1, dispatched_at = NULL, position = ? WHERE id IN ({}) AND status = 'queued'",
        marks(ids)
    )
});

/// A row of [`WAITING`].
pub(super) type WaitingRow = (Key, String, u32, u32, u64, NaiveDateTime, Option<String>);
pub(super) type WaitingSql =
    (Binary, Text, Unsigned<Integer>, Unsigned<Integer>, Unsigned<BigInt>, Datetime, Nullable<Text>);

impl Store {
    /// Looks at a queue's near future: one statement. `busy`: the caller will look at the backlog in any
    /// case, and it counts as holding something.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn outlook(&self, queue: Arc<str>, busy: bool) -> Result<Outlook, StoreError> {
        self.run("outlook", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let (queue, busy) = (Bind::Text(&queue), Bind::Number(busy.into()));
                let binds = vec![queue, busy, queue, queue];
                let (now, due, backlog, paused): (NaiveDateTime, Option<i64>, i64, i64) =
                    select::<(Datetime, Nullable<BigInt>, BigInt, BigInt)>(OUTLOOK, binds).get_result(conn).await?;
                let next_due = due.and_then(Timestamp::from_timestamp_micros);
                Ok(Outlook { now: utc(now), next_due, backlog: backlog != 0, paused: paused != 0 })
            }
            .boxed()
        })
        .await
    }

    /// Moves waiting tasks that are due into the backlog, at most a batch; says which it looked at.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn promote_due(&self, queue: Arc<str>) -> Result<Vec<TaskId>, StoreError> {
        self.run("promote", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let due = position::scheduled(now(conn).await?);
                let binds = vec![Bind::Text(&queue), Bind::Number(due), Bind::Number(PROMOTE_ROWS)];
                let ids: Vec<Key> = select::<Binary>(DUE, binds).load(conn).await?;
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = padded(&chunk.iter().map(|key| Bind::Id(key.0)).collect::<Vec<_>>());
                    binds.push(Bind::Number(due));
                    statement(PROMOTE.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(ids.into_iter().map(TaskId::from).collect())
            }
            .boxed()
        })
        .await
    }

    /// The first `limit` tasks of the backlog with their positions, in order; of each priority's band
    /// only what stands at `from` or behind it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn backlog_head(
        &self,
        queue: Arc<str>,
        from: [u64; BANDS],
        limit: usize,
    ) -> Result<Vec<(TaskId, u64)>, StoreError> {
        self.run("dispatch", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let mut binds = vec![Bind::Text(&queue)];
                for (band, from) in from.iter().enumerate() {
                    binds.extend([Bind::Number(*from), Bind::Number(position::band(band) + BAND - 1)]);
                }
                binds.push(Bind::Number(count(limit)));
                let rows: Vec<(Key, u64)> = select::<(Binary, Unsigned<BigInt>)>(HEAD, binds).load(conn).await?;
                Ok(rows.into_iter().map(|(id, position)| (TaskId::from(id), position)).collect())
            }
            .boxed()
        })
        .await
    }

    /// What the entries of these tasks need, in the order of `ids`; those that have left the backlog
    /// are left out.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn waiting(&self, ids: Vec<TaskId>) -> Result<Vec<Waiting>, StoreError> {
        self.saw_batch("dispatch", ids.len());
        let ids = Arc::new(ids);
        self.run("dispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut found = HashMap::with_capacity(ids.len());
                for chunk in ids.chunks(MAX_ROWS) {
                    let binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
                    let rows: Vec<WaitingRow> = select::<WaitingSql>(WAITING.of(chunk.len()), binds).load(conn).await?;
                    found.extend(rows.into_iter().map(|row| (TaskId::from(row.0), waiting(row))));
                }
                Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
            }
            .boxed()
        })
        .await
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

pub(super) fn waiting(row: WaitingRow) -> Waiting {
    let (id, name, attempt, max_attempts, timeout_ms, run_at, payload) = row;
    Waiting {
        id: TaskId::from(id),
        name,
        attempt,
        max_attempts,
        timeout: Duration::from_millis(timeout_ms),
        run_at: utc(run_at),
        payload,
    }
}

fn count(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

const _: () = {
    // The SQL texts above carry these as literals.
    assert!(lane::WAITING == 1 && lane::BACKLOG == 2 && lane::FLIGHT == 3 && lane::DONE == 0);
    assert!(BAND == 9_007_199_254_740_992 && position::MAX_PRIORITY == 9 && MAX_ENTRY_PAYLOAD == 4096);
};
