//! Calls about the whole: who works, what failed, what can be submitted, how the server is.

use super::listing::{Listing, Source};
use super::query::Query;
use super::{Client, ClientError, Reply};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;

const WORKERS: Source = Source { path: "/api/workers", plural: "workers", page: 1000 };
const FAILURES: Source = Source { path: "/api/failures", plural: "failures", page: 200 };

/// A worker, as lists show it. Fields that a server does not give are left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkerRow {
    pub id: String,
    pub host: Option<String>,
    pub pid: Option<u64>,
    pub kind: Option<String>,
    #[serde(default)]
    pub queues: Vec<String>,
    pub slots: Option<u64>,
    pub running: Option<u64>,
    pub status: String,
    pub started_at: Option<String>,
    pub lease_until: Option<String>,
}

/// Failed tasks whose errors are alike.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailureRow {
    pub fingerprint: String,
    pub name: String,
    pub message: Option<String>,
    pub count: u64,
    /// There may be more than that.
    #[serde(default)]
    pub count_capped: bool,
    pub first_seen: Option<String>,
    pub last_seen: Option<String>,
}

/// A task type with what a submission that says little gets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskTypeRow {
    pub name: String,
    pub executor: String,
    pub queue: String,
    pub priority: u32,
    pub timeout: String,
    pub max_attempts: u32,
    pub concurrency: Option<u32>,
}

/// `GET /api/task-types`.
#[derive(Debug, Deserialize)]
pub struct TaskTypes {
    pub task_types: Vec<TaskTypeRow>,
}

/// `GET /health`.
#[derive(Debug, Deserialize)]
pub struct HealthReport {
    pub status: String,
    pub version: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub parts: BTreeMap<String, HealthPart>,
}

/// The process itself, or a server that it stands on.
#[derive(Debug, Deserialize)]
pub struct HealthPart {
    pub status: String,
    pub detail: Option<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Client {
    /// Who works, and who has.
    ///
    /// # Errors
    /// As every call.
    pub async fn workers(&self) -> Result<Listing, ClientError> {
        self.pages(WORKERS, &Query::default(), u32::MAX, None).await
    }

    /// Failed tasks in groups, of these queues and types: at most so many.
    ///
    /// # Errors
    /// As every call.
    pub async fn failures(&self, queues: &[String], names: &[String], limit: u32) -> Result<Listing, ClientError> {
        let mut query = Query::default();
        query.any_of("queue", queues).any_of("name", names);
        self.pages(FAILURES, &query, limit, None).await
    }

    /// Totals.
    ///
    /// # Errors
    /// As every call.
    pub async fn stats(&self) -> Result<Reply, ClientError> {
        self.get("/api/stats").await
    }

    /// What can be submitted.
    ///
    /// # Errors
    /// As every call.
    pub async fn task_types(&self) -> Result<Reply, ClientError> {
        self.get("/api/task-types").await
    }

    /// The server's specification of itself.
    ///
    /// # Errors
    /// As every call.
    pub async fn openapi(&self) -> Result<Reply, ClientError> {
        self.get("/api/openapi.json").await
    }

    /// How the server and its parts are, also where it is down.
    ///
    /// # Errors
    /// As every call.
    pub async fn health(&self) -> Result<Reply, ClientError> {
        let answer = self.call(&self.prepare(Method::GET, "/health", Bytes::new())?).await?;
        // A server that is down has a report too; what else says no is none of ours.
        if answer.status == StatusCode::SERVICE_UNAVAILABLE { Ok(Reply::any(answer)) } else { Reply::accepted(answer) }
    }

    /// Whether submissions would be accepted.
    ///
    /// # Errors
    /// `Refused` where they would not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.get("/readyz").await?;
        Ok(())
    }
}
