//! A schedule: what is submitted when, and what becomes of each instant that has come.
//!
//! ```text
//!  definition   as a person writes it; read here, with every fault at once
//!      │ Definition::next_after: its instants, fixed by the definition alone
//!      ▼
//!  plan         which instants have come since the last look, and what becomes of each: pure
//!      │
//!      ▼
//!  the ledger   one row an instant (`store::schedules`)
//! ```

mod plan;
mod read;
#[cfg(test)]
mod tests;

pub use plan::{Instant, Outcome, Plan, Standing, Summary, plan};
pub use read::{Read, read, read_admitted};

use super::Timestamp;
use super::cron::Cron;
use super::duration;
use chrono::{SecondsFormat, TimeDelta};
use serde_json::value::RawValue;
use std::time::Duration;

/// Shortest and longest interval of `every`.
pub const MIN_EVERY: Duration = Duration::from_secs(1);
/// A leap year.
pub const MAX_EVERY: Duration = Duration::from_secs(366 * 86_400);
/// Longest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);
/// How far back missed instants are made up for, unless the schedule says otherwise.
pub const CATCH_UP: Duration = Duration::from_secs(86_400);
/// Furthest back that a schedule may say.
pub const MAX_CATCH_UP: Duration = Duration::from_secs(366 * 86_400);
/// Fires that `max_fires` may allow, at most.
pub const MAX_FIRES: u32 = 1_000_000_000;
/// Most failures in a row that `pause_after_failures` may wait for.
pub const MAX_FAILURES: u32 = 100;

/// A schedule as it is defined.
#[derive(Debug, Clone)]
pub struct Definition {
    pub rhythm: Rhythm,
    /// The task that each fire submits: JSON as `POST /api/tasks` takes it, without what only the fire can know.
    pub task: String,
    pub misfire: Misfire,
    /// How far back missed instants are looked at one by one; what lies further back is only counted.
    pub catch_up: Duration,
    pub overlap: Overlap,
    /// Each task starts up to so much later than its instant, spread evenly.
    pub jitter: Duration,
    /// Nothing is due before it.
    pub starts_at: Option<Timestamp>,
    /// Nothing is due at or after it.
    pub ends_at: Option<Timestamp>,
    /// It ends after so many fires. Those by hand and by backfill do not count.
    pub max_fires: Option<u32>,
    /// It pauses itself when so many of its tasks in a row have failed.
    pub pause_after_failures: Option<u32>,
}

/// The instants of a schedule.
#[derive(Debug, Clone)]
pub enum Rhythm {
    Cron(Cron),
    /// `anchor` and every whole number of intervals after it, and before.
    Every {
        interval: Duration,
        /// `starts_at`, or 1970: so that an interval of an hour falls on whole hours.
        anchor: Timestamp,
    },
}

/// What becomes of instants that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Misfire {
    /// None of them fires.
    Skip,
    /// One fires for all: the latest.
    #[default]
    Once,
    /// Each fires, the oldest first, as far back as `catch_up`.
    All,
}

/// What becomes of an instant while the task of an earlier one has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// It fires all the same.
    #[default]
    Allow,
    /// It does not fire.
    Skip,
    /// One waits until that task has ended, and then fires; further ones do not.
    QueueOne,
    /// That task is cancelled.
    CancelRunning,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// In the order in which they are listed to people.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it, everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What this word means.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}
use words;

words!(Misfire { Skip = "skip", Once = "once", All = "all" });
words!(Overlap { Allow = "allow", Skip = "skip", QueueOne = "queue_one", CancelRunning = "cancel_running" });

impl Rhythm {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Every { interval, anchor } => {
                let step = i64::try_from(interval.as_micros()).ok().filter(|step| *step > 0)?;
                let gone = after.signed_duration_since(*anchor).num_microseconds()?;
                let next = gone.div_euclid(step).checked_add(1)?.checked_mul(step)?;
                anchor.checked_add_signed(TimeDelta::microseconds(next))
            }
        }
    }
}

impl Definition {
    /// The first instant strictly after `after`; None: there is none any more.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let just_before = |at: Timestamp| at.checked_sub_signed(TimeDelta::microseconds(1));
        let after = self.starts_at.and_then(just_before).map_or(after, |start| start.max(after));
        let next = self.rhythm.next_after(after)?;
        self.ends_at.is_none_or(|end| next < end).then_some(next)
    }

    /// How much later than its instant a task starts: the same whoever asks, spread over instants and schedules.
    #[must_use]
    pub fn delay(&self, name: &str, at: Timestamp) -> Duration {
        let span = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        if span == 0 {
            return Duration::ZERO;
        }
        // FNV-1a over both, then mixed: near instants have nothing in common.
        let bytes = name.bytes().chain(at.timestamp_micros().to_le_bytes());
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Duration::from_micros((mixed >> 11) % (span + 1))
    }

    /// As it is kept: what was left out is left out, the task stands byte for byte.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(serde::Serialize)]
        struct Shape<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            cron: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            every: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            timezone: Option<&'a str>,
            task: Option<Box<RawValue>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            misfire: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            catch_up: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            overlap: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            jitter: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            starts_at: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            ends_at: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            max_fires: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pause_after_failures: Option<u32>,
        }
        let (cron, every) = match &self.rhythm {
            Rhythm::Cron(cron) => (Some(cron), None),
            Rhythm::Every { interval, .. } => (None, Some(duration::format(*interval))),
        };
        let time = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let shape = Shape {
            cron: cron.map(Cron::expression),
            every,
            timezone: cron.map(Cron::zone),
            task: RawValue::from_string(self.task.clone()).ok(),
            misfire: (self.misfire != Misfire::default()).then_some(self.misfire.as_str()),
            catch_up: (self.catch_up != CATCH_UP).then(|| duration::format(self.catch_up)),
            overlap: (self.overlap != Overlap::default()).then_some(self.overlap.as_str()),
            jitter: (!self.jitter.is_zero()).then(|| duration::format(self.jitter)),
            starts_at: self.starts_at.map(time),
            ends_at: self.ends_at.map(time),
            max_fires: self.max_fires,
            pause_after_failures: self.pause_after_failures,
        };
        serde_json::to_string(&shape).unwrap_or_default() // plain fields, and a task that was read as JSON
    }
}
