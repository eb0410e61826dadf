//! Purge: the end of a task's life.

use crate::store::tasks::Retention;
use crate::store::{Store, StoreError};
use crate::task::{Fingerprint, TaskId};
use std::time::Duration;

/// Walks the whole table once, batch by batch with a pause between, and deletes what is older
/// than the retention; says how many rows.
///
/// # Errors
/// When the database cannot be reached.
pub async fn pass(store: &Store, retention: Retention, pause: Duration) -> Result<usize, StoreError> {
    let mut after: Option<TaskId> = None;
    let mut purged = 0;
    loop {
        let step = store.purge_step(after, retention).await?;
        purged += step.purged;
        match step.next {
            Some(next) => after = Some(next),
            None => return Ok(purged),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Deletes the kinds of failures of which no task is left; says how many.
///
/// # Errors
/// When the database cannot be reached.
pub async fn groups(store: &Store, pause: Duration) -> Result<usize, StoreError> {
    let mut from = Fingerprint(0);
    let mut purged = 0;
    loop {
        let (rows, next) = store.purge_groups(from).await?;
        purged += rows;
        match next {
            Some(next) => from = next,
            None => return Ok(purged),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Deletes rows of the schedules' ledger that are older than the retention; says how many.
///
/// # Errors
/// When the database cannot be reached.
pub async fn fires(store: &Store, retention: Duration, pause: Duration) -> Result<usize, StoreError> {
    let mut purged = 0;
    loop {
        let (rows, full) = store.purge_fires(retention).await?;
        purged += rows;
        if !full {
            return Ok(purged);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Walks over the keys whose time is over, batch by batch with a pause between, and deletes those that
/// nobody holds any more; says how many.
///
/// # Errors
/// When the database cannot be reached.
pub async fn pass_keys(store: &Store, pause: Duration) -> Result<usize, StoreError> {
    let mut from = None;
    let mut purged = 0;
    loop {
        let step = store.purge_keys_step(from).await?;
        purged += step.purged;
        if step.next.is_none() {
            return Ok(purged);
        }
        from = step.next;
        tokio::time::sleep(pause).await;
    }
}
