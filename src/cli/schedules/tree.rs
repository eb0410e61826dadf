//! JSON with its numbers as they are written: two texts are the same where they mean the same, to the last digit.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Deeper than this nothing is read.
const MAX_DEPTH: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// A number's text.
#[derive(Debug, Clone)]
pub(super) struct Number(String);

impl Json {
    /// # Errors
    /// Why it cannot be read, for people.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        Self::at_depth(serde_json::from_str(text).map_err(|error| error.to_string())?, 0)
    }

    fn at_depth(raw: &RawValue, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} deep"));
        }
        let text = raw.get();
        let broken = |error: serde_json::Error| error.to_string();
        Ok(match text.bytes().next() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(broken)?;
                let read = |(key, value)| Ok((key, Self::at_depth(value, depth + 1)?));
                Self::Object(members.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
                Self::List(items.into_iter().map(|item| Self::at_depth(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text).map_err(broken)?),
            Some(b't') => Self::Flag(true),
            Some(b'f') => Self::Flag(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(Number(text.to_owned())),
        })
    }
}

impl Number {
    /// As TOML writes it; None: TOML has no number with all its digits.
    pub(super) fn as_toml(&self) -> Option<&str> {
        let text = self.0.as_str();
        if self.is_whole() {
            return match text {
                "-0" => Some("0"),
                _ => text.parse::<i64>().is_ok().then_some(text),
            };
        }
        let nearest: f64 = text.parse().ok()?;
        let exact = nearest.is_finite() && Self(format!("{nearest:e}")).decimal() == self.decimal();
        exact.then_some(text)
    }

    /// Written without a point and without an exponent.
    fn is_whole(&self) -> bool {
        !self.0.contains(['.', 'e', 'E'])
    }

    /// Its sign, its digits without zeros around them, and the power of ten that they stand at.
    fn decimal(&self) -> (bool, String, i64) {
        let (negative, text) = self.0.strip_prefix('-').map_or((false, &*self.0), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let kept = digits.trim_end_matches('0');
        if kept.is_empty() {
            return (negative && !self.is_whole(), String::new(), 0);
        }
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
        // No exponent that matters is cut: beyond it a number is none.
        let exponent = exponent.trim_start_matches('+').parse().unwrap_or(i64::MAX / 2);
        let exponent = exponent + length(&digits) - length(kept) - length(fraction);
        (negative, kept.trim_start_matches('0').to_owned(), exponent)
    }
}

/// `1.50` is `1.5`. `1` is not `1.0`: there are readers that take one of them alone.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.is_whole() == other.is_whole() && self.decimal() == other.decimal()
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        Json::read(one).unwrap() == Json::read(other).unwrap()
    }

    #[test]
    fn what_means_the_same_is_the_same_and_no_digit_is_lost() {
        assert!(same(r#"{"a": 1.50, "b": ["\u0041", null, true]}"#, r#"{"b":["A",null,true],"a":15e-1}"#));
        assert!(same("-0", "0") && same("100.0", "1E+2") && same("0.0", "0e9"));
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("1", "1.0"),
            ("1", "-1"),
            ("-0.0", "0.0"),
            ("1e5", "1e6"),
            ("[1, 2]", "[2, 1]"),
            ("null", "false"),
            (r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn numbers_go_into_toml_with_all_their_digits_or_not_at_all() {
        let toml = |text: &str| match Json::read(text).unwrap() {
            Json::Number(number) => number.as_toml().map(str::to_owned),
            other => panic!("{other:?}"),
        };
        for text in ["0", "-7", "9223372036854775807", "1.50", "-0.0", "1e5", "3.141592653589793", "1E-7"] {
            assert_eq!(toml(text).as_deref(), Some(text));
        }
        assert_eq!(toml("-0").as_deref(), Some("0"));
        for text in ["9223372036854775808", "12345678901234567890123", "0.12345678901234567890123", "1e400"] {
            assert_eq!(toml(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_nested_without_end_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Json::read(&deep).is_err());
        let fine = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(Json::read(&fine).is_ok());
    }
}
