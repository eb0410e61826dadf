//! What workers outside ask of the table: what waits for them, how it stands with what they hold,
//! and which of it nobody names any more.
//!
//! What waits for them stands in a lane of its own, in the order of the backlog: an entry in a stream
//! would reach a worker that can only hand it back.

use super::lane;
use super::rescue::{COLUMNS, Held, Row as HeldRow, Sql as HeldSql, held};
use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{Status, TaskId, Timestamp, Way, WorkerId};
use chrono::NaiveDateTime;
use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Binary, Datetime, Integer, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// How far a claim of some task types looks into a queue.
const NAMES_SCAN: u32 = 10_000;

/// Nothing of a queue that is paused at this instant.
pub(in crate::store) const AVAILABLE: &str = "SELECT id, attempt, name, CAST(OCTET_LENGTH(payload) AS SIGNED) \
     FROM tasks FORCE INDEX (agenda) WHERE queue = ? AND lane = 4 \
     AND NOT EXISTS(SELECT 1 FROM queues WHERE name = ? AND paused_at IS NOT NULL \
                    AND (resume_at IS NULL OR resume_at > NOW(6))) \
     ORDER BY position LIMIT ?";
/// The same, of some task types: looked for among the first ones, so that a claim costs no more the longer a queue of
/// others is. They come as the inner list was filled, in order: to sort once more would be for nothing.
pub(in crate::store) static AVAILABLE_OF: Texts = Texts::new(|names| {
    format!(
        "SELECT STRAIGHT_JOIN o.id, o.attempt, o.name, CAST(OCTET_LENGTH(o.payload) AS SIGNED) FROM \
           (SELECT id, name FROM tasks FORCE INDEX (agenda) WHERE queue = ? AND lane = 4 \
            AND NOT EXISTS(SELECT 1 FROM queues WHERE name = ? AND paused_at IS NOT NULL \
                           AND (resume_at IS NULL OR resume_at > NOW(6))) \
            ORDER BY position LIMIT {NAMES_SCAN}) head \
         JOIN tasks o ON o.id = head.id WHERE head.name IN ({}) LIMIT ?",
        marks(names)
    )
});
pub(in crate::store) static NAMES: Texts =
    Texts::new(|ids| format!("SELECT id, name FROM tasks WHERE id IN ({}) AND lane = 2", marks(ids)));
pub(in crate::store) static SET_ASIDE: Texts =
    Texts::new(|ids| format!("UPDATE tasks SET lane = 4 WHERE id IN ({}) AND lane = 2", marks(ids)));
/// In the order of the index; those of one instant by their ids.
pub(in crate::store) const ASIDE: &str = "SELECT id, position, name FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane = ? AND position >= ? AND (position > ? OR id > ?) ORDER BY position, id LIMIT ?";
/// The next lane of those set aside in which there is anything.
pub(in crate::store) const NEXT_LANE: &str = "SELECT CAST(lane AS SIGNED) FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane > ? AND lane < 192 ORDER BY lane LIMIT 1";
pub(in crate::store) static PUT_BACK: Texts =
    Texts::new(|ids| format!("UPDATE tasks SET lane = 2 WHERE id IN ({}) AND lane = ?", marks(ids)));
pub(in crate::store) static ATTEMPTS: Texts = Texts::new(|ids| {
    format!(
        "SELECT {COLUMNS}, t.status, t.timeout_ms, t.run_at, TIMESTAMPDIFF(MICROSECOND, t.started_at, NOW(6)) \
         FROM tasks t WHERE t.id IN ({})",
        marks(ids)
    )
});
/// By queue, as for the rescue: what runs is a small part of the table.
pub(in crate::store) const HELD_FOR: &str = "SELECT STRAIGHT_JOIN \
     t.id, t.worker_id, t.name, t.queue, t.attempt, t.forgiven, t.max_attempts, t.crash_count, t.backoff, t.started_at, \
     t.status = 'running' AND t.cancel_requested_at IS NOT NULL \
     FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane = 3 \
     WHERE t.status = 'running' AND t.worker_id = ? AND t.started_at < NOW(6) - INTERVAL ? MICROSECOND LIMIT ?";
pub(in crate::store) const OVERDUE: &str = "SELECT STRAIGHT_JOIN \
     t.id, t.worker_id, t.name, t.queue, t.attempt, t.forgiven, t.max_attempts, t.crash_count, t.backoff, t.started_at, \
     t.status = 'running' AND t.cancel_requested_at IS NOT NULL, t.status, t.timeout_ms, t.run_at, \
     TIMESTAMPDIFF(MICROSECOND, t.started_at, NOW(6)) \
     FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane = 3 \
     JOIN workers w ON w.id = t.worker_id \
     WHERE t.status = 'running' AND w.pid = 0 \
     AND t.started_at < NOW(6) - INTERVAL t.timeout_ms * 1000 + ? MICROSECOND LIMIT ?";
pub(in crate::store) const OUTCOME: &str =
    "SELECT outcome FROM task_attempts WHERE task_id = ? AND attempt = ? AND worker_id = ?";

/// A task that waits for a worker outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub id: TaskId,
    pub attempt: u32,
    pub name: String,
    /// Of its payload.
    pub bytes: u64,
}

/// A place among what was set aside or is held; the walk goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    lane: u64,
    position: u64,
    id: uuid::Uuid,
}

impl Default for Place {
    /// Before all of it.
    fn default() -> Self {
        Self { lane: lane::OUTSIDE, position: 0, id: uuid::Uuid::nil() }
    }
}

/// One batch of a walk over what was set aside or is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    pub tasks: Vec<(TaskId, String)>,
    /// How they came to be there.
    pub way: Way,
    /// Where the next batch begins; None: this was the last one.
    pub next: Option<Place>,
}

/// How it stands with the latest attempt of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub held: Held,
    pub status: Status,
    pub timeout: Duration,
    /// When it became eligible.
    pub run_at: Timestamp,
    /// Since it started, by the database's clock.
    pub age: Duration,
}

impl Attempt {
    /// Whether it is this worker's attempt of this number, running or ended.
    #[must_use]
    pub fn is_of(&self, worker: WorkerId, attempt: u32) -> bool {
        self.held.worker == worker && self.held.standing.attempt == attempt
    }

    /// Whether its deadline has passed.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.age >= self.timeout
    }
}

type AttemptRow = (HeldRow, (String, u64, NaiveDateTime, i64));
type AttemptSql = (HeldSql, (Text, Unsigned<BigInt>, Datetime, BigInt));

impl TryFrom<AttemptRow> for Attempt {
    type Error = StoreError;

    fn try_from((row, (status, timeout_ms, run_at, age_us)): AttemptRow) -> Result<Self, StoreError> {
        let held = held(row);
        let strange = || StoreError::Unexpected(format!("task {}: column `status` holds {status:?}", held.id));
        Ok(Self {
            status: Status::parse(&status).ok_or_else(strange)?,
            held,
            timeout: Duration::from_millis(timeout_ms),
            run_at: utc(run_at),
            // A clock that was put back makes no attempt older.
            age: Duration::from_micros(u64::try_from(age_us).unwrap_or(0)),
        })
    }
}

fn micros(span: Duration) -> Bind<'static> {
    Bind::Signed(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

impl Store {
    /// The first `limit` tasks of each of these queues that wait for workers outside, in order; none of a queue
    /// that is paused. Only of these types, where `names` has some.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn available(
        &self,
        queues: Vec<Arc<str>>,
        names: Option<Vec<String>>,
        limit: usize,
    ) -> Result<Vec<Vec<Offer>>, StoreError> {
        let queues = Arc::new((queues, names));
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.run("pull", move |conn, _| {
            let queues = Arc::clone(&queues);
            async move {
                let (queues, names) = &*queues;
                let mut found = Vec::with_capacity(queues.len());
                for queue in queues {
                    let mut binds = vec![Bind::Text(queue), Bind::Text(queue)];
                    let text = match names {
                        None => AVAILABLE,
                        Some(names) => {
                            let names: Vec<Bind<'_>> = names.iter().map(|name| Bind::Text(name)).collect();
                            binds.extend(padded(&names));
                            AVAILABLE_OF.of(names.len())
                        }
                    };
                    binds.push(Bind::Number(limit));
                    let rows: Vec<(Key, u32, String, i64)> =
                        select::<(Binary, Unsigned<Integer>, Text, BigInt)>(text, binds).load(conn).await?;
                    let offer = |(id, attempt, name, bytes)| Offer {
                        id: TaskId::from(id),
                        attempt,
                        name,
                        bytes: u64::try_from(bytes).unwrap_or(0),
                    };
                    found.push(rows.into_iter().map(offer).collect());
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }

    /// The task types of those of these tasks that are in the backlog.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn backlog_names(&self, ids: Vec<TaskId>) -> Result<Vec<(TaskId, String)>, StoreError> {
        let ids = Arc::new(ids);
        self.run("dispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut found = Vec::with_capacity(ids.len());
                for chunk in ids.chunks(MAX_ROWS) {
                    let rows: Vec<(Key, String)> =
                        select::<(Binary, Text)>(NAMES.of(chunk.len()), keys(chunk)).load(conn).await?;
                    found.extend(rows.into_iter().map(|(id, name)| (TaskId::from(id), name)));
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }

    /// Takes tasks out of the backlog and sets them aside for workers outside; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn set_aside(&self, ids: Vec<TaskId>) -> Result<usize, StoreError> {
        self.change_lane(&SET_ASIDE, ids, None).await
    }

    /// Puts tasks of this place's lane back into the backlog; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn put_back(&self, from: Place, ids: Vec<TaskId>) -> Result<usize, StoreError> {
        self.change_lane(&PUT_BACK, ids, Some(from.lane)).await
    }

    async fn change_lane(
        &self,
        texts: &'static Texts,
        ids: Vec<TaskId>,
        from: Option<u64>,
    ) -> Result<usize, StoreError> {
        let ids = Arc::new(ids);
        self.run("dispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut moved = 0;
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = keys(chunk);
                    binds.extend(from.map(Bind::Number));
                    moved += statement(texts.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(moved)
            }
            .boxed()
        })
        .await
    }

    /// The next tasks of a queue, at most `limit`, that were set aside or are held, behind a place, with their types.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn aside(&self, queue: Arc<str>, from: Place, limit: u64) -> Result<Aside, StoreError> {
        self.run("dispatch", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let (lane, position) = (Bind::Number(from.lane), Bind::Number(from.position));
                let binds = vec![Bind::Text(&queue), lane, position, position, Bind::Id(from.id), Bind::Number(limit)];
                let rows: Vec<(Key, u64, String)> =
                    select::<(Binary, Unsigned<BigInt>, Text)>(ASIDE, binds).load(conn).await?;
                let full = u64::try_from(rows.len()).is_ok_and(|count| count >= limit);
                let last =
                    rows.last().map(|(id, position, _)| Place { lane: from.lane, position: *position, id: id.0 });
                let next = if full {
                    last
                } else {
                    let behind: Option<i64> = select::<BigInt>(NEXT_LANE, vec![Bind::Text(&queue), lane])
                        .get_result(conn)
                        .await
                        .optional()?;
                    let lane = behind.and_then(|lane| u64::try_from(lane).ok());
                    lane.map(|lane| Place { lane, position: 0, id: uuid::Uuid::nil() })
                };
                let tasks = rows.into_iter().map(|(id, _, name)| (TaskId::from(id), name)).collect();
                let way = if from.lane == lane::OUTSIDE { Way::Outside } else { Way::Held };
                Ok(Aside { tasks, way, next })
            }
            .boxed()
        })
        .await
    }

    /// How it stands with these tasks, in no order; rows that are gone are left out.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn attempts(&self, ids: Vec<TaskId>) -> Result<Vec<Attempt>, StoreError> {
        let ids = Arc::new(ids);
        let rows = self
            .run("standings", move |conn, _| {
                let ids = Arc::clone(&ids);
                async move {
                    let mut rows: Vec<AttemptRow> = Vec::with_capacity(ids.len());
                    for chunk in ids.chunks(MAX_ROWS) {
                        let found = select::<AttemptSql>(ATTEMPTS.of(chunk.len()), keys(chunk));
                        rows.extend(found.load::<AttemptRow>(conn).await?);
                    }
                    Ok(rows)
                }
                .boxed()
            })
            .await?;
        rows.into_iter().map(Attempt::try_from).collect()
    }

    /// The tasks that say `running` under a worker since longer than `span`, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn held_for(&self, worker: WorkerId, span: Duration, limit: usize) -> Result<Vec<Held>, StoreError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.run("running", move |conn, _| {
            async move {
                let binds = vec![Bind::Id(worker.0), micros(span), Bind::Number(limit)];
                let rows: Vec<HeldRow> = select::<HeldSql>(HELD_FOR, binds).load(conn).await?;
                Ok(rows.into_iter().map(held).collect())
            }
            .boxed()
        })
        .await
    }

    /// Attempts of workers outside whose deadlines passed longer than `grace` ago, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn overdue(&self, grace: Duration, limit: u32) -> Result<Vec<Attempt>, StoreError> {
        let rows = self
            .run("running", move |conn, _| {
                async move {
                    let binds = vec![micros(grace), Bind::Number(limit.into())];
                    select::<AttemptSql>(OVERDUE, binds).load::<AttemptRow>(conn).await
                }
                .boxed()
            })
            .await?;
        rows.into_iter().map(Attempt::try_from).collect()
    }

    /// What was recorded of a worker's attempt that did not simply succeed: the outcome's word.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn recorded(&self, id: TaskId, attempt: u32, worker: WorkerId) -> Result<Option<String>, StoreError> {
        self.run("standings", move |conn, _| {
            async move {
                let binds = vec![Bind::Id(id.0), Bind::Number(attempt.into()), Bind::Id(worker.0)];
                select::<Text>(OUTCOME, binds).get_result(conn).await.optional()
            }
            .boxed()
        })
        .await
    }
}

fn keys(ids: &[TaskId]) -> Vec<Bind<'static>> {
    padded(&ids.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>())
}

const _: () = {
    // The SQL texts above carry these as literals.
    assert!(lane::BACKLOG == 2 && lane::FLIGHT == 3 && lane::OUTSIDE == 4);
};
