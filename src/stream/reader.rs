//! The blocking read: a connection of its own, whose time limit exceeds its BLOCK.

use super::connection::{GROUP, Stream};
use super::entry::{Delivered, delivered, list, text};
use super::error::StreamError;
use crate::seam::across;
use crate::task::WorkerId;
use futures_util::TryFutureExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How much longer than its BLOCK a read may take before the connection counts as broken.
const ANSWER_SLACK: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest BLOCK of a read.
const MAX_BLOCK: Duration = Duration::from_secs(2);

/// Reads new entries for one consumer.
pub struct Reader {
    stream: Stream,
    worker: WorkerId,
    connection: Option<MultiplexedConnection>,
    /// The queues of reads that failed: something may have been delivered, and never came.
    unanswered: HashSet<Arc<str>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Stream {
    /// A reader under this worker's name. Connects at its first read.
    #[must_use]
    pub fn reader(&self, worker: WorkerId) -> Reader {
        Reader { stream: self.clone(), worker, connection: None, unanswered: HashSet::new() }
    }
}

impl Reader {
    /// Up to `count` new entries from each queue. Waits up to `block` (at most [`MAX_BLOCK`])
    /// for the first; with no `block` answers at once. Groups that are gone are made anew.
    ///
    /// # Errors
    /// When Redis cannot be reached or is not ready. The caller waits before the next try.
    pub async fn read(
        &mut self,
        queues: &[Arc<str>],
        count: usize,
        block: Option<Duration>,
    ) -> Result<Vec<Delivered>, StreamError> {
        self.clear_unanswered().await?;
        let result = self.read_once(queues, count, block).await;
        match result {
            Err(StreamError::NoGroup(_)) => {
                for queue in queues {
                    self.stream.ensure_group(queue).await?;
                }
                Ok(Vec::new())
            }
            Err(error) => {
                // The next read begins on a fresh connection.
                self.connection = None;
                self.unanswered.extend(queues.iter().cloned());
                self.stream.count(&error);
                Err(error)
            }
            Ok(entries) => Ok(entries),
        }
    }

    /// Takes back what was delivered and never came. Nobody would acknowledge it, and it would
    /// count against the window for as long as this worker lives. Its tasks are the sweep's. What
    /// this worker does hold loses its entry as well, which it needs no more.
    async fn clear_unanswered(&mut self) -> Result<(), StreamError> {
        while let Some(queue) = self.unanswered.iter().next().cloned() {
            self.stream.clear_consumer(&queue, self.worker).await?;
            self.unanswered.remove(&queue);
        }
        Ok(())
    }

    async fn read_once(
        &mut self,
        queues: &[Arc<str>],
        count: usize,
        block: Option<Duration>,
    ) -> Result<Vec<Delivered>, StreamError> {
        let keys: Vec<String> = queues.iter().map(|queue| self.stream.key(queue)).collect();
        let mut cmd = redis::cmd("XREADGROUP");
        cmd.arg("GROUP").arg(GROUP).arg(self.worker.to_string()).arg("COUNT").arg(count.max(1));
        if let Some(block) = block {
            // BLOCK 0 would wait for ever.
            cmd.arg("BLOCK").arg(u64::try_from(block.min(MAX_BLOCK).as_millis()).unwrap_or(1).max(1));
        }
        cmd.arg("STREAMS").arg(&keys).arg(vec![">"; keys.len()]);
        let fault = self.stream.fault("read");
        let connection = self.connect().await?;
        let answer: Value = across(fault, cmd.query_async(connection).map_err(StreamError::from)).await?;
        let mut entries = Vec::new();
        for stream in list(&answer).unwrap_or_default() {
            let Some([key, found]) = list(stream) else { continue };
            let queue = text(key).and_then(|key| keys.iter().position(|k| k == key)).and_then(|i| queues.get(i));
            if let Some(queue) = queue {
                entries.extend(delivered(queue, found));
            }
        }
        Ok(entries)
    }

    async fn connect(&mut self) -> Result<&mut MultiplexedConnection, StreamError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_LIMIT))
                    .set_response_timeout(Some(MAX_BLOCK + ANSWER_SLACK));
                self.stream.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        Ok(self.connection.insert(connection))
    }
}
