//! Gaps and overlaps, by hand.

use super::{cron, fires, utc};

/// 29 March 2026, 01:00 UTC: 02:00 becomes 03:00.
const BERLIN_GAP: &str = "2026-03-28T22:30:00Z";
/// 25 October 2026, 01:00 UTC: 03:00 becomes 02:00.
const BERLIN_OVERLAP: &str = "2026-10-24T22:30:00Z";

#[test]
fn a_time_in_a_gap_fires_once_when_the_gap_ends() {
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        // Berlin: the next day is regular again.
        ("30 2 * * *", "Europe/Berlin", BERLIN_GAP, &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        // Six missed times are one fire.
        ("*/10 2 * * *", "Europe/Berlin", BERLIN_GAP, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]),
        // A missed time and a regular one at the same instant are one fire.
        ("0 2,3 * * *", "Europe/Berlin", BERLIN_GAP, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]),
        // The same with a rhythm: 00:45, 01:45, then what was 02:45, then 03:45.
        (
            "45 * * * *",
            "Europe/Berlin",
            "2026-03-28T23:00:00Z",
            &["2026-03-28T23:45:00Z", "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:45:00Z"],
        ),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
        ),
        // New York: 8 March 2026, 07:00 UTC.
        ("15 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"]),
        // Lord Howe, half an hour: 02:00 becomes 02:30 on 4 October 2026, 15:30 UTC the day before.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        (
            "45 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:45:00Z", "2026-10-04T15:45:00Z"],
        ),
    ];
    for (expression, zone, after, expected) in cases {
        assert_eq!(fires(expression, zone, after, expected.len()), expected, "{expression} {zone}");
    }
}

#[test]
fn a_skipped_day_is_a_gap_like_any_other() {
    // Samoa had no 30 December 2011: 24 hours, 1,440 missed minutes, one fire.
    assert_eq!(
        fires("* * * * *", "Pacific/Apia", "2011-12-30T09:58:30Z", 3),
        ["2011-12-30T09:59:00Z", "2011-12-30T10:00:00Z", "2011-12-30T10:01:00Z"]
    );
    assert_eq!(
        fires("0 12 30 12 *", "Pacific/Apia", "2011-01-01T00:00:00Z", 2),
        ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]
    );
}

#[test]
fn a_fixed_hour_fires_in_the_first_pass_of_an_overlap() {
    let cases: [(&str, &str, &str, &[&str]); 7] = [
        ("30 2 * * *", "Europe/Berlin", BERLIN_OVERLAP, &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            BERLIN_OVERLAP,
            &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:00:00Z"],
        ),
        // 0-23 names every hour and is fixed all the same: 02:15 once, then 03:15.
        ("15 0-23 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T00:15:00Z", "2026-10-25T02:15:00Z"]),
        // From within the second pass: nothing of it is left.
        ("*/10 2 * * *", "Europe/Berlin", "2026-10-25T01:05:00Z", &["2026-10-26T01:00:00Z"]),
        ("0 3 * * *", "Europe/Berlin", "2026-10-25T01:05:00Z", &["2026-10-25T02:00:00Z"]),
        // New York: 02:00 becomes 01:00 on 1 November 2026, 06:00 UTC.
        ("30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]),
        // Lord Howe: 02:00 becomes 01:30 on 5 April 2026, 15:00 UTC the day before.
        (
            "15,45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T12:00:00Z",
            &["2026-04-04T14:15:00Z", "2026-04-04T14:45:00Z", "2026-04-05T14:45:00Z"],
        ),
    ];
    for (expression, zone, after, expected) in cases {
        assert_eq!(fires(expression, zone, after, expected.len()), expected, "{expression} {zone}");
    }
}

#[test]
fn every_hour_keeps_its_rhythm_through_an_overlap() {
    let cases: [(&str, &str, &str, &[&str]); 6] = [
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:30:00Z",
            &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"],
        ),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:15:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
        ),
        // From within either pass.
        ("20 * * * *", "Europe/Berlin", "2026-10-25T00:40:00Z", &["2026-10-25T01:20:00Z", "2026-10-25T02:20:00Z"]),
        ("20 * * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", &["2026-10-25T01:20:00Z", "2026-10-25T02:20:00Z"]),
        // Steps begin with * too.
        ("10 */2 * * *", "America/New_York", "2026-11-01T04:30:00Z", &["2026-11-01T07:10:00Z", "2026-11-01T09:10:00Z"]),
        (
            "40 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            &["2026-04-04T14:40:00Z", "2026-04-04T15:10:00Z", "2026-04-04T16:10:00Z"],
        ),
    ];
    for (expression, zone, after, expected) in cases {
        assert_eq!(fires(expression, zone, after, expected.len()), expected, "{expression} {zone}");
    }
}

#[test]
fn the_seconds_at_a_turn_are_right() {
    // The last second of the first pass, the first of the second; and a fixed hour's first
    // second behind the overlap.
    assert_eq!(
        fires("* * * * * *", "Europe/Berlin", "2026-10-25T00:59:58Z", 3),
        ["2026-10-25T00:59:59Z", "2026-10-25T01:00:00Z", "2026-10-25T01:00:01Z"]
    );
    assert_eq!(
        fires("* * 2-3 * * *", "Europe/Berlin", "2026-10-25T00:59:58Z", 2),
        ["2026-10-25T00:59:59Z", "2026-10-25T02:00:00Z"]
    );
    assert_eq!(
        fires("* * * * * *", "Europe/Berlin", "2026-03-29T00:59:58Z", 3),
        ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T01:00:01Z"]
    );
}

#[test]
fn a_zone_without_changes_is_plain() {
    assert_eq!(
        fires("30 9 * * *", "Asia/Kolkata", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T04:00:00Z", "2026-03-30T04:00:00Z"]
    );
    assert_eq!(
        fires("0 * * * *", "Asia/Kolkata", "2026-10-25T00:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
    );
}

#[test]
fn changes_of_the_clocks_are_known_until_the_calendar_ends() {
    // 27 March 2095 is the last Sunday of March.
    assert_eq!(
        cron("30 2 * * *", "Europe/Berlin").next_after(utc("2095-03-26T12:00:00Z")),
        Some(utc("2095-03-27T01:00:00Z"))
    );
}
