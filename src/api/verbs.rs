//! What operators do to tasks: `POST /api/tasks/{id}/retry` and `/run`, `DELETE /api/tasks/{id}`, and
//! `POST /api/tasks/cancel` and `/retry` for many at once.

use super::problem::Problem;
use super::selection::{self, Refused};
use super::task_json::TaskJson;
use super::tasks::{no_such_task, parse_id};
use super::{BODY_SLACK, State, body};
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
pub(super) async fn retry(state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (services, id) = (state.services()?, parse_id(&id)?);
    tracing::Span::current().record("task.id", tracing::field::display(id));
    let verdict = retry::retry(&services.tools, id).await?;
    answer(id, verdict, "only a task that has failed or was cancelled can be retried")
}

/// Makes a task due: 200 with the task, 409 unless it is scheduled.
pub(super) async fn run(state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (services, id) = (state.services()?, parse_id(&id)?);
    tracing::Span::current().record("task.id", tracing::field::display(id));
    let verdict = run::run(&services.tools, id).await?;
    answer(id, verdict, "only one that is scheduled can be made due")
}

fn answer(id: TaskId, verdict: Verdict, only: &str) -> Result<HttpResponse, Problem> {
    match verdict {
        Verdict::Queued(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        Verdict::Refused(task) => {
            Err(Problem::new(StatusCode::CONFLICT, format!("task {id} is {}; {only}", task.status)))
        }
        Verdict::Unknown => Err(no_such_task(id)),
    }
}

/// Deletes a task with its attempts and its log: 204, 409 unless it has ended.
pub(super) async fn delete(state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (services, id) = (state.services()?, parse_id(&id)?);
    tracing::Span::current().record("task.id", tracing::field::display(id));
    match delete::delete(&services.tools, id).await? {
        Deletion::Deleted => Ok(HttpResponse::NoContent().finish()),
        Deletion::Lives(status) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("task {id} is {status}; only a task that has ended can be deleted: cancel it first"),
        )),
        Deletion::Unknown => Err(no_such_task(id)),
    }
}

#[derive(serde::Serialize)]
struct DoneJson {
    matched: u64,
    changed: u64,
    dry_run: bool,
    /// Whether that was all of them; if not, the same request with `cursor` goes on.
    complete: bool,
    next_cursor: Option<String>,
}

/// Cancels many tasks: 202 with their numbers.
pub(super) async fn cancel_many(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    many(&state, &request, payload, Verb::Cancel).await
}

/// Queues many tasks again: 202 with their numbers.
pub(super) async fn retry_many(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    many(&state, &request, payload, Verb::Retry).await
}

async fn many(state: &State, request: &HttpRequest, payload: Payload, verb: Verb) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(request, payload, MAX_BODY).await?;
    let ask = selection::read(verb, body::text(&bytes)?).map_err(|refused| match refused {
        Refused::Unreadable(error) => body::unreadable(&error),
        Refused::Faults(faults) => Problem::invalid(faults),
    })?;
    let dry_run = ask.dry_run;
    let done = bulk::bulk(&services.tools, ask, BUDGET).await?;
    Ok(HttpResponse::Accepted().json(DoneJson {
        matched: done.matched,
        changed: done.changed,
        dry_run,
        complete: done.next.is_none(),
        next_cursor: done.next.map(selection::cursor),
    }))
}
