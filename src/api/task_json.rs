//! A task as JSON: the one shape in which every answer gives it.

use super::openapi::{ReasonWord, Span, StatusWord};
use crate::task::{Backoff, Task, Timestamp, duration};
use chrono::{Datelike, Timelike};
use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;
use std::sync::LazyLock;
use uuid::Uuid;

/// A task.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Task)]
pub(super) struct TaskJson<'a> {
    id: Id,
    /// Its task type.
    name: &'a str,
    queue: &'a str,
    /// The higher, the earlier within its queue.
    priority: u8,
    #[schema(value_type = StatusWord)]
    status: &'static str,
    /// Null: it has not ended, or it has completed.
    #[schema(value_type = Option<ReasonWord>)]
    reason: Option<&'static str>,
    payload: Raw<'a>,
    /// The number of its latest attempt; 0: none yet.
    attempt: u32,
    max_attempts: u32,
    /// An attempt that takes longer is ended.
    #[schema(value_type = Span)]
    timeout: String,
    backoff: Rule<'a>,
    /// Not before this time.
    run_at: Time,
    /// If it has not begun by then, it is cancelled.
    expires_at: Option<Time>,
    created_at: Time,
    /// When its latest attempt began.
    started_at: Option<Time>,
    finished_at: Option<Time>,
    /// Who has, or had, its latest attempt.
    worker_id: Option<Id>,
    #[schema(value_type = Raw)]
    result: Option<Raw<'a>>,
    /// What went wrong in the latest attempt that failed.
    last_error: Option<&'a str>,
    /// How far the attempt is, from 0 to 1, where it says so.
    progress: Option<f64>,
    progress_note: Option<&'a str>,
    tags: &'a [String],
    #[schema(value_type = Option<Object>)]
    metadata: Option<Raw<'a>>,
    /// While it is held, a submission of this type with the same key gets this task.
    unique_key: Option<&'a str>,
    /// The schedule that submitted it.
    schedule: Option<&'a str>,
    /// When its cancellation was asked for; it stays when the task has ended.
    cancel_requested_at: Option<Time>,
    /// After a submission: what stands in the way of the task.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// A task as every answer gives it: for the benchmarks.
#[doc(hidden)]
pub fn to_json(task: &Task) -> serde_json::Result<String> {
    serde_json::to_string(&TaskJson::new(task, Vec::new()))
}

/// JSON text that goes out byte for byte.
pub(super) struct Raw<'a>(pub(super) &'a str);

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
            progress,
            progress_note,
            unique_key,
        } = task;
        Self {
            id: Id(id.0),
            name,
            queue,
            priority: *priority,
            status: status.as_str(),
            reason: reason.map(|reason| reason.as_str()),
            payload: Raw(payload),
            attempt: *attempt,
            max_attempts: *max_attempts,
            timeout: duration::format(*timeout),
            backoff: Rule(backoff),
            run_at: Time(*run_at),
            expires_at: expires_at.map(Time),
            created_at: Time(*created_at),
            started_at: started_at.map(Time),
            finished_at: finished_at.map(Time),
            worker_id: worker_id.map(|id| Id(id.0)),
            result: result.as_deref().map(Raw),
            last_error: last_error.as_deref(),
            progress: *progress,
            progress_note: progress_note.as_deref(),
            tags,
            metadata: metadata.as_deref().map(Raw),
            unique_key: unique_key.as_deref(),
            schedule: schedule.as_deref(),
            cancel_requested_at: cancel_requested_at.map(Time),
            warnings,
        }
    }
}

impl TaskJson<'_> {
    /// For who may not read: that it is there and how it stands, and nothing of what it is about.
    pub(super) fn without_contents(self) -> Self {
        Self { payload: Raw("null"), result: None, last_error: None, progress_note: None, metadata: None, ..self }
    }
}

/// A backoff, byte for byte as it would be written; nearly every task has the usual one.
pub(super) struct Rule<'a>(&'a Backoff);

impl Serialize for Rule<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        static USUAL: LazyLock<String> = LazyLock::new(|| Backoff::default().to_json());
        if *self.0 == Backoff::default() {
            Raw(&USUAL).serialize(serializer)
        } else {
            Raw(&self.0.to_json()).serialize(serializer)
        }
    }
}

/// An id in its printed form, without an allocation.
pub(super) struct Id(pub(super) Uuid);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// RFC 3339 in UTC, with the microseconds that the row has.
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = *b"0000-00-00T00:00:00.000000Z";
        let at = self.0;
        let parts = [
            (0..4, u32::try_from(at.year()).unwrap_or(0)),
            (5..7, at.month()),
            (8..10, at.day()),
            (11..13, at.hour()),
            (14..16, at.minute()),
            (17..19, at.second()),
            (20..26, at.nanosecond() / 1000 % 1_000_000),
        ];
        for (place, number) in parts {
            digits(buffer.get_mut(place).unwrap_or_default(), number);
        }
        serializer.serialize_str(std::str::from_utf8(&buffer).map_err(S::Error::custom)?)
    }
}

/// Writes a number right-aligned over zeros.
fn digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_are_written_as_rfc_3339(us in 0i64..8_835_000_000_000_000) {
            let at = Timestamp::from_timestamp_micros(us).unwrap();
            let expected = at.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(serde_json::to_value(Time(at)).unwrap(), expected);
        }
    }
}
