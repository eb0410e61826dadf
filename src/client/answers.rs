//! The parts of answers that clients read. Unknown fields are passed over: a newer server has more.

use super::error::ClientError;
use crate::task::{Status, TaskId, Timestamp};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A task that was accepted. Of its thirty fields these are read, and borrowed: this is done for
/// every answer of a benchmark.
#[derive(Debug, Deserialize)]
pub struct Accepted<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// What the server warns of, such as that nobody serves the queue.
    #[serde(borrow, default)]
    pub warnings: Vec<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct AcceptedBulk<'a> {
    #[serde(borrow)]
    tasks: Vec<Accepted<'a>>,
}

impl<'a> Accepted<'a> {
    /// The answer to a submission of one task.
    ///
    /// # Errors
    /// `Broken` where it is no task.
    pub fn read(body: &'a [u8]) -> Result<Self, ClientError> {
        serde_json::from_slice(body).map_err(|error| broken(&error))
    }

    /// The answer to a submission of several, in their order.
    ///
    /// # Errors
    /// `Broken` where it is no list of tasks.
    pub fn read_bulk(body: &'a [u8]) -> Result<Vec<Self>, ClientError> {
        let AcceptedBulk { tasks } = serde_json::from_slice(body).map_err(|error| broken(&error))?;
        Ok(tasks)
    }

    /// # Errors
    /// `Broken` where it is none.
    pub fn id(&self) -> Result<TaskId, ClientError> {
        task_id(&self.id)
    }
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    pub id: TaskId,
    pub status: Status,
    /// This and the two below are the database's clock.
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub last_error: Option<String>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    #[serde(borrow)]
    started_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finished_at: Option<Cow<'a, str>>,
    last_error: Option<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tasks: Vec<Row<'a>>,
}

/// A page of tasks.
pub(super) fn page(body: &[u8]) -> Result<Vec<TaskView>, ClientError> {
    let Page { tasks } = serde_json::from_slice(body).map_err(|error| broken(&error))?;
    tasks.into_iter().map(view).collect()
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct LogLine {
    pub attempt: u32,
    /// RFC 3339.
    pub at: String,
    pub line: String,
}

/// A page of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogPage {
    pub logs: Vec<LogLine>,
    /// None: there is no more.
    pub next_cursor: Option<String>,
}

fn view(row: Row<'_>) -> Result<TaskView, ClientError> {
    let Row { id, status, created_at, started_at, finished_at, last_error } = row;
    let status = Status::parse(&status)
        .ok_or_else(|| ClientError::Broken(format!("the answer has an unknown task status: {status:?}")))?;
    Ok(TaskView {
        id: task_id(&id)?,
        status,
        created_at: time(&created_at)?,
        started_at: started_at.as_deref().map(time).transpose()?,
        finished_at: finished_at.as_deref().map(time).transpose()?,
        last_error,
    })
}

fn time(text: &str) -> Result<Timestamp, ClientError> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|error| ClientError::Broken(format!("the answer has a time that is none: {text:?}: {error}")))
}

fn task_id(text: &str) -> Result<TaskId, ClientError> {
    text.parse().map_err(|fault| ClientError::Broken(format!("the answer has a task id that is none: {fault}")))
}

pub(super) fn broken(error: &serde_json::Error) -> ClientError {
    ClientError::Broken(format!("the answer is not one of Task Runner X: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

    #[test]
    fn answers_are_read_whatever_else_they_have() {
        let one = format!(r#"{{"id":"{ID}","name":"noop","payload":{{"id":"x"}},"warnings":["a \"b\"","c"]}}"#);
        let accepted = Accepted::read(one.as_bytes()).unwrap();
        assert_eq!(accepted.id().unwrap().to_string(), ID);
        assert_eq!(accepted.warnings, ["a \"b\"", "c"]);
        let bulk = format!(r#"{{"tasks":[{{"id":"{ID}"}},{{"id":"{ID}"}}]}}"#);
        assert_eq!(Accepted::read_bulk(bulk.as_bytes()).unwrap().len(), 2);
        let rows = format!(
            r#"{{"tasks":[{{"id":"{ID}","status":"completed","created_at":"2026-01-31T12:00:00.000001Z",
            "started_at":"2026-01-31T12:00:00.5Z","finished_at":null,"last_error":null,"new":1}}],"next_cursor":null}}"#
        );
        let rows = page(rows.as_bytes()).unwrap();
        assert_eq!((rows[0].status, rows[0].created_at.timestamp_subsec_micros()), (Status::Completed, 1));
        assert!(rows[0].started_at.is_some() && rows[0].finished_at.is_none());
    }

    #[test]
    fn what_is_no_answer_of_ours_is_broken() {
        assert!(matches!(Accepted::read(b"<html>"), Err(ClientError::Broken(_))));
        assert!(matches!(Accepted::read(br#"{"id":"7"}"#).and_then(|a| a.id()), Err(ClientError::Broken(_))));
        assert!(matches!(page(b"{}"), Err(ClientError::Broken(_))));
    }
}
