//! Run: a task that is delayed, or backs off, is due now. Nothing else of it changes, its expiry neither.

use super::Tools;
use super::retry::{Verdict, queued, ways};
use crate::store::StoreError;
use crate::task::TaskId;

/// Makes a scheduled task due.
///
/// # Errors
/// When the database cannot be reached. It may then be done all the same.
pub async fn run(tools: &Tools, id: TaskId) -> Result<Verdict, StoreError> {
    let asked = tools.store.run_now(id, ways(tools)).await?;
    Ok(queued(tools, asked, "scheduled task made due by hand"))
}
