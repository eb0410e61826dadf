//! Execute: one attempt from its claim to its outcome. Panics are the task's errors, not the
//! worker's; the deadline, a cancel, a drain and the loss of the lease all stop it in one way.

use crate::executor::{Context, Journal, Registry, TaskError, TaskResult};
use crate::task::{Claimed, Outcome};
use futures_util::FutureExt;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Why an attempt was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its deadline passed.
    TimedOut,
    /// The task was cancelled.
    Cancelled,
    /// The worker drains and its time is over.
    Interrupted,
    /// The worker may no longer own it: whatever it returns is discarded.
    Fenced,
}

/// Stops one attempt; the first reason counts, but for the loss of the lease, which comes before
/// all others. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stopper {
    token: CancellationToken,
    reason: Arc<OnceLock<Stop>>,
    fenced: CancellationToken,
}

impl Stopper {
    /// Tells the attempt to stop.
    pub fn stop(&self, reason: Stop) {
        if reason == Stop::Fenced {
            self.fenced.cancel();
        }
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Why it was stopped, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<Stop> {
        if self.fenced.is_cancelled() { Some(Stop::Fenced) } else { self.reason.get().copied() }
    }
}

/// Runs one attempt; a result of more than `max_result` bytes is a permanent error. None: it
/// was fenced, nothing may be recorded.
pub async fn execute(
    registry: &Registry,
    claimed: Arc<Claimed>,
    stopper: &Stopper,
    journal: &Arc<dyn Journal>,
    max_result: usize,
) -> Option<Outcome> {
    // Stopped between the claim and here: it must not even begin.
    match stopper.reason() {
        Some(Stop::Fenced) => return None,
        Some(Stop::Cancelled) => return Some(Outcome::Cancelled),
        Some(Stop::Interrupted) => return Some(Outcome::Interrupted),
        Some(Stop::TimedOut) | None => {}
    }
    let Some(handler) = registry.handler(&claimed.name) else {
        return Some(Outcome::Retryable(format!("this worker has no task type {:?}", claimed.name)));
    };
    let timeout = claimed.timeout;
    let deadline = Instant::now().checked_add(timeout).unwrap_or_else(far_future);
    let context = Context::new(Arc::clone(&claimed), deadline, stopper.token.clone(), Arc::clone(journal));
    let payload = Arc::clone(&claimed.payload);
    // The call itself is inside: a handler may panic before it returns its future.
    let running = AssertUnwindSafe(async { handler.run(context, payload).await }).catch_unwind();
    tokio::pin!(running);
    let ended = tokio::select! {
        biased;
        ended = &mut running => Some(ended),
        () = stopper.token.cancelled() => None,
        () = tokio::time::sleep_until(deadline.into()) => {
            stopper.stop(Stop::TimedOut);
            None
        }
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        // Told to stop: it may clean up, and whatever it returns no longer counts. But no grace, or no
        // more of it, once another worker may own the task.
        None => tokio::select! {
            biased;
            () = stopper.fenced.cancelled() => None,
            ended = tokio::time::timeout(handler.stop_grace(), &mut running) => ended.ok(),
        },
    };
    match (stopper.reason(), ended) {
        (Some(Stop::Fenced), _) => None,
        (Some(Stop::Cancelled), _) => Some(Outcome::Cancelled),
        // It finished its work while it was being stopped.
        (Some(Stop::Interrupted), Some(Ok(Ok(result)))) => Some(success(result, max_result)),
        (Some(Stop::Interrupted), _) => Some(Outcome::Interrupted),
        (Some(Stop::TimedOut), _) => Some(Outcome::TimedOut(timeout)),
        (None, Some(ended)) => Some(outcome(ended, max_result)),
        (None, None) => Some(Outcome::Interrupted), // not reached: only a stop ends the wait
    }
}

/// How a handler's future ended: with its result, or with a panic's payload.
type Returned = Result<TaskResult, Box<dyn Any + Send>>;

fn success(result: Option<Box<str>>, max_result: usize) -> Outcome {
    let Some(text) = result else { return Outcome::Success(None) };
    if text.len() > max_result {
        return Outcome::Permanent(format!("the result has {} bytes; limits.result is {max_result}", text.len()));
    }
    // Readers get it as a JSON value, byte for byte.
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Outcome::Success(Some(text)),
        Err(error) => Outcome::Permanent(format!("the result is not JSON: {error}")),
    }
}

fn outcome(ended: Returned, max_result: usize) -> Outcome {
    match ended {
        Ok(Ok(result)) => success(result, max_result),
        Ok(Err(TaskError::Retryable(message))) => Outcome::Retryable(message),
        Ok(Err(TaskError::RetryAfter(message, wait))) => Outcome::RetryAfter(message, wait),
        Ok(Err(TaskError::Permanent(message))) => Outcome::Permanent(message),
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Outcome::Retryable(format!("the handler panicked: {message}"))
        }
    }
}

/// A deadline that does not fit the clock is none.
fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::STOP_GRACE;
    use crate::task::{TaskId, WorkerId};

    fn claimed(name: &str, timeout: Duration) -> Arc<Claimed> {
        Arc::new(Claimed {
            id: TaskId(uuid::Uuid::nil()),
            attempt: 1,
            worker: WorkerId::fresh(),
            name: name.into(),
            queue: "default".into(),
            payload: "{\"ms\": 600000}".into(),
            timeout,
            max_attempts: 3,
            run_at: chrono::Utc::now(),
        })
    }

    fn silent() -> Arc<dyn Journal> {
        Arc::new(crate::executor::Silent)
    }

    fn registry() -> Registry {
        let mut registry = Registry::new();
        registry.register("panics", async |_: Context, _: serde_json::Value| -> Result<(), TaskError> {
            panic!("oh no {}", 7)
        });
        registry.register("deaf", async |_: Context, _: serde_json::Value| -> Result<(), TaskError> {
            std::future::pending().await
        });
        registry.register("tidies", async |context: Context, _: serde_json::Value| {
            context.cancelled().await;
            Ok("tidied")
        });
        registry
    }

    const LONG: Duration = Duration::from_secs(600);

    async fn run(name: &str, timeout: Duration, stop: Option<Stop>) -> Option<Outcome> {
        let stopper = Stopper::default();
        let stopping = async {
            // When it has begun.
            tokio::task::yield_now().await;
            if let Some(reason) = stop {
                stopper.stop(reason);
            }
        };
        let (registry, journal) = (registry(), silent());
        tokio::join!(execute(&registry, claimed(name, timeout), &stopper, &journal, 1 << 20), stopping).0
    }

    #[tokio::test]
    async fn a_panic_is_the_tasks_error() {
        assert_eq!(run("panics", LONG, None).await, Some(Outcome::Retryable("the handler panicked: oh no 7".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_handler_that_listens_and_one_that_does_not() {
        let limit = Duration::from_millis(50);
        assert_eq!(run("sleep", limit, None).await, Some(Outcome::TimedOut(limit)));
        assert_eq!(run("deaf", limit, None).await, Some(Outcome::TimedOut(limit)));
    }

    #[tokio::test(start_paused = true)]
    async fn each_stop_has_its_outcome() {
        assert_eq!(run("deaf", LONG, Some(Stop::Cancelled)).await, Some(Outcome::Cancelled));
        assert_eq!(run("deaf", LONG, Some(Stop::Interrupted)).await, Some(Outcome::Interrupted));
        assert_eq!(run("deaf", LONG, Some(Stop::Fenced)).await, None);
        let finished = Some(Outcome::Success(Some("\"tidied\"".into())));
        assert_eq!(run("tidies", LONG, Some(Stop::Interrupted)).await, finished);
        assert_eq!(run("tidies", LONG, Some(Stop::Fenced)).await, None);
    }

    #[tokio::test]
    async fn what_is_stopped_before_it_begins_does_not_begin() {
        let stops = [(Stop::Cancelled, Some(Outcome::Cancelled)), (Stop::Interrupted, Some(Outcome::Interrupted))];
        for (reason, outcome) in [stops.as_slice(), &[(Stop::Fenced, None)]].concat() {
            let stopper = Stopper::default();
            stopper.stop(reason);
            // It would panic.
            assert_eq!(execute(&registry(), claimed("panics", LONG), &stopper, &silent(), 1 << 20).await, outcome);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_loss_of_the_lease_ends_the_grace_of_any_other_stop() {
        let stopper = Stopper::default();
        let (registry, journal) = (registry(), silent());
        let stops = async {
            tokio::task::yield_now().await;
            stopper.stop(Stop::Cancelled);
            tokio::time::sleep(STOP_GRACE / 2).await;
            stopper.stop(Stop::Fenced);
        };
        let began = tokio::time::Instant::now();
        let (outcome, ()) = tokio::join!(execute(&registry, claimed("deaf", LONG), &stopper, &journal, 1 << 20), stops);
        assert_eq!((outcome, began.elapsed() < STOP_GRACE), (None, true));
    }

    #[tokio::test]
    async fn a_result_that_is_too_large_or_no_json_is_a_permanent_error() {
        struct Raw(&'static str);
        impl crate::executor::Handler for Raw {
            fn run(&self, _: Context, _: Arc<str>) -> futures_util::future::BoxFuture<'static, TaskResult> {
                std::future::ready(Ok(Some(self.0.into()))).boxed()
            }
        }
        let mut registry = Registry::new();
        for (text, good) in [("[1, 2]", true), ("[1, 2", false), ("[1, 2, 3]", false)] {
            registry.register_handler("raw", Raw(text));
            let outcome = execute(&registry, claimed("raw", LONG), &Stopper::default(), &silent(), 8).await;
            assert_eq!(matches!(outcome, Some(Outcome::Success(_))), good, "{text}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_payload_that_does_not_fit_is_a_permanent_error() {
        let mut wrong = (*claimed("sleep", LONG)).clone();
        wrong.payload = "{\"seconds\": 1}".into();
        let outcome = execute(&registry(), Arc::new(wrong), &Stopper::default(), &silent(), 1 << 20).await;
        assert!(matches!(outcome, Some(Outcome::Permanent(message)) if message.contains("seconds")));
    }
}
