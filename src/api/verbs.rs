//! What operators do to tasks: `POST /api/tasks/{id}/retry` and `/run`, `DELETE /api/tasks/{id}`, and
//! `POST /api/tasks/cancel` and `/retry` for many at once.

use super::caller::Caller;
use super::openapi::{CancelMany, ResumeRequest, RetryMany, TaskPath};
use super::problem::Problem;
use super::selection::{self, Refused};
use super::task_json::TaskJson;
use super::tasks::{aimed, no_such_task, visible};
use super::{BODY_SLACK, Services, State, body};
use crate::lifecycle::bulk::{self, BUDGET, Verb};
use crate::lifecycle::delete::{self, Deletion};
use crate::lifecycle::retry::{self, Verdict};
use crate::lifecycle::run;
use crate::task::TaskId;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

/// A body names at most 500 ids, tags, names and queues.
const MAX_BODY: usize = 4 * BODY_SLACK;

/// Queues a task again: 200 with the task, 409 unless it has failed or was cancelled.
#[utoipa::path(
    post, path = "/api/tasks/{id}/retry", tag = "Tasks", operation_id = "retryTask",
    summary = "Retry a task",
    description = "Queues it again, with all its attempts before it.",
    params(TaskPath),
    request_body = Option<ResumeRequest>,
    responses(
        (status = 200, description = "It is queued.", body = TaskJson),
        (status = 409, description = "It has not failed, and was not cancelled."),
    )
)]
pub(super) async fn retry(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (services, id) = aimed(&state, &caller, &request, &id, payload).await?;
    let verdict = retry::retry(&services.tools, id).await?;
    answer(services, &caller, id, verdict, "only a task that has failed or was cancelled can be retried").await
}

/// Makes a task due: 200 with the task, 409 unless it is scheduled.
#[utoipa::path(
    post, path = "/api/tasks/{id}/run", tag = "Tasks", operation_id = "runTask",
    summary = "Run a scheduled task now",
    params(TaskPath),
    request_body = Option<ResumeRequest>,
    responses(
        (status = 200, description = "It is queued.", body = TaskJson),
        (status = 409, description = "It is not scheduled."),
    )
)]
pub(super) async fn run(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (services, id) = aimed(&state, &caller, &request, &id, payload).await?;
    let verdict = run::run(&services.tools, id).await?;
    answer(services, &caller, id, verdict, "only one that is scheduled can be made due").await
}

async fn answer(
    services: &Services,
    caller: &Caller,
    id: TaskId,
    verdict: Verdict,
    only: &str,
) -> Result<HttpResponse, Problem> {
    match verdict {
        Verdict::Queued(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        Verdict::Refused(task) => {
            Err(Problem::new(StatusCode::CONFLICT, format!("task {id} is {}; {only}", task.status)))
        }
        Verdict::KeyHeld { holder } => {
            // A key is for a type; the holder may be in a queue that this caller must not see.
            let holder = match visible(services, caller, holder).await {
                Ok(task) => format!("task {}", task.id),
                Err(_) => "another task".to_owned(),
            };
            Err(Problem::new(StatusCode::CONFLICT, format!("the unique key of task {id} is held by {holder}")))
        }
        Verdict::Unknown => Err(no_such_task(id)),
    }
}

/// Deletes a task with its attempts and its log: 204, 409 unless it has ended.
#[utoipa::path(
    delete, path = "/api/tasks/{id}", tag = "Tasks", operation_id = "deleteTask",
    summary = "Delete a task",
    description = "With its attempts and its log. Tasks that have ended are also purged by themselves, after `retention`.",
    params(TaskPath),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 409, description = "It has not ended: cancel it first."),
    )
)]
pub(super) async fn delete(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (services, id) = aimed(&state, &caller, &request, &id, payload).await?;
    match delete::delete(&services.tools, id).await? {
        Deletion::Deleted => Ok(HttpResponse::NoContent().finish()),
        Deletion::Lives(status) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("task {id} is {status}; only a task that has ended can be deleted: cancel it first"),
        )),
        Deletion::Unknown => Err(no_such_task(id)),
    }
}

/// What became of many tasks.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Done)]
pub(super) struct DoneJson {
    /// Tasks that the request means.
    matched: u64,
    /// Those that are other than before.
    changed: u64,
    /// Those that cannot be queued again, since another task holds their unique key; in a dry run, those that could not.
    held: u64,
    /// Whether nothing was changed, since that was asked for.
    dry_run: bool,
    /// Whether that was all of them; if not, the same request with `cursor` goes on.
    complete: bool,
    next_cursor: Option<String>,
}

/// Cancels many tasks: 202 with their numbers.
#[utoipa::path(
    post, path = "/api/tasks/cancel", tag = "Tasks", operation_id = "cancelTasks",
    summary = "Cancel many tasks",
    description = "Those of a filter, or all. It works for a few seconds at most: `complete` says whether that was all, and if not the same request with `cursor` goes on.",
    request_body = CancelMany,
    responses((status = 202, description = "How many.", body = DoneJson))
)]
pub(super) async fn cancel_many(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    many(&state, &caller, &request, payload, Verb::Cancel).await
}

/// Queues many tasks again: 202 with their numbers.
#[utoipa::path(
    post, path = "/api/tasks/retry", tag = "Tasks", operation_id = "retryTasks",
    summary = "Retry many tasks",
    description = "Those of a filter, or all that failed; a `fingerprint` of `GET /api/failures` means that kind of failure. It works for a few seconds at most: `complete` says whether that was all, and if not the same request with `cursor` goes on.",
    request_body = RetryMany,
    responses((status = 202, description = "How many.", body = DoneJson))
)]
pub(super) async fn retry_many(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    many(&state, &caller, &request, payload, Verb::Retry).await
}

async fn many(
    state: &State,
    caller: &Caller,
    request: &HttpRequest,
    payload: Payload,
    verb: Verb,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(request, payload, MAX_BODY).await?;
    let mut ask = selection::read(verb, body::text(&bytes)?).map_err(|refused| match refused {
        Refused::Unreadable(error) => body::unreadable(&error),
        Refused::Faults(faults) => Problem::invalid(faults),
    })?;
    let dry_run = ask.dry_run;
    if !caller.narrow(&mut ask.selection.filter) {
        let nothing = DoneJson { matched: 0, changed: 0, held: 0, dry_run, complete: true, next_cursor: None };
        return Ok(HttpResponse::Accepted().json(nothing));
    }
    let done = bulk::bulk(&services.tools, ask, BUDGET).await?;
    Ok(HttpResponse::Accepted().json(DoneJson {
        matched: done.matched,
        changed: done.changed,
        held: done.held,
        dry_run,
        complete: done.next.is_none(),
        next_cursor: done.next.map(selection::cursor),
    }))
}
