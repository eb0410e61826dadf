//! Requests that are refused for who asks: each is counted, and some are logged. Their number is the clients' choice.

use crate::telemetry::Metrics;
use prometheus::IntCounterVec;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two lines in the log.
const QUIET: Duration = Duration::from_secs(10);

/// Why a request was refused: the label in `http_refused_total{kind}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NoKey,
    BadKey,
    ExpiredKey,
    /// Without keys: not from this machine.
    Foreign,
    Scope,
    /// Outside of what the key is restricted to.
    Restricted,
    Rate,
}

impl Refusal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::BadKey => "bad_key",
            Self::ExpiredKey => "expired_key",
            Self::Foreign => "foreign",
            Self::Scope => "scope",
            Self::Restricted => "restricted",
            Self::Rate => "rate",
        }
    }
}

/// Counts and logs them.
#[derive(Debug)]
pub(super) struct Refusals {
    counted: IntCounterVec,
    began: Instant,
    /// When the log may have the next line, in milliseconds since `began`.
    next: AtomicU64,
    /// Not logged since the last line.
    silent: AtomicU64,
}

impl Refusals {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counted = metrics.http_refused.clone();
        Self { counted, began: Instant::now(), next: AtomicU64::new(0), silent: AtomicU64::new(0) }
    }

    pub(super) fn count(&self, why: Refusal) {
        self.counted.with_label_values(&[why.as_str()]).inc();
    }

    /// Counts one that may be an attack. Never says what was sent.
    pub(super) fn alarm(&self, why: Refusal, from: Option<SocketAddr>) {
        self.count(why);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let turn =
            now >= next && self.next.compare_exchange(next, now + quiet, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if turn {
            let others = self.silent.swap(0, Ordering::Relaxed);
            let from = from.map(|address| address.ip().to_string());
            tracing::warn!(kind = why.as_str(), from, others, "a request was refused: who asks is not known");
        } else {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
    }
}
