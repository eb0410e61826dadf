//! Rows, and how they become what the rest of the program sees. Private to the store.

use super::connection::utc;
use crate::task::{Backoff, KeyId, Reason, Status, Task, TaskId, Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::deserialize::{self, FromSql};
use diesel::mysql::{Mysql, MysqlValue};
use diesel::prelude::{Queryable, Selectable};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Binary, Datetime, Double, Integer, Nullable, Text, TinyInt, Unsigned};
use diesel::{AsExpression, FromSqlRow};
use std::io::Write;
use std::time::Duration;
use uuid::Uuid;

/// A BINARY(16) column: the UUID's bytes in printed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Binary)]
pub(super) struct Key(pub(super) Uuid);

impl FromSql<Binary, Mysql> for Key {
    fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
        Ok(Key(Uuid::from_slice(value.as_bytes())?))
    }
}

impl ToSql<Binary, Mysql> for Key {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
        out.write_all(self.0.as_bytes())?;
        Ok(serialize::IsNull::No)
    }
}

impl Key {
    /// In a column that has its place from the start, zeros mean "not yet".
    pub(super) fn named(self) -> Option<Self> {
        (!self.0.is_nil()).then_some(self)
    }
}

/// The same for an instant: 1970 means "not yet".
pub(super) fn happened(at: NaiveDateTime) -> Option<Timestamp> {
    let at = utc(at);
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

impl From<Key> for TaskId {
    fn from(key: Key) -> Self {
        TaskId(key.0)
    }
}

impl From<Key> for WorkerId {
    fn from(key: Key) -> Self {
        WorkerId(key.0)
    }
}

impl From<Key> for KeyId {
    fn from(key: Key) -> Self {
        KeyId(key.0)
    }
}

/// What a reader of tasks sees of a row.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = super::schema::tasks)]
#[diesel(check_for_backend(Mysql))]
pub(super) struct TaskRow {
    id: Key,
    name: String,
    queue: String,
    priority: u8,
    status: String,
    reason: Option<String>,
    attempt: u32,
    forgiven: u32,
    max_attempts: u32,
    timeout_ms: u64,
    backoff: Option<String>,
    run_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    dispatched_at: Option<NaiveDateTime>,
    worker_id: Key,
    cancel_requested_at: Option<NaiveDateTime>,
    created_at: NaiveDateTime,
    started_at: NaiveDateTime,
    finished_at: NaiveDateTime,
    schedule: Option<String>,
    tags: Option<String>,
    metadata: Option<String>,
    payload: String,
    result: Option<String>,
    last_error: Option<String>,
    progress: Option<f64>,
    progress_note: Option<String>,
    unique_key: Option<String>,
}

impl TaskRow {
    /// Whether it became eligible at this instant, and has not ended since.
    pub(super) fn became_eligible(&self, at: Timestamp) -> bool {
        utc(self.run_at) == at && Status::parse(&self.status).is_some_and(|status| !status.is_terminal())
    }
}

/// The SQL types of a [`TaskRow`]'s columns, in their order.
pub(super) type TaskSql = (
    Binary,
    Text,
    Text,
    Unsigned<TinyInt>,
    Text,
    Nullable<Text>,
    Unsigned<Integer>,
    Unsigned<Integer>,
    Unsigned<Integer>,
    Unsigned<BigInt>,
    Nullable<Text>,
    Datetime,
    Nullable<Datetime>,
    Nullable<Datetime>,
    Binary,
    Nullable<Datetime>,
    Datetime,
    Datetime,
    Datetime,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Double>,
    Nullable<Text>,
    Nullable<Text>,
);

/// A row holds something that this program did not write.
#[derive(Debug, thiserror::Error)]
#[error("task {id}: column `{column}` holds {value:?}")]
pub(super) struct StrangeRow {
    id: TaskId,
    column: &'static str,
    value: String,
}

impl TryFrom<TaskRow> for Task {
    type Error = StrangeRow;

    fn try_from(row: TaskRow) -> Result<Self, StrangeRow> {
        // Destructured, so that a new column cannot be forgotten here.
        let TaskRow {
            id,
            name,
            queue,
            priority,
            status,
            reason,
            attempt,
            forgiven,
            max_attempts,
            timeout_ms,
            backoff,
            run_at,
            expires_at,
            dispatched_at,
            worker_id,
            cancel_requested_at,
            created_at,
            started_at,
            finished_at,
            schedule,
            tags,
            metadata,
            payload,
            result,
            last_error,
            progress,
            progress_note,
            unique_key,
        } = row;
        let id = TaskId::from(id);
        let strange = |column, value: &str| StrangeRow { id, column, value: value.to_owned() };
        Ok(Task {
            id,
            name: name.into(),
            queue: queue.into(),
            priority,
            status: Status::parse(&status).ok_or_else(|| strange("status", &status))?,
            reason: match reason {
                None => None,
                Some(word) => Some(Reason::parse(&word).ok_or_else(|| strange("reason", &word))?),
            },
            attempt,
            forgiven,
            max_attempts,
            timeout: Duration::from_millis(timeout_ms),
            backoff: match backoff {
                None => Backoff::default(),
                Some(text) => Backoff::from_json(&text).map_err(|_| strange("backoff", &text))?,
            },
            run_at: utc(run_at),
            expires_at: expires_at.map(utc),
            dispatched_at: dispatched_at.map(utc),
            worker_id: worker_id.named().map(WorkerId::from),
            cancel_requested_at: cancel_requested_at.map(utc),
            created_at: utc(created_at),
            started_at: happened(started_at),
            finished_at: happened(finished_at),
            schedule: schedule.map(Into::into),
            tags: match tags {
                None => Vec::new(),
                Some(text) => serde_json::from_str(&text).map_err(|_| strange("tags", &text))?,
            },
            metadata: metadata.map(Into::into),
            payload: payload.into(),
            result: result.map(Into::into),
            last_error,
            progress,
            progress_note,
            unique_key: unique_key.map(Into::into),
        })
    }
}
