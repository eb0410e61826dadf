//! What can go wrong with Redis, sorted by what the caller should do about it.

use crate::seam::Loss;
use deadpool_redis::PoolError;
use redis::RedisError;

/// A failed Redis operation. Nothing is ever lost by one: the rows are in MySQL.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// No connection, a broken one, or no answer in time. What was sent may have been done.
    #[error("redis cannot be reached: {0}")]
    Unavailable(String),
    /// The stream or its group is gone (FLUSHALL, DEL, a restart without persistence).
    #[error("the stream's group is gone: {0}")]
    NoGroup(String),
    /// At its memory limit: additions are refused, reads go on.
    #[error("redis is out of memory: {0}")]
    OutOfMemory(String),
    /// It is loading its data, or is a replica.
    #[error("redis is not ready for writes: {0}")]
    NotReady(String),
    /// A mistake of this program or an odd server.
    #[error("unexpected redis error: {0}")]
    Unexpected(String),
}

impl StreamError {
    /// The label in `stream_errors_total{kind}`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            StreamError::Unavailable(_) => "unavailable",
            StreamError::NoGroup(_) => "no_group",
            StreamError::OutOfMemory(_) => "out_of_memory",
            StreamError::NotReady(_) => "not_ready",
            StreamError::Unexpected(_) => "unexpected",
        }
    }
}

impl StreamError {
    /// The same may succeed later, without anybody doing anything about it.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            StreamError::Unavailable(_) | StreamError::OutOfMemory(_) | StreamError::NotReady(_) => true,
            StreamError::NoGroup(_) | StreamError::Unexpected(_) => false,
        }
    }
}

impl From<RedisError> for StreamError {
    fn from(error: RedisError) -> Self {
        // The text carries the code also where a pipeline reports several errors.
        let text = error.to_string();
        let says = |code: &str| error.code() == Some(code) || text.contains(code);
        // UNBLOCKED: the stream was deleted under a waiting read.
        if says("NOGROUP") || says("UNBLOCKED") || says("no such key") || says("requires the key to exist") {
            StreamError::NoGroup(text)
        } else if says("OOM") {
            StreamError::OutOfMemory(text)
        } else if ["LOADING", "READONLY", "MASTERDOWN", "BUSY", "BusyLoading", "MISCONF"].iter().any(|code| says(code))
        {
            StreamError::NotReady(text)
        } else if error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_connection_refusal()
        {
            StreamError::Unavailable(text)
        } else {
            StreamError::Unexpected(text)
        }
    }
}

impl From<Loss> for StreamError {
    fn from(loss: Loss) -> Self {
        StreamError::Unavailable(format!("{loss:?} at the seam"))
    }
}

impl From<PoolError> for StreamError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) | PoolError::Closed => StreamError::Unavailable(error.to_string()),
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => StreamError::Unexpected(error.to_string()),
        }
    }
}
