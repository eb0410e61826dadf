//! One log line when trouble begins and one when it ends, however often it is met between.

use std::sync::atomic::{AtomicU64, Ordering};

/// A stretch of failures of one thing. Shared by all who meet it.
#[derive(Debug)]
pub struct Episode {
    /// What is in trouble: begins the log lines.
    subject: &'static str,
    failures: AtomicU64,
}

impl Episode {
    /// `subject` begins the log lines, as in "redis reader".
    #[must_use]
    pub const fn new(subject: &'static str) -> Self {
        Self { subject, failures: AtomicU64::new(0) }
    }

    /// A failure: logged if it is the first since the last success.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(error = %error, "{}: trouble; trying again until it is over", self.subject);
        }
    }

    /// A success: logged if it ends a stretch of failures.
    pub fn succeeded(&self) {
        // The load keeps the healthy path free of a write.
        if self.failures.load(Ordering::Relaxed) != 0 {
            let failures = self.failures.swap(0, Ordering::Relaxed);
            if failures != 0 {
                tracing::info!(failures, "{}: well again", self.subject);
            }
        }
    }

    /// Whether the last thing heard was a failure.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
    }
}
