//! Handlers: from typed async functions to one shape that the worker runs.

use super::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A handler that was told to stop has this long to return before it is dropped, unless it says otherwise.
pub const STOP_GRACE: Duration = Duration::from_secs(1);

/// What an attempt gives: JSON text for the task's `result`, or nothing.
pub type TaskResult = Result<Option<Box<str>>, TaskError>;

/// How an attempt fails.
///
/// Any error becomes a retryable one with `?`; [`TaskError::permanent`] marks those that no
/// retry can mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskError {
    /// Another attempt may succeed.
    Retryable(String),
    /// The same, after a wait that is known: it takes the place of the backoff's, up to 24 hours.
    RetryAfter(String, Duration),
    /// No attempt will succeed: the task fails at once.
    Permanent(String),
}

impl TaskError {
    /// An error that another attempt may mend.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::Retryable(message.to_string())
    }

    /// An error that another attempt may mend, after this wait (at most 24 hours) in place of the backoff's.
    pub fn retry_after(message: impl fmt::Display, wait: Duration) -> Self {
        Self::RetryAfter(message.to_string(), wait)
    }

    /// An error that no attempt can mend.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self::Permanent(message.to_string())
    }

    /// What went wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Retryable(message) | Self::RetryAfter(message, _) | Self::Permanent(message) => message,
        }
    }
}

// `TaskError` itself is no `std::error::Error`: that is what makes this blanket possible.
impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self::Retryable(chain(&error))
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some repeat what they wrap.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// Runs attempts of one task type. The future may be dropped at any await point once
/// [`Context::is_cancelled`]; a panic is caught and fails the attempt.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. `payload` is the JSON text as it was submitted.
    fn run(&self, context: Context, payload: Arc<str>) -> BoxFuture<'static, TaskResult>;

    /// What runs it, in a word.
    fn executor(&self) -> &'static str {
        "rust"
    }

    /// How long an attempt that was told to stop may take to end before its future is dropped. At once all the same
    /// where the worker has lost its lease.
    fn stop_grace(&self) -> Duration {
        STOP_GRACE
    }
}

/// A typed async function as a handler: `async fn(Context, P) -> Result<R, TaskError>`.
pub(super) struct Typed<F, P, R> {
    pub(super) function: F,
    pub(super) types: std::marker::PhantomData<fn(P) -> R>,
}

impl<F, Fut, P, R> Handler for Typed<F, P, R>
where
    F: Fn(Context, P) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
    P: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
{
    fn run(&self, context: Context, payload: Arc<str>) -> BoxFuture<'static, TaskResult> {
        let payload: P = match serde_json::from_str(&payload) {
            Ok(payload) => payload,
            Err(error) => {
                let error = TaskError::permanent(format_args!("the payload does not fit this task type: {error}"));
                return std::future::ready(Err(error)).boxed();
            }
        };
        let attempt = (self.function)(context, payload);
        async move {
            let result = serde_json::to_string(&attempt.await?)
                .map_err(|error| TaskError::permanent(format_args!("the result is no JSON: {error}")))?;
            // A handler that returns `()` has no result.
            Ok((result != "null").then(|| result.into_boxed_str()))
        }
        .boxed()
    }
}
