//! Two clocks: the client's, by which requests are sent, and the database's, which rows carry.
//!
//! A row's `created_at` was read after its request was sent and before its answer came. So each
//! submission bounds how far the database's clock is ahead, and all of them together bound it
//! well: the fastest one by its own duration.

use crate::task::Timestamp;
use chrono::Utc;
use std::time::Instant;

/// The client's clock: monotonic, and set once by the system's. Microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    zero: Instant,
    micros: i64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { zero: Instant::now(), micros: Utc::now().timestamp_micros() }
    }

    pub(super) fn at(&self, instant: Instant) -> i64 {
        let since = instant.saturating_duration_since(self.zero).as_micros();
        self.micros.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

/// How far the database's clock may be ahead of the client's, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    least: i64,
    most: i64,
}

impl Default for Offset {
    fn default() -> Self {
        Self { least: i64::MIN, most: i64::MAX }
    }
}

impl Offset {
    /// Takes a submission into account: sent and answered by the client's clock, created by the database's.
    pub(super) fn observe(&mut self, sent: i64, created: Timestamp, answered: i64) {
        let created = created.timestamp_micros();
        // Both clocks are cut to whole microseconds, so either bound may be off by one.
        self.least = self.least.max(created.saturating_sub(answered).saturating_sub(1));
        self.most = self.most.min(created.saturating_sub(sent).saturating_add(1));
    }

    /// What to take it for: nothing where that is possible, else the middle. Where a clock was
    /// set during the run the bounds cross, and the middle is as good a guess as any.
    pub(super) fn micros(self) -> i64 {
        if self.least <= 0 && 0 <= self.most {
            return 0;
        }
        self.least.midpoint(self.most)
    }

    /// For people; None where the clocks may well be equal.
    pub(super) fn remark(self) -> Option<String> {
        let offset = self.micros();
        if offset == 0 {
            return None;
        }
        let doubt = self.most.abs_diff(self.least).div_ceil(2);
        let way = if offset > 0 { "ahead of" } else { "behind" };
        let (ms, doubt) = (millis(offset.unsigned_abs()), millis(doubt));
        let crossed = if self.least > self.most { "; one of the two was set during the run" } else { "" };
        Some(format!(
            "the database's clock is {ms:.3} ms (give or take {doubt:.3}) {way} this machine's{crossed}; latencies are corrected for it"
        ))
    }
}

fn millis(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_timestamp_micros(micros).unwrap()
    }

    #[test]
    fn clocks_that_may_be_equal_are() {
        let mut offset = Offset::default();
        offset.observe(1_000, at(1_500), 2_000);
        offset.observe(3_000, at(3_000), 3_400);
        assert_eq!((offset.micros(), offset.remark()), (0, None));
    }

    #[test]
    fn the_tightest_bounds_of_all_submissions_count() {
        let mut offset = Offset::default();
        // 50 ms ahead: bounds of [49.0, 51.0], [49.9, 50.5] and [49.5, 50.1] ms.
        offset.observe(1_000, at(52_000), 3_000);
        offset.observe(10_000, at(60_500), 10_600);
        offset.observe(20_000, at(70_100), 20_600);
        assert_eq!(offset, Offset { least: 49_899, most: 50_101 });
        assert_eq!(offset.micros(), 50_000);
        let remark = offset.remark().unwrap();
        assert!(remark.contains("50.000 ms (give or take 0.101) ahead of"), "{remark}");
    }

    #[test]
    fn a_clock_that_is_behind_or_was_set_is_said() {
        let mut offset = Offset::default();
        offset.observe(100_000, at(40_500), 101_000);
        assert_eq!(offset.micros(), -60_000);
        assert!(offset.remark().unwrap().contains("behind"));
        offset.observe(200_000, at(205_000), 201_000);
        assert!(offset.remark().unwrap().contains("was set during the run"));
    }

    #[test]
    fn the_clients_clock_runs_with_its_instants() {
        let clock = Clock::start();
        let later = clock.zero + std::time::Duration::from_micros(1_234);
        assert_eq!(clock.at(later) - clock.at(clock.zero), 1_234);
    }
}
