//! `GET /api/workers`: who is there, what each serves, and how much of it is taken.

use super::State;
use super::caller::Caller;
use super::openapi::WorkerFilter;
use super::parameters::{self, Pairs, count, cursor, cut, unknown};
use super::problem::Problem;
use super::task_json::{Id, Time};
use crate::store::roster::WorkerRow;
use crate::task::{Timestamp, WorkerId};
use actix_web::HttpResponse;
use actix_web::web::Data;
use std::collections::HashMap;
use std::time::Duration;

pub(super) const DEFAULT_LIMIT: u64 = 200;
pub(super) const MAX_LIMIT: u64 = 1000;
/// Tells a cursor from other text.
const CURSOR_PREFIX: &str = "w1.";
/// What a cursor looks like: the prefix and an id.
pub(super) const CURSOR: &str = r"^w1\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
const KNOWN: &str = "limit, cursor";
/// In place of a queue's name.
pub(super) const EVERY: &str = "*";
/// How long a reader waits for the count of what runs.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A page of the workers, those that began first before the others.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Workers)]
pub(super) struct WorkersJson {
    workers: Vec<WorkerJson>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// A worker.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Worker)]
struct WorkerJson {
    id: Id,
    host: String,
    /// Null: of a worker outside.
    pid: Option<u32>,
    /// `process`: one of ours; `pull`: one outside, that claims over REST.
    kind: &'static str,
    /// `["*"]`: every queue.
    queues: Vec<String>,
    slots: u32,
    /// Tasks that run under it, as counted within the last seconds; null: they could not be counted in time.
    running: Option<u64>,
    /// `live`; `expired`: its lease has run out, and nobody has taken its tasks over yet; `dead`: declared so.
    status: &'static str,
    started_at: Time,
    lease_until: Time,
    dead_at: Option<Time>,
}

impl WorkerJson {
    fn new(row: WorkerRow, now: Timestamp, busy: Option<&HashMap<WorkerId, u64>>) -> Self {
        let status = match row.dead_at {
            Some(_) => "dead",
            None if row.is_live(now) => "live",
            None => "expired",
        };
        let (outside, queues) = (row.is_outside(), row.queue_names());
        let WorkerRow { id, host, pid, queues: _, slots, started_at, lease_until, dead_at } = row;
        Self {
            id: Id(id.0),
            host,
            pid: (!outside).then_some(pid),
            kind: if outside { "pull" } else { "process" },
            queues,
            slots,
            running: busy.map(|busy| busy.get(&id).copied().unwrap_or(0)),
            status,
            started_at: Time(started_at),
            lease_until: Time(lease_until),
            dead_at: dead_at.map(Time),
        }
    }
}

/// A page of the workers, those that began first before the others.
#[utoipa::path(
    get, path = "/api/workers", tag = "Workers", operation_id = "listWorkers",
    summary = "List workers",
    description = "The processes with the worker role, and the workers outside: what each serves, and how much of it is taken.",
    params(WorkerFilter),
    responses((status = 200, description = "A page of the workers, those that began first before the others.", body = WorkersJson))
)]
pub(super) async fn list(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let Asked { limit, after } = Asked::read(&query)?;
    let mut roster = services.tools.store.roster_after(after, limit + 1).await?;
    let more = cut(&mut roster.workers, limit);
    let next_cursor = roster.workers.last().filter(|_| more).map(|last| format!("{CURSOR_PREFIX}{}", last.id));
    // What they run besides is none of a restricted caller's business.
    let busy = if caller.is_restricted() { None } else { busy(&state).await? };
    roster.workers.retain(|row| caller.sees_worker(&row.queue_names()));
    let workers = roster.workers.into_iter().map(|row| {
        let mut worker = WorkerJson::new(row, roster.now, busy.as_ref());
        worker.queues.retain(|queue| queue == EVERY || caller.sees_queue(queue));
        worker
    });
    let workers = workers.collect();
    Ok(HttpResponse::Ok().json(WorkersJson { workers, next_cursor }))
}

/// What each worker runs; None: it could not be counted in time.
pub(super) async fn busy(state: &State) -> Result<Option<HashMap<WorkerId, u64>>, Problem> {
    let store = state.services()?.tools.store.clone();
    Ok(state.busy.get(PATIENCE, async move { store.busy().await }).await)
}

#[derive(Debug, PartialEq)]
struct Asked {
    limit: u64,
    after: Option<WorkerId>,
}

impl Asked {
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self { limit: DEFAULT_LIMIT, after: None };
        parameters::read(pairs, |key, value| asked.take(key, value))?;
        Ok(asked)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "limit" => count(value, MAX_LIMIT).map(|limit| self.limit = limit),
            "cursor" => cursor(value, place).map(|id| self.after = Some(id)),
            _ => unknown(KNOWN),
        }
    }
}

fn place(text: &str) -> Option<WorkerId> {
    text.strip_prefix(CURSOR_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_cursor_reads_back_and_every_wrong_parameter_is_reported() {
        let id = WorkerId::fresh();
        let asked = Asked::read(&pairs(&[("cursor", &format!("{CURSOR_PREFIX}{id}")), ("limit", "7")])).unwrap();
        assert_eq!(asked, Asked { limit: 7, after: Some(id) });
        let wrong = [("limit", "0"), ("limit", "1001"), ("cursor", "w1.7"), ("cursor", "b1.7"), ("colour", "red")];
        assert!(Asked::read(&pairs(&wrong)).unwrap_err().to_string().contains("5 faults"));
    }
}
