//! Expressions against what the evaluator is given for them.

use super::super::fields;
use super::{cron, fires, utc};

/// The schedules an expression becomes, in the evaluator's words.
fn evaluated(expression: &str) -> Vec<String> {
    fields::read(expression).unwrap_or_else(|faults| panic!("{expression}: {faults:?}")).times.sources()
}

#[test]
fn fields_become_plain_lists() {
    for (expression, expected) in [
        // The count of fields.
        ("* * * * *", "0 * * * * *"),
        ("* * * * * *", "* * * * * *"),
        ("30 1 2 3 4 *", "30 1 2 3 4 *"),
        ("  1\t2  * * *\n", "0 1 2 * * *"),
        // Words.
        ("@hourly", "0 0 * * * *"),
        ("@daily", "0 0 0 * * *"),
        ("@midnight", "0 0 0 * * *"),
        ("@weekly", "0 0 0 * * 1"),
        ("@monthly", "0 0 0 1 * *"),
        ("@yearly", "0 0 0 1 1 *"),
        ("@annually", "0 0 0 1 1 *"),
        (" @Daily ", "0 0 0 * * *"),
        // Lists, ranges, steps.
        ("05,10 * * * *", "0 5,10 * * * *"),
        ("10,5,5 * * * *", "0 5,10 * * * *"),
        ("1-4 * * * *", "0 1,2,3,4 * * * *"),
        ("3-3 * * * *", "0 3 * * * *"),
        ("*/20 * * * *", "0 0,20,40 * * * *"),
        ("*/1 * * * *", "0 * * * * *"),
        ("*/59 * * * *", "0 0,59 * * * *"),
        ("1-10/4 * * * *", "0 1,5,9 * * * *"),
        ("1-10/30 * * * *", "0 1 * * * *"),
        ("5/15 * * * *", "0 5,20,35,50 * * * *"),
        ("0-59 0-23 * * *", "0 * * * * *"),
        ("1,30-32,*/25 * * * *", "0 0,1,25,30,31,32,50 * * * *"),
        ("0 */7 * * *", "0 0 0,7,14,21 * * *"),
        ("0 0 */10 * *", "0 0 0 1,11,21,31 * *"),
        ("0 0 * */5 *", "0 0 0 * 1,6,11 *"),
        ("*/15,7 * * * * *", "0,7,15,30,45 * * * * *"),
        // Months by name.
        ("0 0 1 jan,Feb,DEC *", "0 0 0 1 1,2,12 *"),
        ("0 0 1 MAR-jun/2 *", "0 0 0 1 3,5 *"),
        ("0 0 1 OCT/1 *", "0 0 0 1 10,11,12 *"),
        // Days of the week: 0 and 7 are Sunday, which the evaluator calls 1.
        ("0 0 * * 0", "0 0 0 * * 1"),
        ("0 0 * * 7", "0 0 0 * * 1"),
        ("0 0 * * sun", "0 0 0 * * 1"),
        ("0 0 * * 0,7", "0 0 0 * * 1"),
        ("0 0 * * 1-5", "0 0 0 * * 2,3,4,5,6"),
        ("0 0 * * MON-fri", "0 0 0 * * 2,3,4,5,6"),
        ("0 0 * * 5-7", "0 0 0 * * 1,6,7"),
        ("0 0 * * SAT-SUN", "0 0 0 * * 1,7"),
        ("0 0 * * MON-SUN", "0 0 0 * * *"),
        ("0 0 * * 7-SUN", "0 0 0 * * 1"),
        ("0 0 * * SUN-SUN", "0 0 0 * * 1"),
        ("0 0 * * SUN-TUE", "0 0 0 * * 1,2,3"),
        ("0 0 * * 0-6", "0 0 0 * * *"),
        ("0 0 * * 1-7", "0 0 0 * * *"),
        ("0 0 * * */2", "0 0 0 * * 1,3,5,7"),
        ("0 0 * * */6", "0 0 0 * * 1,7"),
        ("0 0 * * 1/2", "0 0 0 * * 1,2,4,6"),
        ("0 0 * * MON/3", "0 0 0 * * 1,2,5"),
        // ? is * in the two day fields.
        ("0 0 ? * ?", "0 0 0 * * *"),
        ("0 0 ? * MON", "0 0 0 * * 2"),
        ("0 0 13 * ?", "0 0 0 13 * *"),
        // A day field that begins with * is unrestricted, whatever it goes on to say.
        ("0 0 */2 * 1", "0 0 0 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * 2"),
        ("0 0 13 * */3", "0 0 0 13 * 1,4,7"),
        ("0 0 *,1 * 1", "0 0 0 * * 2"),
    ] {
        assert_eq!(evaluated(expression), [expected], "{expression}");
    }
}

#[test]
fn two_restricted_day_fields_become_two_schedules() {
    for (expression, expected) in [
        ("0 0 13 * 5", ["0 0 0 13 * *", "0 0 0 * * 6"]),
        ("0 0 1-31 * 5", ["0 0 0 * * *", "0 0 0 * * 6"]),
        ("0 0 1,* * 5", ["0 0 0 * * *", "0 0 0 * * 6"]),
        ("0 0 30 2 MON", ["0 0 0 30 2 *", "0 0 0 * 2 2"]),
    ] {
        assert_eq!(evaluated(expression), expected, "{expression}");
    }
}

#[test]
fn two_restricted_day_fields_mean_either() {
    // Fridays, and the 13th, which is a Tuesday.
    assert_eq!(
        fires("0 12 13 * FRI", "UTC", "2026-01-08T12:00:00Z", 4),
        ["2026-01-09T12:00:00Z", "2026-01-13T12:00:00Z", "2026-01-16T12:00:00Z", "2026-01-23T12:00:00Z",]
    );
    // A day that is both is one: 13 February 2026 is a Friday.
    assert_eq!(
        fires("0 12 13 * FRI", "UTC", "2026-02-12T00:00:00Z", 2),
        ["2026-02-13T12:00:00Z", "2026-02-20T12:00:00Z"]
    );
    // An impossible date beside a possible day of the week.
    assert_eq!(
        fires("0 0 30 2 MON", "UTC", "2026-02-20T00:00:00Z", 2),
        ["2026-02-23T00:00:00Z", "2027-02-01T00:00:00Z"]
    );
}

#[test]
fn one_restricted_day_field_means_both() {
    // Odd days that are Mondays: */2 begins with *.
    assert_eq!(
        fires("0 0 */2 * MON", "UTC", "2026-06-01T00:00:00Z", 3),
        ["2026-06-15T00:00:00Z", "2026-06-29T00:00:00Z", "2026-07-13T00:00:00Z",]
    );
}

#[test]
fn rare_dates_are_found() {
    assert_eq!(fires("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2), ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    // A leap day that is a Sunday or a Saturday (*/6 begins with *, so the day must be both).
    assert_eq!(
        fires("0 0 29 2 */6", "UTC", "2026-01-01T00:00:00Z", 3),
        ["2032-02-29T00:00:00Z", "2048-02-29T00:00:00Z", "2060-02-29T00:00:00Z",]
    );
}

#[test]
fn the_calendar_has_two_ends() {
    let leap_year = cron("0 0 29 2 *", "UTC");
    assert_eq!(leap_year.next_after(utc("2096-02-28T00:00:00Z")), Some(utc("2096-02-29T00:00:00Z")));
    assert_eq!(leap_year.next_after(utc("2096-02-29T00:00:00Z")), None);
    let always = cron("* * * * * *", "Pacific/Kiritimati");
    assert_eq!(always.next_after(chrono::DateTime::<chrono::Utc>::MAX_UTC), None);
    // 14 hours ahead of UTC today, 10:40 behind in 1970.
    assert_eq!(always.next_after(chrono::DateTime::<chrono::Utc>::MIN_UTC), Some(utc("1970-01-01T10:40:00Z")));
    let last = cron("59 59 23 31 12 *", "Etc/GMT+12");
    assert_eq!(last.next_after(utc("2100-06-01T00:00:00Z")), Some(utc("2101-01-01T11:59:59Z")));
    assert_eq!(last.next_after(utc("2101-01-01T11:59:59Z")), None);
}

#[test]
fn a_fire_is_strictly_after_to_the_nanosecond() {
    let minutely = cron("* * * * *", "UTC");
    for (after, expected) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        ("2026-01-01T00:00:00.000000001Z", "2026-01-01T00:01:00Z"),
        ("2026-01-01T00:00:59.999999999Z", "2026-01-01T00:01:00Z"),
        ("2025-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00Z"),
        ("1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(minutely.next_after(utc(after)), Some(utc(expected)), "{after}");
    }
}

#[test]
fn expression_and_zone_are_kept_as_given() {
    let cron = cron(" @Daily ", "US/Eastern");
    assert_eq!(cron.expression(), " @Daily ");
    assert_eq!(cron.zone(), "US/Eastern");
}
