//! `GET /api/failures`: failed tasks by the kind of their failure.

use super::caller::Caller;
use super::openapi::FailureFilter;
use super::parameters::{self, Pairs, count, cursor, named, several, unknown};
use super::problem::Problem;
use super::task_json::{Id, Time};
use super::{Services, State};
use crate::store::tasks::{FailureGroup, GroupFilter, GroupPlace, MAX_COUNT};
use crate::task::{Fingerprint, fingerprint, name, submission};
use actix_web::HttpResponse;
use actix_web::web::Data;

pub(super) const DEFAULT_LIMIT: usize = 50;
pub(super) const MAX_LIMIT: usize = 200;
/// Values of one parameter: those of queues are looked up for each group.
pub(super) const MAX_QUEUES: usize = 64;
/// Tells a cursor from other text.
const CURSOR_PREFIX: &str = "f1.";
/// What a cursor looks like: the prefix, a time, a fingerprint.
pub(super) const CURSOR: &str = r"^f1\.[0-9]{1,15}\.[0-9a-f]{16}$";
const KNOWN: &str = "queue, name, limit, cursor";

/// A page of the kinds of failures, newest kinds first.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Failures)]
pub(super) struct FailuresJson {
    failures: Vec<FailureJson>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// Failed tasks of one type whose errors differ in numbers and the like alone.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Failure)]
struct FailureJson {
    /// What they have in common; `POST /api/tasks/retry` takes it.
    fingerprint: String,
    /// Their task type.
    name: String,
    /// The error of one of them.
    message: String,
    count: u64,
    /// There may be more of them than `count` says.
    count_capped: bool,
    first_seen: Time,
    last_seen: Time,
    /// Some of them, the newest first.
    task_ids: Vec<Id>,
}

impl From<FailureGroup> for FailureJson {
    fn from(group: FailureGroup) -> Self {
        let FailureGroup { fingerprint, name, message, count, first_seen, last_seen, task_ids } = group;
        Self {
            fingerprint: fingerprint.to_string(),
            name,
            message,
            count,
            count_capped: count >= MAX_COUNT,
            first_seen: Time(first_seen),
            last_seen: Time(last_seen),
            task_ids: task_ids.into_iter().map(|id| Id(id.0)).collect(),
        }
    }
}

/// A page of the kinds of failures, newest kinds first.
#[utoipa::path(
    get, path = "/api/failures", tag = "Tasks", operation_id = "listFailures",
    summary = "List failures by their kind",
    description = "Failed tasks, grouped by their type and their error; the kind that was first seen last comes first.",
    params(FailureFilter),
    responses((status = 200, description = "A page of kinds of failures.", body = FailuresJson))
)]
pub(super) async fn list(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let Asked { mut filter, limit, from } = Asked::read(&query)?;
    if !caller.narrow_to(&mut filter.queues, &mut filter.names) {
        return Ok(HttpResponse::Ok().json(FailuresJson { failures: Vec::new(), next_cursor: None }));
    }
    let (mut groups, next) = services.tools.store.failure_groups(filter, from, limit).await?;
    if caller.is_restricted() {
        say_own_errors(services, &mut groups).await?;
    }
    let failures = groups.into_iter().map(FailureJson::from).collect();
    Ok(HttpResponse::Ok().json(FailuresJson { failures, next_cursor: next.map(cursor_of) }))
}

/// A kind's message is of its first task, which may be in a queue that is not there for the caller: one of those that
/// are says its own.
async fn say_own_errors(services: &Services, groups: &mut [FailureGroup]) -> Result<(), Problem> {
    for group in groups {
        let Some(newest) = group.task_ids.first() else { continue };
        let error = services.lookup.task(*newest).await?.and_then(|task| task.last_error);
        group.message = fingerprint::sample(error.as_deref().unwrap_or_default());
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Asked {
    filter: GroupFilter,
    limit: usize,
    from: Option<GroupPlace>,
}

impl Asked {
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self { filter: GroupFilter::default(), limit: DEFAULT_LIMIT, from: None };
        parameters::read(pairs, |key, value| asked.take(key, value))?;
        Ok(asked)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "queue" => {
                several(&mut self.filter.queues, value, |word| named(word, name::MAX_QUEUE))?;
                if self.filter.queues.len() > MAX_QUEUES {
                    return Err(format!("has more than {MAX_QUEUES} values"));
                }
            }
            "name" => several(&mut self.filter.names, value, |word| named(word, name::MAX_NAME))?,
            "limit" => self.limit = count(value, MAX_LIMIT)?,
            "cursor" => self.from = Some(cursor(value, place)?),
            _ => unknown(KNOWN)?,
        }
        Ok(())
    }
}

fn cursor_of(GroupPlace { first_seen, fingerprint }: GroupPlace) -> String {
    format!("{CURSOR_PREFIX}{}.{fingerprint}", first_seen.timestamp_micros())
}

fn place(text: &str) -> Option<GroupPlace> {
    let (micros, fingerprint) = text.strip_prefix(CURSOR_PREFIX)?.split_once('.')?;
    // Within what the database can compare with.
    let first_seen = submission::instant_of_micros(micros.parse().ok()?)?;
    Some(GroupPlace { first_seen, fingerprint: fingerprint.parse::<Fingerprint>().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Timestamp;

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_cursor_reads_back() {
        let first_seen = Timestamp::from_timestamp_micros(1_764_000_000_123_456).unwrap();
        let from = GroupPlace { first_seen, fingerprint: Fingerprint(7) };
        let asked =
            Asked::read(&pairs(&[("cursor", &cursor_of(from)), ("limit", "7"), ("queue", "a,b"), ("name", "c")]));
        let filter = GroupFilter { queues: vec!["a".into(), "b".into()], names: vec!["c".into()] };
        assert_eq!(asked.unwrap(), Asked { filter, limit: 7, from: Some(from) });
    }

    #[test]
    fn every_wrong_parameter_is_reported() {
        let wrong = pairs(&[
            ("queue", "a b"),
            ("name", ""),
            ("limit", "0"),
            ("limit", "201"),
            ("cursor", "f1.1"),
            ("cursor", "f1.-1.00c0ffee00c0ffee"),
            ("cursor", "f1.9999999999999999999.00c0ffee00c0ffee"),
            ("status", "failed"),
        ]);
        let problem = Asked::read(&wrong).unwrap_err();
        assert!(problem.to_string().contains("8 faults"), "{problem}");
    }
}
