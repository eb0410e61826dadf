//! How many slots will be free when a claim that is sent now has been answered, or a moment later: those that are free
//! now, and those that end until then. Without the latter, a worker of short tasks would claim a handful at a time, and
//! a claim costs the database nearly as much for a handful as for hundreds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Most tasks claimed for slots that are still taken: with the default of slots, one statement's worth.
const AHEAD: u32 = 192;
/// How long before its slot comes free a task may have been claimed, where tasks are short: what a worker that dies has
/// claimed and not begun is what it would have begun within this time.
const EARLY: Duration = Duration::from_millis(5);
/// Tasks are short when slots are freed as fast as if all of them were taken for this long each. Longer ones may all
/// end at once, and then none for a while: who was claimed early would wait for as long.
const SHORT: Duration = Duration::from_millis(50);
/// A claim that takes longer says that the database is in trouble, and nothing of the next one.
const LONGEST: Duration = Duration::from_millis(100);
/// A task that was claimed for a slot which did not come free goes back after this time: those before it
/// had been short, and are no longer.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Weight of the newest measurement.
const WEIGHT: f64 = 0.3;
/// A measurement over this time and longer stands alone.
const REST: Duration = Duration::from_secs(1);

/// Counts the slots that were freed. Shared with the attempts.
#[derive(Debug, Default)]
pub(super) struct Freed(AtomicU64);

impl Freed {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The consumer's measurements.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many there are.
    slots: f64,
    at: Instant,
    freed: u64,
    /// Slots freed in a second.
    rate: f64,
    /// Seconds from the read to the answer of a claim.
    claim: f64,
}

impl Pace {
    pub(super) fn new(now: Instant, slots: u32) -> Self {
        Self { slots: f64::from(slots), at: now, freed: 0, rate: 0.0, claim: 0.0 }
    }

    /// A claim was answered that began at this instant.
    pub(super) fn answered(&mut self, began: Instant, now: Instant, freed: &Freed) {
        let freed = freed.0.load(Ordering::Relaxed);
        let ended = f64::from(u32::try_from(freed.saturating_sub(self.freed)).unwrap_or(u32::MAX));
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        if since > 0.0 {
            // After a rest the old pace says nothing any more.
            let weight = if since < REST.as_secs_f64() { WEIGHT } else { 1.0 };
            self.rate += (ended / since - self.rate) * weight;
        }
        let claim = now.saturating_duration_since(began).min(LONGEST);
        self.claim += (claim.as_secs_f64() - self.claim) * WEIGHT;
        (self.at, self.freed) = (now, freed);
    }

    /// Slots that will have been freed when the next claim is answered, or a moment later where tasks are short.
    pub(super) fn ahead(&self) -> usize {
        let short = self.rate * SHORT.as_secs_f64() >= self.slots;
        let early = if short { EARLY.as_secs_f64() } else { 0.0 };
        let slots = (self.rate * (self.claim + early)).clamp(0.0, f64::from(AHEAD)).round();
        #[expect(clippy::as_conversions, reason = "between 0 and AHEAD by the line above")]
        let slots = slots as usize;
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 64 slots. Claims of two milliseconds, one each five, with so many slots freed in between.
    fn ahead(freed_each: u64) -> usize {
        let (freed, start) = (Freed::default(), Instant::now());
        let mut pace = Pace::new(start, 64);
        for round in 1..100u32 {
            freed.0.fetch_add(freed_each, Ordering::Relaxed);
            let now = start + Duration::from_millis(5) * round;
            pace.answered(now - Duration::from_millis(2), now, &freed);
        }
        pace.ahead()
    }

    #[test]
    fn after_a_rest_the_pace_of_before_counts_no_more() {
        let (freed, start) = (Freed::default(), Instant::now());
        let mut pace = Pace::new(start, 64);
        for round in 1..100u32 {
            freed.0.fetch_add(100, Ordering::Relaxed);
            pace.answered(start, start + Duration::from_millis(5) * round, &freed);
        }
        assert_eq!(pace.ahead(), 192);
        freed.0.fetch_add(64, Ordering::Relaxed);
        let now = start + Duration::from_secs(11);
        pace.answered(now - Duration::from_millis(2), now, &freed);
        assert_eq!(pace.ahead(), 0);
    }

    #[test]
    fn a_claim_that_hangs_says_nothing_of_the_next() {
        let (freed, start) = (Freed::default(), Instant::now());
        let mut pace = Pace::new(start, 64);
        freed.0.fetch_add(500, Ordering::Relaxed);
        pace.answered(start, start + Duration::from_secs(5), &freed);
        // A hundred a second, for a claim of a hundred milliseconds; the measurement of the claim weighs 0.3.
        assert_eq!(pace.ahead(), 3);
    }

    #[test]
    fn slots_that_end_during_a_claim_are_claimed_for_and_slow_ones_are_not() {
        assert_eq!(ahead(0), 0, "nothing ends");
        assert_eq!(ahead(1), 0, "a slot every five milliseconds");
        assert_eq!(ahead(5), 2, "one a millisecond, for two: a task takes 64 of them");
        assert_eq!(ahead(60), 84, "twelve a millisecond, for two and five");
        assert_eq!(ahead(100_000), 192, "bounded");
    }
}
