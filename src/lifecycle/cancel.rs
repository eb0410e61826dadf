//! Cancel: what waits ends at once, whichever process asked. What runs is marked in its row
//! and its worker is told over Redis; where that message is lost, the worker's next heartbeat
//! finds the mark. The attempt then ends by its token, and its outcome is `cancelled`.

use super::Tools;
use crate::store::StoreError;
use crate::store::tasks::CancelAsked;
use crate::stream::CancelNotice;
use crate::task::{Reason, Status, Task, TaskId};

/// What a request to cancel came to, with the task as it is now.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancellation {
    /// It is cancelled: by this request, or it was before.
    Cancelled(Task),
    /// It runs; its worker will end it.
    Requested(Task),
    /// It has completed or failed: there is nothing left to cancel.
    TooLate(Task),
    /// There is no such task.
    Unknown,
}

/// Cancels a task, or has its worker cancel it.
///
/// # Errors
/// When the database cannot be reached; asking again does no harm.
pub async fn cancel(tools: &Tools, id: TaskId) -> Result<Cancellation, StoreError> {
    Ok(tools.store.cancel(id).await?.map_or(Cancellation::Unknown, |asked| follow(tools, asked)))
}

/// After the commit: who has to know is told.
pub(super) fn follow(tools: &Tools, CancelAsked { task, changed }: CancelAsked) -> Cancellation {
    let id = task.id;
    match task.status {
        Status::Cancelled => {
            if changed {
                let labels = [&*task.queue, tools.registry.label(&task.name), Reason::Cancelled.as_str()];
                tools.metrics.tasks_finished.with_label_values(&labels).inc();
                tools.moved(id, task.attempt, task.status, &task.queue, &task.name);
                tracing::info!(task.id = %id, task.name = &*task.name, "task cancelled before it started");
            }
            Cancellation::Cancelled(task)
        }
        Status::Running => {
            tools.outbox.cancel(CancelNotice { id, attempt: task.attempt });
            tracing::info!(task.id = %id, task.name = &*task.name, attempt = task.attempt, "asked the worker to cancel this task");
            Cancellation::Requested(task)
        }
        // Live, yet not changed: it had ended when it was asked for, and was requeued since.
        Status::Completed | Status::Failed | Status::Queued | Status::Scheduled => Cancellation::TooLate(task),
    }
}
