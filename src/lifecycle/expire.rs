//! Expire: what has not started in time is cancelled, in whatever queue it waits, served and paused or not. A claim that
//! meets such a task does the same (`claim`), since it may come first.

use super::Tools;
use crate::store::StoreError;

/// Cancels one batch of what has expired; says whether there may be more.
///
/// # Errors
/// When the database cannot be reached; the next pass goes on.
pub async fn pass(tools: &Tools) -> Result<bool, StoreError> {
    let expiries = tools.store.expire().await?;
    for task in &expiries.expired {
        tools.expired(task.id, task.attempt, &task.queue, &task.name);
        tracing::debug!(task.id = %task.id, task.name = &*task.name, attempt = task.attempt, "task cancelled: it had expired before it started");
    }
    if !expiries.expired.is_empty() {
        tracing::info!(tasks = expiries.expired.len(), "tasks had expired before they started");
    }
    Ok(expiries.full)
}
