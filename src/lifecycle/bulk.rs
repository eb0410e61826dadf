//! Cancel and retry of many tasks at once: in the order of their ids, batch by batch, each a short transaction of its
//! own. One request does as much as its time allows, and says where the next one goes on.

use super::Tools;
use super::retry::{arrived, ways};
use crate::store::StoreError;
use crate::store::tasks::{Batch, Candidates, Found, Selection};
use crate::stream::CancelNotice;
use crate::task::{Reason, Status, TaskId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Tasks looked at, and changed, by one transaction.
const BATCH: usize = 256;
/// After this time no batch is begun: a request ends long before any client's patience does.
pub const BUDGET: Duration = Duration::from_secs(5);

/// What is asked for many tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Cancel,
    Retry,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub verb: Verb,
    pub selection: Selection,
    /// Count, and change nothing.
    pub dry_run: bool,
    /// Most tasks that this request may match; the oldest come first.
    pub limit: u64,
    /// Behind which task it begins.
    pub after: Option<TaskId>,
}

/// What it came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Tasks that were meant.
    pub matched: u64,
    /// Those of them that were changed: one that had changed by itself by then was not. What was changed by a statement
    /// whose answer was lost is in neither number.
    pub changed: u64,
    /// Those of a retry that cannot be queued, since another task holds their unique key: counted in a dry run too.
    pub held: u64,
    /// Behind which task the next request begins; None: there was no other.
    pub next: Option<TaskId>,
}

/// Does what was asked, for [`BUDGET`].
///
/// # Errors
/// When the database cannot be reached. A part is then done; asking again goes on, since what has been changed is not
/// meant any more.
pub async fn bulk(tools: &Tools, ask: Ask, budget: Duration) -> Result<Done, StoreError> {
    let until = Instant::now() + budget;
    let Ask { verb, selection, dry_run, limit, mut after } = ask;
    let selection = Arc::new(selection);
    let mut done = Done::default();
    loop {
        let Candidates { ids, next } = candidates(tools, verb, &selection, after).await?;
        let count = ids.len().div_ceil(BATCH);
        for (n, ids) in ids.chunks(BATCH).enumerate() {
            let left = usize::try_from(limit - done.matched).unwrap_or(usize::MAX);
            let Batch { matched, changed, held } = one(tools, verb, ids.to_vec(), &selection, left, dry_run).await?;
            done.matched += number(matched.len());
            done.changed += number(changed.len());
            done.held += number(held);
            tell(tools, verb, &changed);
            let full = done.matched >= limit;
            // A batch that was cut short ends with the last task that was meant.
            after = if full { matched.last() } else { ids.last() }.copied();
            let last = n + 1 == count && next.is_none() && after == ids.last().copied();
            if !last && (full || Instant::now() >= until) {
                done.next = after;
                return Ok(done);
            }
        }
        match next {
            None => return Ok(done),
            Some(_) if Instant::now() >= until => return Ok(Done { next, ..done }),
            Some(_) => after = next,
        }
    }
}

async fn candidates(
    tools: &Tools,
    verb: Verb,
    selection: &Arc<Selection>,
    after: Option<TaskId>,
) -> Result<Candidates, StoreError> {
    if !selection.filter.ids.is_empty() {
        let mut ids: Vec<TaskId> =
            selection.filter.ids.iter().copied().filter(|id| after.is_none_or(|at| *id > at)).collect();
        ids.sort_unstable();
        ids.dedup();
        return Ok(Candidates { ids, next: None });
    }
    match verb {
        Verb::Cancel => tools.store.live_candidates(Arc::clone(selection), after).await,
        Verb::Retry => tools.store.ended_candidates(Arc::clone(selection), after).await,
    }
}

async fn one(
    tools: &Tools,
    verb: Verb,
    ids: Vec<TaskId>,
    selection: &Arc<Selection>,
    most: usize,
    dry: bool,
) -> Result<Batch, StoreError> {
    let selection = Arc::clone(selection);
    match verb {
        Verb::Cancel => tools.store.cancel_chosen(ids, selection, most, dry).await,
        Verb::Retry => tools.store.retry_chosen(ids, selection, most, dry, ways(tools)).await,
    }
}

/// What each verb on one task tells, for many.
fn tell(tools: &Tools, verb: Verb, changed: &[Found]) {
    let mut woken: HashSet<(&str, &str)> = HashSet::new();
    for Found { id, name, queue, status, attempt, .. } in changed {
        match (verb, status) {
            (Verb::Cancel, Status::Running) => tools.outbox.cancel(CancelNotice { id: *id, attempt: *attempt }),
            (Verb::Cancel, _) => {
                let labels = [&**queue, tools.registry.label(name), Reason::Cancelled.as_str()];
                tools.metrics.tasks_finished.with_label_values(&labels).inc();
                tools.moved(*id, *attempt, Status::Cancelled, queue, name);
            }
            (Verb::Retry, _) => {
                tools.moved(*id, *attempt, Status::Queued, queue, name);
                if woken.insert((queue, name)) {
                    arrived(tools, queue, name);
                }
            }
        }
    }
    if !changed.is_empty() {
        let word = match verb {
            Verb::Cancel => "cancelled, or marked where they run",
            Verb::Retry => "queued again",
        };
        tracing::info!(tasks = changed.len(), "tasks {word} by hand");
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
