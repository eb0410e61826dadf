//! `/api/schedules`: what fires when, what people do with it, and what became of each instant.

use super::caller::Caller;
use super::journal::{faults, no_parameters};
use super::problem::Problem;
use super::queues::{no_faults, pause_fields};
use super::schedule_json::{FireJson, ScheduleJson};
use super::task_json::{TaskJson, Time};
use super::{BODY_SLACK, Services, State, body};
use crate::lifecycle::schedule::{Backfill, MAX_BACKFILL, ScheduleError};
use crate::store::schedules::{Defined, Removed, ScheduleRow};
use crate::task::fields::{Fields, got};
use crate::task::{Fault, Task, Timestamp, name, schedule, submission};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::try_join_all;
use std::sync::Arc;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
const DEFAULT_NEXT: u32 = 5;
const MAX_NEXT: u32 = 1000;
/// Longest word for who manages a schedule: what its column holds.
const MAX_MANAGER: usize = 16;
/// Who manages a schedule that is put over REST, unless the request says otherwise.
const BY_API: &str = "api";
/// Tell cursors from other text.
const LIST_PREFIX: &str = "n1.";
const LEDGER_PREFIX: &str = "t1.";

type Pairs = Query<Vec<(String, String)>>;

#[derive(serde::Serialize)]
struct SchedulesJson<'a> {
    schedules: Vec<ScheduleJson<'a>>,
    next_cursor: Option<String>,
}

#[derive(serde::Serialize)]
struct FiresJson<'a> {
    fires: Vec<FireJson<'a>>,
    next_cursor: Option<String>,
}

#[derive(serde::Serialize)]
struct NextJson {
    next: Vec<Time>,
}

#[derive(serde::Serialize)]
struct BackfillJson<'a> {
    dry_run: bool,
    /// The instants in the range, in order.
    instants: Vec<Time>,
    /// The tasks of those that had none.
    tasks: Vec<TaskJson<'a>>,
}

/// A page of schedules, in order of their names.
pub(super) async fn list(state: Data<State>, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    let found = faults(&query, |key, value| match key {
        "limit" => read_count(value, MAX_LIMIT).map(|read| limit = read),
        "cursor" => {
            let name = value.strip_prefix(LIST_PREFIX).filter(|name| name::check(name, name::MAX_NAME).is_ok());
            let takes = "the next_cursor of an earlier page, as it was given";
            after = Some(Arc::from(name.ok_or_else(|| got(&name::quoted(value), takes))?));
            Ok(())
        }
        _ => Err("is not a known parameter (known: limit, cursor)".to_owned()),
    });
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let mut rows = services.tools.store.schedules(after, limit + 1).await?;
    let more = cut(&mut rows, limit);
    let latest = try_join_all(rows.iter().map(|row| latest(services, row))).await?;
    let read: Vec<_> = rows.iter().map(|row| definition(services, row)).collect();
    let whole = rows.iter().zip(&latest).zip(&read);
    let schedules =
        whole.map(|((row, task), read)| ScheduleJson::new(row, read.as_ref(), task.as_ref(), false)).collect();
    let next_cursor = rows.last().filter(|_| more).map(|last| format!("{LIST_PREFIX}{}", last.name));
    Ok(HttpResponse::Ok().json(SchedulesJson { schedules, next_cursor }))
}

/// One schedule.
pub(super) async fn get(state: Data<State>, path: Path<String>, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    no_parameters(&query)?;
    let row = services.tools.store.schedule(Arc::clone(&name)).await?.ok_or_else(|| no_such_schedule(&name))?;
    answer(services, HttpResponse::Ok(), &row).await
}

/// Puts a schedule: 201 where it is new, 200 where it was there.
pub(super) async fn put(
    state: Data<State>,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let bytes = body::read(&request, payload, services.max_payload + BODY_SLACK).await?;
    let mut fields = Fields::read(body::text(&bytes)?).map_err(|error| body::unreadable(&error))?;
    let managed_by = fields.string("managed_by", |word| match word {
        "config" => Err("is for the configuration's own; takes another word".to_owned()),
        word => name::check(word, MAX_MANAGER).map_err(|fault| fault.to_string()),
    });
    let read = schedule::read(&mut fields, services.max_payload);
    let found = fields.finish();
    let Some(read) = read.filter(|_| found.is_empty()) else { return Err(Problem::invalid(found)) };
    let managed_by = managed_by.as_deref().unwrap_or(BY_API);
    let defined = services.firing.define(&name, &read, managed_by).await.map_err(|error| refused(&name, error))?;
    match defined {
        Defined::Created(row) => {
            let mut response = HttpResponse::Created();
            response.insert_header((LOCATION, format!("/api/schedules/{name}")));
            answer(services, response, &row).await
        }
        Defined::Replaced(row) | Defined::Unchanged(row) => answer(services, HttpResponse::Ok(), &row).await,
        Defined::IsDue | Defined::Configured => Err(Problem::internal(&"a put that came to nothing")),
    }
}

/// Removes a schedule; its ledger stays for as long as ledgers are kept.
pub(super) async fn delete(state: Data<State>, path: Path<String>) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    match services.tools.store.remove_schedule(Arc::clone(&name)).await? {
        Removed::Removed => Ok(HttpResponse::NoContent().finish()),
        Removed::Unknown => Err(no_such_schedule(&name)),
        Removed::Configured => Err(refused(&name, ScheduleError::Configured)),
    }
}

/// Pauses a schedule, also one that is paused: what comes meanwhile is skipped.
pub(super) async fn pause(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let bytes = body::read_or_empty(&request, payload, BODY_SLACK).await?;
    let mut fields = Fields::read(body::text(&bytes)?).map_err(|error| body::unreadable(&error))?;
    let asked = pause_fields(&mut fields, &caller);
    no_faults(fields)?;
    let row = services.tools.store.pause_schedule(Arc::clone(&name), asked).await?;
    let row = row.ok_or_else(|| no_such_schedule(&name))?;
    tracing::info!(schedule = &*name, by = caller.actor(), "schedule paused");
    answer(services, HttpResponse::Ok(), &row).await
}

/// Resumes a schedule, also one that is not paused.
pub(super) async fn resume(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    nothing_asked(&request, payload).await?;
    let row = services.tools.store.resume_schedule(Arc::clone(&name)).await?;
    let row = row.ok_or_else(|| no_such_schedule(&name))?;
    tracing::info!(schedule = &*name, by = caller.actor(), "schedule resumed");
    answer(services, HttpResponse::Ok(), &row).await
}

/// Submits a schedule's task now: 201 with the task.
pub(super) async fn run(
    state: Data<State>,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    nothing_asked(&request, payload).await?;
    let task = services.firing.run(&name).await.map_err(|error| refused(&name, error))?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/tasks/{}", task.id)))
        .json(TaskJson::new(&task, Vec::new())))
}

/// Submits tasks for the instants of a range that have none.
pub(super) async fn backfill(
    state: Data<State>,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let bytes = body::read(&request, payload, BODY_SLACK).await?;
    let mut fields = Fields::read(body::text(&bytes)?).map_err(|error| body::unreadable(&error))?;
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
    no_faults(fields)?;
    let (from, to) = from.zip(to).ok_or_else(|| Problem::internal(&"a range without an end"))?;
    let dry_run = dry_run.unwrap_or(false);
    let done = services.firing.backfill(&name, from, to, dry_run).await.map_err(|error| refused(&name, error))?;
    let Backfill { instants, submitted } = done;
    let tasks = submitted.iter().map(|task| TaskJson::new(task, Vec::new())).collect();
    Ok(HttpResponse::Ok().json(BackfillJson { dry_run, instants: instants.into_iter().map(Time).collect(), tasks }))
}

/// A page of a schedule's ledger, newest first. It outlives its schedule.
pub(super) async fn fires(state: Data<State>, path: Path<String>, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let (mut limit, mut before) = (DEFAULT_LIMIT, None);
    let found = faults(&query, |key, value| match key {
        "limit" => read_count(value, MAX_LIMIT).map(|read| limit = read),
        "cursor" => {
            let micros = value.strip_prefix(LEDGER_PREFIX).and_then(|micros| micros.parse().ok());
            let at = micros.filter(|micros| (0..8_835_000_000_000_000).contains(micros));
            let takes = "the next_cursor of an earlier page, as it was given";
            let at = at.and_then(Timestamp::from_timestamp_micros);
            before = Some(at.ok_or_else(|| got(&name::quoted(value), takes))?);
            Ok(())
        }
        _ => Err("is not a known parameter (known: limit, cursor)".to_owned()),
    });
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let store = &services.tools.store;
    let mut rows = store.fires(Arc::clone(&name), before, limit + 1).await?;
    if rows.is_empty() && store.schedule(Arc::clone(&name)).await?.is_none() {
        return Err(no_such_schedule(&name));
    }
    let more = cut(&mut rows, limit);
    let next_cursor =
        rows.last().filter(|_| more).map(|last| format!("{LEDGER_PREFIX}{}", last.fire_at.timestamp_micros()));
    let fires = rows.iter().map(|row| FireJson::new(&name, row)).collect();
    Ok(HttpResponse::Ok().json(FiresJson { fires, next_cursor }))
}

/// The next instants of a schedule, as its definition has them: a pause is not looked at.
pub(super) async fn next(state: Data<State>, path: Path<String>, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let mut count = DEFAULT_NEXT;
    let found = faults(&query, |key, value| match key {
        "n" => read_count(value, MAX_NEXT).map(|read| count = read),
        _ => Err("is not a known parameter (known: n)".to_owned()),
    });
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    let (row, read) = services.firing.read(&name).await.map_err(|error| refused(&name, error))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let left = read
        .definition
        .max_fires
        .map_or(count, |max| usize::try_from(max.saturating_sub(row.fires)).unwrap_or(usize::MAX).min(count));
    let instants = std::iter::successors(row.next_fire_at, |at| read.definition.next_after(*at));
    Ok(HttpResponse::Ok().json(NextJson { next: instants.take(left).map(Time).collect() }))
}

async fn answer(
    services: &Services,
    mut response: actix_web::HttpResponseBuilder,
    row: &ScheduleRow,
) -> Result<HttpResponse, Problem> {
    let latest = latest(services, row).await?;
    let definition = definition(services, row);
    Ok(response.json(ScheduleJson::new(row, definition.as_ref(), latest.as_ref(), true)))
}

async fn latest(services: &Services, row: &ScheduleRow) -> Result<Option<Task>, Problem> {
    match row.last_task {
        Some(id) => Ok(services.lookup.task(id).await?),
        None => Ok(None),
    }
}

/// None: somebody else has written it.
fn definition(services: &Services, row: &ScheduleRow) -> Option<schedule::Definition> {
    schedule::Definition::from_json(&row.definition, services.max_payload).ok().map(|read| read.definition)
}

async fn nothing_asked(request: &HttpRequest, payload: Payload) -> Result<(), Problem> {
    let bytes = body::read_or_empty(request, payload, BODY_SLACK).await?;
    no_faults(Fields::read(body::text(&bytes)?).map_err(|error| body::unreadable(&error))?)
}

/// Cuts what was read to see whether there is more; says whether there is.
fn cut<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

fn read_count(value: &str, most: u32) -> Result<u32, String> {
    let read = value.parse().ok().filter(|read| (1..=most).contains(read));
    read.ok_or_else(|| got(&name::quoted(value), &format!("a whole number from 1 to {most}")))
}

fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    match name::check(text, name::MAX_NAME) {
        Ok(()) => Ok(text.into()),
        Err(fault) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the schedule's name: {fault}"))),
    }
}

fn no_such_schedule(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no schedule {name}; PUT /api/schedules/{name} makes it"))
}

fn refused(name: &str, error: ScheduleError) -> Problem {
    match error {
        ScheduleError::Store(error) => error.into(),
        ScheduleError::Refused(faults) => {
            Problem::invalid(faults.into_iter().map(|fault| fault.within("/task")).collect())
        }
        ScheduleError::Unreadable(why) => Problem::new(
            StatusCode::CONFLICT,
            format!("the definition of {name} cannot be read by this version: {why}; PUT it anew"),
        ),
        ScheduleError::Unknown => no_such_schedule(name),
        ScheduleError::Configured => Problem::new(
            StatusCode::CONFLICT,
            format!(
                "{name} is managed by the configuration; change it there ([schedules.{name}]), and pause it here if you must"
            ),
        ),
        ScheduleError::TooMany => Problem::invalid(vec![Fault::at(
            "/to",
            format!("makes a range of more than {MAX_BACKFILL} instants; takes a shorter one, again and again"),
        )]),
    }
}
