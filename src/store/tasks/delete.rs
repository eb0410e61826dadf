//! Delete: a task that has ended leaves before its time, with all that is known of it.

use super::choose::{self, LOCK};
use super::purge::{PURGE, PURGE_HISTORY, PURGE_LINES, PURGE_LOGS};
use super::{expire, failures};
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::sql::{Bind, statement};
use crate::task::{Status, TaskId};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;

/// What one step of a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteStep {
    Deleted,
    /// A part of its log is gone, and the task is there until all of it is.
    More,
    /// It has not ended.
    Lives(Status),
    /// There is no such task.
    Gone,
}

impl Store {
    /// Deletes a task that has ended, its attempts and its log, or a part of a long one. The row goes last, with what is
    /// left: whoever is interrupted leaves a task behind which can be deleted, and never something without its task.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same.
    pub async fn delete_step(&self, id: TaskId) -> Result<DeleteStep, StoreError> {
        self.run("delete", move |conn, tries| {
            async move {
                conn.transaction(async |conn| {
                    match choose::found(conn, &LOCK, &[id]).await?.pop() {
                        // A try before whose answer was lost.
                        None if tries > 0 => return Ok(DeleteStep::Deleted),
                        None => return Ok(DeleteStep::Gone),
                        Some(row) if !row.status.is_terminal() => return Ok(DeleteStep::Lives(row.status)),
                        Some(_) => {}
                    }
                    let id = vec![Bind::Id(id.0)];
                    if statement(PURGE_LOGS.of(1), id.clone()).execute(conn).await? >= PURGE_LINES {
                        return Ok(DeleteStep::More);
                    }
                    statement(PURGE_HISTORY.of(1), id.clone()).execute(conn).await?;
                    failures::forget(conn, &id).await?;
                    expire::forget(conn, &id).await?;
                    statement(PURGE.of(1), id).execute(conn).await?;
                    Ok(DeleteStep::Deleted)
                })
                .await
            }
            .boxed()
        })
        .await
    }
}
