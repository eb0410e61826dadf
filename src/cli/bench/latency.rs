//! Latencies as an HDR histogram: three digits at every size, so that the tail is as exact as the middle.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// A value is exact to this many digits.
const DIGITS: u8 = 3;
/// Longer ones are counted as this: a day, in microseconds.
const MAX_MICROS: u64 = 86_400_000_000;

/// Latencies of tasks, in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Histogram<u64>);

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Latencies {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self(Histogram::new_with_bounds(1, MAX_MICROS, DIGITS)?))
    }

    /// Adds a task's. Below zero, where two clocks are not quite the same, is zero.
    pub(super) fn record(&mut self, micros: i64) {
        self.0.saturating_record(u64::try_from(micros).unwrap_or(0));
    }

    /// None where there is nothing.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile: f64| millis(self.0.value_at_quantile(quantile));
        Some(Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: millis(self.0.max()) })
    }
}

/// With the microseconds as decimals.
fn millis(micros: u64) -> f64 {
    (Duration::from_micros(micros).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.quantiles(), None);
        for micros in 1..=1_000 {
            latencies.record(micros);
        }
        let found = latencies.quantiles().unwrap();
        assert_eq!((found.p50, found.p90, found.p99, found.p999, found.max), (0.5, 0.9, 0.99, 0.999, 1.0));
        latencies.record(60_000_000);
        let found = latencies.quantiles().unwrap();
        assert!((found.max - 60_000.0).abs() < 60.0 && found.p999 < 1.1, "{found:?}");
    }

    #[test]
    fn what_is_out_of_bounds_is_counted_at_them() {
        let mut latencies = Latencies::new().unwrap();
        for _ in 0..3 {
            latencies.record(-5);
        }
        latencies.record(i64::MAX);
        let found = latencies.quantiles().unwrap();
        assert!(found.p50 < 0.002 && found.max > 86_000_000.0, "{found:?}");
    }
}
