//! Pause: a queue whose dispatcher lets nothing out of the backlog, until it is resumed or the
//! pause is over.
//!
//! The row alone says that a queue is paused, and the dispatcher reads it at every pass: so a
//! pause needs nobody to end it, and survives every restart. What the dispatcher has let out
//! before it looks again still runs: the window in the stream, and what was submitted through
//! a gate that was open. Both are bounded, and it looks within milliseconds where Redis carries
//! the wake-up, else within its poll.

use super::Tools;
use super::submit::{SubmitError, Submitter};
use crate::store::StoreError;
use crate::store::queues::{NewPause, QueueRow};
use std::sync::Arc;

/// Pauses a queue from now on, and makes it where it is missing, so that a backlog may be built
/// up before anything of it runs. A pause that holds already is replaced.
///
/// # Errors
/// When the queue would be one too many, or the database cannot be reached; asking again does
/// no harm.
pub async fn pause(
    tools: &Tools,
    submitter: &Submitter,
    queue: &Arc<str>,
    pause: NewPause,
) -> Result<QueueRow, SubmitError> {
    submitter.ensure_queue(queue).await?;
    let row = tools.store.pause_queue(Arc::clone(queue), pause).await?;
    // The dispatcher closes the gate for everybody; what is submitted here next does not wait for that.
    submitter.shut_gate(queue);
    tools.wake(queue);
    if let Some(pause) = &row.pause {
        let (reason, by) = (pause.reason.as_deref(), pause.by.as_deref());
        let resume_at = pause.resume_at.map(|at| at.to_rfc3339());
        tracing::info!(queue = &**queue, reason, by, resume_at, "queue paused");
    }
    Ok(row)
}

/// Ends a queue's pause and has its dispatcher look at once. None: there is no such queue.
///
/// # Errors
/// When the database cannot be reached; asking again does no harm.
pub async fn resume(tools: &Tools, queue: &Arc<str>, by: &str) -> Result<Option<QueueRow>, StoreError> {
    let row = tools.store.resume_queue(Arc::clone(queue)).await?;
    if row.is_some() {
        tools.wake(queue);
        tools.wakes.arrived(queue);
        tracing::info!(queue = &**queue, by, "queue resumed");
    }
    Ok(row)
}
