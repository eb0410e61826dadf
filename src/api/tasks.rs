//! `POST /api/tasks`, `POST /api/tasks/bulk`, `GET /api/tasks/{id}` and `POST /api/tasks/{id}/cancel`.

use super::openapi::{BulkSubmission, Submission, TaskPath};
use super::problem::Problem;
use super::task_json::TaskJson;
use super::{BODY_SLACK, Services, State, body};
use crate::lifecycle::cancel::{self, Cancellation};
use crate::lifecycle::submit::{self, SubmitError};
use crate::task::fields::Fields;
use crate::task::{Fault, NewTask, TaskId, submission};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// A bulk submission with so many faults is not looked at any further: its answer stays short.
const MAX_FAULTS: usize = 100;

/// Accepts a task: 201 when it is committed.
#[utoipa::path(
    post, path = "/api/tasks", tag = "Tasks", operation_id = "submitTask",
    summary = "Submit a task",
    description = "The task is accepted when this is answered with 201: it is committed, and runs however often anything restarts.",
    request_body = Submission,
    responses((
        status = 201, description = "Accepted. It has `warnings` where no live worker serves its queue.", body = TaskJson,
        headers(("Location" = String, description = "Where the task is: `/api/tasks/{id}`.")),
    ))
)]
pub(super) async fn submit(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(&request, payload, services.max_payload + BODY_SLACK).await?;
    let task = admit(services, body::text(&bytes)?, "").map_err(|refused| match refused {
        Refused::Unreadable(error) => body::unreadable(&error),
        Refused::Faults(faults) => Problem::invalid(faults),
    })?;
    let accepted = services.submitter.submit(vec![task]).await?;
    let [task] = accepted.as_slice() else { return Err(Problem::internal(&"one task was submitted")) };
    tracing::Span::current().record("task.id", tracing::field::display(task.id));
    let warnings = warnings(&state, services, &task.queue).await;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/tasks/{}", task.id)))
        .json(TaskJson::new(task, warnings)))
}

/// Tasks, in the order in which they were asked for.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Tasks)]
pub(super) struct TasksJson<'a> {
    tasks: Vec<TaskJson<'a>>,
}

/// Accepts many tasks, all or none: 201 when they are committed.
#[utoipa::path(
    post, path = "/api/tasks/bulk", tag = "Tasks", operation_id = "submitTasks",
    summary = "Submit many tasks",
    description = "All are accepted, or none: with one fault in one of them none is.",
    request_body = BulkSubmission,
    responses((status = 201, description = "All are accepted.", body = TasksJson))
)]
pub(super) async fn submit_bulk(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(&request, payload, services.bulk.body).await?;
    let mut fields = Fields::read(body::text(&bytes)?).map_err(|error| body::unreadable(&error))?;
    let texts = fields.items("tasks", services.bulk.tasks, "submissions").unwrap_or_default();
    let mut faults = fields.finish();
    let mut tasks = Vec::with_capacity(texts.len());
    for (n, text) in texts.into_iter().enumerate() {
        if faults.len() >= MAX_FAULTS {
            break;
        }
        let pointer = format!("/tasks/{n}");
        match admit(services, text.get(), &pointer) {
            Ok(task) => tasks.push(task),
            Err(Refused::Unreadable(_)) => faults.push(Fault::at(&pointer, "is no object; takes a submission")),
            Err(Refused::Faults(more)) => faults.extend(more),
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let queues: Vec<Arc<str>> = tasks.iter().map(|task| Arc::clone(&task.queue)).collect();
    let tasks = services.submitter.submit(tasks).await.map_err(|error| match &error {
        SubmitError::TooManyQueues { queue, .. } => {
            let n = queues.iter().position(|named| named == queue).unwrap_or(0);
            Problem::invalid(vec![Fault::at(&format!("/tasks/{n}/queue"), &error)])
        }
        _ => error.into(),
    })?;
    let mut answers = Vec::with_capacity(tasks.len());
    for task in &tasks {
        answers.push(TaskJson::new(task, warnings(&state, services, &task.queue).await));
    }
    Ok(HttpResponse::Created().json(TasksJson { tasks: answers }))
}

/// Why a submission was not admitted.
enum Refused {
    /// No JSON object.
    Unreadable(serde_json::Error),
    Faults(Vec<Fault>),
}

/// Reads a submission, with every fault at once; `pointer` says where in the body it stands.
fn admit(services: &Services, text: &str, pointer: &str) -> Result<NewTask, Refused> {
    let (submission, mut faults) = submission::read(text, services.max_payload).map_err(Refused::Unreadable)?;
    // A name that could not be read has its fault already.
    let named = !submission.name.is_empty();
    match submit::admit(submission, &services.tools.registry, &services.defaults) {
        Err(found) if named => faults.splice(0..0, found).for_each(drop),
        Ok(task) if faults.is_empty() => return Ok(task),
        _ => {}
    }
    Err(Refused::Faults(faults.into_iter().map(|fault| fault.within(pointer)).collect()))
}

async fn warnings(state: &State, services: &Services, queue: &str) -> Vec<String> {
    if state.serving.serves(&services.tools.store, queue).await {
        return Vec::new();
    }
    vec![format!("no live worker serves the queue {queue}; the task waits until one does")]
}

/// One task.
#[utoipa::path(
    get, path = "/api/tasks/{id}", tag = "Tasks", operation_id = "getTask",
    summary = "Get a task",
    params(TaskPath),
    responses((status = 200, description = "The task.", body = TaskJson))
)]
pub(super) async fn get(state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    tracing::Span::current().record("task.id", tracing::field::display(id));
    match services.lookup.task(id).await? {
        Some(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        None => Err(no_such_task(id)),
    }
}

/// Stops a task: 200 when it is cancelled, 202 when it runs and its worker has yet to end it,
/// 409 when it has completed or failed.
#[utoipa::path(
    post, path = "/api/tasks/{id}/cancel", tag = "Tasks", operation_id = "cancelTask",
    summary = "Cancel a task",
    params(TaskPath),
    responses(
        (status = 200, description = "It is cancelled, now or since earlier.", body = TaskJson),
        (status = 202, description = "It runs, and its worker is told to end it.", body = TaskJson),
        (status = 409, description = "It has completed or failed."),
    )
)]
pub(super) async fn cancel(state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    tracing::Span::current().record("task.id", tracing::field::display(id));
    match cancel::cancel(&services.tools, id).await? {
        Cancellation::Cancelled(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        Cancellation::Requested(task) => Ok(HttpResponse::Accepted().json(TaskJson::new(&task, Vec::new()))),
        Cancellation::TooLate(task) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("task {id} is {}; only a task that waits or runs can be cancelled", task.status),
        )),
        Cancellation::Unknown => Err(no_such_task(id)),
    }
}

pub(super) fn no_such_task(id: TaskId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no task {id}; it may have been purged"))
}

pub(super) fn parse_id(text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|fault| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the task id {} {fault}", crate::task::name::quoted(text)),
        )
    })
}
