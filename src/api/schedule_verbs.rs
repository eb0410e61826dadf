//! What people do with a schedule: pause and resume it, run it now, make up for what was missed.

use super::caller::Caller;
use super::openapi::{BackfillRequest, ResumeRequest, SchedulePath, SchedulePause};
use super::problem::Problem;
use super::queues::pause_fields;
use super::schedule_json::ScheduleJson;
use super::schedules::{answer, may, no_such_schedule, owned, parse_name, refused};
use super::task_json::{TaskJson, Time};
use super::{BODY_SLACK, Services, State, body};
use crate::lifecycle::schedule::Backfill;
use crate::task::fields::got;
use crate::task::schedule::Read;
use crate::task::submission;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// What a backfill came to.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Backfilled)]
pub(super) struct BackfillJson<'a> {
    dry_run: bool,
    /// The instants in the range, in order.
    instants: Vec<Time>,
    /// The tasks of those that had none.
    tasks: Vec<TaskJson<'a>>,
}

/// Pauses a schedule, also one that is paused: what comes meanwhile is skipped.
#[utoipa::path(
    post, path = "/api/schedules/{name}/pause", tag = "Schedules", operation_id = "pauseSchedule",
    summary = "Pause a schedule",
    description = "Also one that is paused. What comes meanwhile is skipped, and stands in the ledger as `skipped_paused`. Tasks that it has submitted go on.",
    params(SchedulePath),
    request_body = Option<SchedulePause>,
    responses((status = 200, description = "The schedule.", body = ScheduleJson))
)]
pub(super) async fn pause(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    owned(services, &caller, &name).await?;
    let bytes = body::read_or_empty(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let asked = pause_fields(&mut fields, &caller);
    body::no_faults(fields)?;
    let row = services.firing.pause(&name, asked).await?;
    let row = row.ok_or_else(|| no_such_schedule(&name))?;
    tracing::info!(schedule = &*name, by = caller.actor(), "schedule paused");
    answer(services, &caller, HttpResponse::Ok(), &row).await
}

/// Resumes a schedule, also one that is not paused.
#[utoipa::path(
    post, path = "/api/schedules/{name}/resume", tag = "Schedules", operation_id = "resumeSchedule",
    summary = "Resume a schedule",
    description = "Also one that is not paused. It goes on with the next instant, and its failures so far count no more.",
    params(SchedulePath),
    request_body = Option<ResumeRequest>,
    responses((status = 200, description = "The schedule.", body = ScheduleJson))
)]
pub(super) async fn resume(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    owned(services, &caller, &name).await?;
    body::nothing(&request, payload).await?;
    let row = services.firing.resume(&name).await?;
    let row = row.ok_or_else(|| no_such_schedule(&name))?;
    tracing::info!(schedule = &*name, by = caller.actor(), "schedule resumed");
    answer(services, &caller, HttpResponse::Ok(), &row).await
}

/// Submits a schedule's task now: 201 with the task.
#[utoipa::path(
    post, path = "/api/schedules/{name}/run", tag = "Schedules", operation_id = "runSchedule",
    summary = "Run a schedule now",
    description = "Submits its task, also while it is paused. It does not count towards `max_fires`.",
    params(SchedulePath),
    request_body = Option<ResumeRequest>,
    responses(
        (status = 201, description = "The task.", body = TaskJson),
        (status = 409, description = "Its definition cannot be read by this version."),
    )
)]
pub(super) async fn run(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    body::nothing(&request, payload).await?;
    let read = read(services, &caller, &name).await?;
    let task = services.firing.run(&name, read).await.map_err(|error| refused(&name, error))?;
    tracing::info!(schedule = &*name, task = %task.id, by = caller.actor(), "schedule run by hand");
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/tasks/{}", task.id)))
        .json(TaskJson::new(&task, Vec::new())))
}

/// Submits tasks for the instants of a range that have none.
#[utoipa::path(
    post, path = "/api/schedules/{name}/backfill", tag = "Schedules", operation_id = "backfillSchedule",
    summary = "Submit what was missed",
    description = "A task for each instant of a range that has none, all or none of them. Those do not count towards `max_fires`.",
    params(SchedulePath),
    request_body = BackfillRequest,
    responses(
        (status = 200, description = "The instants of the range, and the tasks of those that had none.", body = BackfillJson),
        (status = 409, description = "Its definition cannot be read by this version."),
    )
)]
pub(super) async fn backfill(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let bytes = body::read(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let (from, to) = (fields.take("from", submission::instant), fields.take("to", submission::instant));
    for (field, read) in [("/from", from), ("/to", to)] {
        if read.is_none() && !fields.has_fault(field) {
            fields.fault(field, "is missing; takes a time as in RFC 3339: from is in the range, to is not");
        }
    }
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        fields.fault("/to", "is not after from; there is nothing in between");
    }
    let dry_run =
        fields.take("dry_run", |text| serde_json::from_str::<bool>(text).map_err(|_| got(text, "true or false")));
    body::no_faults(fields)?;
    let (from, to) = from.zip(to).ok_or_else(|| Problem::internal(&"a range without an end"))?;
    let dry_run = dry_run.unwrap_or(false);
    let read = read(services, &caller, &name).await?;
    let done =
        services.firing.backfill(&name, &read, from, to, dry_run).await.map_err(|error| refused(&name, error))?;
    let Backfill { instants, submitted } = done;
    if !submitted.is_empty() {
        tracing::info!(schedule = &*name, tasks = submitted.len(), by = caller.actor(), "schedule backfilled");
    }
    let tasks = submitted.iter().map(|task| TaskJson::new(task, Vec::new())).collect();
    Ok(HttpResponse::Ok().json(BackfillJson { dry_run, instants: instants.into_iter().map(Time).collect(), tasks }))
}

/// A schedule's definition, where its task is one that this caller may use.
async fn read(services: &Services, caller: &Caller, name: &Arc<str>) -> Result<Read, Problem> {
    let (_, read) = services.firing.read(name).await.map_err(|error| refused(name, error))?;
    may(services, caller, &read.task)?;
    Ok(read)
}
