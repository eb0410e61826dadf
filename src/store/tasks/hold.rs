//! Tasks whose type has a limit of its own (`concurrency`): what is above it is held in a lane of the type's, so that
//! it takes no place in the stream and no slot, and hides nothing that stands behind it.

use super::dispatch::{WaitingRow, WaitingSql, waiting};
use super::{Waiting, lane};
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{TaskId, Timestamp};
use diesel::sql_types::{BigInt, Binary};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;

pub(in crate::store) static HOLD: Texts =
    Texts::new(|ids| format!("UPDATE tasks SET lane = ? WHERE id IN ({}) AND lane = 2", marks(ids)));
/// Two types may share a lane.
pub(in crate::store) const HELD_HEAD: &str = "SELECT id FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane = ? AND name = ? ORDER BY position LIMIT ?";
/// Whoever lets tasks go waits here for whoever does in another queue: each counts what the other has let go.
pub(in crate::store) const TURN: &str = "SELECT CAST(1 AS SIGNED) FROM queues WHERE name = 'default' FOR UPDATE";
/// By queue: what is in flight is a small part of the table.
pub(in crate::store) const FLYING: &str = "SELECT STRAIGHT_JOIN COUNT(*) \
     FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane = 3 WHERE t.name = ?";
pub(in crate::store) static LET_GO: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET lane = 3, dispatched_at = ? WHERE id IN ({}) AND lane = ? AND status = 'queued'",
        marks(ids)
    )
});
pub(in crate::store) static GONE: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, name, attempt, max_attempts, timeout_ms, run_at, IF(OCTET_LENGTH(payload) <= 4096, payload, NULL) \
         FROM tasks WHERE id IN ({}) AND lane = 3 AND dispatched_at = ?",
        marks(ids)
    )
});

impl Store {
    /// Takes tasks of one type out of the backlog and holds them; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn hold(&self, name: Arc<str>, ids: Vec<TaskId>) -> Result<usize, StoreError> {
        let ids = Arc::new(ids);
        self.run("dispatch", move |conn, _| {
            let (ids, lane) = (Arc::clone(&ids), lane::held(&name));
            async move {
                let mut moved = 0;
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = vec![Bind::Number(lane)];
                    binds.extend(padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>()));
                    moved += statement(HOLD.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(moved)
            }
            .boxed()
        })
        .await
    }

    /// Whether any task of this type is held in this queue.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn is_held(&self, queue: Arc<str>, name: Arc<str>) -> Result<bool, StoreError> {
        self.run("dispatch", move |conn, _| {
            let (queue, name) = (Arc::clone(&queue), Arc::clone(&name));
            async move {
                let binds =
                    vec![Bind::Text(&queue), Bind::Number(lane::held(&name)), Bind::Text(&name), Bind::Number(1)];
                let first: Vec<Key> = select::<Binary>(HELD_HEAD, binds).load(conn).await?;
                Ok(!first.is_empty())
            }
            .boxed()
        })
        .await
    }

    /// Lets the first held tasks of a type in this queue go, at most `room`, and only so many that no more than `limit`
    /// are in flight over all queues: in a stream, or running. They count as dispatched at `now`.
    ///
    /// # Errors
    /// When the database cannot be reached. What was let go all the same is swept.
    pub async fn let_go(
        &self,
        queue: Arc<str>,
        name: Arc<str>,
        limit: u32,
        room: usize,
        now: Timestamp,
    ) -> Result<Vec<Waiting>, StoreError> {
        self.run("dispatch", move |conn, _| {
            let (queue, name) = (Arc::clone(&queue), Arc::clone(&name));
            async move {
                conn.transaction(async |conn| {
                    let _: Vec<i64> = select::<BigInt>(TURN, vec![]).load(conn).await?;
                    let flying: i64 = select::<BigInt>(FLYING, vec![Bind::Text(&name)]).get_result(conn).await?;
                    let free = u64::from(limit).saturating_sub(u64::try_from(flying).unwrap_or(0));
                    let free = free.min(u64::try_from(room).unwrap_or(u64::MAX));
                    if free == 0 {
                        return Ok(Vec::new());
                    }
                    let lane = Bind::Number(lane::held(&name));
                    let binds = vec![Bind::Text(&queue), lane, Bind::Text(&name), Bind::Number(free)];
                    let ids: Vec<Key> = select::<Binary>(HELD_HEAD, binds).load(conn).await?;
                    let mut gone = Vec::with_capacity(ids.len());
                    for chunk in ids.chunks(MAX_ROWS) {
                        let keys = padded(&chunk.iter().map(|key| Bind::Id(key.0)).collect::<Vec<_>>());
                        let at = Bind::Time(now.naive_utc());
                        let binds = [vec![at], keys.clone(), vec![lane]].concat();
                        statement(LET_GO.of(chunk.len()), binds).execute(conn).await?;
                        let binds = [keys, vec![at]].concat();
                        let rows: Vec<WaitingRow> =
                            select::<WaitingSql>(GONE.of(chunk.len()), binds).load(conn).await?;
                        gone.extend(rows.into_iter().map(waiting));
                    }
                    Ok(gone)
                })
                .await
            }
            .boxed()
        })
        .await
    }
}
