//! Rescue: what a dead worker ran is taken over. The worker is fenced first, so that it cannot
//! come back between; then its tasks move in bounded batches, each guarded by worker and
//! attempt; then its stream entries and its row go.

use super::Tools;
use super::dispatch::set_aside;
use super::finish::record;
use crate::store::StoreError;
use crate::store::tasks::{Applied, Attempt, Finish, Held, Record};
use crate::task::{Outcome, Standing, Status, TaskId, WorkerId, decide};
use crate::telemetry::Episode;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Tasks moved in one batch.
const BATCH: u32 = 200;

/// Fences every worker whose lease has run out and takes over what dead workers ran; says how
/// many tasks.
///
/// # Errors
/// When the database cannot be reached; the next pass goes on.
pub async fn pass(tools: &Tools) -> Result<usize, StoreError> {
    let fenced = tools.store.fence_expired_workers().await?;
    if fenced > 0 {
        tracing::warn!(workers = fenced, "workers were declared dead: their leases ran out");
    }
    let dead = tools.store.dead_workers().await?;
    let mut rescued = 0;
    for worker in &dead {
        rescued += take_over(tools, *worker, &Outcome::Lost(format!("worker {worker} died"))).await?;
    }
    // Behind all of the tasks: Redis may keep this waiting. A row goes last, when nothing names its
    // worker any more: until then every pass finds what is left of it.
    for worker in dead {
        if tools.store.running_under(worker, 1).await?.is_empty() {
            tools.store.release_queues(worker).await?;
            if !clear_entries(tools, worker).await? {
                break;
            }
            tools.store.remove_worker(worker).await?;
        }
    }
    Ok(rescued)
}

/// Hands over what a worker ran that lost its lease and lives on: it has stopped its handlers and
/// renews no more, so nobody needs to wait for its lease or for a rescuer. What is left of it then
/// is the rescuer's.
///
/// # Errors
/// When the database cannot be reached.
pub async fn hand_over(tools: &Tools, worker: WorkerId) -> Result<usize, StoreError> {
    let outcome = Outcome::Abandoned(format!("worker {worker} lost its lease"));
    let moved = take_over(tools, worker, &outcome).await?;
    tools.store.release_queues(worker).await?;
    // Last: a rescuer that saw it dead with tasks would take it for one that never came back.
    tools.store.declare_dead(worker).await?;
    Ok(moved)
}

/// Takes over what says `running` under a worker that has no row: a claim that committed after
/// its worker was removed.
///
/// # Errors
/// When the database cannot be reached.
pub async fn orphans(tools: &Tools) -> Result<usize, StoreError> {
    let mut rescued = 0;
    loop {
        let held = tools.store.orphans(BATCH).await?;
        let full = held.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
        let moved = lose(tools, held, &Outcome::Lost("its worker is gone".to_owned())).await?;
        rescued += moved;
        if !full || moved == 0 {
            return Ok(rescued);
        }
    }
}

/// Releases tasks that say `running` under a live worker which knows nothing of them. No
/// attempt ran: it is forgiven.
///
/// # Errors
/// When the database cannot be reached.
pub async fn release(tools: &Tools, unknown: Vec<Held>) -> Result<usize, StoreError> {
    requeue(tools, unknown, &Outcome::Interrupted).await
}

/// Ends an attempt of a worker outside whose deadline has passed.
///
/// # Errors
/// When the database cannot be reached.
pub(super) async fn time_out(tools: &Tools, attempt: &Attempt) -> Result<usize, StoreError> {
    requeue(tools, vec![attempt.held.clone()], &Outcome::TimedOut(attempt.timeout)).await
}

/// Ends attempts of workers outside whose deadlines passed longer than `grace` ago, and of which their
/// workers do not speak: those live, or they would have been declared dead.
///
/// # Errors
/// When the database cannot be reached.
pub async fn overdue(tools: &Tools, grace: Duration) -> Result<usize, StoreError> {
    let mut ended = 0;
    for attempt in tools.store.overdue(grace, BATCH).await? {
        ended += time_out(tools, &attempt).await?;
    }
    if ended > 0 {
        tracing::warn!(tasks = ended, "attempts of workers outside were timed out: nobody reported them");
    }
    Ok(ended)
}

async fn take_over(tools: &Tools, worker: WorkerId, outcome: &Outcome) -> Result<usize, StoreError> {
    let mut rescued = 0;
    loop {
        let held = tools.store.running_under(worker, BATCH).await?;
        if held.is_empty() {
            return Ok(rescued);
        }
        let moved = lose(tools, held, outcome).await?;
        rescued += moved;
        if moved == 0 {
            // Others are at it, or a cancel stands in between: the next pass looks again.
            return Ok(rescued);
        }
    }
}

async fn lose(tools: &Tools, held: Vec<Held>, outcome: &Outcome) -> Result<usize, StoreError> {
    let moved = requeue(tools, held, outcome).await?;
    if moved > 0 {
        let why = outcome.error().unwrap_or_default();
        tracing::warn!(tasks = moved, why, "tasks taken over");
    }
    tools.metrics.tasks_rescued.inc_by(u64::try_from(moved).unwrap_or(0));
    Ok(moved)
}

async fn requeue(tools: &Tools, held: Vec<Held>, outcome: &Outcome) -> Result<usize, StoreError> {
    let finishes: Vec<Finish> = held
        .iter()
        .map(|held| {
            let standing: &Standing = &held.standing;
            record(held.id, standing.attempt, held.worker, outcome, decide(outcome, standing, rand::random()))
        })
        .collect();
    let mut moved = 0;
    let mut woken: Vec<&Arc<str>> = Vec::new();
    let mut aside: HashMap<&Arc<str>, Vec<TaskId>> = HashMap::new();
    let of = |finish: &Finish| {
        (finish.record.outcome(), finish.record.becomes(), matches!(finish.record, Record::Requeue { .. }))
    };
    let moves: Vec<(&'static str, Status, bool)> = finishes.iter().map(of).collect();
    for ((held, (word, becomes, queued)), applied) in held.iter().zip(moves).zip(tools.store.finish(finishes).await) {
        let (word, status) = match applied? {
            Applied::Fenced => continue,
            Applied::Cancelled => ("cancelled", Status::Cancelled),
            Applied::Recorded => {
                if queued && tools.registry.is_outside(&held.name) {
                    aside.entry(&held.queue).or_default().push(held.id);
                }
                (word, becomes)
            }
        };
        moved += 1;
        tools.moved(held.id, held.standing.attempt, status, &held.queue, &held.name);
        let name = tools.registry.label(&held.name);
        tools.metrics.tasks_finished.with_label_values(&[&*held.queue, name, word]).inc();
        tracing::debug!(task.id = %held.id, task.name = &*held.name, attempt = held.standing.attempt, worker.id = %held.worker, outcome = outcome.as_str(), "task taken over");
        if !woken.contains(&&held.queue) {
            woken.push(&held.queue);
            tools.wake(&held.queue);
        }
    }
    for (queue, ids) in aside {
        set_aside(tools, queue, ids).await?;
    }
    Ok(moved)
}

/// What is left pending under a dead worker's consumer goes, then the consumer. False: Redis is
/// away, and the next pass tries again; no task waits for it.
///
/// # Errors
/// When the database cannot be reached.
pub async fn clear_entries(tools: &Tools, worker: WorkerId) -> Result<bool, StoreError> {
    static TROUBLE: Episode = Episode::new("clearing the consumers of dead workers");
    let mut trouble = None;
    for queue in tools.store.queue_names().await? {
        match tools.stream.clear_consumer(&queue, worker).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                TROUBLE.failed(&error);
                return Ok(false);
            }
            // What is no stream of ours, or is closed to us, stays so: the others are cleared.
            Err(error) => trouble = Some(error),
        }
    }
    match trouble {
        Some(error) => TROUBLE.failed(&error),
        None => TROUBLE.succeeded(),
    }
    Ok(true)
}
