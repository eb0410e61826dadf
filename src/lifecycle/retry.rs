//! Retry by hand: a task that has failed or was cancelled is queued again, with all of its attempts before it.
//!
//! Its attempt number goes on rising from where it was; the attempts so far are forgiven, and so are the workers that
//! died of it. The mark of a cancel goes, and an expiry that has passed. Its log, its attempts and the error of the last
//! one stay.

use super::Tools;
use crate::store::StoreError;
use crate::store::tasks::{Asked, Ways};
use crate::task::{Status, Task, TaskId, Way};
use std::sync::Arc;

/// What a request came to, with the task as it is now.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is queued by this request.
    Queued(Task),
    /// It is in a state from which the verb does not move it.
    Refused(Task),
    /// Another task holds its unique key.
    KeyHeld { holder: TaskId },
    /// There is no such task.
    Unknown,
}

/// Queues a task again.
///
/// # Errors
/// When the database cannot be reached. It may then be done all the same.
pub async fn retry(tools: &Tools, id: TaskId) -> Result<Verdict, StoreError> {
    let asked = tools.store.retry(id, ways(tools)).await?;
    Ok(queued(tools, asked, "task queued again by hand"))
}

/// How each type's tasks come to who runs them, as this process knows it.
pub(super) fn ways(tools: &Tools) -> Ways {
    let registry = Arc::clone(&tools.registry);
    Arc::new(move |name| registry.way(name))
}

/// Tells whoever has to hear of it.
pub(super) fn queued(tools: &Tools, asked: Option<Asked>, said: &'static str) -> Verdict {
    match asked {
        None => Verdict::Unknown,
        Some(Asked { changed: false, held_by: Some(holder), .. }) => Verdict::KeyHeld { holder },
        Some(Asked { task, changed: false, held_by: None }) => Verdict::Refused(task),
        Some(Asked { task, changed: true, .. }) => {
            tools.moved(task.id, task.attempt, Status::Queued, &task.queue, &task.name);
            arrived(tools, &task.queue, &task.name);
            tracing::info!(task.id = %task.id, task.name = &*task.name, attempt = task.attempt, "{said}");
            Verdict::Queued(task)
        }
    }
}

/// A task of this type is eligible in a queue.
pub(super) fn arrived(tools: &Tools, queue: &Arc<str>, name: &str) {
    if tools.registry.way(name) == Way::Outside {
        tools.wakes.arrived(queue);
    } else {
        tools.wake(queue);
    }
}
