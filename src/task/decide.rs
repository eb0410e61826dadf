//! What an attempt's outcome does to its task: the only place that chooses the next state.
//! Finish and rescue share it.

use super::{Backoff, Reason};
use std::time::Duration;

/// A task that was running on this many workers that died and never came back is failed as
/// poisoned, even with attempts left.
pub const POISON_CRASHES: u32 = 3;

/// Longest error text that is kept, in bytes; the rest is cut off with a mark.
pub const MAX_ERROR_BYTES: usize = 8 * 1024;

/// The longest wait that an outcome may ask for: 24 hours. Whoever answers a call must not be able to put a task off
/// for ever.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// How an attempt ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The handler returned; JSON text, or nothing.
    Success(Option<Box<str>>),
    /// An error that another attempt may mend.
    Retryable(String),
    /// The same, with the wait that was asked for, in place of the backoff's.
    RetryAfter(String, Duration),
    /// An error that no attempt can mend.
    Permanent(String),
    /// The attempt exceeded its timeout.
    TimedOut(Duration),
    /// The task was cancelled while it ran.
    Cancelled,
    /// The worker drained before it ended. The attempt is forgiven.
    Interrupted,
    /// The worker died.
    Lost(String),
    /// The worker lost its lease, stopped the attempt and came back. It counts as an attempt, but
    /// not as a dead worker: an outage of the database must not poison what it interrupts.
    Abandoned(String),
}

impl Outcome {
    /// The word in `task_attempts`, logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Success(_) => "success",
            Outcome::Retryable(_) | Outcome::RetryAfter(..) => "error",
            Outcome::Permanent(_) => "permanent",
            Outcome::TimedOut(_) => "timeout",
            Outcome::Cancelled => "cancelled",
            Outcome::Interrupted => "interrupted",
            Outcome::Lost(_) | Outcome::Abandoned(_) => "lost",
        }
    }

    /// What `last_error` will say, if anything; trimmed to [`MAX_ERROR_BYTES`].
    #[must_use]
    pub fn error(&self) -> Option<String> {
        match self {
            Outcome::Success(_) | Outcome::Interrupted => None,
            Outcome::Retryable(message)
            | Outcome::RetryAfter(message, _)
            | Outcome::Permanent(message)
            | Outcome::Lost(message)
            | Outcome::Abandoned(message) => Some(trim(message)),
            Outcome::TimedOut(limit) => {
                Some(format!("the attempt exceeded its timeout of {}", super::duration::format(*limit)))
            }
            Outcome::Cancelled => Some("cancelled while running".to_owned()),
        }
    }
}

/// What of a task's row the decision needs.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// The attempt that ended.
    pub attempt: u32,
    pub forgiven: u32,
    pub max_attempts: u32,
    /// How many workers died while they ran it, before this outcome.
    pub crash_count: u32,
    pub backoff: Backoff,
    /// Somebody asked to cancel it: whatever has not completed ends cancelled.
    pub cancel_requested: bool,
}

/// The next state, with what goes into the row beside it.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// `completed`.
    Complete,
    /// `scheduled`, to be due after this delay.
    Retry(Duration),
    /// `queued` again: no delay. `forgiven` says whether the attempt counts.
    Requeue { forgiven: bool },
    /// `failed`.
    Fail(Reason),
    /// `cancelled`.
    Cancel,
}

/// Chooses the next state. `random` is in [0, 1) and spreads the backoff.
#[must_use]
pub fn decide(outcome: &Outcome, standing: &Standing, random: f64) -> Next {
    let spent = standing.attempt.saturating_sub(standing.forgiven);
    let exhausted = spent >= standing.max_attempts;
    match outcome {
        Outcome::Success(_) => Next::Complete,
        _ if standing.cancel_requested => Next::Cancel,
        Outcome::Permanent(_) => Next::Fail(Reason::Permanent),
        Outcome::Cancelled => Next::Cancel,
        Outcome::Interrupted => Next::Requeue { forgiven: true },
        Outcome::Lost(_) if standing.crash_count.saturating_add(1) >= POISON_CRASHES => Next::Fail(Reason::Poisoned),
        Outcome::Retryable(_) | Outcome::RetryAfter(..) | Outcome::Lost(_) | Outcome::Abandoned(_) if exhausted => {
            Next::Fail(Reason::Error)
        }
        Outcome::TimedOut(_) if exhausted => Next::Fail(Reason::Timeout),
        // The wait was the worker's lease: no more of it.
        Outcome::Lost(_) | Outcome::Abandoned(_) => Next::Requeue { forgiven: false },
        Outcome::RetryAfter(_, wait) => Next::Retry((*wait).min(MAX_RETRY_AFTER)),
        Outcome::Retryable(_) | Outcome::TimedOut(_) => Next::Retry(standing.backoff.delay(spent.max(1), random)),
    }
}

/// Cuts a text to [`MAX_ERROR_BYTES`] on a character boundary.
#[must_use]
pub fn trim(message: &str) -> String {
    if message.len() <= MAX_ERROR_BYTES {
        return message.to_owned();
    }
    let mut kept = String::with_capacity(MAX_ERROR_BYTES + 8);
    for c in message.chars() {
        if kept.len() + c.len_utf8() > MAX_ERROR_BYTES {
            break;
        }
        kept.push(c);
    }
    kept.push_str(" […]");
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn standing(attempt: u32, forgiven: u32, max_attempts: u32, crash_count: u32) -> Standing {
        let backoff = Backoff::fixed(Duration::from_secs(1));
        Standing { attempt, forgiven, max_attempts, crash_count, backoff, cancel_requested: false }
    }

    fn outcomes() -> [Outcome; 9] {
        [
            Outcome::Success(None),
            Outcome::Retryable("e".into()),
            Outcome::Permanent("e".into()),
            Outcome::TimedOut(Duration::from_secs(1)),
            Outcome::Cancelled,
            Outcome::Interrupted,
            Outcome::Lost("e".into()),
            Outcome::Abandoned("e".into()),
            Outcome::RetryAfter("e".into(), Duration::from_secs(7)),
        ]
    }

    #[test]
    fn each_outcome_with_attempts_left_and_without() {
        let retry = Next::Retry(Duration::from_secs(1));
        let left = [
            Next::Complete,
            retry.clone(),
            Next::Fail(Reason::Permanent),
            retry,
            Next::Cancel,
            Next::Requeue { forgiven: true },
            Next::Requeue { forgiven: false },
            Next::Requeue { forgiven: false },
            Next::Retry(Duration::from_secs(7)),
        ];
        let exhausted = [
            Next::Complete,
            Next::Fail(Reason::Error),
            Next::Fail(Reason::Permanent),
            Next::Fail(Reason::Timeout),
            Next::Cancel,
            Next::Requeue { forgiven: true },
            Next::Fail(Reason::Error),
            Next::Fail(Reason::Error),
            Next::Fail(Reason::Error),
        ];
        for (i, outcome) in outcomes().iter().enumerate() {
            assert_eq!(decide(outcome, &standing(1, 0, 3, 0), 0.5), left[i], "{outcome:?}");
            assert_eq!(decide(outcome, &standing(3, 0, 3, 0), 0.5), exhausted[i], "{outcome:?}");
        }
    }

    #[test]
    fn what_was_to_be_cancelled_and_has_not_completed_is_cancelled() {
        for (attempt, crashes) in [(1, 0), (3, 0), (3, 2)] {
            let asked = Standing { cancel_requested: true, ..standing(attempt, 0, 3, crashes) };
            for outcome in outcomes() {
                let success = matches!(outcome, Outcome::Success(_));
                let next = if success { Next::Complete } else { Next::Cancel };
                assert_eq!(decide(&outcome, &asked, 0.5), next, "{outcome:?}");
            }
        }
    }

    #[test]
    fn forgiven_attempts_do_not_count() {
        let lost = Outcome::Retryable("e".into());
        assert_eq!(decide(&lost, &standing(5, 2, 3, 0), 0.0), Next::Fail(Reason::Error));
        assert!(matches!(decide(&lost, &standing(5, 3, 3, 0), 0.0), Next::Retry(_)));
    }

    #[test]
    fn the_third_dead_worker_poisons_even_with_attempts_left() {
        let lost = Outcome::Lost("worker died".into());
        assert_eq!(decide(&lost, &standing(2, 0, 100, 1), 0.0), Next::Requeue { forgiven: false });
        assert_eq!(decide(&lost, &standing(3, 0, 100, 2), 0.0), Next::Fail(Reason::Poisoned));
        // One that came back has not died.
        let abandoned = Outcome::Abandoned("worker lost its lease".into());
        assert_eq!(decide(&abandoned, &standing(3, 0, 100, 2), 0.0), Next::Requeue { forgiven: false });
    }

    #[test]
    fn a_wait_that_was_asked_for_counts_up_to_a_day_and_not_the_backoff() {
        let asked = |wait| decide(&Outcome::RetryAfter("e".into(), wait), &standing(1, 0, 3, 0), 0.5);
        for (wait, granted) in [(0, 0), (1, 1), (86_400, 86_400), (86_401, 86_400), (u64::MAX, 86_400)] {
            assert_eq!(asked(Duration::from_secs(wait)), Next::Retry(Duration::from_secs(granted)));
        }
    }

    #[test]
    fn a_long_error_is_cut_on_a_character() {
        let error = Outcome::Retryable("ä".repeat(MAX_ERROR_BYTES)).error().unwrap();
        assert!(error.len() <= MAX_ERROR_BYTES + 8 && error.ends_with("[…]"));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_retries_an_exhausted_task(
            which in 0usize..9, attempt in 0u32.., forgiven in 0u32.., max in 1u32.., crashes in 0u32.., random in 0.0f64..1.0,
        ) {
            let s = standing(attempt, forgiven, max, crashes);
            let next = decide(&outcomes()[which], &s, random);
            if attempt.saturating_sub(forgiven) >= max {
                let again = matches!(next, Next::Retry(_) | Next::Requeue { forgiven: false });
                prop_assert!(!again, "another attempt of an exhausted task");
            }
        }
    }
}
