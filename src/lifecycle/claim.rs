//! Claim: of the entries a worker has read, those it wins become its attempts; the others are
//! acknowledged and forgotten, each for a reason.

use super::Tools;
use crate::store::StoreError;
use crate::store::tasks::{Claim, LostClaim};
use crate::stream::Entry;
use crate::task::{Claimed, Status, TaskId, WorkerId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A task whose type this worker lacks is offered again after this time: to a worker that has
/// it, in a rolling upgrade.
const UNKNOWN_TYPE_DELAY: Duration = Duration::from_secs(5);

/// An attempt that this worker owns, and the entry that brought it.
#[derive(Debug, Clone)]
pub struct Won {
    pub claimed: Claimed,
    pub entry_id: String,
}

/// What became of the entries of one read.
#[derive(Debug, Default)]
pub struct Claimings {
    pub won: Vec<Won>,
    /// Entries to acknowledge: lost claims, and what was handed back.
    pub done: Vec<(Arc<str>, String)>,
}

/// Claims what these entries name; beside each stands its id in the stream. The ids must be distinct, and none may be held by this
/// worker already.
///
/// # Errors
/// When the database cannot be reached; the entries are then left alone. What was claimed all
/// the same is released by the heartbeat, what was not is swept.
pub async fn claim(tools: &Tools, worker: WorkerId, offered: Vec<(Entry, String)>) -> Result<Claimings, StoreError> {
    let Tools { store, registry, metrics, .. } = tools;
    let mut result = Claimings::default();
    let mut wanted: Vec<(Entry, String)> = Vec::with_capacity(offered.len());
    let mut foreign: Vec<TaskId> = Vec::new();
    for (entry, entry_id) in offered {
        if registry.handler(&entry.name).is_some() {
            wanted.push((entry, entry_id));
        } else {
            tracing::warn!(task.id = %entry.id, task.name = &*entry.name, "handed back: this worker lacks the task type");
            foreign.push(entry.id);
            result.done.push((entry.queue, entry_id));
        }
    }
    if !foreign.is_empty() {
        let moved = store.hand_back(foreign, UNKNOWN_TYPE_DELAY).await?;
        metrics.tasks_undispatched.inc_by(u64::try_from(moved).unwrap_or(0));
    }
    if wanted.is_empty() {
        return Ok(result);
    }
    let claims = wanted.iter().map(|(entry, _)| Claim { id: entry.id, attempt: entry.attempt }).collect();
    let lost = store.claim(worker, claims).await?;
    for (id, why) in &lost {
        if *why == LostClaim::Expired
            && let Some((entry, _)) = wanted.iter().find(|(entry, _)| entry.id == *id)
        {
            tools.expired(*id, entry.attempt, &entry.queue, &entry.name);
        }
        tracing::debug!(task.id = %id, why = why.as_str(), "a claim was lost");
    }
    let large: Vec<TaskId> = wanted
        .iter()
        .filter(|(entry, _)| entry.payload.is_none() && !lost.contains_key(&entry.id))
        .map(|(entry, _)| entry.id)
        .collect();
    let mut payloads = if large.is_empty() { HashMap::new() } else { store.payloads(large).await? };
    for (entry, entry_id) in wanted {
        if lost.contains_key(&entry.id) {
            result.done.push((entry.queue, entry_id));
            continue;
        }
        let Some(payload) = entry.payload.or_else(|| payloads.remove(&entry.id)) else {
            // Claimed and purged in between cannot be: a claimed row is not terminal.
            tracing::error!(task.id = %entry.id, "a claimed task has no payload; its heartbeat will release it");
            continue;
        };
        let claimed = Claimed {
            id: entry.id,
            attempt: entry.attempt.saturating_add(1),
            worker,
            name: entry.name,
            queue: entry.queue,
            payload,
            timeout: entry.timeout,
            max_attempts: entry.max_attempts,
            run_at: entry.run_at,
        };
        tools.moved(claimed.id, claimed.attempt, Status::Running, &claimed.queue, &claimed.name);
        result.won.push(Won { claimed, entry_id });
    }
    Ok(result)
}
