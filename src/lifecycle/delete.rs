//! Delete: a task that has ended leaves before its retention is over, with all that is known of it.

use super::Tools;
use crate::store::StoreError;
use crate::store::tasks::DeleteStep;
use crate::task::{Status, TaskId};

/// What a request to delete came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    /// It has not ended.
    Lives(Status),
    /// There is no such task.
    Unknown,
}

/// Deletes a task, step by step where its log is long. Dropped before it resolves it leaves the task, with a shorter log.
///
/// # Errors
/// When the database cannot be reached. A part of its log may then be gone; asking again goes on.
pub async fn delete(tools: &Tools, id: TaskId) -> Result<Deletion, StoreError> {
    loop {
        match tools.store.delete_step(id).await? {
            DeleteStep::More => {}
            DeleteStep::Deleted => {
                tracing::info!(task.id = %id, "task deleted by hand");
                return Ok(Deletion::Deleted);
            }
            DeleteStep::Lives(status) => return Ok(Deletion::Lives(status)),
            DeleteStep::Gone => return Ok(Deletion::Unknown),
        }
    }
}
