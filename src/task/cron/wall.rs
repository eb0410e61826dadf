//! Where a time on a wall clock falls on the line of UTC: usually once, sometimes never, and
//! sometimes twice.

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};

/// Where one local time falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Landing {
    /// The usual case.
    Once(DateTime<Utc>),
    /// The clocks were put forward over it.
    Skipped {
        /// The first instant after the gap.
        resumes: DateTime<Utc>,
    },
    /// The clocks were put back over it.
    Twice { first: DateTime<Utc>, second: DateTime<Utc> },
}

/// An hour (or so) that a wall clock shows twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Overlap {
    /// The first local time shown twice.
    pub(super) starts: NaiveDateTime,
    /// The first local time after it that is shown once.
    pub(super) ends: NaiveDateTime,
    /// When the clocks go back: the first pass ends, the second begins.
    pub(super) turn: DateTime<Utc>,
}

/// What the wall clock shows at an instant. `None` only beyond chrono's calendar.
pub(super) fn local(zone: Tz, at: DateTime<Utc>) -> Option<NaiveDateTime> {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc());
    at.naive_utc().checked_add_offset(offset.fix())
}

/// Where a local time falls. `None` only beyond chrono's calendar.
pub(super) fn land(zone: Tz, local: NaiveDateTime) -> Option<Landing> {
    use chrono::offset::LocalResult::{Ambiguous, None, Single};
    let at = |offset: &<Tz as TimeZone>::Offset| local.checked_sub_offset(offset.fix()).map(|utc| utc.and_utc());
    Some(match zone.offset_from_local_datetime(&local) {
        Single(offset) => Landing::Once(at(&offset)?),
        Ambiguous(before, after) => Landing::Twice { first: at(&before)?, second: at(&after)? },
        None => {
            // The gap's beginning, on the clock that was valid until then, is its only instant.
            let (begins, before) = GapInfo::new(&local, &zone)?.begin?;
            let resumes = begins.checked_sub_offset(before.fix())?.and_utc();
            Landing::Skipped { resumes }
        }
    })
}

/// The overlap that an instant lies in, in either pass.
pub(super) fn overlap_at(zone: Tz, at: DateTime<Utc>) -> Option<Overlap> {
    let Some(Landing::Twice { first, second }) = land(zone, local(zone, at)?) else {
        return None;
    };
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    let (before, after) = (offset(first), offset(second));

    // The clocks go back once between the two passes of one local time. The database does not
    // say when, so halve the span; at most a day, it takes 17 halvings to reach a second.
    let (mut early, mut late) = (first.timestamp(), second.timestamp());
    while late.checked_sub(early)? > 1 {
        let middle = early.midpoint(late);
        if offset(DateTime::from_timestamp(middle, 0)?) == before {
            early = middle;
        } else {
            late = middle;
        }
    }
    let turn = DateTime::from_timestamp(late, 0)?;
    Some(Overlap {
        starts: turn.naive_utc().checked_add_offset(after)?,
        ends: turn.naive_utc().checked_add_offset(before)?,
        turn,
    })
}

/// One second before: searches are for what lies strictly after.
pub(super) fn just_before(local: NaiveDateTime) -> Option<NaiveDateTime> {
    local.checked_sub_signed(TimeDelta::seconds(1))
}

/// Longest zone name looked at: the column's width, and twice the longest name there is.
pub(super) const MAX_ZONE_CHARS: usize = 64;

/// How alike two names must be (1.0 is equal) for one to be worth suggesting. Lower, and `PST`
/// (which the database lacks) suggests `EST`.
const WORTH_SUGGESTING: f64 = 0.7;

/// The zone whose name, or the last part of whose name, is most like the one given.
pub(super) fn nearest_name(got: &str) -> Option<&'static str> {
    if got.chars().count() > MAX_ZONE_CHARS {
        return None;
    }
    let got = got.trim().to_ascii_lowercase().replace(' ', "_");
    let mut best = None;
    let mut best_score = WORTH_SUGGESTING;
    for zone in TZ_VARIANTS {
        let name = zone.name();
        // POSIX signs: Etc/GMT+2 is two hours *behind* UTC, and nobody who guesses means that.
        if name.contains("GMT+") || name.contains("GMT-") || name.ends_with("GMT0") {
            continue;
        }
        let lower = name.to_ascii_lowercase();
        let whole = strsim::normalized_damerau_levenshtein(&got, &lower);
        // "Berlin" means Europe/Berlin, but a name of the whole is nearer than one of a part.
        let part =
            lower.rsplit('/').next().map_or(0.0, |city| 0.95 * strsim::normalized_damerau_levenshtein(&got, city));
        let score = whole.max(part);
        if score > best_score {
            (best, best_score) = (Some(name), score);
        }
    }
    best
}
