//! Calls about tasks: submit, list, and the verbs, for one task and for all that a filter names.

use super::connection::Prepared;
use super::listing::{Listing, Source};
use super::query::Query;
use super::{Client, ClientError, Events, LogPage, Reply};
use crate::task::TaskId;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TASKS: Source<'static> = Source { path: "/api/tasks", plural: "tasks", page: 500 };

/// Which tasks. Several values of one kind mean any of them; different kinds all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TaskFilter {
    #[serde(rename = "status", skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
    #[serde(rename = "queue", skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    #[serde(rename = "name", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    #[serde(rename = "tag", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// RFC 3339, as the one below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<String>,
    /// Of a group of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// What is done to every task that a filter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Cancel,
    Retry,
}

impl Verb {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }
}

/// One step of a verb over many tasks.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sweep {
    /// None: every task, which `all` says too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<TaskFilter>,
    pub all: bool,
    pub dry_run: bool,
    /// From where an earlier step left off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What a step has done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Swept {
    pub matched: u64,
    pub changed: u64,
    /// Those whose unique key another task holds.
    #[serde(default)]
    pub held: u64,
    #[serde(default = "yes")]
    pub complete: bool,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

const fn yes() -> bool {
    true
}

/// These parts of a task are shown in lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TaskRow {
    pub id: String,
    pub name: String,
    pub queue: String,
    pub status: String,
    pub attempt: u32,
    pub max_attempts: u32,
    pub created_at: String,
    pub run_at: String,
    pub finished_at: Option<String>,
    pub last_error: Option<String>,
    pub progress: Option<f64>,
    pub progress_note: Option<String>,
}

/// A task that moved, as `GET /api/events` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Moved {
    pub id: String,
    pub name: String,
    pub queue: String,
    pub status: String,
    pub attempt: u32,
    pub at: String,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AttemptRow {
    pub attempt: u32,
    pub worker_id: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub outcome: Option<String>,
    pub error: Option<String>,
}

/// `GET /api/tasks/{id}/attempts`.
#[derive(Debug, Deserialize)]
pub struct Attempts {
    pub attempts: Vec<AttemptRow>,
}

impl Client {
    /// Submits a task: its JSON. The answer is the task, also where an earlier submission is the one that counts.
    ///
    /// # Errors
    /// As every call.
    pub async fn submit(&self, task: Bytes, idempotency_key: Option<&str>) -> Result<Reply, ClientError> {
        let mut prepared = self.submission(task)?;
        if let Some(key) = idempotency_key {
            let value = HeaderValue::from_str(key).map_err(|_| {
                ClientError::Broken("an idempotency key goes into a header: printable ASCII".to_owned())
            })?;
            prepared.request.headers_mut().insert(IDEMPOTENCY_KEY, value);
        }
        self.reply(&prepared).await
    }

    /// The tasks that a filter names, newest first: so many, from the first or from where an earlier list ended.
    ///
    /// # Errors
    /// As every call.
    pub async fn list(&self, filter: &TaskFilter, limit: u32, cursor: Option<String>) -> Result<Listing, ClientError> {
        let mut query = Query::default();
        query.any_of("status", &filter.statuses).any_of("queue", &filter.queues).any_of("name", &filter.names);
        query.any_of("tag", &filter.tags).maybe("created_after", filter.created_after.as_deref());
        query.maybe("created_before", filter.created_before.as_deref());
        self.pages(TASKS, &query, limit, cursor).await
    }

    /// One task: the JSON that the server gives.
    ///
    /// # Errors
    /// As every call.
    pub async fn task(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.get(&format!("/api/tasks/{id}")).await
    }

    /// What became of a task's attempts.
    ///
    /// # Errors
    /// As every call.
    pub async fn attempts(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.get(&format!("/api/tasks/{id}/attempts")).await
    }

    /// Why a task does not run, or what became of it.
    ///
    /// # Errors
    /// As every call.
    pub async fn explain(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.get(&format!("/api/tasks/{id}/explain")).await
    }

    /// Stops a task: 202 where it runs and its worker has yet to end it.
    ///
    /// # Errors
    /// As every call.
    pub async fn cancel(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.post(&format!("/api/tasks/{id}/cancel"), Bytes::new()).await
    }

    /// Runs a task again that has failed or was cancelled.
    ///
    /// # Errors
    /// As every call.
    pub async fn retry(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.post(&format!("/api/tasks/{id}/retry"), Bytes::new()).await
    }

    /// Runs a task now that would wait for its time.
    ///
    /// # Errors
    /// As every call.
    pub async fn run_now(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.post(&format!("/api/tasks/{id}/run"), Bytes::new()).await
    }

    /// Removes a task that has ended.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete(&self, id: TaskId) -> Result<Reply, ClientError> {
        self.reply(&self.prepare(Method::DELETE, &format!("/api/tasks/{id}"), Bytes::new())?).await
    }

    /// One step of a verb over all tasks that a filter names.
    ///
    /// # Errors
    /// As every call.
    pub async fn sweep(&self, verb: Verb, sweep: &Sweep) -> Result<Swept, ClientError> {
        let body = serde_json::to_vec(sweep).map_err(|error| ClientError::Broken(error.to_string()))?;
        self.post(&format!("/api/tasks/{}", verb.as_str()), body.into()).await?.read()
    }

    /// A page of a task's log, oldest first; of one attempt alone, or of all.
    ///
    /// # Errors
    /// As every call.
    pub async fn logs(&self, id: TaskId, attempt: Option<u32>, cursor: Option<&str>) -> Result<LogPage, ClientError> {
        let mut query = Query::default();
        if let Some(attempt) = attempt {
            query.add("attempt", attempt);
        }
        query.maybe("cursor", cursor).add("limit", 1000);
        self.get(&query.path(&format!("/api/tasks/{id}/logs"))).await?.read()
    }

    /// A task's events from now on, or from the one with this id on.
    ///
    /// # Errors
    /// As every call.
    pub async fn events(&self, id: TaskId, after: Option<&str>) -> Result<Events, ClientError> {
        let mut prepared = self.prepare(Method::GET, &format!("/api/tasks/{id}/events"), Bytes::new())?;
        if let Some(after) = after {
            let value = HeaderValue::from_str(after)
                .map_err(|_| ClientError::Broken("an event has an id that is none".to_owned()))?;
            prepared.request.headers_mut().insert(LAST_EVENT_ID, value);
        }
        self.stream(prepared).await
    }

    /// The moves of all tasks from now on, of these queues, types and statuses.
    ///
    /// # Errors
    /// As every call.
    pub async fn moves(&self, filter: &TaskFilter) -> Result<Events, ClientError> {
        let mut query = Query::default();
        query.any_of("status", &filter.statuses).any_of("queue", &filter.queues).any_of("name", &filter.names);
        self.stream(self.prepare(Method::GET, &query.path("/api/events"), Bytes::new())?).await
    }

    async fn stream(&self, mut prepared: Prepared) -> Result<Events, ClientError> {
        prepared.request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        Events::open(self.url.clone(), self.connect().await?, &prepared).await
    }
}
