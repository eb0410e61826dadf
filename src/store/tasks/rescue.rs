//! What says `running`: under a worker that died, that never was, or that forgot.

use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::row::{Key, happened};
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select};
use crate::task::{Backoff, Standing, TaskId, Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{Binary, Bool, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;

/// A row that says `running`, with what the decision about its attempt needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub id: TaskId,
    pub worker: WorkerId,
    pub name: Arc<str>,
    pub queue: Arc<str>,
    pub standing: Standing,
    pub started_at: Option<Timestamp>,
}

pub(super) const COLUMNS: &str = "t.id, t.worker_id, t.name, t.queue, t.attempt, t.forgiven, t.max_attempts, t.crash_count, t.backoff, t.started_at, \
     t.status = 'running' AND t.cancel_requested_at IS NOT NULL";

/// By queue, since the one index leads with it; there are few queues.
pub(in crate::store) const OF_WORKER: &str = "SELECT STRAIGHT_JOIN \
     t.id, t.worker_id, t.name, t.queue, t.attempt, t.forgiven, t.max_attempts, t.crash_count, t.backoff, t.started_at, \
     t.status = 'running' AND t.cancel_requested_at IS NOT NULL \
     FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane = 3 \
     WHERE t.status = 'running' AND t.worker_id = ? LIMIT ?";
pub(in crate::store) const ORPHANS: &str = "SELECT STRAIGHT_JOIN \
     t.id, t.worker_id, t.name, t.queue, t.attempt, t.forgiven, t.max_attempts, t.crash_count, t.backoff, t.started_at, \
     t.status = 'running' AND t.cancel_requested_at IS NOT NULL \
     FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane = 3 \
     LEFT JOIN workers w ON w.id = t.worker_id \
     WHERE t.status = 'running' AND w.id IS NULL LIMIT ?";
pub(in crate::store) static BY_ID: Texts =
    Texts::new(|n| format!("SELECT {COLUMNS} FROM tasks t WHERE t.id IN ({})", marks(n)));

pub(super) type Row = (Key, Key, String, String, u32, u32, u32, u32, Option<String>, NaiveDateTime, bool);
pub(super) type Sql = (
    Binary,
    Binary,
    Text,
    Text,
    Unsigned<Integer>,
    Unsigned<Integer>,
    Unsigned<Integer>,
    Unsigned<Integer>,
    Nullable<Text>,
    Datetime,
    Bool,
);

pub(super) fn held(row: Row) -> Held {
    let (id, worker, name, queue, attempt, forgiven, max_attempts, crash_count, backoff, started_at, cancel_requested) =
        row;
    Held {
        id: TaskId::from(id),
        worker: WorkerId::from(worker),
        name: name.into(),
        queue: queue.into(),
        standing: Standing {
            attempt,
            forgiven,
            max_attempts,
            crash_count,
            // A row with a strange backoff still has to be finished.
            backoff: backoff.and_then(|text| Backoff::from_json(&text).ok()).unwrap_or_default(),
            cancel_requested,
        },
        started_at: happened(started_at),
    }
}

impl Store {
    /// The tasks that say `running` under a worker, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn running_under(&self, worker: WorkerId, limit: u32) -> Result<Vec<Held>, StoreError> {
        self.run("running", move |conn, _| {
            async move { load(conn, OF_WORKER, vec![Bind::Id(worker.0), Bind::Number(limit.into())]).await }.boxed()
        })
        .await
    }

    /// The tasks that say `running` under a worker that has no row, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn orphans(&self, limit: u32) -> Result<Vec<Held>, StoreError> {
        self.run("running", move |conn, _| {
            async move { load(conn, ORPHANS, vec![Bind::Number(limit.into())]).await }.boxed()
        })
        .await
    }

    /// What the decision about each of these tasks needs, in no order; rows that are gone are left out.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn standings(&self, ids: Vec<TaskId>) -> Result<Vec<Held>, StoreError> {
        let ids = Arc::new(ids);
        self.run("standings", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut all = Vec::with_capacity(ids.len());
                for chunk in ids.chunks(MAX_ROWS) {
                    let binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
                    all.extend(load(conn, BY_ID.of(chunk.len()), binds).await?);
                }
                Ok(all)
            }
            .boxed()
        })
        .await
    }
}

async fn load(conn: &mut Connection, text: &str, binds: Vec<Bind<'_>>) -> QueryResult<Vec<Held>> {
    let rows: Vec<Row> = select::<Sql>(text, binds).load(conn).await?;
    Ok(rows.into_iter().map(held).collect())
}
