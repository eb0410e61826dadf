//! Cancel: one statement over the three live states. What waits ends at once; what runs is
//! marked, and its worker ends it. Many at once go by the same assignments, under the locks of their rows.

use super::choose::{self, Batch, Found, LOCK, Selection};
use super::retry::matched;
use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::row::{Key, TaskRow};
use crate::store::schema::tasks::dsl;
use crate::store::sql::{Bind, Texts, marks, padded, statement};
use crate::task::{Status, Task, TaskId};
use diesel::{OptionalExtension, QueryDsl, QueryResult, SelectableHelper};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;

/// `last_error` of a task that was cancelled while it waited.
const BEFORE: &str = "cancelled before it started";

/// Assignments are made from left to right and each sees those before it: `status` comes last.
pub(in crate::store) static CANCEL: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET \
         cancel_requested_at = COALESCE(cancel_requested_at, NOW(6)), \
         reason = IF(status = 'running', reason, 'cancelled'), \
         last_error = IF(status = 'running', last_error, ?), \
         finished_at = IF(status = 'running', finished_at, NOW(6)), \
         dispatched_at = IF(status = 'running', dispatched_at, NULL), \
         lane = IF(status = 'running', lane, 0), \
         status = IF(status = 'running', status, 'cancelled') \
         WHERE id IN ({}) AND status IN ('scheduled', 'queued', 'running')",
        marks(ids)
    )
});

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

    /// Cancels those of at most 256 tasks that a selection means, the first `most` of them; those that run it marks, and
    /// those that are marked already it leaves alone. `dry`: only says which they are.
    ///
    /// # Errors
    /// When the database cannot be reached. Some may then be cancelled all the same.
    pub async fn cancel_chosen(
        &self,
        ids: Vec<TaskId>,
        selection: Arc<Selection>,
        most: usize,
        dry: bool,
    ) -> Result<Batch, StoreError> {
        self.saw_batch("cancel", ids.len());
        let ids = Arc::new(ids);
        self.run("cancel", move |conn, _| {
            let (ids, selection) = (Arc::clone(&ids), Arc::clone(&selection));
            async move {
                let mut matched = matched(conn, &ids, &selection).await?;
                matched.truncate(most);
                if dry || matched.is_empty() {
                    return Ok(Batch { matched, ..Batch::default() });
                }
                let changed = conn.transaction(async |conn| cancel_all(conn, &matched, &selection).await).await?;
                Ok(Batch { matched, changed, held: 0 })
            }
            .boxed()
        })
        .await
    }
}

async fn cancel_all(conn: &mut Connection, ids: &[TaskId], selection: &Selection) -> QueryResult<Vec<Found>> {
    let mut rows = choose::meant(conn, &LOCK, ids, selection).await?;
    let marked = |row: &Found| row.status == Status::Running && row.cancel_requested;
    rows.retain(|row| !row.status.is_terminal() && !marked(row));
    if !rows.is_empty() {
        let ids = padded(&rows.iter().map(|row| Bind::Id(row.id.0)).collect::<Vec<_>>());
        let binds = [vec![Bind::Text(BEFORE)], ids].concat();
        statement(CANCEL.of(rows.len()), binds).execute(conn).await?;
    }
    Ok(rows)
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
        let changed = statement(CANCEL.of(1), vec![Bind::Text(BEFORE), Bind::Id(id.0)]).execute(conn).await? > 0;
        let row = dsl::tasks.find(Key(id.0)).select(TaskRow::as_select()).first(conn).await.optional()?;
        Ok(row.map(|row| (row, changed)))
    })
    .await
}
