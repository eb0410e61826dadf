//! A stream entry: what a worker needs to claim and run a task without reading its row.

use crate::task::{TaskId, Timestamp};
use redis::{Pipeline, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
        cmd.arg("id").arg(self.id.to_string());
        cmd.arg("name").arg(&*self.name);
        cmd.arg("attempt").arg(self.attempt);
        cmd.arg("max_attempts").arg(self.max_attempts);
        cmd.arg("timeout_ms").arg(u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX));
        cmd.arg("run_at").arg(self.run_at.timestamp_micros());
        cmd.arg("dispatched_at").arg(self.dispatched_at.timestamp_micros());
        if let Some(payload) = &self.payload {
            cmd.arg("payload").arg(&**payload);
        }
        cmd.ignore();
    }

    /// Reads the fields of an entry.
    pub(super) fn parse(queue: &Arc<str>, fields: &[Value]) -> Option<Self> {
        let mut by_name: HashMap<&str, &str> = HashMap::with_capacity(8);
        for pair in fields.chunks_exact(2) {
            let [name, value] = pair else { return None };
            by_name.insert(text(name)?, text(value)?);
        }
        let number = |name: &str| by_name.get(name)?.parse::<i64>().ok();
        Some(Self {
            queue: Arc::clone(queue),
            id: by_name.get("id")?.parse().ok()?,
            name: Arc::from(*by_name.get("name")?),
            attempt: u32::try_from(number("attempt")?).ok()?,
            max_attempts: u32::try_from(number("max_attempts")?).ok()?,
            timeout: Duration::from_millis(u64::try_from(number("timeout_ms")?).ok()?),
            run_at: Timestamp::from_timestamp_micros(number("run_at")?)?,
            dispatched_at: Timestamp::from_timestamp_micros(number("dispatched_at")?)?,
            payload: by_name.get("payload").map(|payload| Arc::from(*payload)),
        })
    }
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
            ("max_attempts", "5"),
            ("timeout_ms", "600000"),
            ("run_at", "1780000000000000"),
            ("dispatched_at", "1780000000000000"),
            ("payload", "{\"a\": 1}"),
        ];
        let entry = Entry::parse(&queue, &fields(&good)).unwrap();
        assert_eq!((entry.attempt, entry.payload.as_deref()), (0, Some("{\"a\": 1}")));
        for missing in 0..7 {
            let mut pairs = good.to_vec();
            pairs.remove(missing);
            assert_eq!(Entry::parse(&queue, &fields(&pairs)), None, "without {}", good[missing].0);
        }
        let mut negative = good;
        negative[2].1 = "-1";
        assert_eq!(Entry::parse(&queue, &fields(&negative)), None);
    }
}
