//! Cancel: one statement over the three live states. What waits ends at once; what runs is
//! marked, and its worker ends it.

use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::row::{Key, TaskRow};
use crate::store::schema::tasks::dsl;
use crate::store::sql::{Bind, statement};
use crate::task::{Task, TaskId};
use diesel::{OptionalExtension, QueryDsl, QueryResult, SelectableHelper};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;

/// `last_error` of a task that was cancelled while it waited.
const BEFORE: &str = "cancelled before it started";

/// Assignments are made from left to right and each sees those before it: `status` comes last.
pub(in crate::store) const CANCEL: &str = "UPDATE tasks SET \
     cancel_requested_at = COALESCE(cancel_requested_at, NOW(6)), \
     reason = IF(status = 'running', reason, 'cancelled'), \
     last_error = IF(status = 'running', last_error, ?), \
     finished_at = IF(status = 'running', finished_at, NOW(6)), \
     dispatched_at = IF(status = 'running', dispatched_at, NULL), \
     lane = IF(status = 'running', lane, 0), \
     status = IF(status = 'running', status, 'cancelled') \
     WHERE id = ? AND status IN ('scheduled', 'queued', 'running')";

/// A task as it is after a cancel was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelAsked {
    pub task: Task,
    /// It was live: this call ended it, or marked it where it runs.
    pub changed: bool,
}

impl Store {
    /// Cancels a task that waits, marks one that runs, and leaves one that has ended alone.
    /// Gives the task as it is then; None: there is none with this id.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same; asking again does
    /// no harm.
    pub async fn cancel(&self, id: TaskId) -> Result<Option<CancelAsked>, StoreError> {
        self.run("cancel", move |conn, _| async move { cancel(conn, id).await }.boxed())
            .await?
            .map(CancelAsked::read)
            .transpose()
    }
}

impl CancelAsked {
    pub(in crate::store) fn read((row, changed): (TaskRow, bool)) -> Result<Self, StoreError> {
        let task = Task::try_from(row).map_err(|e| StoreError::Unexpected(e.to_string()))?;
        Ok(Self { changed, task })
    }
}

/// In one transaction: what is read is what was changed, whatever its worker does meanwhile.
pub(in crate::store) async fn cancel(conn: &mut Connection, id: TaskId) -> QueryResult<Option<(TaskRow, bool)>> {
    conn.transaction(async |conn| {
        let changed = statement(CANCEL, vec![Bind::Text(BEFORE), Bind::Id(id.0)]).execute(conn).await? > 0;
        let row = dsl::tasks.find(Key(id.0)).select(TaskRow::as_select()).first(conn).await.optional()?;
        Ok(row.map(|row| (row, changed)))
    })
    .await
}
