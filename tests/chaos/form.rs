//! The two forms: how long, how many, how strict.

use std::time::Duration;

/// Leases are short, so that what waits for one is seen often.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Which form is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In `make test`: every kind of fault, small numbers, generous bounds.
    Short,
    /// `make chaos`: the numbers of the documentation, and its bounds.
    Long,
}

impl Form {
    pub(crate) fn from_environment() -> Self {
        match std::env::var("CHAOS").as_deref() {
            Err(_) | Ok("" | "short") => Form::Short,
            Ok("long") => Form::Long,
            Ok(other) => panic!("CHAOS={other}: short or long"),
        }
    }

    /// The value of this form.
    pub(crate) fn of<T>(self, short: T, long: T) -> T {
        match self {
            Form::Short => short,
            Form::Long => long,
        }
    }

    /// A bound that the long form asserts; the short one, in a debug build beside other tests,
    /// allows three times that.
    pub(crate) fn bound(self, bound: Duration) -> Duration {
        self.of(bound * 3, bound)
    }
}

/// The seed of this run: `CHAOS_SEED`, or a fresh one.
pub(crate) fn seed() -> u64 {
    match std::env::var("CHAOS_SEED") {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| panic!("CHAOS_SEED={text}: a whole number")),
        Err(_) => u64::from(rand::random::<u32>()),
    }
}
