//! Every fault, word for word: the messages are what a person gets back from the API.

use super::super::{Cron, CronFault, CronField, MAX_EXPRESSION_BYTES};

const FIELDS: &str = "5 fields (minute hour day-of-month month day-of-week), 6 fields (second first), \
     or one of @hourly @daily @midnight @weekly @monthly @yearly @annually";
const FORMS: &str = "alone, as a range a-b, a step */n, a-b/n or a/n, or a list a,b";

fn faults(expression: &str, zone: &str) -> Vec<String> {
    let faults = Cron::parse(expression, zone).expect_err(expression);
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn the_whole_expression() {
    for empty in ["", "  \t"] {
        assert_eq!(faults(empty, "UTC"), [format!("the cron expression is empty; accepted are {FIELDS}")]);
    }
    for (expression, count) in [("*", "1 field"), ("* * * *", "4 fields"), ("0 0 0 1 1 * 2030", "7 fields")] {
        assert_eq!(faults(expression, "UTC"), [format!("the cron expression has {count}; accepted are {FIELDS}")]);
    }
    for word in ["@reboot", "@", "@daily 5", "@dailyx"] {
        assert_eq!(faults(word, "UTC"), [format!("the cron expression {word:?} is unknown; accepted are {FIELDS}")]);
    }
    let longest = format!("{}0 * * * *", "0,".repeat((MAX_EXPRESSION_BYTES - 9) / 2));
    assert_eq!(longest.len(), MAX_EXPRESSION_BYTES);
    Cron::parse(&longest, "UTC").unwrap();
    assert_eq!(faults(&format!("{longest} "), "UTC"), ["the cron expression has 256 bytes; at most 255 are accepted"]);
}

#[test]
fn unreadable_items_name_the_field_and_what_it_accepts() {
    for (expression, field, got, accepted) in [
        ("x * * * * *", "second", "x", "0-59"),
        ("MON * * * *", "minute", "MON", "0-59"),
        ("1.5 * * * *", "minute", "1.5", "0-59"),
        ("+5 * * * *", "minute", "+5", "0-59"),
        ("-5 * * * *", "minute", "-5", "0-59"),
        ("5- * * * *", "minute", "5-", "0-59"),
        ("1-2-3 * * * *", "minute", "1-2-3", "0-59"),
        ("*-5 * * * *", "minute", "*-5", "0-59"),
        ("** * * * *", "minute", "**", "0-59"),
        ("/5 * * * *", "minute", "/5", "0-59"),
        ("1,,2 * * * *", "minute", "1,,2", "0-59"),
        ("1, * * * *", "minute", "1,", "0-59"),
        ("0 ٣ * * *", "hour", "٣", "0-23"),
        ("0 0 JAN * *", "day of month", "JAN", "1-31"),
        ("0 0 * JANUARY *", "month", "JANUARY", "1-12 or JAN-DEC"),
        ("0 0 * L *", "month", "L", "1-12 or JAN-DEC"),
        ("0 0 * * MONDAY", "day of week", "MONDAY", "0-7 or SUN-SAT (0 and 7 are Sunday)"),
        ("0 0 * * XL", "day of week", "XL", "0-7 or SUN-SAT (0 and 7 are Sunday)"),
    ] {
        assert_eq!(
            faults(expression, "UTC"),
            [format!("{field}: {got:?} cannot be read; accepted are {accepted}, {FORMS}")],
            "{expression}"
        );
    }
}

#[test]
fn values_out_of_range_show_the_range() {
    for (expression, field, got, accepted) in [
        ("60 * * * * *", "second", "60", "0-59"),
        ("60 * * * *", "minute", "60", "0-59"),
        ("5-60 * * * *", "minute", "5-60", "0-59"),
        ("99999999999 * * * *", "minute", "99999999999", "0-59"),
        ("* 24 * * *", "hour", "24", "0-23"),
        ("* 25/2 * * *", "hour", "25/2", "0-23"),
        ("* * 0 * *", "day of month", "0", "1-31"),
        ("* * 32 * *", "day of month", "32", "1-31"),
        ("* * * 0 *", "month", "0", "1-12 or JAN-DEC"),
        ("* * * 13 *", "month", "13", "1-12 or JAN-DEC"),
        ("* * * * 8", "day of week", "8", "0-7 or SUN-SAT (0 and 7 are Sunday)"),
    ] {
        assert_eq!(
            faults(expression, "UTC"),
            [format!("{field}: {got:?} is out of range; accepted are {accepted}")],
            "{expression}"
        );
    }
}

#[test]
fn wrap_around_ranges_are_refused() {
    for (expression, field, got, within) in [
        ("50-10 * * * *", "minute", "50-10", "0-59"),
        ("* 22-2 * * *", "hour", "22-2", "0-23"),
        ("* 22-2/2 * * *", "hour", "22-2/2", "0-23"),
        ("* * * NOV-FEB *", "month", "NOV-FEB", "1-12 or JAN-DEC"),
        ("* * * * FRI-MON", "day of week", "FRI-MON", "0-7 or SUN-SAT (0 and 7 are Sunday)"),
        ("* * * * 7-1", "day of week", "7-1", "0-7 or SUN-SAT (0 and 7 are Sunday)"),
        ("* * * * 6-0", "day of week", "6-0", "0-7 or SUN-SAT (0 and 7 are Sunday)"),
    ] {
        assert_eq!(
            faults(expression, "UTC"),
            [format!(
                "{field}: the range {got:?} ends before it starts; accepted are rising ranges within {within}, \
                 so write it as a list of two"
            )],
            "{expression}"
        );
    }
}

#[test]
fn steps_are_bounded() {
    for (expression, field, got, most) in [
        ("*/0 * * * *", "minute", "*/0", 59),
        ("*/ * * * *", "minute", "*/", 59),
        ("*/x * * * *", "minute", "*/x", 59),
        ("*/-5 * * * *", "minute", "*/-5", 59),
        ("*/2/2 * * * *", "minute", "*/2/2", 59),
        ("*/90 * * * *", "minute", "*/90", 59),
        ("*/60 * * * *", "minute", "*/60", 59),
        ("1-5/99999999999 * * * *", "minute", "1-5/99999999999", 59),
        ("* */24 * * *", "hour", "*/24", 23),
        ("* * */31 * *", "day of month", "*/31", 30),
        ("* * * */12 *", "month", "*/12", 11),
        ("* * * * */7", "day of week", "*/7", 6),
    ] {
        assert_eq!(
            faults(expression, "UTC"),
            [format!("{field}: the step of {got:?} is not usable; accepted are steps of 1 to {most}")],
            "{expression}"
        );
    }
}

#[test]
fn marks_of_other_dialects_are_named() {
    for (expression, field, got, mark) in [
        ("0 0 L * *", "day of month", "L", "L"),
        ("0 0 l * *", "day of month", "l", "L"),
        ("0 0 L-3 * *", "day of month", "L-3", "L"),
        ("0 0 LW * *", "day of month", "LW", "W"),
        ("0 0 15W * *", "day of month", "15W", "W"),
        ("0 0 * * 5L", "day of week", "5L", "L"),
        ("0 0 * * FRIL", "day of week", "FRIL", "L"),
        ("0 0 * * 5#3", "day of week", "5#3", "#"),
        ("0 0 * * mon#2", "day of week", "mon#2", "#"),
    ] {
        let accepted = if field == "day of month" { "1-31" } else { "0-7 or SUN-SAT (0 and 7 are Sunday)" };
        assert_eq!(
            faults(expression, "UTC"),
            [format!("{field}: {mark} in {got:?} is not supported; accepted are {accepted}, {FORMS}")],
            "{expression}"
        );
    }
}

#[test]
fn a_question_mark_stands_alone_in_a_day_field() {
    for (expression, field, got) in [
        ("? * * * * *", "second", "?"),
        ("? * * * *", "minute", "?"),
        ("* ? * * *", "hour", "?"),
        ("* * * ? *", "month", "?"),
        ("* * ?/2 * *", "day of month", "?/2"),
        ("* * * * 1,?", "day of week", "1,?"),
    ] {
        assert_eq!(
            faults(expression, "UTC"),
            [format!(
                "{field}: ? in {got:?} is misplaced; it is accepted only alone, as day of month or day of week, \
                 where it means *"
            )],
            "{expression}"
        );
    }
}

#[test]
fn dates_that_no_year_has_are_refused() {
    for expression in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 FEB ?", "0 0 31 4 */2"] {
        assert_eq!(
            faults(expression, "UTC"),
            [format!(
                "the cron expression {expression:?} never fires: none of its months has such a day; \
                 accepted are days that at least one of the months has"
            )]
        );
    }
}

#[test]
fn an_unknown_zone_suggests_the_nearest() {
    for (got, nearest) in [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        (" UTC", "UTC"),
        ("utc", "UTC"),
        ("Berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("America/NewYork", "America/New_York"),
        ("Asia/Calcuta", "Asia/Calcutta"),
        ("Australia/Lord Howe", "Australia/Lord_Howe"),
    ] {
        assert_eq!(
            faults("* * * * *", got),
            [format!("the time zone {got:?} is unknown; accepted are IANA names, the nearest is {nearest:?}")]
        );
    }
    for got in ["", "PST", "UTC+2", "GMT+2", "+02:00", "Mars/Olympus_Mons"] {
        assert_eq!(
            faults("* * * * *", got),
            [format!("the time zone {got:?} is unknown; accepted are IANA names, such as Europe/Berlin or UTC")]
        );
    }
    let CronFault::UnknownZone { got, nearest: None } =
        Cron::parse("* * * * *", &"é".repeat(100_000)).unwrap_err().remove(0)
    else {
        panic!("not an unknown zone without a neighbour");
    };
    assert_eq!(got.chars().count(), 64);
}

#[test]
fn all_faults_come_at_once() {
    let field = |field, got: &str| (field, got.to_owned());
    let (minute, hour) = (field(CronField::Minute, "61"), field(CronField::Hour, "5-1"));
    assert_eq!(Cron::parse("61,x 5-1 L ?,1 8/9 */0", "Europe/Pariss").unwrap_err().len(), 7);
    assert_eq!(
        Cron::parse("61,*/0 5-1 * * *", "Nowhere").unwrap_err(),
        [
            CronFault::OutOfRange { field: minute.0, got: minute.1 },
            CronFault::Step { field: CronField::Minute, got: "*/0".to_owned() },
            CronFault::Backwards { field: hour.0, got: hour.1 },
            CronFault::UnknownZone { got: "Nowhere".to_owned(), nearest: None },
        ]
    );
    assert_eq!(faults("0 0 30 2 *", "Mars").len(), 2);
    assert_eq!(faults(&"*".repeat(300), "Mars").len(), 2);
}
