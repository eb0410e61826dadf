//! The pool for short commands, and the names of keys. The reader has a connection of its own.

use super::error::StreamError;
use crate::seam::{Fault, Loss, MaybeSeam, Seam, across};
use crate::telemetry::Metrics;
use deadpool_redis::{Connection, Manager, Pool};
use redis::{AsyncConnectionConfig, Client};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Longest wait for the answer to a short command.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Connections for short commands.
const POOL: usize = 8;
/// The consumer group of every stream.
pub(super) const GROUP: &str = "workers";

/// Redis. Cheap to clone; connects at first use.
#[derive(Clone)]
pub struct Stream {
    pool: Pool,
    pub(super) client: Client,
    pub(super) prefix: Arc<str>,
    metrics: Metrics,
    runtime: Handle,
    seam: MaybeSeam,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Stream {
    /// `redis://`, `rediss://` (TLS) or `redis+unix://`; every key begins with `prefix`. Call it
    /// on the runtime that outlives every user.
    ///
    /// # Errors
    /// When the URL cannot be understood.
    pub fn new(url: &str, prefix: &str, metrics: Metrics) -> Result<Self, StreamError> {
        let client = Client::open(url)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        let pool = Pool::builder(Manager::new_with_config(url, config)?)
            .max_size(POOL)
            .build()
            .map_err(|e| StreamError::Unexpected(e.to_string()))?;
        Ok(Self { pool, client, prefix: prefix.into(), metrics, runtime: Handle::current(), seam: None })
    }

    /// The same stream with faults between it and Redis: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_seam(self, seam: Arc<dyn Seam>) -> Self {
        Self { seam: Some(seam), ..self }
    }

    /// What the seam does to the next call of this operation.
    pub(super) fn fault(&self, op: &'static str) -> Option<Fault> {
        self.seam.as_ref().and_then(|seam| seam.fault(op))
    }

    /// Does `work` on a pooled connection, on the runtime that owns the connections.
    pub(super) async fn run<T, W, F>(&self, op: &'static str, work: W) -> Result<T, StreamError>
    where
        T: Send + 'static,
        W: FnOnce(Connection) -> F + Send + 'static,
        F: Future<Output = Result<T, StreamError>> + Send,
    {
        let pool = self.pool.clone();
        let fault = self.fault(op);
        let task = self.runtime.spawn(across(fault, async move { work(pool.get().await?).await }));
        let result = match fault {
            Some(Fault::Late(_)) => Err(Loss::TimedOut.into()),
            _ => task.await.unwrap_or_else(|join| Err(StreamError::Unexpected(join.to_string()))),
        };
        if let Err(error) = &result {
            self.count(error);
        }
        result
    }

    /// Counts a failure.
    pub(super) fn count(&self, error: &StreamError) {
        self.metrics.stream_errors.with_label_values(&[error.kind()]).inc();
    }

    /// Answers when Redis does.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn ping(&self) -> Result<(), StreamError> {
        self.run("ping", async |mut conn: Connection| Ok(redis::cmd("PING").query_async::<()>(&mut conn).await?)).await
    }

    /// A queue's stream. The inner braces are a Redis Cluster hash tag: all keys of one queue
    /// share a slot.
    pub(super) fn key(&self, queue: &str) -> String {
        format!("{}:{{{queue}}}", self.prefix)
    }
}
