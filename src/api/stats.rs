//! `GET /api/stats`: totals over all queues and workers, and what this process is.
//!
//! Everything but `process` is of the whole system, from the database, as counted within the last seconds; what could
//! not be counted in time is null.

use super::State;
use super::caller::Caller;
use super::openapi::Span;
use super::parameters::{self, Pairs};
use super::problem::Problem;
use super::task_json::Time;
use super::workers::{PATIENCE, busy};
use crate::store::roster::{Roster, WorkerRow};
use crate::store::tasks::{Depth, Recent};
use crate::task::{Status, WorkerId, duration};
use actix_web::HttpResponse;
use actix_web::web::Data;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Totals over all queues and workers, and what this process is.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Stats)]
pub(super) struct StatsJson {
    /// Live tasks; null where a queue of those could not be counted in time.
    tasks: Option<LiveJson>,
    /// For how long the oldest queued task has been eligible; null: none is queued, or as for `tasks`.
    #[schema(value_type = Option<Span>)]
    oldest_age: Option<String>,
    recent: Option<RecentJson>,
    queues: QueuesJson,
    workers: WorkersJson,
    process: ProcessJson,
}

/// Live tasks.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = LiveTasks)]
struct LiveJson {
    scheduled: u64,
    queued: u64,
    running: u64,
}

/// The newest tasks, by what has become of them: of those accepted since `since`, an hour ago or, where those were
/// more than 10,000, later.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = RecentTasks)]
struct RecentJson {
    since: Time,
    accepted: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
}

impl From<Recent> for RecentJson {
    fn from(Recent { since, now: _, by_status }: Recent) -> Self {
        let of = |status| by_status.get(&status).copied().unwrap_or(0);
        Self {
            since: Time(since),
            accepted: by_status.values().sum(),
            completed: of(Status::Completed),
            failed: of(Status::Failed),
            cancelled: of(Status::Cancelled),
        }
    }
}

/// How many queues.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = QueueTotals)]
struct QueuesJson {
    total: usize,
    paused: usize,
}

/// Those whose lease holds.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = WorkerTotals)]
struct WorkersJson {
    live: usize,
    processes: usize,
    pull: usize,
    /// Of the processes.
    slots: u64,
    /// Of the slots.
    busy: Option<u64>,
}

impl WorkersJson {
    fn new(roster: &Roster, busy: Option<&HashMap<WorkerId, u64>>) -> Self {
        let processes: Vec<&WorkerRow> = roster.processes().collect();
        let live = roster.live().count();
        let running = |busy: &HashMap<WorkerId, u64>| processes.iter().filter_map(|row| busy.get(&row.id)).sum();
        Self {
            live,
            processes: processes.len(),
            pull: live - processes.len(),
            slots: processes.iter().map(|row| u64::from(row.slots)).sum(),
            busy: busy.map(running),
        }
    }
}

/// The process that was asked.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = ThisProcess)]
struct ProcessJson {
    version: &'static str,
    roles: Vec<&'static str>,
    #[schema(value_type = Span)]
    uptime: String,
}

/// The totals.
#[utoipa::path(
    get, path = "/api/stats", tag = "Queues", operation_id = "getStats",
    summary = "Totals",
    description = "Over all queues and workers, as counted within the last seconds; what could not be counted in time is null.",
    responses((status = 200, description = "The totals.", body = StatsJson))
)]
/// The totals; for a restricted caller those of its queues, and null where they are of all tasks together.
pub(super) async fn stats(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    let store = &state.services()?.tools.store;
    parameters::none(&query)?;
    let (mut queues, mut roster) = tokio::try_join!(store.queue_rows(), store.roster())?;
    queues.retain(|queue| caller.sees_queue(&queue.name));
    roster.workers.retain(|row| caller.sees_worker(&row.queue_names()));
    let until = Instant::now() + PATIENCE;
    let counts = join_all(queues.iter().map(|queue| state.depths.of(store, &queue.name, until)));
    let recent = {
        let store = store.clone();
        state.recent.get(PATIENCE, async move { store.recent().await })
    };
    let (counts, recent, busy) = tokio::join!(counts, recent, busy(&state));
    let whole = !caller.is_restricted();
    let (recent, busy) = (recent.filter(|_| whole), busy?.filter(|_| whole));
    // A queue's depth is of all types.
    let depths: Option<Vec<Depth>> = counts.into_iter().collect();
    let depths = depths.filter(|_| caller.names().is_none());
    let oldest = depths.as_ref().and_then(|depths| depths.iter().filter_map(|depth| depth.oldest_us).max());
    let total = |depths: Vec<Depth>| LiveJson {
        scheduled: depths.iter().map(|depth| depth.scheduled).sum(),
        queued: depths.iter().map(|depth| depth.queued).sum(),
        running: depths.iter().map(|depth| depth.running).sum(),
    };
    Ok(HttpResponse::Ok().json(StatsJson {
        tasks: depths.map(total),
        oldest_age: oldest.map(|us| duration::format(Duration::from_micros(us))),
        recent: recent.map(RecentJson::from),
        queues: QueuesJson { total: queues.len(), paused: queues.iter().filter(|queue| queue.pause.is_some()).count() },
        workers: WorkersJson::new(&roster, busy.as_ref()),
        process: ProcessJson {
            version: env!("CARGO_PKG_VERSION"),
            roles: state.health.roles(),
            uptime: duration::format(state.began.elapsed()),
        },
    }))
}
