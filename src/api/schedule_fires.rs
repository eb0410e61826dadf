//! The instants of a schedule: those that have come with what became of them, and those to come.

use super::State;
use super::caller::Caller;
use super::journal::faults;
use super::openapi::{FireFilter, NextFilter, SchedulePath};
use super::problem::Problem;
use super::schedule_json::FireJson;
use super::schedules::{DEFAULT_LIMIT, MAX_LIMIT, Pairs, no_such_schedule, parse_name, read_count, refused, visible};
use super::task_json::Time;
use crate::task::fields::got;
use crate::task::{Timestamp, name};
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use std::sync::Arc;

pub(super) const DEFAULT_NEXT: u32 = 5;
pub(super) const MAX_NEXT: u32 = 1000;
/// What a ledger's cursors look like.
pub(super) const CURSOR: &str = r"^t1\.[0-9]{1,15}$";
/// Tells them from other text.
const PREFIX: &str = "t1.";

/// A page of a ledger.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Fires)]
pub(super) struct FiresJson<'a> {
    fires: Vec<FireJson<'a>>,
    next_cursor: Option<String>,
}

/// Instants to come.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = NextFires)]
pub(super) struct NextJson {
    next: Vec<Time>,
}

/// A page of a schedule's ledger, newest first. It outlives its schedule.
#[utoipa::path(
    get, path = "/api/schedules/{name}/fires", tag = "Schedules", operation_id = "listFires",
    summary = "What became of each instant",
    description = "The ledger: every instant that has come, with its outcome and its task. It outlives the schedule.",
    params(SchedulePath, FireFilter),
    responses((status = 200, description = "A page of the ledger, newest first.", body = FiresJson))
)]
pub(super) async fn fires(
    state: Data<State>,
    caller: Caller,
    path: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let name = parse_name(&path)?;
    let (mut limit, mut before) = (DEFAULT_LIMIT, None);
    let found = faults(&query, |key, value| match key {
        "limit" => read_count(value, MAX_LIMIT).map(|read| limit = read),
        "cursor" => {
            let micros = value.strip_prefix(PREFIX).and_then(|micros| micros.parse().ok());
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
    if rows.is_empty() || caller.is_restricted() {
        let row = store.schedule(Arc::clone(&name)).await?;
        // Whose the ledger of one that is gone was, nobody knows.
        row.filter(|row| visible(services, &caller, row)).ok_or_else(|| no_such_schedule(&name))?;
    }
    let more = cut(&mut rows, limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| format!("{PREFIX}{}", last.fire_at.timestamp_micros()));
    let fires = rows.iter().map(|row| FireJson::new(&name, row)).collect();
    Ok(HttpResponse::Ok().json(FiresJson { fires, next_cursor }))
}

/// The next instants of a schedule, as its definition has them: a pause is not looked at.
#[utoipa::path(
    get, path = "/api/schedules/{name}/next", tag = "Schedules", operation_id = "nextFires",
    summary = "The next instants",
    description = "As the definition has them: a pause is not looked at.",
    params(SchedulePath, NextFilter),
    responses(
        (status = 200, description = "The instants, the first one first; fewer where it ends.", body = NextJson),
        (status = 409, description = "Its definition cannot be read by this version."),
    )
)]
pub(super) async fn next(
    state: Data<State>,
    caller: Caller,
    path: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
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
    let row = services.tools.store.schedule(Arc::clone(&name)).await?;
    let row = row.filter(|row| visible(services, &caller, row)).ok_or_else(|| no_such_schedule(&name))?;
    let read = services.firing.read_row(&row).map_err(|error| refused(&name, error))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let left = read
        .definition
        .max_fires
        .map_or(count, |max| usize::try_from(max.saturating_sub(row.fires)).unwrap_or(usize::MAX).min(count));
    let instants = std::iter::successors(row.next_fire_at, |at| read.definition.next_after(*at));
    Ok(HttpResponse::Ok().json(NextJson { next: instants.take(left).map(Time).collect() }))
}

/// Cuts what was read to see whether there is more; says whether there is.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}
