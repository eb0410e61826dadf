//! The six states of a task and the one table of moves between them.
//!
//! ```text
//!  scheduled ──► queued ──► running ──► completed
//!      │  ▲         │ ▲      │ │ │  └─► failed ────┐
//!      │  └─────────┼─┼──────┘ │ └────► cancelled ─┤
//!      └──► cancelled ◄────────┘                   │
//!                   └──────────── manual retry ────┘
//! ```
//!
//! The SQL repeats each guard; [`Status::may_become`] is what it repeats.

use std::fmt;

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Waits for `run_at`: delayed by the client, or backing off before its next attempt.
    /// Its queue's dispatcher moves it onward when it is due.
    Scheduled,
    /// Eligible: in the backlog (`dispatched_at` null) or in the stream (`dispatched_at` set).
    /// The dispatcher, then a worker's claim, moves it onward.
    Queued,
    /// One attempt owns it. Its worker moves it onward (finish), or the rescuer if the worker died.
    Running,
    /// The handler returned success. Terminal; purged after the retention.
    Completed,
    /// Attempts exhausted, a permanent error, or poisoned. Terminal; a manual retry requeues it.
    Failed,
    /// Stopped by a person or a client, or it expired before it started. Terminal; a manual
    /// retry requeues it.
    Cancelled,
}

impl Status {
    /// Every state, in the order of a task's life.
    pub const ALL: [Status; 6] =
        [Status::Scheduled, Status::Queued, Status::Running, Status::Completed, Status::Failed, Status::Cancelled];

    /// The word used in the database, over REST, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Scheduled => "scheduled",
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// The state with this word, if there is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// No move leaves it but a manual retry.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }

    /// The one table of moves. Everything not listed is illegal.
    #[must_use]
    pub const fn may_become(self, to: Status) -> bool {
        use Status::{Cancelled, Completed, Failed, Queued, Running, Scheduled};
        match self {
            Scheduled => matches!(to, Queued | Cancelled),
            Queued => matches!(to, Running | Cancelled),
            Running => matches!(to, Completed | Failed | Cancelled | Scheduled | Queued),
            Failed | Cancelled => matches!(to, Queued),
            Completed => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task is `failed` or `cancelled`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Its last attempt failed with a retryable error, or was lost with its worker.
    Error,
    /// An attempt failed with an error that no retry can mend.
    Permanent,
    /// Its last attempt exceeded the timeout.
    Timeout,
    /// It ran on [`super::decide::POISON_CRASHES`] workers that died.
    Poisoned,
    /// A person or a client stopped it.
    Cancelled,
    /// `expires_at` passed before it started.
    Expired,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 6] =
        [Reason::Error, Reason::Permanent, Reason::Timeout, Reason::Poisoned, Reason::Cancelled, Reason::Expired];

    /// The word used in the database, over REST, in logs and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Error => "error",
            Reason::Permanent => "permanent",
            Reason::Timeout => "timeout",
            Reason::Poisoned => "poisoned",
            Reason::Cancelled => "cancelled",
            Reason::Expired => "expired",
        }
    }

    /// The reason with this word, if there is one.
    #[must_use]
    pub fn parse(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::Status::{Cancelled, Completed, Failed, Queued, Running, Scheduled};
    use super::*;

    #[test]
    fn every_pair_of_states_is_judged_as_the_protocol_lists() {
        let legal = [
            (Scheduled, Queued),
            (Scheduled, Cancelled),
            (Queued, Running),
            (Queued, Cancelled),
            (Running, Completed),
            (Running, Failed),
            (Running, Cancelled),
            (Running, Scheduled),
            (Running, Queued),
            (Failed, Queued),
            (Cancelled, Queued),
        ];
        for from in Status::ALL {
            for to in Status::ALL {
                assert_eq!(from.may_become(to), legal.contains(&(from, to)), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn words_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Status::parse("Queued"), None);
    }
}
