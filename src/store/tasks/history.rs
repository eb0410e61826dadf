//! The attempts that did not simply succeed: `task_attempts`, as a reader sees it.

use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, select};
use crate::task::{TaskId, Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::sql_types::{Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;

/// The most that are read of one task; of more, the latest.
const MAX_ATTEMPTS: u64 = 1000;

/// One attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    pub attempt: u32,
    pub worker_id: Option<WorkerId>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    /// A word of [`crate::task::Outcome::as_str`].
    pub outcome: String,
    pub error: Option<String>,
}

pub(in crate::store) const ATTEMPTS: &str = "SELECT attempt, worker_id, started_at, finished_at, outcome, error \
     FROM task_attempts WHERE task_id = ? ORDER BY attempt DESC LIMIT ?";

type Row = (u32, Option<Key>, Option<NaiveDateTime>, NaiveDateTime, String, Option<String>);
type Sql = (Unsigned<Integer>, Nullable<Binary>, Nullable<Datetime>, Datetime, Text, Nullable<Text>);

impl Store {
    /// A task's attempts that did not simply succeed, in order; the last 1,000.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn history(&self, id: TaskId) -> Result<Vec<PastAttempt>, StoreError> {
        self.past_attempts(id, MAX_ATTEMPTS).await
    }

    /// The latest of them.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn latest_attempt(&self, id: TaskId) -> Result<Option<PastAttempt>, StoreError> {
        Ok(self.past_attempts(id, 1).await?.pop())
    }

    async fn past_attempts(&self, id: TaskId, limit: u64) -> Result<Vec<PastAttempt>, StoreError> {
        let rows = self
            .run("attempts", move |conn, _| {
                async move {
                    let binds = vec![Bind::Id(id.0), Bind::Number(limit)];
                    select::<Sql>(ATTEMPTS, binds).load::<Row>(conn).await
                }
                .boxed()
            })
            .await?;
        let attempt = |(attempt, worker, started, finished, outcome, error): Row| PastAttempt {
            attempt,
            worker_id: worker.and_then(Key::named).map(WorkerId::from),
            started_at: started.map(utc),
            finished_at: utc(finished),
            outcome,
            error,
        };
        Ok(rows.into_iter().rev().map(attempt).collect())
    }
}
