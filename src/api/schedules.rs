//! `/api/schedules` and `/api/schedules/{name}`: what fires when.
//!
//! A schedule belongs to whoever may use its task's queue and type.

use super::caller::Caller;
use super::openapi::{ScheduleFilter, SchedulePath, ScheduleRequest};
use super::parameters::{self, Pairs, count, cursor, unknown};
use super::problem::Problem;
use super::schedule_json::ScheduleJson;
use super::{BODY_SLACK, Services, State, body};
use crate::lifecycle::schedule::ScheduleError;
use crate::store::schedules::{Defined, Owns, Removed, ScheduleRow};
use crate::task::schedule::{Definition, Read};
use crate::task::{Fault, Submission, Task, name, schedule};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::future::try_join_all;
use std::sync::Arc;

pub(super) const DEFAULT_LIMIT: u32 = 50;
pub(super) const MAX_LIMIT: u32 = 500;
/// Longest word for who manages a schedule: what its column holds.
pub(super) const MAX_MANAGER: usize = 16;
/// What a list's cursors look like.
pub(super) const LIST_CURSOR: &str = r"^n1\.[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$";
/// Tells them from other text.
const LIST_PREFIX: &str = "n1.";
/// Who manages a schedule that is put over REST, unless the request says otherwise.
const BY_API: &str = "api";
/// Pages of schedules that are looked through for those of a key that is restricted.
const MAX_LOOKS: u32 = 20;
/// Schedules in one look: definitions may be large.
const LOOK: u32 = 51;
/// Definitions in one page, in bytes; a page that would be larger is a short one.
const PAGE_BYTES: usize = 16 << 20;

/// A page of schedules.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = SchedulePage)]
pub(super) struct SchedulesJson<'a> {
    schedules: Vec<ScheduleJson<'a>>,
    next_cursor: Option<String>,
}

/// A page of schedules, in order of their names.
#[utoipa::path(
    get, path = "/api/schedules", tag = "Schedules", operation_id = "listSchedules",
    summary = "List schedules",
    params(ScheduleFilter),
    responses((status = 200, description = "A page of the schedules, in order of their names; without the results of their tasks.", body = SchedulesJson))
)]
pub(super) async fn list(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let (mut limit, mut after) = (DEFAULT_LIMIT, None);
    let place = |text: &str| {
        let name = text.strip_prefix(LIST_PREFIX)?;
        name::check(name, name::MAX_NAME).ok().map(|()| Arc::from(name))
    };
    parameters::read(&query, |key, value| match key {
        "limit" => count(value, MAX_LIMIT).map(|read| limit = read),
        "cursor" => cursor(value, place).map(|name| after = Some(name)),
        _ => unknown("limit, cursor"),
    })?;
    let (rows, next) = page(services, &caller, after, limit).await?;
    let latest = try_join_all(rows.iter().map(|(row, _)| latest(services, &caller, row))).await?;
    let schedules = rows.iter().zip(&latest).map(|((row, read), task)| {
        ScheduleJson::new(row, read.as_ref().map(|read| &read.definition), task.as_ref(), false)
    });
    let next_cursor = next.map(|name| format!("{LIST_PREFIX}{name}"));
    Ok(HttpResponse::Ok().json(SchedulesJson { schedules: schedules.collect(), next_cursor }))
}

type Rows = Vec<(ScheduleRow, Option<Read>)>;

/// The schedules behind `after` that this caller sees, and the name that the next page begins behind. A key that is
/// restricted may get fewer than there are: it is not searched for ever.
async fn page(
    services: &Services,
    caller: &Caller,
    mut after: Option<Arc<str>>,
    limit: u32,
) -> Result<(Rows, Option<Arc<str>>), Problem> {
    let (wanted, mut seen) = (usize::try_from(limit).unwrap_or(usize::MAX), Vec::new());
    // Behind which a next page begins: one that this caller sees.
    let mut place = after.clone();
    let mut bytes = 0;
    for _ in 0..MAX_LOOKS {
        let rows = services.tools.store.schedules(after.clone(), LOOK).await?;
        let last = u32::try_from(rows.len()).is_ok_and(|count| count < LOOK);
        for row in rows {
            after = Some(Arc::clone(&row.name));
            let read = definition(services, &row);
            if !sees(services, caller, read.as_ref()) {
                continue;
            }
            bytes += row.definition.len();
            if seen.len() == wanted || (bytes > PAGE_BYTES && !seen.is_empty()) {
                return Ok((seen, place));
            }
            place.clone_from(&after);
            seen.push((row, read));
        }
        if last {
            return Ok((seen, None));
        }
    }
    // It goes on where it stopped looking.
    Ok((seen, after))
}

/// One schedule.
#[utoipa::path(
    get, path = "/api/schedules/{name}", tag = "Schedules", operation_id = "getSchedule",
    summary = "Get a schedule",
    params(SchedulePath),
    responses((status = 200, description = "The schedule.", body = ScheduleJson))
)]
pub(super) async fn get(
    state: Data<State>,
    caller: Caller,
    path: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    parameters::none(&query)?;
    let row = services.tools.store.schedule(Arc::clone(&name)).await?;
    let row = row.filter(|row| visible(services, &caller, row)).ok_or_else(|| no_such_schedule(&name))?;
    answer(services, &caller, HttpResponse::Ok(), &row).await
}

/// Puts a schedule: 201 where it is new, 200 where it was there.
#[utoipa::path(
    put, path = "/api/schedules/{name}", tag = "Schedules", operation_id = "putSchedule",
    summary = "Put a schedule",
    description = "Makes it, or replaces its definition; what has come by the definition before is put into the ledger first. One that was like this already stays as it is.",
    params(SchedulePath),
    request_body = ScheduleRequest,
    responses(
        (status = 201, description = "It is new.", body = ScheduleJson),
        (status = 200, description = "It was there.", body = ScheduleJson),
        (status = 409, description = "The configuration manages it."),
    )
)]
pub(super) async fn put(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let bytes = body::read(&request, payload, services.max_payload + BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let managed_by = fields.string("managed_by", |word| match word {
        "config" => Err("is for the configuration's own; takes another word".to_owned()),
        word => name::check(word, MAX_MANAGER).map_err(|fault| fault.to_string()),
    });
    let sees = |name: &str| caller.sees_name(name);
    // Nothing is said of a type that is not this caller's: it is refused below.
    let admits = |task: &Submission| if sees(&task.name) { services.firing.faults(task, &sees) } else { Vec::new() };
    let read = schedule::read_admitted(&mut fields, services.max_payload, admits);
    let found = fields.finish();
    let Some(read) = read.filter(|_| found.is_empty()) else { return Err(Problem::invalid(found)) };
    let outside = caller.outside(&services.firing.queue_of(&read.task), &read.task.name, "/task");
    if !outside.is_empty() {
        return Err(Problem::restricted(outside));
    }
    let managed_by = managed_by.as_deref().unwrap_or(BY_API);
    let owns = under_lock(services, &caller);
    let defined =
        services.firing.define(&name, &read, managed_by, owns).await.map_err(|error| refused(&name, error))?;
    match defined {
        Defined::Created(row) => {
            tracing::info!(schedule = &*name, by = caller.actor(), "schedule made");
            let mut response = HttpResponse::Created();
            response.insert_header((LOCATION, format!("/api/schedules/{name}")));
            answer(services, &caller, response, &row).await
        }
        Defined::Replaced(row) => {
            tracing::info!(schedule = &*name, version = row.version, by = caller.actor(), "schedule changed");
            answer(services, &caller, HttpResponse::Ok(), &row).await
        }
        Defined::Unchanged(row) => answer(services, &caller, HttpResponse::Ok(), &row).await,
        Defined::IsDue | Defined::Configured | Defined::Foreign => {
            Err(Problem::internal(&"a put that came to nothing"))
        }
    }
}

/// Removes a schedule; its ledger stays for as long as ledgers are kept.
#[utoipa::path(
    delete, path = "/api/schedules/{name}", tag = "Schedules", operation_id = "deleteSchedule",
    summary = "Remove a schedule",
    description = "Its tasks go on, and its ledger stays for as long as ledgers are kept.",
    params(SchedulePath),
    responses(
        (status = 204, description = "It is gone."),
        (status = 409, description = "The configuration manages it."),
    )
)]
pub(super) async fn delete(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    body::nothing(&request, payload).await?;
    match services.tools.store.remove_schedule(Arc::clone(&name), under_lock(services, &caller)).await? {
        Removed::Removed => {
            tracing::info!(schedule = &*name, by = caller.actor(), "schedule removed");
            Ok(HttpResponse::NoContent().finish())
        }
        Removed::Unknown => Err(no_such_schedule(&name)),
        Removed::Configured => Err(refused(&name, ScheduleError::Configured)),
        Removed::Foreign => Err(refused(&name, ScheduleError::Foreign)),
    }
}

/// Whether a schedule's task is one that this caller may use; one that cannot be read is for those who may use any.
pub(super) fn sees(services: &Services, caller: &Caller, read: Option<&Read>) -> bool {
    match read {
        _ if !caller.is_restricted() => true,
        Some(Read { task, .. }) => caller.sees(&services.firing.queue_of(task), &task.name),
        None => false,
    }
}

/// Whether a schedule is there for this caller.
pub(super) fn visible(services: &Services, caller: &Caller, row: &ScheduleRow) -> bool {
    !caller.is_restricted() || sees(services, caller, definition(services, row).as_ref())
}

/// 403 where a schedule is another's.
fn owns(services: &Services, caller: &Caller, row: &ScheduleRow) -> Result<(), Problem> {
    match definition(services, row) {
        Some(Read { task, .. }) => may(services, caller, &task),
        None if caller.is_restricted() => {
            Err(Problem::new(StatusCode::FORBIDDEN, "this key is restricted, and the schedule's task cannot be read"))
        }
        None => Ok(()),
    }
}

/// 403 where a schedule's task is not one that this caller may use.
pub(super) fn may(services: &Services, caller: &Caller, task: &Submission) -> Result<(), Problem> {
    // Nothing is said of that task: the caller has named the schedule alone.
    if caller.sees(&services.firing.queue_of(task), &task.name) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "the schedule's task is outside of what this key may use"))
}

/// The same for whoever replaces or removes a schedule: asked while its row is locked, so that nobody does so to one that
/// has become another's since it was looked at. None: whoever is not restricted is not asked.
fn under_lock(services: &Services, caller: &Caller) -> Option<Owns> {
    if !caller.is_restricted() {
        return None;
    }
    let (firing, caller) = (services.firing.clone(), caller.clone());
    Some(Arc::new(move |row| {
        firing.read_row(row).is_ok_and(|Read { task, .. }| caller.sees(&firing.queue_of(&task), &task.name))
    }))
}

/// The same of a schedule by its name; whoever is not restricted is not looked up.
pub(super) async fn owned(services: &Services, caller: &Caller, name: &Arc<str>) -> Result<(), Problem> {
    if !caller.is_restricted() {
        return Ok(());
    }
    let row = services.tools.store.schedule(Arc::clone(name)).await?.ok_or_else(|| no_such_schedule(name))?;
    owns(services, caller, &row)
}

pub(super) async fn answer(
    services: &Services,
    caller: &Caller,
    mut response: HttpResponseBuilder,
    row: &ScheduleRow,
) -> Result<HttpResponse, Problem> {
    let latest = latest(services, caller, row).await?;
    let read = definition(services, row);
    Ok(response.json(ScheduleJson::new(row, read.as_ref().map(|read| &read.definition), latest.as_ref(), true)))
}

/// The latest task, where this caller may see it: an earlier definition may have been another's.
async fn latest(services: &Services, caller: &Caller, row: &ScheduleRow) -> Result<Option<Task>, Problem> {
    let Some(id) = row.last_task else { return Ok(None) };
    Ok(services.lookup.task(id).await?.filter(|task| caller.sees(&task.queue, &task.name)))
}

/// None: somebody else has written it.
fn definition(services: &Services, row: &ScheduleRow) -> Option<Read> {
    Definition::from_json(&row.definition, services.max_payload).ok()
}

pub(super) fn parse_name(text: &str) -> Result<Arc<str>, Problem> {
    match name::check(text, name::MAX_NAME) {
        Ok(()) => Ok(text.into()),
        Err(fault) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the schedule's name: {fault}"))),
    }
}

pub(super) fn no_such_schedule(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no schedule {name}; PUT /api/schedules/{name} makes it"))
}

pub(super) fn refused(name: &str, error: ScheduleError) -> Problem {
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
        // Nothing is said of its task: the caller has named the schedule alone.
        ScheduleError::Foreign => Problem::new(
            StatusCode::FORBIDDEN,
            "the schedule's task is outside of what this key may use, or cannot be read",
        ),
        ScheduleError::Over => Problem::invalid(vec![Fault::at(
            "/ends_at",
            "is over, or no instant is before it: nothing would ever be due",
        )]),
        ScheduleError::TooMany { most } => Problem::invalid(vec![Fault::at(
            "/to",
            format!("makes a range of more than {most} instants; takes a shorter one, again and again"),
        )]),
    }
}
