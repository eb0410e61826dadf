//! Calls about queues.

use super::{Client, ClientError, Reply};
use bytes::Bytes;
use serde::Deserialize;

/// A queue, as lists show it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct QueueRow {
    pub name: String,
    pub pause: Option<PauseRow>,
    /// None: they could not be counted in time.
    pub depths: Option<Depths>,
    pub oldest_age: Option<String>,
    /// None: nobody has measured them within the last seconds.
    pub rates: Option<Rates>,
    /// Whether a live worker serves it; None: that cannot be told.
    pub served: Option<bool>,
    pub dispatcher: Option<String>,
    pub created_at: String,
}

/// Why and since when nothing of a queue is started.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PauseRow {
    pub since: String,
    pub reason: Option<String>,
    pub by: Option<String>,
    pub resume_at: Option<String>,
}

/// Tasks a second.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Rates {
    /// Those that worker processes start.
    pub started: f64,
}

/// Tasks that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Depths {
    pub scheduled: u64,
    pub queued: u64,
    pub running: u64,
}

/// `GET /api/queues`.
#[derive(Debug, Deserialize)]
pub struct Queues {
    pub queues: Vec<QueueRow>,
}

/// What a pause is asked for with, of a queue or of a schedule. What is not given is not said.
pub(super) fn pause_body(reason: Option<&str>, resume_in: Option<&str>) -> Bytes {
    let asked = [("reason", reason), ("resume_in", resume_in)];
    let given = asked.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into())));
    serde_json::Value::Object(given.collect()).to_string().into()
}

impl Client {
    /// Every queue.
    ///
    /// # Errors
    /// As every call.
    pub async fn queues(&self) -> Result<Reply, ClientError> {
        self.get("/api/queues").await
    }

    /// One queue.
    ///
    /// # Errors
    /// As every call.
    pub async fn queue(&self, queue: &str) -> Result<Reply, ClientError> {
        self.get(&format!("/api/queues/{queue}")).await
    }

    /// Keeps a queue's tasks from being started; gives it. `resume_in` is a duration as the API takes it.
    ///
    /// # Errors
    /// As every call.
    pub async fn pause(
        &self,
        queue: &str,
        reason: Option<&str>,
        resume_in: Option<&str>,
    ) -> Result<Reply, ClientError> {
        self.post(&format!("/api/queues/{queue}/pause"), pause_body(reason, resume_in)).await
    }

    /// Lets a queue's tasks start again; gives it.
    ///
    /// # Errors
    /// As every call.
    pub async fn resume(&self, queue: &str) -> Result<Reply, ClientError> {
        self.post(&format!("/api/queues/{queue}/resume"), Bytes::new()).await
    }
}
