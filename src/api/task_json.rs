//! A task as JSON: the one shape in which every answer gives it.

use crate::task::{Task, Timestamp, duration};
use chrono::SecondsFormat;
use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

/// A task with its warnings, borrowed for the answer.
#[derive(serde::Serialize)]
pub(super) struct TaskJson<'a> {
    id: String,
    name: &'a str,
    queue: &'a str,
    priority: u8,
    status: &'static str,
    reason: Option<&'static str>,
    payload: Raw<'a>,
    attempt: u32,
    max_attempts: u32,
    timeout: String,
    backoff: Box<RawValue>,
    run_at: String,
    expires_at: Option<String>,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    worker_id: Option<String>,
    result: Option<Raw<'a>>,
    last_error: Option<&'a str>,
    tags: &'a [String],
    metadata: Option<Raw<'a>>,
    schedule: Option<&'a str>,
    cancel_requested_at: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// JSON text that goes out byte for byte.
struct Raw<'a>(&'a str);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Checked: a row that something else wrote must not break the answer around it.
        let raw: &RawValue = serde_json::from_str(self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'a> TaskJson<'a> {
    pub(super) fn new(task: &'a Task, warnings: Vec<String>) -> Self {
        // Destructured, so that a new field cannot be forgotten here. Two are the program's own.
        let Task {
            id,
            name,
            queue,
            priority,
            status,
            reason,
            payload,
            attempt,
            forgiven: _,
            max_attempts,
            timeout,
            backoff,
            run_at,
            expires_at,
            dispatched_at: _,
            worker_id,
            cancel_requested_at,
            created_at,
            started_at,
            finished_at,
            schedule,
            tags,
            metadata,
            result,
            last_error,
        } = task;
        Self {
            id: id.to_string(),
            name,
            queue,
            priority: *priority,
            status: status.as_str(),
            reason: reason.map(|reason| reason.as_str()),
            payload: Raw(payload),
            attempt: *attempt,
            max_attempts: *max_attempts,
            timeout: duration::format(*timeout),
            backoff: RawValue::from_string(backoff.to_json()).unwrap_or_default(),
            run_at: time(*run_at),
            expires_at: expires_at.map(time),
            created_at: time(*created_at),
            started_at: started_at.map(time),
            finished_at: finished_at.map(time),
            worker_id: worker_id.map(|id| id.to_string()),
            result: result.as_deref().map(Raw),
            last_error: last_error.as_deref(),
            tags,
            metadata: metadata.as_deref().map(Raw),
            schedule: schedule.as_deref(),
            cancel_requested_at: cancel_requested_at.map(time),
            warnings,
        }
    }
}

/// RFC 3339 in UTC, with the microseconds that the row has.
pub(super) fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
