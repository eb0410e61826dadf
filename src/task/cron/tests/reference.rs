//! The same rules a second time, by walking: every minute (or second) of a window around a
//! change of the clocks is looked at, and the fields are matched one by one. Nothing is shared
//! with the module under test but the zone's offset at an instant.

use std::sync::OnceLock;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use proptest::sample::select;

use super::cron;

/// One item of a field, in the terms of crontab(5).
#[derive(Clone, Debug)]
enum Item {
    Star,
    StarStep(u32),
    One(u32),
    Range(u32, u32),
    RangeStep(u32, u32, u32),
    From(u32, u32),
}

#[derive(Clone, Debug)]
struct Field {
    low: u32,
    items: Vec<Item>,
}

impl Field {
    fn text(&self) -> String {
        let item = |item: &Item| match item {
            Item::Star => "*".to_owned(),
            Item::StarStep(n) => format!("*/{n}"),
            Item::One(a) => a.to_string(),
            Item::Range(a, b) => format!("{a}-{b}"),
            Item::RangeStep(a, b, n) => format!("{a}-{b}/{n}"),
            Item::From(a, n) => format!("{a}/{n}"),
        };
        self.items.iter().map(item).collect::<Vec<_>>().join(",")
    }

    fn has(&self, value: u32) -> bool {
        self.items.iter().any(|item| match *item {
            Item::Star => true,
            Item::StarStep(n) => (value - self.low).is_multiple_of(n),
            Item::One(a) => value == a,
            Item::Range(a, b) => (a..=b).contains(&value),
            Item::RangeStep(a, b, n) => (a..=b).contains(&value) && (value - a).is_multiple_of(n),
            Item::From(a, n) => value >= a && (value - a).is_multiple_of(n),
        })
    }

    fn starred(&self) -> bool {
        matches!(self.items.first(), Some(Item::Star | Item::StarStep(_)))
    }
}

#[derive(Clone, Debug)]
struct Spec {
    second: Option<Field>,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Spec {
    fn text(&self) -> String {
        let five = [&self.minute, &self.hour, &self.day, &self.month, &self.weekday];
        let fields = self.second.iter().chain(five);
        fields.map(Field::text).collect::<Vec<_>>().join(" ")
    }

    fn matches(&self, at: NaiveDateTime) -> bool {
        let weekday = at.weekday().num_days_from_sunday();
        let day = self.day.has(at.day());
        let weekday = self.weekday.has(weekday) || weekday == 0 && self.weekday.has(7);
        let either = !self.day.starred() && !self.weekday.starred();
        self.second.as_ref().map_or(at.second() == 0, |second| second.has(at.second()))
            && self.minute.has(at.minute())
            && self.hour.has(at.hour())
            && self.month.has(at.month())
            && if either { day || weekday } else { day && weekday }
    }

    /// Every fire in `(after, until]`. The walk begins at `from`, early enough for the first
    /// pass of an overlap that reaches into the window; steps are of `step` seconds.
    fn walk(&self, zone: Tz, from: i64, after: i64, until: i64, step: i64) -> Vec<DateTime<Utc>> {
        let step_by = TimeDelta::seconds(step);
        let mut latest_shown = local(zone, from - step);
        let mut previous = latest_shown;
        let mut fires = Vec::new();
        for at in (from..=until).step_by(usize::try_from(step).unwrap()) {
            let now = local(zone, at);
            let shown_before = now <= latest_shown;
            let mut due = self.matches(now) && (self.hour.starred() || !shown_before);
            let mut skipped = previous + step_by;
            while skipped < now && !due {
                due = self.matches(skipped);
                skipped += step_by;
            }
            if due && at > after {
                fires.push(instant(at));
            }
            previous = now;
            latest_shown = latest_shown.max(now);
        }
        fires
    }
}

fn instant(timestamp: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(timestamp, 0).unwrap()
}

fn local(zone: Tz, timestamp: i64) -> NaiveDateTime {
    let utc = instant(timestamp).naive_utc();
    utc + zone.offset_from_utc_datetime(&utc).fix()
}

/// Changes of the clocks: half an hour, one hour, two, a day; in both directions, on both
/// hemispheres, at midnight too, for good or for the month of Ramadan.
fn changes() -> &'static [(Tz, i64)] {
    static CHANGES: OnceLock<Vec<(Tz, i64)>> = OnceLock::new();
    CHANGES.get_or_init(|| {
        let zones = [
            (Tz::Europe__Berlin, 2026),
            (Tz::America__New_York, 2026),
            (Tz::Australia__Lord_Howe, 2026),
            (Tz::America__Santiago, 2026),
            (Tz::Africa__Casablanca, 2026),
            (Tz::Antarctica__Troll, 2026),
            (Tz::Africa__Cairo, 2026),
            (Tz::America__Havana, 2026),
            (Tz::America__Scoresbysund, 2024),
            (Tz::Pacific__Apia, 2011),
            (Tz::America__Caracas, 2016),
            (Tz::Asia__Pyongyang, 2018),
            (Tz::Europe__Berlin, 2080),
        ];
        let changes: Vec<_> = zones.into_iter().flat_map(|(zone, year)| changes_in(zone, year)).collect();
        assert_eq!(changes.len(), 24);
        changes
    })
}

/// The instants of a year at which a zone's offset changes.
fn changes_in(zone: Tz, year: i32) -> Vec<(Tz, i64)> {
    let offset = |at: i64| zone.offset_from_utc_datetime(&instant(at).naive_utc()).fix();
    let start = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap().timestamp();
    (0..366)
        .map(|day| start + day * 86_400)
        .filter(|day| offset(*day) != offset(day + 86_400))
        .map(|day| {
            let (mut early, mut late) = (day, day + 86_400);
            while late - early > 1 {
                let middle = early.midpoint(late);
                if offset(middle) == offset(day) {
                    early = middle;
                } else {
                    late = middle;
                }
            }
            late
        })
        .map(|at| (zone, at))
        .collect()
}

/// Items within `low..=high`, half of them within `low..=often`.
fn items(low: u32, high: u32, often: u32, longest_step: u32) -> impl Strategy<Value = Field> {
    let value = prop_oneof![low..=often, low..=high].boxed();
    let pair = (value.clone(), value.clone()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let step = 1..=longest_step;
    let item = prop_oneof![
        2 => Just(Item::Star),
        2 => step.clone().prop_map(Item::StarStep),
        6 => value.clone().prop_map(Item::One),
        1 => pair.clone().prop_map(|(a, b)| Item::Range(a, b)),
        1 => (pair, step.clone()).prop_map(|((a, b), n)| Item::RangeStep(a, b, n)),
        1 => (value, step).prop_map(|(a, n)| Item::From(a, n)),
    ];
    prop::collection::vec(item, 1..=3).prop_map(move |items| Field { low, items })
}

/// `*` most of the time: a window of days sees little of a schedule for 3 May.
fn mostly_star(field: impl Strategy<Value = Field>, low: u32) -> impl Strategy<Value = Field> {
    let star = Field { low, items: vec![Item::Star] };
    prop_oneof![3 => Just(star), 2 => field]
}

fn spec(with_seconds: bool) -> impl Strategy<Value = Spec> {
    let second = items(0, 59, 59, 59).prop_map(move |field| with_seconds.then_some(field));
    (
        second,
        items(0, 59, 59, 59),
        items(0, 23, 4, 23),
        mostly_star(items(1, 31, 31, 30), 1),
        mostly_star(items(1, 12, 12, 11), 1),
        mostly_star(items(0, 7, 7, 6), 0),
    )
        .prop_map(|(second, minute, hour, day, month, weekday)| Spec { second, minute, hour, day, month, weekday })
}

/// Follows the schedule from `after` to `until` and compares with what the walk found.
fn agrees(spec: &Spec, zone: Tz, after: i64, until: i64, walked: &[DateTime<Utc>]) -> Result<(), TestCaseError> {
    let Ok(cron) = super::Cron::parse(&spec.text(), zone.name()) else {
        // Only a date that no year has can be at fault, and the walk finds none either.
        prop_assert!(walked.is_empty());
        return Ok(());
    };
    let mut at = instant(after);
    for expected in walked {
        let next = cron.next_after(at);
        prop_assert_eq!(next, Some(*expected), "{} {} after {}", spec.text(), zone, at);
        at = *expected;
    }
    let next = cron.next_after(at);
    prop_assert!(next.is_none_or(|next| next > instant(until)), "{} {}: {next:?}", spec.text(), zone);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn every_minute_around_a_change(
        spec in spec(false),
        (zone, change) in select(changes()),
        start in prop_oneof![-150_i64..=150, -1_700_i64..=600],
        nanos in 0_u32..1_000_000_000,
    ) {
        let after = change + start * 60;
        let until = after + 4 * 3600;
        // A day and a bit: the longest overlap there is begins that long before the change.
        let walked = spec.walk(zone, after - 26 * 3600, after, until, 60);
        agrees(&spec, zone, after, until, &walked)?;
        // The same first fire from anywhere between two minutes.
        if let Some(first) = walked.first() {
            let between = instant(after) + TimeDelta::nanoseconds(i64::from(nanos));
            prop_assert_eq!(cron(&spec.text(), zone.name()).next_after(between), Some(*first));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn every_second_around_a_change(
        spec in spec(true),
        (zone, change) in select(changes()),
        start in -3_700_i64..=3_700,
    ) {
        let after = change + start;
        let until = after + 900;
        // Two hours is the longest of these overlaps.
        let walked = spec.walk(zone, after.min(change) - 7_300, after, until, 1);
        agrees(&spec, zone, after, until, &walked)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// In any zone, at any time: fires strictly rise, and the next one is the same from
    /// wherever between the two one asks.
    #[test]
    fn fires_rise_and_do_not_depend_on_the_start(
        spec in any::<bool>().prop_flat_map(spec),
        zone in select(&TZ_VARIANTS[..]),
        start in 0_i64..4_100_000_000,
        part in 0.0_f64..1.0,
    ) {
        let Ok(cron) = super::Cron::parse(&spec.text(), zone.name()) else {
            return Ok(());
        };
        let mut at = instant(start);
        for _ in 0..8 {
            let Some(next) = cron.next_after(at) else {
                break;
            };
            prop_assert!(next > at);
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let between = at + TimeDelta::milliseconds(((next - at).num_milliseconds() as f64 * part) as i64);
            prop_assert_eq!(cron.next_after(between), Some(next), "from {}", between);
            prop_assert_eq!(cron.next_after(next - TimeDelta::nanoseconds(1)), Some(next));
            at = next;
        }
    }
}

/// Every zone through each of its changes of a year: no zone's oddity stops the clock or turns
/// it back.
#[test]
fn no_zone_goes_backwards() {
    let schedules = ["* * * * *", "*/30 0-3 * * *", "0 * * * *"];
    for zone in TZ_VARIANTS {
        for (zone, change) in changes_in(zone, 2025) {
            for expression in schedules {
                let cron = cron(expression, zone.name());
                for start in [-3_601, -61, -1, 0, 1, 61, 3_601] {
                    let after = instant(change + start);
                    let next = cron.next_after(after).unwrap();
                    assert!(next > after, "{expression} {zone} {after}");
                    assert_eq!(cron.next_after(next - TimeDelta::seconds(1)), Some(next));
                }
            }
        }
    }
}
