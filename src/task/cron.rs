//! When a schedule fires: cron expressions with the meaning of crontab(5), in any IANA zone.
//!
//! ```text
//!  "*/5 9-17 * * MON-FRI"            Europe/Berlin
//!        │ fields: names, ranges, steps to lists of numbers
//!        ▼
//!  the next matching time on the wall clock        (the `cron` crate, which sees no zone)
//!        │ wall: once, never or twice on the line of UTC
//!        ▼
//!  the next instant
//! ```
//!
//! Why not leave the zone to the `cron` crate: at a change of the clocks it skips a day, fires
//! twice and out of order, and depends on where it was started. Here the instants of a schedule
//! are a set, fixed by expression and zone alone:
//!
//! - A local time that exists once is that instant.
//! - A local time in a gap (clocks put forward) is the first instant after the gap. Any number
//!   of them, together with a regular fire at that instant, are one.
//! - A local time in an overlap (clocks put back) is its first occurrence if the hour field is
//!   fixed, and both if the hour field begins with `*`: a nightly job runs once a night, and an
//!   hourly one keeps its rhythm.
//!
//! cron(8) has like rules, but for its own running process: it goes by a `*` in the minute
//! field too (`*/10 2 * * *` repeats), and makes up only for fixed times that a gap swallowed.

mod fault;
mod fields;
#[cfg(test)]
mod tests;
mod wall;

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

pub use fault::{CronFault, CronField, MAX_EXPRESSION_BYTES};
use fields::{Reading, Times};
use wall::Landing;

/// No fire is later, in Unix seconds: a day after 2100, when that year is over in every zone.
/// The `cron` crate's calendar runs from 1970 to 2100.
const LAST_FIRE: i64 = 4_133_980_800 + 24 * 3_600;
/// No fire is earlier, in Unix seconds: two days before that calendar begins, so that its first
/// local second is still ahead in every zone.
const BEFORE_FIRST_FIRE: i64 = -2 * 24 * 3_600;

/// A cron expression in a time zone.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use taskrunnerx::task::cron::Cron;
///
/// let nightly = Cron::parse("30 2 * * *", "Europe/Berlin").unwrap();
/// let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
/// // On 29 March 2026 there is no 02:30 in Berlin: it fires when the clocks reach 03:00.
/// let fire = nightly.next_after(at("2026-03-28T12:00:00Z"));
/// assert_eq!(fire, Some(at("2026-03-29T01:00:00Z")));
/// ```
#[derive(Clone, Debug)]
pub struct Cron {
    expression: String,
    zone: Tz,
    times: Times,
    every_hour: bool,
}

impl Cron {
    /// Reads an expression with the meaning of crontab(5), and an IANA zone name.
    ///
    /// Five fields (minute, hour, day of month, month, day of week), six (second first), or
    /// `@hourly @daily @midnight @weekly @monthly @yearly @annually`. Numbers, names
    /// (`MON`, `JAN`, in any case), `*`, ranges, lists and steps; `?` alone is `*` in the two
    /// day fields; days of the week are 0-7 where 0 and 7 are Sunday, and `SUN` at the end of a
    /// range is 7. If neither day field begins with `*`, a day that matches either one matches;
    /// otherwise it must match both, as in vixie cron. `a/n`, which crontab(5) lacks and people
    /// write, runs from `a` to the field's last value (7 for the day of the week).
    ///
    /// # Errors
    ///
    /// Every fault that the expression and the zone have, never an empty list: a value that the
    /// field does not have, a range that ends before it starts, a step of zero or one too long
    /// to reach a second value, the marks `L W #`, more than [`MAX_EXPRESSION_BYTES`], a date
    /// that no year from 1970 to 2100 has, a zone that is not in the IANA database.
    pub fn parse(expression: &str, zone: &str) -> Result<Cron, Vec<CronFault>> {
        let reading = fields::read(expression).and_then(|reading| {
            DateTime::from_timestamp(BEFORE_FIRST_FIRE, 0)
                .and_then(|start| reading.times.next_after(start.naive_utc()))
                .map(|_| reading)
                .ok_or_else(|| vec![CronFault::NeverFires { got: expression.to_owned() }])
        });
        let zone = Tz::from_str(zone).map_err(|_| CronFault::UnknownZone {
            got: zone.chars().take(wall::MAX_ZONE_CHARS).collect(),
            nearest: wall::nearest_name(zone),
        });
        match (reading, zone) {
            (Ok(Reading { times, every_hour }), Ok(zone)) => {
                Ok(Cron { expression: expression.to_owned(), zone, times, every_hour })
            }
            (Ok(_), Err(fault)) => Err(vec![fault]),
            (Err(faults), Ok(_)) => Err(faults),
            (Err(mut faults), Err(fault)) => {
                faults.push(fault);
                Err(faults)
            }
        }
    }

    /// The first instant strictly after `after` at which this fires, always on a whole second;
    /// `None` if it never fires again. For one expression and zone the instants are the same
    /// wherever the search starts.
    ///
    /// Limits: local years 1970 to 2100. Offsets are those of the IANA database that the binary
    /// was built with; a zone whose government changes its rules needs a new build.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // To whole seconds: a fire lies strictly after 12:00:00.5 if and only if it lies
        // strictly after 12:00:00. The lower bound is for the evaluator, which loses its way
        // before its first year; the upper one keeps the arithmetic below within the calendar.
        if after.timestamp() > LAST_FIRE {
            return None;
        }
        let after = DateTime::from_timestamp(after.timestamp().max(BEFORE_FIRST_FIRE), 0)?;

        let from = self.search_from(after)?;
        match wall::land(self.zone, self.times.next_after(from)?)? {
            Landing::Once(at) | Landing::Skipped { resumes: at } => Some(at),
            Landing::Twice { first, .. } if first > after => Some(first),
            Landing::Twice { second, .. } => Some(second),
        }
    }

    /// The local time after which the next matching local time is the one that fires next.
    ///
    /// That is what the clock shows, but in an overlap. There, a fixed hour has had its
    /// fires in the first pass, so in the second pass the search goes on behind the overlap;
    /// and with every hour, when the first pass has no more fires, it goes back to where the
    /// second pass begins.
    fn search_from(&self, after: DateTime<Utc>) -> Option<NaiveDateTime> {
        let now = wall::local(self.zone, after)?;
        let Some(overlap) = wall::overlap_at(self.zone, after) else {
            return Some(now);
        };
        let first_pass = after < overlap.turn;
        match (self.every_hour, first_pass) {
            (false, true) | (true, false) => Some(now),
            (false, false) => wall::just_before(overlap.ends),
            (true, true) => match self.times.next_after(now) {
                Some(next) if next < overlap.ends => Some(now),
                _ => wall::just_before(overlap.starts),
            },
        }
    }

    /// The expression, exactly as it was given.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The IANA name of the zone, as it was given.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.name()
    }
}
