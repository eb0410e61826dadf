//! How it stands with what workers outside hold. A process of ours knows by itself which attempts it runs and when
//! their time is over; of these only the rows know.

use super::keys;
use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, select};
use crate::store::tasks::rescue::{COLUMNS, Held, Row as HeldRow, Sql as HeldSql, held};
use crate::task::{Status, TaskId, Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Datetime, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

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
