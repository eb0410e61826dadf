use super::plan::MAX_INSTANTS;
use super::*;
use crate::task::fields::Fields;
use proptest::prelude::*;

const MAX: usize = 1 << 20;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn defined(text: &str) -> Definition {
    Definition::from_json(text, MAX).unwrap().definition
}

fn faults(text: &str) -> Vec<(String, String)> {
    let mut fields = Fields::read(text).unwrap();
    assert!(read(&mut fields, MAX).is_none(), "{text}");
    fields.finish().into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
}

fn with(more: &str) -> Definition {
    defined(&format!(r#"{{"cron": "* * * * *", "task": {{"name": "noop"}}{more}}}"#))
}

fn standing(due: &str, now: &str) -> Standing {
    Standing { due: at(due), now: at(now), paused: false, was_paused: None, fires: 0, busy: false, waiting: false }
}

/// The outcomes of a plan, each with the minute of its instant.
fn outcomes(plan: &Plan) -> String {
    let one = |i: &Instant| format!("{} {}", i.at.format("%M"), i.outcome.as_str());
    plan.instants.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_full_definition_reads_back_and_its_task_is_untouched() {
    let text = r#"{"cron":"30 3 * * 1","timezone":"Europe/Berlin","task":{ "name":"echo", "payload": {"b":1.50,"a":[1]} },"misfire":"all","catch_up":"2d","overlap":"queue_one","jitter":"30s","starts_at":"2026-01-01T00:00:00Z","ends_at":"2027-01-01T00:00:00.000001Z","max_fires":9,"pause_after_failures":3}"#;
    assert_eq!(defined(text).to_json(), text);
    let short = r#"{"every":"1h30m","task":{"name":"noop"}}"#;
    assert_eq!(defined(short).to_json(), short);
    assert_eq!(
        defined(r#"{"cron":"@daily","task":{"name":"noop"}}"#).to_json(),
        r#"{"cron":"@daily","timezone":"UTC","task":{"name":"noop"}}"#
    );
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let text = r#"{"cron": "61 * * * L", "timezone": "Europe/Berln", "task": {"name": "a b", "delay": "1h", "colour": 1},
        "misfire": "maybe", "catch_up": "-1", "overlap": 1, "jitter": "2d", "starts_at": "2027-01-01T00:00:00Z",
        "ends_at": "2026-01-01T00:00:00Z", "max_fires": 0, "pause_after_failures": 101}"#;
    let found = faults(text);
    let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let expected = [
        "#/ends_at",
        "#/cron",
        "#/cron",
        "#/timezone",
        "#/task/name",
        "#/task/colour",
        "#/task/delay",
        "#/misfire",
        "#/catch_up",
        "#/overlap",
        "#/jitter",
        "#/max_fires",
        "#/pause_after_failures",
    ];
    assert_eq!(pointers, expected);
    let zone = &found[3].1;
    assert!(zone.contains("Europe/Berlin"), "{zone}");
    assert!(found[7].1.contains("skip, once, all"), "{}", found[7].1);
}

#[test]
fn one_of_cron_and_every_is_needed_and_only_one() {
    assert_eq!(faults(r#"{"task": {"name": "noop"}}"#)[0].0, "#/cron");
    assert_eq!(faults(r#"{"cron": "@daily", "every": "1h", "task": {"name": "noop"}}"#)[0].0, "#/every");
    assert_eq!(faults(r#"{"every": "1h", "timezone": "UTC", "task": {"name": "noop"}}"#)[0].0, "#/timezone");
    assert_eq!(faults(r#"{"every": "1ms", "task": {"name": "noop"}}"#).len(), 1, "and it is not missing as well");
    assert_eq!(faults(r#"{"cron": "0 0 30 2 *", "task": {"name": "noop"}}"#)[0].0, "#/cron", "it never fires");
    assert_eq!(faults(r#"{"cron": "@daily"}"#)[0].0, "#/task");
}

#[test]
fn an_interval_falls_on_whole_intervals_since_1970_or_since_its_start() {
    let hourly = defined(r#"{"every": "1h", "task": {"name": "noop"}}"#);
    assert_eq!(hourly.next_after(at("2026-05-01T10:20:00Z")), Some(at("2026-05-01T11:00:00Z")));
    assert_eq!(hourly.next_after(at("2026-05-01T11:00:00Z")), Some(at("2026-05-01T12:00:00Z")));
    let started = defined(r#"{"every": "1h", "starts_at": "2026-05-01T10:20:00Z", "task": {"name": "noop"}}"#);
    assert_eq!(
        started.next_after(at("2026-01-01T00:00:00Z")),
        Some(at("2026-05-01T10:20:00Z")),
        "its start is an instant"
    );
    assert_eq!(started.next_after(at("2026-05-01T10:20:00Z")), Some(at("2026-05-01T11:20:00Z")));
}

#[test]
fn nothing_is_due_before_the_start_or_at_the_end() {
    let bounded = with(r#", "starts_at": "2026-05-01T10:00:00Z", "ends_at": "2026-05-01T10:02:00Z""#);
    assert_eq!(bounded.next_after(at("2026-01-01T00:00:00Z")), Some(at("2026-05-01T10:00:00Z")));
    assert_eq!(bounded.next_after(at("2026-05-01T10:00:00Z")), Some(at("2026-05-01T10:01:00Z")));
    assert_eq!(bounded.next_after(at("2026-05-01T10:01:00Z")), None);
}

#[test]
fn what_is_in_time_fires_and_what_was_missed_is_up_to_misfire() {
    let missed = standing("2026-05-01T10:01:00Z", "2026-05-01T10:05:30Z");
    let in_time = standing("2026-05-01T10:01:00Z", "2026-05-01T10:05:02Z");
    let expect = |misfire: &str, missed_is: &str, in_time_is: &str| {
        let definition = with(&format!(r#", "misfire": "{misfire}""#));
        let plan_of = |standing| plan(&definition, standing);
        assert_eq!(outcomes(&plan_of(missed)), missed_is, "{misfire}");
        assert_eq!(outcomes(&plan_of(in_time)), in_time_is, "{misfire}");
        assert_eq!(plan_of(missed).next, Some(at("2026-05-01T10:06:00Z")));
    };
    let skipped = "01 skipped_misfire, 02 skipped_misfire, 03 skipped_misfire, 04 skipped_misfire";
    expect("skip", &format!("{skipped}, 05 skipped_misfire"), &format!("{skipped}, 05 fired"));
    expect("once", &format!("{skipped}, 05 caught_up"), &format!("{skipped}, 05 fired"));
    let caught = "01 caught_up, 02 caught_up, 03 caught_up, 04 caught_up";
    expect("all", &format!("{caught}, 05 caught_up"), &format!("{caught}, 05 fired"));
    let now = standing("2026-05-01T10:01:00Z", "2026-05-01T10:01:00.2Z");
    assert_eq!(outcomes(&plan(&with(""), now)), "01 fired");
}

#[test]
fn of_a_long_outage_the_newest_are_looked_at_one_by_one_and_the_others_are_counted() {
    let definition = with(r#", "misfire": "all", "catch_up": "1h""#);
    let found = plan(&definition, standing("2026-05-01T00:00:00Z", "2026-05-02T00:00:30Z"));
    assert_eq!(found.instants.len(), 60);
    let summary = found.summary.unwrap();
    assert_eq!((summary.count, summary.first), (24 * 60 - 59, at("2026-05-01T00:00:00Z")));
    assert_eq!(summary.last, at("2026-05-01T23:00:00Z"));
    // Further back than one by one, within the window.
    let wide = with(r#", "misfire": "all", "catch_up": "30d""#);
    let found = plan(&wide, standing("2026-05-01T00:00:00Z", "2026-05-02T00:00:30Z"));
    assert_eq!((found.instants.len(), found.summary.unwrap().count), (MAX_INSTANTS, 1441 - 1000));
    // Of a century nothing is counted to its end, and the next one is right all the same.
    let second = defined(r#"{"cron": "* * * * * *", "catch_up": "5m", "task": {"name": "noop"}}"#);
    let found = plan(&second, standing("1990-01-01T00:00:00Z", "2026-05-02T00:00:30Z"));
    let summary = found.summary.unwrap();
    assert_eq!((summary.count, found.instants.len()), (100_000, 301));
    let gap = found.instants[0].at - summary.last;
    assert!(gap <= TimeDelta::seconds(1), "the row reaches to where the others begin: {gap}");
    // It ended before the window: the walk ends with it.
    let ended =
        r#"{"cron": "* * * * * *", "catch_up": "5m", "ends_at": "2000-01-01T00:00:00Z", "task": {"name": "noop"}}"#;
    let found_ended = plan(&defined(ended), standing("1990-01-01T00:00:00Z", "2026-05-02T00:00:30Z"));
    assert_eq!((found_ended.summary.unwrap().count, found_ended.instants.len(), found_ended.next), (100_000, 0, None));
    let every = defined(r#"{"every": "1s", "catch_up": "5m", "task": {"name": "noop"}}"#);
    let found_every = plan(&every, standing("2026-04-28T00:00:00Z", "2026-05-02T00:00:30Z"));
    assert!(found_every.instants[0].at - found_every.summary.unwrap().last <= TimeDelta::seconds(1));
    assert_eq!(found.next, Some(at("2026-05-02T00:00:31Z")));
}

#[test]
fn while_it_is_paused_everything_is_skipped_and_said_so() {
    let paused = Standing { paused: true, ..standing("2026-05-01T10:01:00Z", "2026-05-01T10:02:02Z") };
    assert_eq!(outcomes(&plan(&with(""), paused)), "01 skipped_paused, 02 skipped_paused");
    let long = Standing { paused: true, ..standing("2026-04-01T10:01:00Z", "2026-05-01T10:02:02Z") };
    assert_eq!(plan(&with(""), long).summary.unwrap().outcome, Outcome::SkippedPaused);
}

#[test]
fn what_came_during_a_pause_that_is_over_is_skipped_and_what_came_before_and_after_is_not() {
    let pause = Some((at("2026-05-01T10:02:00Z"), at("2026-05-01T10:04:00Z")));
    let over = Standing { was_paused: pause, ..standing("2026-05-01T10:01:00Z", "2026-05-01T10:05:02Z") };
    let expected = "01 caught_up, 02 skipped_paused, 03 skipped_paused, 04 caught_up, 05 fired";
    assert_eq!(outcomes(&plan(&with(r#", "misfire": "all""#), over)), expected);
}

#[test]
fn everything_that_has_come_can_be_one_row() {
    let several = plan(&with(r#", "catch_up": "2m""#), standing("2026-05-01T10:01:00Z", "2026-05-01T10:05:02Z"));
    let one = several.as_one(Outcome::Failed).unwrap();
    assert_eq!((one.first, one.last, one.count), (at("2026-05-01T10:01:00Z"), at("2026-05-01T10:05:00Z"), 5));
    let none = plan(&with(""), standing("2026-05-01T10:01:00Z", "2026-05-01T10:00:02Z"));
    assert_eq!(none.as_one(Outcome::Failed), None);
}

#[test]
fn an_overlap_is_what_the_schedule_makes_of_it() {
    let busy = Standing { busy: true, ..standing("2026-05-01T10:01:00Z", "2026-05-01T10:01:01Z") };
    for (overlap, expected, cancels) in [
        ("allow", "01 fired", false),
        ("skip", "01 skipped_overlap", false),
        ("queue_one", "01 waiting", false),
        ("cancel_running", "01 fired", true),
    ] {
        let definition = with(&format!(r#", "overlap": "{overlap}""#));
        let found = plan(&definition, busy);
        assert_eq!((outcomes(&found).as_str(), found.cancels), (expected, cancels), "{overlap}");
        let free = plan(&definition, Standing { busy: false, ..busy });
        assert_eq!((outcomes(&free).as_str(), free.cancels), ("01 fired", false), "{overlap}");
    }
    let second = plan(&with(r#", "overlap": "queue_one""#), Standing { waiting: true, ..busy });
    assert_eq!(outcomes(&second), "01 skipped_overlap");
}

#[test]
fn several_at_once_overlap_each_other() {
    let three = standing("2026-05-01T10:01:00Z", "2026-05-01T10:03:30Z");
    for (overlap, expected) in [
        ("allow", "01 caught_up, 02 caught_up, 03 caught_up"),
        ("skip", "01 caught_up, 02 skipped_overlap, 03 skipped_overlap"),
        ("queue_one", "01 caught_up, 02 waiting, 03 skipped_overlap"),
        ("cancel_running", "01 skipped_overlap, 02 skipped_overlap, 03 caught_up"),
    ] {
        let definition = with(&format!(r#", "misfire": "all", "overlap": "{overlap}""#));
        let found = plan(&definition, three);
        assert_eq!((outcomes(&found).as_str(), found.cancels), (expected, false), "{overlap}");
    }
}

#[test]
fn it_ends_after_its_last_fire_and_what_came_meanwhile_is_accounted_for() {
    let definition = with(r#", "misfire": "all", "max_fires": 3"#);
    let found = plan(&definition, Standing { fires: 1, ..standing("2026-05-01T10:01:00Z", "2026-05-01T10:04:30Z") });
    assert_eq!(outcomes(&found), "01 caught_up, 02 caught_up, 03 skipped_ended, 04 skipped_ended");
    assert_eq!(found.next, None);
    let goes_on = plan(&definition, Standing { fires: 1, ..standing("2026-05-01T10:01:00Z", "2026-05-01T10:01:30Z") });
    assert_eq!(goes_on.next, Some(at("2026-05-01T10:02:00Z")));
}

#[test]
fn jitter_is_spread_and_the_same_whoever_asks() {
    let definition = with(r#", "jitter": "60s""#);
    let delays: Vec<Duration> =
        (0..1000).map(|n| definition.delay("nightly", at("2026-05-01T00:00:00Z") + TimeDelta::minutes(n))).collect();
    assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(60)));
    for quarter in 0..4u64 {
        let within = |delay: &&Duration| delay.as_secs() / 15 == quarter;
        let count = delays.iter().filter(within).count();
        assert!((180..=320).contains(&count), "{count} of 1000 in the quarter {quarter}");
    }
    assert_eq!(delays[0], definition.delay("nightly", at("2026-05-01T00:00:00Z")));
    assert_ne!(delays[0], definition.delay("hourly", at("2026-05-01T00:00:00Z")));
    assert_eq!(with("").delay("nightly", at("2026-05-01T00:00:00Z")), Duration::ZERO);
}

proptest! {
    /// Whatever came and however it is judged: each instant once, in order, none forgotten, and the next one is ahead.
    #[test]
    fn no_instant_is_forgotten_and_none_counted_twice(
        every in 1u32..5000, back in 0i64..400_000, catch_up in 0u32..100_000, misfire in 0usize..3, overlap in 0usize..4,
        fires in 0u32..5, max_fires in proptest::option::of(1u32..2000), busy: bool, waiting: bool, paused: bool,
    ) {
        let now = at("2026-05-01T10:01:00.5Z");
        let definition = Definition {
            rhythm: Rhythm::Every { interval: Duration::from_secs(every.into()), anchor: Timestamp::UNIX_EPOCH },
            task: "{}".into(), misfire: Misfire::ALL[misfire], catch_up: Duration::from_secs(catch_up.into()),
            overlap: Overlap::ALL[overlap], jitter: Duration::ZERO, starts_at: None, ends_at: None, max_fires,
            pause_after_failures: None,
        };
        let due = definition.next_after(now - TimeDelta::seconds(back)).unwrap();
        let found = plan(&definition, Standing { due, now, paused, was_paused: None, fires, busy, waiting });
        let mut expected = Vec::new();
        let mut next = due;
        while next <= now { expected.push(next); next = definition.next_after(next).unwrap(); }
        let counted = found.summary.map_or(0, |summary| summary.count);
        if counted < 100_000 {
            prop_assert_eq!(usize::try_from(counted).unwrap() + found.instants.len(), expected.len());
        }
        let looked_at: Vec<Timestamp> = found.instants.iter().map(|instant| instant.at).collect();
        prop_assert_eq!(&expected[expected.len() - looked_at.len()..], &looked_at[..]);
        prop_assert!(found.next.is_none_or(|at| at == next));
        let submitted = found.instants.iter().filter(|i| i.outcome.submits() || i.outcome == Outcome::Waiting).count();
        if let Some(max) = max_fires {
            prop_assert!(submitted <= usize::try_from(max.saturating_sub(fires)).unwrap());
            prop_assert_eq!(found.next.is_none(), usize::try_from(fires).unwrap() + submitted >= usize::try_from(max).unwrap());
        }
        prop_assert!(!paused || submitted == 0);
    }
}
