//! A queue's stream and group as a whole: make it, look at it, add to it, clear it.

use super::connection::{GROUP, Stream};
use super::entry::{Entry, delivered, list, text};
use super::error::StreamError;
use crate::task::{Timestamp, WorkerId};
use deadpool_redis::Connection;
use redis::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Entries acknowledged in one call while a dead consumer is cleared.
const CLEAR_ENTRIES: usize = 500;

/// What the dispatcher needs to know of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamState {
    /// Entries that no worker has read.
    pub unread: u64,
    /// Entries that were read and not acknowledged.
    pub pending: u64,
    /// `dispatched_at` of the oldest entry that no worker has read.
    pub oldest_unread: Option<Timestamp>,
    /// Counts the entries read since the group was made.
    pub entries_read: u64,
    /// It was made just now: whatever was in it is gone.
    pub anew: bool,
    /// Nothing is pending, and entries that were read are there still: those below this id.
    pub spent: Option<String>,
}

impl Stream {
    /// Makes a queue's stream and group if they are not there. From id 0, so that entries that
    /// came before the group are read too.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn ensure_group(&self, queue: &str) -> Result<(), StreamError> {
        let key = self.key(queue);
        self.run("group", async move |mut conn: Connection| {
            let mut cmd = redis::cmd("XGROUP");
            cmd.arg("CREATE").arg(key).arg(GROUP).arg("0").arg("MKSTREAM");
            match cmd.query_async::<()>(&mut conn).await {
                Err(error) if error.code() != Some("BUSYGROUP") => Err(error.into()),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Looks at a queue's stream; makes it if it is not there.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn state(&self, queue: &Arc<str>) -> Result<StreamState, StreamError> {
        match self.look(queue).await {
            Ok(Some(mut state)) => {
                if let Some(id) = state.spent.take() {
                    self.trim(queue, id).await?;
                }
                Ok(state)
            }
            Ok(None) | Err(StreamError::NoGroup(_)) => {
                self.ensure_group(queue).await?;
                Ok(StreamState { anew: true, ..self.look(queue).await?.unwrap_or_default() })
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes what lies below an id: everything there was read, and nothing is pending. Nobody else would.
    async fn trim(&self, queue: &str, below: String) -> Result<(), StreamError> {
        let key = self.key(queue);
        self.run("trim", async move |mut conn: Connection| {
            let mut cmd = redis::cmd("XTRIM");
            cmd.arg(key).arg("MINID").arg(below);
            Ok(cmd.query_async::<()>(&mut conn).await?)
        })
        .await
    }

    /// Looks at a queue's stream for somebody who only asks, and makes nothing: one that is not there is empty.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn glance(&self, queue: &Arc<str>) -> Result<StreamState, StreamError> {
        match self.look(queue).await {
            Ok(state) => Ok(state.unwrap_or_default()),
            Err(StreamError::NoGroup(_)) => Ok(StreamState::default()),
            Err(error) => Err(error),
        }
    }

    /// Looks and makes nothing. None: the stream has no group of ours.
    pub(super) async fn look(&self, queue: &Arc<str>) -> Result<Option<StreamState>, StreamError> {
        let (key, queue) = (self.key(queue), Arc::clone(queue));
        self.run("look", async move |mut conn: Connection| {
            let (length, groups): (u64, Value) =
                redis::pipe().cmd("XLEN").arg(&key).cmd("XINFO").arg("GROUPS").arg(&key).query_async(&mut conn).await?;
            let Some(group) = list(&groups).unwrap_or_default().iter().find_map(group_fields) else {
                return Ok(None);
            };
            let number = |name: &str| match group.get(name) {
                Some(Value::Int(n)) => u64::try_from(*n).unwrap_or(0),
                _ => 0,
            };
            let pending = number("pending");
            let mut state = StreamState {
                unread: length.saturating_sub(pending),
                pending,
                oldest_unread: None,
                entries_read: number("entries-read"),
                anew: false,
                spent: None,
            };
            if state.unread > 0 {
                let last = group.get("last-delivered-id").and_then(|id| text(id)).unwrap_or("0-0");
                let first: Value = redis::cmd("XRANGE")
                    .arg(&key)
                    .arg(format!("({last}"))
                    .arg("+")
                    .arg("COUNT")
                    .arg(1)
                    .query_async(&mut conn)
                    .await?;
                let first = delivered(&queue, &first).into_iter().next();
                if first.is_none() {
                    // What is left was read and acknowledged, and somebody did not delete it.
                    state.unread = 0;
                    state.spent = if pending == 0 { after(last) } else { None };
                }
                state.oldest_unread = first.and_then(|d| d.entry).map(|entry| entry.dispatched_at);
            }
            Ok(Some(state))
        })
        .await
    }

    /// Adds entries, in one pipeline.
    ///
    /// # Errors
    /// When Redis refuses or cannot be reached. Some may then have been added: the sweep finds
    /// those that were not.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<(), StreamError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        let mut keys: HashMap<Arc<str>, String> = HashMap::new();
        for entry in &entries {
            let key = keys.entry(Arc::clone(&entry.queue)).or_insert_with(|| self.key(&entry.queue));
            entry.append_to(&mut pipe, key);
        }
        self.run("append", async move |mut conn: Connection| Ok(pipe.query_async::<()>(&mut conn).await?)).await
    }

    /// Acknowledges and deletes entries of one queue.
    ///
    /// # Errors
    /// When Redis cannot be reached. The entries then stay pending until their worker's
    /// consumer is cleared; their tasks have moved on.
    pub async fn acknowledge(&self, queue: &str, entry_ids: Vec<String>) -> Result<(), StreamError> {
        if entry_ids.is_empty() {
            return Ok(());
        }
        let key = self.key(queue);
        self.run("acknowledge", async move |mut conn: Connection| {
            let mut pipe = redis::pipe();
            pipe.cmd("XACK").arg(&key).arg(GROUP).arg(&entry_ids).ignore();
            pipe.cmd("XDEL").arg(&key).arg(&entry_ids).ignore();
            Ok(pipe.query_async::<()>(&mut conn).await?)
        })
        .await
    }

    /// Clears a consumer that will not come back: what is still pending under it is
    /// acknowledged and deleted (its tasks are rescued from their rows), then the consumer.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn clear_consumer(&self, queue: &str, worker: WorkerId) -> Result<(), StreamError> {
        let (key, consumer) = (self.key(queue), worker.to_string());
        loop {
            let (at, name) = (key.clone(), consumer.clone());
            let pending: Value = self
                .run("pending", async move |mut conn: Connection| {
                    let mut cmd = redis::cmd("XPENDING");
                    cmd.arg(at).arg(GROUP).arg("-").arg("+").arg(CLEAR_ENTRIES).arg(name);
                    match cmd.query_async(&mut conn).await.map_err(StreamError::from) {
                        Err(StreamError::NoGroup(_)) => Ok(Value::Array(Vec::new())),
                        other => other,
                    }
                })
                .await?;
            let ids: Vec<String> = list(&pending)
                .unwrap_or_default()
                .iter()
                .filter_map(|row| Some(text(list(row)?.first()?)?.to_owned()))
                .collect();
            if ids.is_empty() {
                break;
            }
            self.acknowledge(queue, ids).await?;
        }
        self.run("consumer", async move |mut conn: Connection| {
            let mut cmd = redis::cmd("XGROUP");
            cmd.arg("DELCONSUMER").arg(key).arg(GROUP).arg(consumer);
            match cmd.query_async::<()>(&mut conn).await.map_err(StreamError::from) {
                Err(StreamError::NoGroup(_)) | Ok(()) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// The smallest id above this one.
fn after(id: &str) -> Option<String> {
    let (millis, count) = id.split_once('-')?;
    Some(format!("{millis}-{}", count.parse::<u64>().ok()?.checked_add(1)?))
}

/// The fields of our group in the answer of XINFO GROUPS.
fn group_fields(group: &Value) -> Option<HashMap<&str, &Value>> {
    let fields = fields(group)?;
    (text(fields.get("name")?) == Some(GROUP)).then_some(fields)
}

/// The fields of one item in the answer of XINFO.
pub(super) fn fields(item: &Value) -> Option<HashMap<&str, &Value>> {
    Some(match item {
        Value::Map(pairs) => pairs.iter().filter_map(|(k, v)| Some((text(k)?, v))).collect(),
        other => list(other)?
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [k, v] => Some((text(k)?, v)),
                _ => None,
            })
            .collect(),
    })
}
