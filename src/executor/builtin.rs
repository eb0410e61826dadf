//! The built-in task types: to try things out, and for benchmarks.

use super::{Context, Handler, Registry, TaskError, TaskResult};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Adds `echo`, `noop`, `sleep`, `fail` and `heartbeat`.
pub(super) fn add(registry: &mut Registry) {
    registry.register_handler("echo", Echo);
    registry.register_handler("noop", Noop);
    registry.register_handler("heartbeat", Noop);
    registry.register("sleep", sleep);
    registry.register("fail", fail);
}

/// `echo`: the result is the payload, byte for byte.
struct Echo;

impl Handler for Echo {
    fn run(&self, _context: Context, payload: Arc<str>) -> BoxFuture<'static, TaskResult> {
        std::future::ready(Ok(Some(Box::from(&*payload)))).boxed()
    }
}

/// `noop` and `heartbeat`: nothing. That it ran is the message.
struct Noop;

impl Handler for Noop {
    fn run(&self, _context: Context, _payload: Arc<str>) -> BoxFuture<'static, TaskResult> {
        std::future::ready(Ok(None)).boxed()
    }
}

/// Between two words of a sleep about how far it is.
const STROKE: Duration = Duration::from_secs(1);

/// `sleep`: `{"ms": 100}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    ms: u64,
}

async fn sleep(context: Context, payload: Sleep) -> Result<(), TaskError> {
    let (began, whole) = (Instant::now(), Duration::from_millis(payload.ms));
    let mut strokes = tokio::time::interval_at(began + STROKE, STROKE);
    let over = tokio::time::sleep(whole);
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            () = &mut over => break,
            () = context.cancelled() => return Err(TaskError::retryable("stopped before the time was over")),
            // A short one says nothing.
            _ = strokes.tick(), if whole > STROKE => context.progress(began.elapsed().div_duration_f64(whole)),
        }
    }
    if whole > STROKE {
        context.progress(1.0);
    }
    Ok(())
}

/// `fail`: `{"message": "…", "permanent": false}`, or no payload at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    #[serde(default = "fail_message")]
    message: String,
    #[serde(default)]
    permanent: bool,
}

fn fail_message() -> String {
    "failed as asked".to_owned()
}

async fn fail(_context: Context, payload: Option<Fail>) -> Result<(), TaskError> {
    let payload = payload.unwrap_or(Fail { message: fail_message(), permanent: false });
    if payload.permanent {
        Err(TaskError::permanent(payload.message))
    } else {
        Err(TaskError::retryable(payload.message))
    }
}
