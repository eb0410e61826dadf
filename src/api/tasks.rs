//! `POST /api/tasks`, `GET /api/tasks/{id}` and `POST /api/tasks/{id}/cancel`.

use super::problem::Problem;
use super::task_json::TaskJson;
use super::{BODY_SLACK, State, body};
use crate::lifecycle::cancel::{self, Cancellation};
use crate::lifecycle::submit;
use crate::task::{Task, TaskId, submission};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

/// Accepts a task: 201 when it is committed.
pub(super) async fn submit(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(&request, payload, services.max_payload + BODY_SLACK).await?;
    let read = submission::read(body::text(&bytes)?, services.max_payload);
    let (submission, mut faults) = read.map_err(|error| body::unreadable(&error))?;
    // A name that could not be read has its fault already.
    let named = !submission.name.is_empty();
    match submit::admit(submission, &services.tools.registry, &services.defaults) {
        Err(fault) if named => faults.insert(0, fault),
        Ok(task) if faults.is_empty() => {
            let task = services.submitter.submit(task).await?;
            tracing::Span::current().record("task.id", tracing::field::display(task.id));
            let mut warnings = Vec::new();
            if !state.serving.serves(&services.tools.store, &task.queue).await {
                warnings.push(format!("no live worker serves the queue {}; the task waits until one does", task.queue));
            }
            return Ok(HttpResponse::Created()
                .insert_header((LOCATION, format!("/api/tasks/{}", task.id)))
                .json(TaskJson::new(&task, warnings)));
        }
        _ => {}
    }
    Err(Problem::invalid(faults))
}

/// One task.
pub(super) async fn get(state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    tracing::Span::current().record("task.id", tracing::field::display(id));
    let task: Option<Task> = services.tools.store.task(id).await?;
    match task {
        Some(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        None => Err(no_such_task(id)),
    }
}

/// Stops a task: 200 when it is cancelled, 202 when it runs and its worker has yet to end it,
/// 409 when it has completed or failed.
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

fn no_such_task(id: TaskId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no task {id}; it may have been purged"))
}

fn parse_id(text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|fault| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the task id {} {fault}", crate::task::name::quoted(text)),
        )
    })
}
