//! Durations as people write them: `"250ms"`, `"30s"`, `"1h30m"`, or a number of seconds where the format has numbers.
//!
//! Everything read here is whole milliseconds, so what was taken is exactly what [`format`] gives back.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::task::name::quoted;

/// The longest duration that is taken: ten years of 365 days.
pub const MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// What a message says is taken.
pub const ACCEPTED: &str = "a duration such as \"250ms\", \"30s\", \"1h30m\" or \"7d\" \
    (units d h m s ms, largest first), or a number of seconds, at most 3650d";

/// The units in milliseconds, largest first: a compound names them in this order, each once.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A value that is not a duration: what it was, why not, and what is taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("got {got}, which {why}; takes {ACCEPTED}")]
pub struct DurationFault {
    /// The value as given, quoted if it was a text, and shortened.
    pub got: String,
    /// What is wrong with it.
    pub why: Reason,
}

/// What is wrong with a would-be duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Reason {
    /// An empty text.
    #[error("is empty")]
    Empty,
    /// An amount without a unit: `"30"`.
    #[error("has no unit")]
    NoUnit,
    /// A decimal point in a text: `"1.5s"`. Only numbers have decimals.
    #[error("has decimals, which only a number of seconds may have")]
    Decimals,
    /// A unit that there is not, such as `"5w"` or `"5S"`.
    #[error("has a unit that is none of d h m s ms")]
    UnknownUnit,
    /// `"30m1h"` or `"1h1h"`.
    #[error("does not name its units from the largest to the smallest, each once")]
    UnitOrder,
    /// Anything else: signs, spaces, words.
    #[error("is not a duration")]
    Malformed,
    /// A number below zero.
    #[error("is negative")]
    Negative,
    /// Above [`MAX`], or too large to count.
    #[error("is longer than 3650d")]
    TooLong,
}

/// Reads `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`, and compounds such as `"1h30m"`. Zero needs a unit too (`"0s"`).
///
/// # Errors
/// Anything else, decimals and bare numbers included, and what is longer than [`MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationFault> {
    milliseconds(text).map(Duration::from_millis).map_err(|why| DurationFault { got: quoted(text), why })
}

/// Reads a number of seconds, to the nearest millisecond.
///
/// # Errors
/// A number that is negative, not finite, or above [`MAX`].
pub fn from_seconds(seconds: f64) -> Result<Duration, DurationFault> {
    let fault = |why| DurationFault { got: format!("{seconds:?}"), why };
    if seconds.is_nan() {
        return Err(fault(Reason::Malformed));
    }
    if seconds < 0.0 {
        return Err(fault(Reason::Negative));
    }
    let exact = Duration::try_from_secs_f64(seconds).map_err(|_| fault(Reason::TooLong))?;
    let rounded = exact.saturating_add(Duration::from_micros(500));
    let whole = Duration::from_secs(rounded.as_secs())
        .saturating_add(Duration::from_millis(u64::from(rounded.subsec_millis())));
    if whole > MAX { Err(fault(Reason::TooLong)) } else { Ok(whole) }
}

/// Reads a JSON value: a text as [`parse`] does, a number as [`from_seconds`] does.
///
/// # Errors
/// As those two, and any value that is neither text nor number.
pub fn from_value(value: &Value) -> Result<Duration, DurationFault> {
    let malformed = |got: String| DurationFault { got, why: Reason::Malformed };
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => {
            number.as_f64().ok_or_else(|| malformed(number.to_string())).and_then(from_seconds).map_err(|fault| {
                // The number as it was written, rather than as its nearest float.
                DurationFault { got: number.to_string(), ..fault }
            })
        }
        Value::Null => Err(malformed("null".to_owned())),
        Value::Bool(flag) => Err(malformed(flag.to_string())),
        Value::Array(_) => Err(malformed("an array".to_owned())),
        Value::Object(_) => Err(malformed("an object".to_owned())),
    }
}

/// The canonical compound: `"1h30m"`, `"1s500ms"`, `"0s"`. What is below a millisecond is cut off.
#[must_use]
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let amounts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let text: String =
        amounts.iter().filter(|(amount, _)| *amount > 0).map(|(amount, unit)| format!("{amount}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn milliseconds(text: &str) -> Result<u64, Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    // Searched onward from the last unit found, so a unit that comes again or too late is not found any more.
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (amount, after) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_while(after, |c| c.is_ascii_alphabetic());
        if amount.is_empty() {
            return Err(Reason::Malformed);
        }
        if unit.is_empty() {
            return Err(match after.chars().next() {
                None => Reason::NoUnit,
                Some('.') => Reason::Decimals,
                Some(_) => Reason::Malformed,
            });
        }
        let Some((_, size)) = units.find(|(name, _)| *name == unit) else {
            let known = UNITS.iter().any(|(name, _)| *name == unit);
            return Err(if known { Reason::UnitOrder } else { Reason::UnknownUnit });
        };
        let amount: u64 = amount.parse().map_err(|_| Reason::TooLong)?;
        total = amount.checked_mul(*size).and_then(|part| total.checked_add(part)).ok_or(Reason::TooLong)?;
        rest = after;
    }
    if Duration::from_millis(total) > MAX { Err(Reason::TooLong) } else { Ok(total) }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reads_what_people_write() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("0ms", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90m", 5_400_000),
            ("1h90m", 9_000_000),
            ("007s", 7_000),
            ("1s1500ms", 2_500),
            ("3650d", 315_360_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, why) in [
            ("", Reason::Empty),
            ("0", Reason::NoUnit),
            ("30", Reason::NoUnit),
            ("5m30", Reason::NoUnit),
            ("2.5", Reason::Decimals),
            ("1.5s", Reason::Decimals),
            ("5w", Reason::UnknownUnit),
            ("5S", Reason::UnknownUnit),
            ("5us", Reason::UnknownUnit),
            ("30m1h", Reason::UnitOrder),
            ("1h1h", Reason::UnitOrder),
            ("5ms1s", Reason::UnitOrder),
            ("-5s", Reason::Malformed),
            ("+5s", Reason::Malformed),
            ("s", Reason::Malformed),
            ("1h 30m", Reason::Malformed),
            (" 1h", Reason::Malformed),
            ("1 h", Reason::Malformed),
            ("1h ", Reason::Malformed),
            ("٣s", Reason::Malformed),
            ("1é", Reason::Malformed),
            ("soon", Reason::Malformed),
            ("3651d", Reason::TooLong),
            ("3650d1ms", Reason::TooLong),
            ("99999999999999999999d", Reason::TooLong),
            ("18446744073709551615d", Reason::TooLong),
            ("18446744073709551615ms", Reason::TooLong),
        ] {
            assert_eq!(parse(text), Err(DurationFault { got: quoted(text), why }), "{text}");
        }
        let said = parse("2.5").expect_err("a bare number").to_string();
        assert!(said.starts_with("got \"2.5\", which has decimals") && said.contains("\"1h30m\""), "{said}");
    }

    #[test]
    fn takes_numbers_as_seconds() {
        for (seconds, milliseconds) in [
            (0.0, 0),
            (-0.0, 0),
            (1.5, 1_500),
            (0.001, 1),
            (0.0004, 0),
            (0.0006, 1),
            (2.9999, 3_000),
            (3e8, 300_000_000_000),
        ] {
            assert_eq!(from_seconds(seconds), Ok(Duration::from_millis(milliseconds)), "{seconds}");
        }
        assert_eq!(from_seconds(315_360_000.0), Ok(MAX));
        for (seconds, why) in [
            (-1.0, Reason::Negative),
            (f64::NEG_INFINITY, Reason::Negative),
            (f64::NAN, Reason::Malformed),
            (f64::INFINITY, Reason::TooLong),
            (1e300, Reason::TooLong),
            (315_360_000.001, Reason::TooLong),
        ] {
            assert_eq!(from_seconds(seconds).expect_err("refused").why, why, "{seconds}");
        }
    }

    #[test]
    fn reads_json_values() {
        assert_eq!(from_value(&json!("1m")), Ok(Duration::from_secs(60)));
        assert_eq!(from_value(&json!(90)), Ok(Duration::from_secs(90)));
        assert_eq!(from_value(&json!(0.25)), Ok(Duration::from_millis(250)));
        for (value, got) in [
            (json!(null), "null"),
            (json!(true), "true"),
            (json!([1]), "an array"),
            (json!({"s": 1}), "an object"),
            (json!(-3), "-3"),
            (json!(18_446_744_073_709_551_615_u64), "18446744073709551615"),
        ] {
            assert_eq!(from_value(&value).expect_err("refused").got, got);
        }
    }

    #[test]
    fn writes_the_canonical_compound() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1s500ms"),
            (5_400_000, "1h30m"),
            (86_400_000, "1d"),
            (315_360_000_000, "3650d"),
        ] {
            assert_eq!(format(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(format(Duration::from_micros(1_999)), "1ms");
        assert_eq!(format(Duration::from_nanos(1)), "0s");
        assert!(format(Duration::MAX).ends_with("ms"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 0_u64..=315_360_000_000, below in 0_u32..1_000_000) {
            let whole = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&format(whole)), Ok(whole));
            prop_assert_eq!(format(whole + Duration::from_nanos(u64::from(below))), format(whole));
        }

        #[test]
        fn a_number_reads_to_the_millisecond(milliseconds in 0_u32..=u32::MAX) {
            let read = from_seconds(f64::from(milliseconds) / 1_000.0);
            prop_assert_eq!(read, Ok(Duration::from_millis(u64::from(milliseconds))));
        }

        #[test]
        fn never_panics(text in "[0-9a-z. +-]{0,40}", seconds in any::<f64>()) {
            let _ = parse(&text);
            let _ = from_seconds(seconds);
        }
    }
}
