//! How long a worker may trust its own lease.
//!
//! The database holds the lease; the worker trusts it until the instant it *sent* its last
//! successful renewal, plus the lease, less a margin: whoever declares it dead by the
//! database's clock does so later than that. The clock here runs while the machine is
//! suspended, which `Instant` does not on Linux.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The margin is this part of the lease.
const MARGIN_PART: u32 = 5;
/// How often expiry is looked at: the machine may have been suspended meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// A time on the clock that runs during suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    /// Now.
    pub(super) fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanos))
    }

    /// The time since an earlier moment.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A worker's view of its own lease.
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    /// Microseconds on the clock of [`Moment`] until which it may be trusted.
    trusted_until: AtomicU64,
    revoked: AtomicBool,
}

impl Lease {
    /// A lease of this length that was asked for at `sent`.
    pub(super) fn new(length: Duration, sent: Moment) -> Self {
        let lease = Self { length, trusted_until: AtomicU64::new(0), revoked: AtomicBool::new(false) };
        lease.renewed(sent);
        lease
    }

    /// Its length.
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// A renewal that was sent at this moment has succeeded.
    pub(super) fn renewed(&self, sent: Moment) {
        let until = sent.0 + self.length - self.length / MARGIN_PART;
        self.trusted_until.fetch_max(micros(until), Ordering::Relaxed);
    }

    /// It is lost: it may not be trusted any more, whatever comes.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// Whether it may be trusted at this moment.
    pub(super) fn holds_at(&self, now: Moment) -> bool {
        !self.revoked.load(Ordering::Relaxed) && micros(now.0) < self.trusted_until.load(Ordering::Relaxed)
    }

    /// Whether it may be trusted now.
    pub(super) fn holds(&self) -> bool {
        self.holds_at(Moment::now())
    }

    /// Resolves when it may not be trusted any more.
    pub(super) async fn expired(&self) {
        while self.holds() {
            tokio::time::sleep(LOOK.min(self.length / MARGIN_PART)).await;
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_ends_a_margin_before_the_lease_and_counts_from_the_sending() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let lease = Lease::new(Duration::from_secs(15), at(100));
        assert!(lease.holds_at(at(111)));
        assert!(!lease.holds_at(at(112)));
        lease.renewed(at(110));
        assert!(lease.holds_at(at(121)) && !lease.holds_at(at(122)));
        // An older answer that arrives late takes nothing away.
        lease.renewed(at(105));
        assert!(lease.holds_at(at(121)));
        lease.revoke();
        lease.renewed(at(120));
        assert!(!lease.holds_at(at(121)));
    }
}
