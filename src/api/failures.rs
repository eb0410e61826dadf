//! `GET /api/failures`: failed tasks by the kind of their failure.

use super::State;
use super::journal::faults;
use super::listing::{named, several};
use super::problem::Problem;
use super::task_json::{Id, Time};
use crate::store::tasks::{FailureGroup, GroupFilter, GroupPlace, MAX_COUNT};
use crate::task::{Fingerprint, Timestamp, name};
use actix_web::HttpResponse;
use actix_web::web::{Data, Query};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
/// Values of one parameter: those of queues are looked up for each group.
const MAX_QUEUES: usize = 64;
/// Tells a cursor from other text.
const CURSOR_PREFIX: &str = "f1.";
const KNOWN: &str = "queue, name, limit, cursor";

#[derive(serde::Serialize)]
struct FailuresJson {
    failures: Vec<FailureJson>,
    next_cursor: Option<String>,
}

#[derive(serde::Serialize)]
struct FailureJson {
    fingerprint: String,
    name: String,
    message: String,
    count: u64,
    /// There may be more of them than `count` says.
    count_capped: bool,
    first_seen: Time,
    last_seen: Time,
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
pub(super) async fn list(state: Data<State>, query: Query<Vec<(String, String)>>) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let Asked { filter, limit, from } = Asked::read(&query)?;
    let (groups, next) = services.tools.store.failure_groups(filter, from, limit).await?;
    let failures = groups.into_iter().map(FailureJson::from).collect();
    Ok(HttpResponse::Ok().json(FailuresJson { failures, next_cursor: next.map(cursor) }))
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
        let faults = faults(pairs, |key, value| asked.take(key, value));
        if faults.is_empty() { Ok(asked) } else { Err(Problem::invalid(faults)) }
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let got = |takes: &str| format!("got {}, takes {takes}", name::quoted(value));
        match key {
            "queue" => {
                several(&mut self.filter.queues, value, |word| named(word, name::MAX_QUEUE))?;
                if self.filter.queues.len() > MAX_QUEUES {
                    return Err(format!("has more than {MAX_QUEUES} values"));
                }
            }
            "name" => several(&mut self.filter.names, value, |word| named(word, name::MAX_NAME))?,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = limit.ok_or_else(|| got(&format!("a whole number from 1 to {MAX_LIMIT}")))?;
            }
            "cursor" => {
                let takes = "the next_cursor of an earlier page, as it was given";
                self.from = Some(place(value).ok_or_else(|| got(takes))?);
            }
            _ => return Err(format!("is not a known parameter (known: {KNOWN})")),
        }
        Ok(())
    }
}

fn cursor(GroupPlace { first_seen, fingerprint }: GroupPlace) -> String {
    format!("{CURSOR_PREFIX}{}.{fingerprint}", first_seen.timestamp_micros())
}

fn place(text: &str) -> Option<GroupPlace> {
    let (micros, fingerprint) = text.strip_prefix(CURSOR_PREFIX)?.split_once('.')?;
    // Within what the database can compare with.
    let micros = micros.parse().ok().filter(|micros| (0..8_835_000_000_000_000).contains(micros))?;
    let first_seen = Timestamp::from_timestamp_micros(micros)?;
    Some(GroupPlace { first_seen, fingerprint: fingerprint.parse::<Fingerprint>().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_cursor_reads_back() {
        let first_seen = Timestamp::from_timestamp_micros(1_764_000_000_123_456).unwrap();
        let from = GroupPlace { first_seen, fingerprint: Fingerprint(7) };
        let asked = Asked::read(&pairs(&[("cursor", &cursor(from)), ("limit", "7"), ("queue", "a,b"), ("name", "c")]));
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
