//! Where a task stands in its queue's index: one number that sorts by priority, then age.
//!
//! A scheduled task sorts by `run_at` alone. In the backlog and after, the priority band
//! comes first: `(9 - priority) * BAND + run_at`, so that one index range read gives the
//! next tasks in order.

use super::Timestamp;

/// The highest priority; 0 is the lowest and the default.
pub const MAX_PRIORITY: u8 = 9;

/// Width of one priority's band: 2^53 microseconds reach the year 2255.
pub const BAND: u64 = 1 << 53;

/// How many priorities there are, each with a band.
pub const BANDS: usize = 10;

/// Where the n-th band begins: the highest priority has the first.
#[must_use]
pub fn band(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(0).min(u64::from(MAX_PRIORITY)) * BAND
}

/// The number of the band that a position stands in.
#[must_use]
pub fn band_of(position: u64) -> usize {
    usize::try_from(position / BAND).unwrap_or(usize::MAX)
}

/// The position of a scheduled task: `run_at` in microseconds since 1970.
#[must_use]
pub fn scheduled(run_at: Timestamp) -> u64 {
    u64::try_from(run_at.timestamp_micros()).unwrap_or(0).min(BAND - 1)
}

/// The position of a queued task: priority first, then the instant it became eligible.
#[must_use]
pub fn queued(priority: u8, run_at: Timestamp) -> u64 {
    u64::from(MAX_PRIORITY.saturating_sub(priority)) * BAND + scheduled(run_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_higher_priority_always_comes_first_and_age_decides_within_one(
            low in 0u8..9, step in 1u8..9, a in 0i64..7_000_000_000_000_000, b in 0i64..7_000_000_000_000_000,
        ) {
            let at = |us| Timestamp::from_timestamp_micros(us).unwrap();
            let high = (low + step).min(MAX_PRIORITY);
            prop_assert!(queued(high, at(a)) < queued(low, at(b)));
            prop_assert_eq!(queued(low, at(a)) < queued(low, at(b)), a < b);
        }
    }
}
