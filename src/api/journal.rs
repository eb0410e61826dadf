//! `GET /api/tasks/{id}/attempts` and `GET /api/tasks/{id}/logs`: what became of a task's attempts, and what they said.

use super::State;
use super::caller::Caller;
use super::openapi::{LogFilter, TaskPath};
use super::parameters::{self, Pairs, count, cursor, cut, unknown};
use super::problem::Problem;
use super::task_json::{Id, Time};
use super::tasks::{no_such_task, parse_id, visible};
use crate::store::tasks::{LogLine, LogPlace, PastAttempt};
use crate::task::fields::got;
use crate::task::{Outcome, Status, Task, name};
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

pub(super) const DEFAULT_LIMIT: u32 = 200;
pub(super) const MAX_LIMIT: u32 = 1000;
/// Tells a cursor from other text.
const CURSOR_PREFIX: &str = "l1.";
/// What a cursor looks like: the prefix, an attempt, the line's number.
pub(super) const CURSOR: &str = r"^l1\.[0-9]{1,9}\.[0-9]{1,18}$";
const KNOWN: &str = "attempt, limit, cursor";

/// A task's attempts, oldest first.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Attempts)]
pub(super) struct AttemptsJson {
    attempts: Vec<AttemptJson>,
}

/// One attempt.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Attempt)]
struct AttemptJson {
    attempt: u32,
    worker_id: Option<Id>,
    started_at: Option<Time>,
    /// Null: it runs.
    finished_at: Option<Time>,
    /// Null: it runs.
    outcome: Option<String>,
    error: Option<String>,
}

impl From<PastAttempt> for AttemptJson {
    fn from(ended: PastAttempt) -> Self {
        let PastAttempt { attempt, worker_id, started_at, finished_at, outcome, error } = ended;
        Self {
            attempt,
            worker_id: worker_id.map(|id| Id(id.0)),
            started_at: started_at.map(Time),
            finished_at: Some(Time(finished_at)),
            outcome: Some(outcome),
            error,
        }
    }
}

/// The attempt that the row itself tells of: the one that runs, or that ended the task. Waiting for its next one,
/// a task has all of them behind it.
fn latest(task: &Task) -> Option<AttemptJson> {
    let (outcome, error) = match task.status {
        Status::Scheduled | Status::Queued => return None,
        Status::Running => (None, None),
        Status::Completed => (Some(Outcome::Success(None).as_str()), None),
        Status::Failed | Status::Cancelled => {
            (Some(task.reason.map_or(task.status.as_str(), |reason| reason.as_str())), task.last_error.clone())
        }
    };
    (task.attempt > 0).then(|| AttemptJson {
        attempt: task.attempt,
        worker_id: task.worker_id.map(|id| Id(id.0)),
        started_at: task.started_at.map(Time),
        finished_at: task.finished_at.filter(|_| task.status != Status::Running).map(Time),
        outcome: outcome.map(str::to_owned),
        error,
    })
}

/// A task's attempts, oldest first.
#[utoipa::path(
    get, path = "/api/tasks/{id}/attempts", tag = "Tasks", operation_id = "listAttempts",
    summary = "List a task's attempts",
    params(TaskPath),
    responses((status = 200, description = "Its attempts, oldest first, with the one that runs.", body = AttemptsJson))
)]
pub(super) async fn attempts(
    state: Data<State>,
    caller: Caller,
    id: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    parameters::none(&query)?;
    // The row first: an attempt that ends meanwhile is then in the history, and one that begins is not missed.
    let task = visible(services, &caller, id).await?;
    let mut attempts: Vec<AttemptJson> =
        services.tools.store.history(id).await?.into_iter().map(AttemptJson::from).collect();
    if let Some(latest) = latest(&task)
        && attempts.last().is_none_or(|last| last.attempt < latest.attempt)
    {
        attempts.push(latest);
    }
    Ok(HttpResponse::Ok().json(AttemptsJson { attempts }))
}

/// A page of a task's log, oldest first.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = LogPage)]
pub(super) struct LogsJson<'a> {
    logs: Vec<LogJson<'a>>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// A line of a task's log.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = LogLine)]
pub(super) struct LogJson<'a> {
    attempt: u32,
    at: Time,
    line: &'a str,
}

impl<'a> LogJson<'a> {
    pub(super) fn new(line: &'a LogLine) -> Self {
        Self { attempt: line.place.attempt, at: Time(line.at), line: &line.line }
    }
}

/// A page of a task's log, oldest first.
#[utoipa::path(
    get, path = "/api/tasks/{id}/logs", tag = "Tasks", operation_id = "listLogs",
    summary = "Read a task's log",
    params(TaskPath, LogFilter),
    responses((status = 200, description = "A page of the log, oldest first.", body = LogsJson))
)]
pub(super) async fn logs(
    state: Data<State>,
    caller: Caller,
    id: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    let Asked { attempt, limit, after } = Asked::read(&query)?;
    if caller.is_restricted() {
        visible(services, &caller, id).await?;
    } else if services.follow.pulse(id).await?.is_none() {
        return Err(no_such_task(id));
    }
    let mut lines = services.tools.store.lines(id, attempt, after, limit + 1).await?;
    let more = cut(&mut lines, limit);
    let next_cursor = lines.last().filter(|_| more).map(|last| cursor_of(last.place));
    Ok(HttpResponse::Ok().json(LogsJson { logs: lines.iter().map(LogJson::new).collect(), next_cursor }))
}

#[derive(Debug, PartialEq)]
struct Asked {
    attempt: Option<u32>,
    limit: u32,
    after: LogPlace,
}

impl Asked {
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self { attempt: None, limit: DEFAULT_LIMIT, after: LogPlace::default() };
        parameters::read(pairs, |key, value| asked.take(key, value))?;
        Ok(asked)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "attempt" => {
                let attempt = value.parse().ok().filter(|attempt| *attempt > 0);
                self.attempt =
                    Some(attempt.ok_or_else(|| got(&name::quoted(value), "the number of an attempt, from 1"))?);
            }
            "limit" => self.limit = count(value, MAX_LIMIT)?,
            "cursor" => self.after = cursor(value, place)?,
            _ => unknown(KNOWN)?,
        }
        Ok(())
    }
}

/// A place in a log as text, for cursors and the ids of events.
pub(super) fn cursor_of(place: LogPlace) -> String {
    format!("{CURSOR_PREFIX}{}.{}", place.attempt, place.seq)
}

/// The place that a cursor names.
pub(super) fn place(text: &str) -> Option<LogPlace> {
    let (attempt, seq) = text.strip_prefix(CURSOR_PREFIX)?.split_once('.')?;
    Some(LogPlace { attempt: attempt.parse().ok()?, seq: seq.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_cursor_reads_back() {
        let after = LogPlace { attempt: 3, seq: 1_764_000_000_000_000 };
        let asked = Asked::read(&pairs(&[("cursor", &cursor_of(after)), ("limit", "7"), ("attempt", "3")])).unwrap();
        assert_eq!(asked, Asked { attempt: Some(3), limit: 7, after });
    }

    #[test]
    fn every_wrong_parameter_is_reported() {
        let wrong = pairs(&[
            ("attempt", "0"),
            ("attempt", "x"),
            ("limit", "0"),
            ("limit", "1001"),
            ("cursor", "l1.1"),
            ("cursor", "b1.1.1"),
            ("colour", "red"),
        ]);
        let problem = Asked::read(&wrong).unwrap_err();
        assert!(problem.to_string().contains("7 faults"), "{problem}");
    }
}
