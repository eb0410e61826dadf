//! A stream entry: what a worker needs to claim and run a task without reading its row.

use crate::task::{TaskId, Timestamp};
use redis::{Pipeline, Value};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A dispatched task on its way through the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub queue: Arc<str>,
    pub id: TaskId,
    pub name: Arc<str>,
    /// As in the row when it was dispatched; the claim raises it by one.
    pub attempt: u32,
    pub max_attempts: u32,
    pub timeout: Duration,
    pub run_at: Timestamp,
    /// The row's value: the sweep compares by it.
    pub dispatched_at: Timestamp,
    /// None: too large, it stays in the row.
    pub payload: Option<Arc<str>>,
}

/// An entry as it was read, with its id in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    pub queue: Arc<str>,
    pub entry_id: String,
    /// None: not written by this program; to be deleted. Its task, if any, is found by the sweep.
    pub entry: Option<Entry>,
}

impl Entry {
    /// Adds the XADD of this entry to a pipeline.
    pub(super) fn append_to(&self, pipe: &mut Pipeline, key: &str) {
        let cmd = pipe.cmd("XADD").arg(key).arg("*");
        cmd.arg("id").arg(self.id.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        cmd.arg("name").arg(&*self.name);
        cmd.arg("attempt").arg(self.attempt);
        cmd.arg("dispatched_at").arg(self.dispatched_at.timestamp_micros());
        // In one field: each costs Redis and both ends about as much as all the digits in it.
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        cmd.arg("plan").arg(format!("{} {timeout_ms} {}", self.max_attempts, self.run_at.timestamp_micros()));
        if let Some(payload) = &self.payload {
            cmd.arg("payload").arg(&**payload);
        }
        cmd.ignore();
    }

    /// Reads the fields of an entry.
    pub(super) fn parse(queue: &Arc<str>, fields: &[Value]) -> Option<Self> {
        let [mut id, mut name, mut attempt, mut dispatched_at, mut plan, mut payload] = [None; 6];
        for pair in fields.chunks_exact(2) {
            let [field, value] = pair else { return None };
            let slot = match text(field)? {
                "id" => &mut id,
                "name" => &mut name,
                "attempt" => &mut attempt,
                "dispatched_at" => &mut dispatched_at,
                "plan" => &mut plan,
                "payload" => &mut payload,
                _ => continue,
            };
            *slot = Some(text(value)?);
        }
        let mut plan = plan?.split(' ');
        Some(Self {
            queue: Arc::clone(queue),
            id: id?.parse().ok()?,
            name: Arc::from(name?),
            attempt: attempt?.parse().ok()?,
            dispatched_at: Timestamp::from_timestamp_micros(dispatched_at?.parse().ok()?)?,
            max_attempts: plan.next()?.parse().ok()?,
            timeout: Duration::from_millis(plan.next()?.parse().ok()?),
            run_at: Timestamp::from_timestamp_micros(plan.next()?.parse().ok()?)?,
            payload: payload.map(Arc::from),
        })
    }
}

/// What a pipeline that adds these entries sends: for the benchmarks.
#[doc(hidden)]
#[must_use]
pub fn packed(entries: &[Entry], key: &str) -> Vec<u8> {
    let mut pipe = redis::pipe();
    entries.iter().for_each(|entry| entry.append_to(&mut pipe, key));
    pipe.get_packed_pipeline()
}

/// The entries of an answer to XREADGROUP for one stream: for the benchmarks.
#[doc(hidden)]
#[must_use]
pub fn unpacked(queue: &Arc<str>, answer: &Value) -> Vec<Delivered> {
    delivered(queue, answer)
}

/// A string of an answer.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A list of an answer.
pub(super) fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// Entries of one stream: `[[id, [field, value, …]], …]`.
pub(super) fn delivered(queue: &Arc<str>, entries: &Value) -> Vec<Delivered> {
    let one = |entry: &Value| {
        let [id, fields] = list(entry)? else { return None };
        // An entry deleted between delivery and reading has no fields.
        let entry = list(fields).and_then(|fields| Entry::parse(queue, fields));
        Some(Delivered { queue: Arc::clone(queue), entry_id: text(id)?.to_owned(), entry })
    };
    list(entries).unwrap_or_default().iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Value> {
        pairs.iter().flat_map(|(k, v)| [k, v]).map(|s| Value::BulkString(s.as_bytes().to_vec())).collect()
    }

    #[test]
    fn an_entry_of_another_hand_is_no_entry() {
        let queue: Arc<str> = "default".into();
        let good = [
            ("id", "0190163d-8694-739b-aea5-966c26f8ad91"),
            ("name", "echo"),
            ("attempt", "0"),
            ("plan", "5 600000 1780000000000000"),
            ("dispatched_at", "1780000000000000"),
            ("payload", "{\"a\": 1}"),
        ];
        let entry = Entry::parse(&queue, &fields(&good)).unwrap();
        assert_eq!((entry.attempt, entry.payload.as_deref()), (0, Some("{\"a\": 1}")));
        for missing in 0..5 {
            let mut pairs = good.to_vec();
            pairs.remove(missing);
            assert_eq!(Entry::parse(&queue, &fields(&pairs)), None, "without {}", good[missing].0);
        }
        let mut negative = good;
        negative[2].1 = "-1";
        assert_eq!(Entry::parse(&queue, &fields(&negative)), None);
    }
}
