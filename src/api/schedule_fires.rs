//! The instants of a schedule: those that have come with what became of them, and those to come.

use super::State;
use super::caller::Caller;
use super::openapi::{FireFilter, NextFilter, SchedulePath};
use super::parameters::{self, Pairs, count, cursor, cut, unknown};
use super::problem::Problem;
use super::schedule_json::FireJson;
use super::schedules::{DEFAULT_LIMIT, MAX_LIMIT, no_such_schedule, parse_name, refused, visible};
use super::task_json::Time;
use crate::task::{Timestamp, submission};
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
    parameters::read(&query, |key, value| match key {
        "limit" => count(value, MAX_LIMIT).map(|read| limit = read),
        "cursor" => cursor(value, place).map(|at| before = Some(at)),
        _ => unknown("limit, cursor"),
    })?;
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
    let mut wanted = DEFAULT_NEXT;
    parameters::read(&query, |key, value| match key {
        "n" => count(value, MAX_NEXT).map(|read| wanted = read),
        _ => unknown("n"),
    })?;
    let row = services.tools.store.schedule(Arc::clone(&name)).await?;
    let row = row.filter(|row| visible(services, &caller, row)).ok_or_else(|| no_such_schedule(&name))?;
    let read = services.firing.read_row(&row).map_err(|error| refused(&name, error))?;
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let left = read
        .definition
        .max_fires
        .map_or(wanted, |max| usize::try_from(max.saturating_sub(row.fires)).unwrap_or(usize::MAX).min(wanted));
    let instants = std::iter::successors(row.next_fire_at, |at| read.definition.next_after(*at));
    Ok(HttpResponse::Ok().json(NextJson { next: instants.take(left).map(Time).collect() }))
}

/// The instant that a cursor names, within what the database can compare with.
fn place(text: &str) -> Option<Timestamp> {
    submission::instant_of_micros(text.strip_prefix(PREFIX)?.parse().ok()?)
}
