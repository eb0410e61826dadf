//! Calls about schedules and their ledger.

use super::listing::{Listing, Source};
use super::query::Query;
use super::queues::pause_body;
use super::{Client, ClientError, PauseRow, Reply};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

const SCHEDULES: Source<'static> = Source { path: "/api/schedules", plural: "schedules", page: 500 };

/// A schedule, as lists show it. `cron` and `every` are both missing where the server cannot read what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ScheduleRow {
    pub name: String,
    pub cron: Option<String>,
    pub every: Option<String>,
    pub timezone: Option<String>,
    pub managed_by: String,
    pub pause: Option<PauseRow>,
    /// None: it has ended.
    pub next_fire_at: Option<String>,
    pub waiting_fire_at: Option<String>,
    pub last_fire_at: Option<String>,
    pub last_outcome: Option<String>,
    pub last_task: Option<LatestTask>,
}

/// The latest task of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LatestTask {
    pub id: String,
    pub status: String,
    pub reason: Option<String>,
    pub last_error: Option<String>,
}

/// A row of a schedule's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FireRow {
    pub fire_at: String,
    pub outcome: String,
    pub task_id: Option<String>,
    pub recorded_at: String,
    /// How many instants it stands for, and the first of several.
    pub instants: u32,
    pub since: Option<String>,
}

impl Client {
    /// Schedules in the order of their names: so many, from the first or from where an earlier list ended.
    ///
    /// # Errors
    /// As every call.
    pub async fn schedules(&self, limit: u32, cursor: Option<String>) -> Result<Listing, ClientError> {
        self.pages(SCHEDULES, &Query::default(), limit, cursor).await
    }

    /// One schedule.
    ///
    /// # Errors
    /// As every call.
    pub async fn schedule(&self, name: &str) -> Result<Reply, ClientError> {
        self.get(&format!("/api/schedules/{name}")).await
    }

    /// Puts a schedule: its definition as JSON, and who manages it. 201 where it is new.
    ///
    /// # Errors
    /// As every call.
    pub async fn put_schedule(&self, name: &str, definition: Bytes) -> Result<Reply, ClientError> {
        self.reply(&self.prepare(Method::PUT, &format!("/api/schedules/{name}"), definition)?).await
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_schedule(&self, name: &str) -> Result<Reply, ClientError> {
        self.reply(&self.prepare(Method::DELETE, &format!("/api/schedules/{name}"), Bytes::new())?).await
    }

    /// Keeps a schedule from firing; gives it. `resume_in` is a duration as the API takes it.
    ///
    /// # Errors
    /// As every call.
    pub async fn pause_schedule(
        &self,
        name: &str,
        reason: Option<&str>,
        resume_in: Option<&str>,
    ) -> Result<Reply, ClientError> {
        self.post(&format!("/api/schedules/{name}/pause"), pause_body(reason, resume_in)).await
    }

    /// Lets a schedule fire again; gives it.
    ///
    /// # Errors
    /// As every call.
    pub async fn resume_schedule(&self, name: &str) -> Result<Reply, ClientError> {
        self.post(&format!("/api/schedules/{name}/resume"), Bytes::new()).await
    }

    /// Submits a schedule's task now; gives the task.
    ///
    /// # Errors
    /// As every call.
    pub async fn run_schedule(&self, name: &str) -> Result<Reply, ClientError> {
        self.post(&format!("/api/schedules/{name}/run"), Bytes::new()).await
    }

    /// Submits tasks for the instants of a range that have none, or says which instants it has. RFC 3339 both.
    ///
    /// # Errors
    /// As every call.
    pub async fn backfill(&self, name: &str, from: &str, to: &str, dry_run: bool) -> Result<Reply, ClientError> {
        let body = json!({"from": from, "to": to, "dry_run": dry_run}).to_string();
        self.post(&format!("/api/schedules/{name}/backfill"), body.into()).await
    }

    /// A schedule's ledger, newest first: so many rows, from the first or from where an earlier list ended.
    ///
    /// # Errors
    /// As every call.
    pub async fn fires(&self, name: &str, limit: u32, cursor: Option<String>) -> Result<Listing, ClientError> {
        let path = format!("/api/schedules/{name}/fires");
        self.pages(Source { path: &path, plural: "fires", page: 500 }, &Query::default(), limit, cursor).await
    }

    /// The next instants of a schedule, as its definition has them.
    ///
    /// # Errors
    /// As every call.
    pub async fn next_fires(&self, name: &str, count: u32) -> Result<Reply, ClientError> {
        let mut query = Query::default();
        query.add("n", count);
        self.get(&query.path(&format!("/api/schedules/{name}/next"))).await
    }
}
