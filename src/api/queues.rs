//! `GET /api/queues`, `GET /api/queues/{q}`, `POST /api/queues/{q}/pause` and `…/resume`.

use super::caller::Caller;
use super::openapi::{PauseRequest, QueuePath, ResumeRequest, Span};
use super::parameters::{self, Pairs};
use super::problem::Problem;
use super::task_json::{Id, Time};
use super::{BODY_SLACK, State, body};
use crate::lifecycle::pause;
use crate::lifecycle::submit::SubmitError;
use crate::store::queues::{MAX_REASON, NewPause, Pause, QueueRow};
use crate::store::tasks::Depth;
use crate::task::fields::Fields;
use crate::task::{duration, name, submission};
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a reader waits for counts, of all queues together.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a pause or a resume waits for them, which are done by then.
const HASTE: Duration = Duration::from_millis(50);

/// Every queue, in order of their names.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Queues)]
pub(super) struct QueuesJson {
    queues: Vec<QueueJson>,
}

/// A queue.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Queue)]
pub(super) struct QueueJson {
    name: String,
    /// Null: it is not paused.
    pause: Option<PauseJson>,
    /// As counted within the last seconds; null: it could not be counted in time.
    depths: Option<DepthsJson>,
    /// For how long the oldest queued task has been eligible; null: none is queued, or as for `depths`.
    #[schema(value_type = Option<Span>)]
    oldest_age: Option<String>,
    /// Null: nobody has measured within the last seconds.
    rates: Option<RatesJson>,
    /// Whether a live worker serves it; null: that cannot be told.
    served: Option<bool>,
    /// The worker process that dispatches it.
    #[schema(value_type = Option<Id>)]
    dispatcher: Option<String>,
    created_at: Time,
}

/// A queue's pause.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Pause)]
pub(super) struct PauseJson {
    since: Time,
    reason: Option<String>,
    /// Whose key it was.
    by: Option<String>,
    /// When it resumes by itself.
    resume_at: Option<Time>,
}

/// Tasks a second.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Rates)]
struct RatesJson {
    /// Those that worker processes start, about, over the last second or so; workers outside are not counted.
    started: f64,
}

/// How many tasks of a queue are in each state that is not final.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Depths)]
struct DepthsJson {
    scheduled: u64,
    queued: u64,
    running: u64,
}

impl From<Pause> for PauseJson {
    fn from(Pause { since, reason, by, resume_at }: Pause) -> Self {
        Self { since: Time(since), reason, by, resume_at: resume_at.map(Time) }
    }
}

/// A queue's row with what has to be looked up for it in the database.
async fn look(state: &State, caller: &Caller, row: QueueRow, until: Instant) -> Result<QueueJson, Problem> {
    let store = &state.services()?.tools.store;
    let QueueRow { name, created_at, dispatcher, pause } = row;
    let served = state.serving.known(store, &name).await;
    // They are of all task types.
    let depth = if caller.names().is_none() { state.depths.of(store, &name, until).await } else { None };
    let oldest = depth.and_then(|depth| depth.oldest_us).map(Duration::from_micros);
    Ok(QueueJson {
        pause: pause.map(PauseJson::from),
        depths: depth.map(|Depth { scheduled, queued, running, .. }| DepthsJson { scheduled, queued, running }),
        oldest_age: oldest.map(duration::format),
        rates: None,
        served,
        dispatcher: dispatcher.map(|id| id.to_string()),
        created_at: Time(created_at),
        name: name.to_string(),
    })
}

/// Queues with all that is known of them. The two servers are asked at once: where one hangs, what the other says is there.
async fn looks(state: &State, caller: &Caller, rows: Vec<QueueRow>, until: Instant) -> Result<Vec<QueueJson>, Problem> {
    let looks = join_all(rows.iter().cloned().map(|row| look(state, caller, row, until)));
    let (rates, looks) = tokio::join!(rates(state, caller, &rows, until), looks);
    let mut queues = looks.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (queue, rate) in queues.iter_mut().zip(rates?) {
        queue.rates = rate.map(|started| RatesJson { started });
    }
    Ok(queues)
}

async fn answer(state: &State, caller: &Caller, row: QueueRow, patience: Duration) -> Result<HttpResponse, Problem> {
    let queues = looks(state, caller, vec![row], Instant::now() + patience).await?;
    Ok(HttpResponse::Ok().json(queues.first()))
}

/// What is started of each queue a second; of all task types, as the depths are. Without Redis nobody knows.
async fn rates(state: &State, caller: &Caller, rows: &[QueueRow], until: Instant) -> Result<Vec<Option<f64>>, Problem> {
    let stream = &state.services()?.tools.stream;
    let queues: Vec<Arc<str>> = rows.iter().map(|row| Arc::clone(&row.name)).collect();
    let unknown = vec![None; queues.len()];
    if caller.names().is_some() || queues.is_empty() {
        return Ok(unknown);
    }
    Ok(timeout_at(until, stream.start_rates(&queues)).await.ok().and_then(Result::ok).unwrap_or(unknown))
}

/// Every queue, in order of their names.
#[utoipa::path(
    get, path = "/api/queues", tag = "Queues", operation_id = "listQueues",
    summary = "List queues",
    responses((status = 200, description = "Every queue, in order of their names.", body = QueuesJson))
)]
pub(super) async fn list(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    parameters::none(&query)?;
    let mut rows = state.services()?.tools.store.queue_rows().await?;
    rows.retain(|row| caller.sees_queue(&row.name));
    let queues = looks(&state, &caller, rows, Instant::now() + PATIENCE).await?;
    Ok(HttpResponse::Ok().json(QueuesJson { queues }))
}

/// One queue.
#[utoipa::path(
    get, path = "/api/queues/{queue}", tag = "Queues", operation_id = "getQueue",
    summary = "Get a queue",
    params(QueuePath),
    responses((status = 200, description = "The queue.", body = QueueJson))
)]
pub(super) async fn get(
    state: Data<State>,
    caller: Caller,
    queue: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let queue = parse_name(&queue)?;
    parameters::none(&query)?;
    if !caller.sees_queue(&queue) {
        return Err(no_such_queue(&queue));
    }
    match services.tools.store.queue_row(Arc::clone(&queue)).await? {
        Some(row) => answer(&state, &caller, row, PATIENCE).await,
        None => Err(no_such_queue(&queue)),
    }
}

/// Pauses a queue, also one that is paused and one that is not there yet: 200 with the queue.
#[utoipa::path(
    post, path = "/api/queues/{queue}/pause", tag = "Queues", operation_id = "pauseQueue",
    summary = "Pause a queue",
    description = "Nothing of it starts from here on; what runs goes on. Also a queue that is paused, and one that is not there yet.",
    params(QueuePath),
    request_body = Option<PauseRequest>,
    responses((status = 200, description = "The queue.", body = QueueJson))
)]
pub(super) async fn pause(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    queue: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let queue = parse_name(&queue)?;
    caller.owns_queue(&queue)?;
    let bytes = body::read_or_empty(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let asked = pause_fields(&mut fields, &caller);
    body::no_faults(fields)?;
    match pause::pause(&services.tools, &services.submitter, &queue, asked).await {
        Ok(row) => answer(&state, &caller, row, HASTE).await,
        // The queue is in the path: no field of the body is at fault.
        Err(error @ SubmitError::TooManyQueues { .. }) => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// `reason` and `resume_in` of a pause.
pub(super) fn pause_fields(fields: &mut Fields<'_>, caller: &Caller) -> NewPause {
    NewPause {
        reason: fields.string("reason", |text| match text.chars().count() {
            0..=MAX_REASON => Ok(()),
            count => Err(format!("has {count} characters; takes at most {MAX_REASON}")),
        }),
        resume_in: fields.take("resume_in", |text| submission::bounded(text, Duration::from_millis(1), duration::MAX)),
        by: caller.actor().to_owned(),
    }
}

/// Resumes a queue, also one that is not paused: 200 with the queue.
#[utoipa::path(
    post, path = "/api/queues/{queue}/resume", tag = "Queues", operation_id = "resumeQueue",
    summary = "Resume a queue",
    description = "Also a queue that is not paused.",
    params(QueuePath),
    request_body = Option<ResumeRequest>,
    responses((status = 200, description = "The queue.", body = QueueJson))
)]
pub(super) async fn resume(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    queue: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let queue = parse_name(&queue)?;
    caller.owns_queue(&queue)?;
    body::nothing(&request, payload).await?;
    match pause::resume(&services.tools, &queue, caller.actor()).await? {
        Some(row) => answer(&state, &caller, row, HASTE).await,
        None => Err(no_such_queue(&queue)),
    }
}

fn no_such_queue(queue: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no queue {queue}; its first task makes it, and so does pausing it"),
    )
}

fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    match name::check(text, name::MAX_QUEUE) {
        Ok(()) => Ok(text.into()),
        Err(fault) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the queue's name: {fault}"))),
    }
}
