//! `POST /api/workers/claim`, `POST /api/workers/{id}/heartbeat`, `POST /api/tasks/{id}/complete` and `…/fail`:
//! workers outside, in any language.

mod fields;

use super::caller::Caller;
use super::openapi::{ClaimRequest, CompleteRequest, FailRequest, Heartbeat, Span, TaskPath, WorkerPath};
use super::problem::Problem;
use super::task_json::{Id, TaskJson, Time};
use super::tasks::{no_such_task, parse_id, visible};
use super::{BODY_SLACK, Services, State, body};
use crate::lifecycle::pull::{Ask, Given, PullError, Reported};
use crate::task::fields::got;
use crate::task::{Fault, Outcome, Task, TaskId, WorkerId, duration, name, submission};
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use fields::{id, named, queues, required, whose};
use std::time::Duration;

/// Most tasks of one claim.
pub(super) const MAX_TASKS: u32 = 100;
/// Longest wait of one claim.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
/// Most queues of one claim.
pub(super) const MAX_QUEUES: usize = 32;
/// Most attempts that one heartbeat names.
pub(super) const MAX_NAMED: usize = 1000;
/// Lines that one attempt logs in one heartbeat.
pub(super) const MAX_LINES: usize = 1000;
/// A full heartbeat takes some 150 bytes for each attempt.
const HEARTBEAT_BODY: usize = 4 * BODY_SLACK;
/// The host of a worker whose address cannot be told.
const SOMEWHERE: &str = "pull";

/// What a claim gave.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Claimed)]
pub(super) struct GivenJson<'a> {
    #[schema(value_type = Id)]
    worker_id: String,
    /// A worker that is silent for this long is taken for dead: it has to claim or send a heartbeat before.
    #[schema(value_type = Span)]
    lease_duration: String,
    tasks: Vec<ClaimedJson<'a>>,
}

/// A task with its deadline.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = ClaimedTask)]
struct ClaimedJson<'a> {
    #[serde(flatten)]
    task: TaskJson<'a>,
    /// When the attempt times out.
    deadline: Option<Time>,
}

impl<'a> From<&'a Task> for ClaimedJson<'a> {
    fn from(task: &'a Task) -> Self {
        let limit = chrono::TimeDelta::from_std(task.timeout).ok();
        let deadline = task.started_at.zip(limit).and_then(|(at, limit)| at.checked_add_signed(limit));
        Self { task: TaskJson::new(task, Vec::new()), deadline: deadline.map(Time) }
    }
}

/// What a worker should know of the attempts that it named.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Heard)]
pub(super) struct HeardJson {
    /// The tasks that are to be ended.
    #[schema(value_type = Vec<Id>)]
    cancel: Vec<String>,
    /// The tasks whose attempt is not this worker's any more.
    #[schema(value_type = Vec<Id>)]
    lost: Vec<String>,
}

/// Claims tasks and waits for the first one: 200, also without any; 409 for a worker without a lease.
#[utoipa::path(
    post, path = "/api/workers/claim", tag = "Workers", operation_id = "claimTasks",
    summary = "Claim tasks",
    description = "Takes tasks of these queues that workers outside run, and waits for the first one if asked to. The queues are served as long as the worker's lease lasts.",
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "The tasks, perhaps none.", body = GivenJson),
        (status = 409, description = "This worker has no lease any more: claim without a `worker_id`."),
    )
)]
pub(super) async fn claim(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let ask = Ask {
        worker: fields.take("worker_id", id),
        host: request.peer_addr().map_or_else(|| SOMEWHERE.to_owned(), |address| address.ip().to_string()),
        queues: queues(&mut fields),
        names: caller.names().map(<[String]>::to_vec),
        max: fields.number("max", 1..=MAX_TASKS).unwrap_or(1),
        wait: fields.take("wait", |text| submission::bounded(text, Duration::ZERO, MAX_WAIT)).unwrap_or_default(),
    };
    body::no_faults(fields)?;
    let places = ask.queues.iter().enumerate();
    let outside = places.filter_map(|(n, queue)| caller.outside_queue(queue, &format!("/queues/{n}")));
    let outside: Vec<Fault> = outside.collect();
    if !outside.is_empty() {
        return Err(Problem::restricted(outside));
    }
    let Given { worker, lease, tasks } = services.desk.claim(ask).await?;
    Ok(HttpResponse::Ok().json(GivenJson {
        worker_id: worker.to_string(),
        lease_duration: duration::format(lease),
        tasks: tasks.iter().map(ClaimedJson::from).collect(),
    }))
}

/// A worker lives: 200 with what it should know of the attempts it names; 409 without a lease.
#[utoipa::path(
    post, path = "/api/workers/{id}/heartbeat", tag = "Workers", operation_id = "heartbeat",
    summary = "Say that a worker lives",
    description = "Renews the worker's lease, and with it every attempt that it has.",
    params(WorkerPath),
    request_body = Heartbeat,
    responses(
        (status = 200, description = "What the worker should know.", body = HeardJson),
        (status = 409, description = "This worker has no lease any more: its attempts are given to others."),
    )
)]
pub(super) async fn heartbeat(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    worker: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let worker: WorkerId = worker.parse().map_err(|fault| {
        let detail = format!("the worker id {} {fault}", name::quoted(&worker));
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })?;
    let bytes = body::read(&request, payload, HEARTBEAT_BODY).await?;
    let mut fields = body::fields(&bytes)?;
    let named = named(&mut fields);
    body::no_faults(fields)?;
    let heard = services.desk.heartbeat(worker, &named, |queue, name| caller.sees(queue, name)).await?;
    let texts = |ids: Vec<TaskId>| ids.into_iter().map(|id| id.to_string()).collect();
    Ok(HttpResponse::Ok().json(HeardJson { cancel: texts(heard.cancel), lost: texts(heard.lost) }))
}

/// An attempt succeeded: 200 with the task, 409 if it is no longer the worker's.
#[utoipa::path(
    post, path = "/api/tasks/{id}/complete", tag = "Workers", operation_id = "completeTask",
    summary = "Report an attempt that succeeded",
    description = "May be repeated: what was recorded is recorded once.",
    params(TaskPath),
    request_body = CompleteRequest,
    responses(
        (status = 200, description = "It is recorded; the task.", body = TaskJson),
        (status = 409, description = "The attempt is not this worker's any more, or was reported otherwise."),
    )
)]
pub(super) async fn complete(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    task: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let task = parse_id(&task)?;
    let bytes = body::read(&request, payload, services.max_result.saturating_add(BODY_SLACK)).await?;
    let mut fields = body::fields(&bytes)?;
    let whose = whose(&mut fields);
    let most = services.max_result;
    let result = fields.take("result", |text| {
        if text.len() <= most {
            Ok(Box::from(text))
        } else {
            Err(format!("has {} bytes; takes at most {most}", text.len()))
        }
    });
    body::no_faults(fields)?;
    report(services, &caller, task, whose, Outcome::Success(result)).await
}

/// An attempt failed: as for `complete`. The task is tried again if it may be, and the error is not permanent.
#[utoipa::path(
    post, path = "/api/tasks/{id}/fail", tag = "Workers", operation_id = "failTask",
    summary = "Report an attempt that failed",
    description = "The task is tried again after its backoff, unless its attempts are used up or the error is permanent. May be repeated: what was recorded is recorded once.",
    params(TaskPath),
    request_body = FailRequest,
    responses(
        (status = 200, description = "It is recorded; the task.", body = TaskJson),
        (status = 409, description = "The attempt is not this worker's any more, or was reported otherwise."),
    )
)]
pub(super) async fn fail(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    task: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let task = parse_id(&task)?;
    let bytes: Bytes = body::read(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let whose = whose(&mut fields);
    let error = required(&mut fields, "error", "a string that says what went wrong", |text| {
        serde_json::from_str::<String>(text).ok()
    });
    let flag = |text: &str| serde_json::from_str::<bool>(text).map_err(|_| got(text, "true or false"));
    let permanent = fields.take("permanent", flag).unwrap_or(false);
    body::no_faults(fields)?;
    let error = error.unwrap_or_default();
    let outcome = if permanent { Outcome::Permanent(error) } else { Outcome::Retryable(error) };
    report(services, &caller, task, whose, outcome).await
}

/// Records an outcome and answers with the task as it is then.
async fn report(
    services: &Services,
    caller: &Caller,
    task: TaskId,
    whose: Option<(WorkerId, u32)>,
    outcome: Outcome,
) -> Result<HttpResponse, Problem> {
    tracing::Span::current().record("task.id", tracing::field::display(task));
    let Some((worker, attempt)) = whose else { return Err(Problem::internal(&"faults were passed over")) };
    if caller.is_restricted() {
        visible(services, caller, task).await?;
    }
    match services.desk.report(task, worker, attempt, &outcome).await? {
        Reported::Recorded => {}
        Reported::Unknown => return Err(no_such_task(task)),
        Reported::Lost => {
            let detail = format!(
                "attempt {attempt} of task {task} is not (any more) that of worker {worker}, or has been reported otherwise: this was not recorded"
            );
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
    }
    match services.lookup.task(task).await? {
        Some(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        None => Err(no_such_task(task)),
    }
}

impl From<PullError> for Problem {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Store(error) => error.into(),
            PullError::NoLease(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
            PullError::Stopping => Problem::unavailable(error.to_string()),
        }
    }
}
