//! The forms that values take: how each is read, what it says it takes, and how it is written back.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value as Json;

use super::json;
use super::secret::masked_url;
use crate::task::duration;
use crate::task::name::quoted;

/// A value before it is understood.
#[derive(Debug)]
pub(super) enum Given {
    /// From a flag, a variable or a file that holds nothing else: text, whatever it means.
    Text(String),
    /// From the configuration file, with TOML's types.
    Typed(toml::Value),
}

impl Given {
    /// A text, or a string of the file.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Typed(value) => value.as_str(),
        }
    }

    /// For messages, on one line and without the password of a URL that was put at the wrong key.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Typed(toml::Value::String(text)) if text.is_empty() => "an empty text".to_owned(),
            Self::Text(text) | Self::Typed(toml::Value::String(text)) => quoted(&masked_url(text)),
            Self::Typed(toml::Value::Integer(number)) => number.to_string(),
            Self::Typed(toml::Value::Float(number)) => format!("{number:?}"),
            Self::Typed(toml::Value::Boolean(flag)) => flag.to_string(),
            Self::Typed(toml::Value::Datetime(time)) => time.to_string(),
            Self::Typed(toml::Value::Array(_)) => "a list".to_owned(),
            Self::Typed(toml::Value::Table(_)) => "a table".to_owned(),
        }
    }
}

/// Why a value was refused.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The value as a whole: what it does wrong, read after "got … which", where the form does not say it all.
    Unfit(Option<String>),
    /// A part of it, or something that explains itself: the rest of the key (`.base`), and the whole problem.
    Part(String, String),
}

/// The reason of [`Wrong::Unfit`].
pub(super) type Why = Option<String>;

pub(super) fn why<T>(reason: impl Into<String>) -> Result<T, Why> {
    Err(Some(reason.into()))
}

/// One form of value.
pub(super) trait Form {
    type Value;

    /// What it takes, as messages say it: forms and range.
    fn takes(&self) -> String;

    /// # Errors
    /// All that is wrong with it.
    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Wrong>>;

    /// As one would write it, without secrets.
    fn show(&self, value: &Self::Value) -> String;
}

fn unfit<T>(read: Result<T, Why>) -> Result<T, Vec<Wrong>> {
    read.map_err(|why| vec![Wrong::Unfit(why)])
}

/// A duration within a range, both ends included.
pub(super) struct Span {
    pub min: Duration,
    pub max: Duration,
}

impl Form for Span {
    type Value = Duration;

    fn takes(&self) -> String {
        format!(
            "a duration from {} to {}, such as \"250ms\", \"30s\" or \"1h30m\" (units d h m s ms), \
             or in the file a number of seconds",
            duration::format(self.min),
            duration::format(self.max)
        )
    }

    fn read(&self, given: &Given) -> Result<Duration, Vec<Wrong>> {
        let read = match given {
            Given::Text(text) => duration::parse(text).map_err(|fault| Some(fault.why.to_string())),
            Given::Typed(value) => {
                let value = json::from_toml(value).unwrap_or(Json::Null);
                duration::from_value(&value).map_err(|fault| Some(fault.why.to_string()))
            }
        };
        unfit(read.and_then(|read| match read {
            read if read < self.min => why("is too short"),
            read if read > self.max => why("is too long"),
            read => Ok(read),
        }))
    }

    fn show(&self, value: &Duration) -> String {
        duration::format(*value)
    }
}

/// A whole number within a range, both ends included.
pub(super) struct Whole<T> {
    pub min: T,
    pub max: T,
}

impl<T: Copy + PartialOrd + Display + FromStr + TryFrom<i64>> Form for Whole<T> {
    type Value = T;

    fn takes(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Wrong>> {
        let number = match given {
            Given::Text(text) => text.parse().ok(),
            Given::Typed(value) => value.as_integer().and_then(|number| T::try_from(number).ok()),
        };
        unfit(number.filter(|number| (self.min..=self.max).contains(number)).ok_or(None))
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

const KIB: usize = 1_024;
const MIB: usize = 1_048_576;

/// A count of bytes within a range, both ends included.
pub(super) struct Size {
    pub min: usize,
    pub max: usize,
}

impl Form for Size {
    type Value = usize;

    fn takes(&self) -> String {
        let (min, max) = (self.show(&self.min), self.show(&self.max));
        format!(r#"a size from {min} to {max} (bytes), as a number of bytes or such as "512KiB" or "1MiB""#)
    }

    fn read(&self, given: &Given) -> Result<usize, Vec<Wrong>> {
        let size = match given {
            Given::Typed(toml::Value::Integer(bytes)) => usize::try_from(*bytes).ok(),
            _ => given.as_text().and_then(parse_size),
        };
        unfit(size.filter(|size| (self.min..=self.max).contains(size)).ok_or(None))
    }

    fn show(&self, value: &usize) -> String {
        match *value {
            0 => "0".to_owned(),
            bytes if bytes.is_multiple_of(MIB) => format!("{}MiB", bytes / MIB),
            bytes if bytes.is_multiple_of(KIB) => format!("{}KiB", bytes / KIB),
            bytes => bytes.to_string(),
        }
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let (amount, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        _ => return None,
    };
    amount.parse::<usize>().ok()?.checked_mul(unit)
}

/// `true` or `false`.
pub(super) struct Switch;

impl Form for Switch {
    type Value = bool;

    fn takes(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, given: &Given) -> Result<bool, Vec<Wrong>> {
        let flag = match given {
            Given::Text(text) => text.parse().ok(),
            Given::Typed(value) => value.as_bool(),
        };
        unfit(flag.ok_or(None))
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// Anything that is written as one text.
pub(super) struct Word<T> {
    pub takes: &'static str,
    pub read: fn(&str) -> Result<T, Why>,
    pub show: fn(&T) -> String,
}

impl<T> Form for Word<T> {
    type Value = T;

    fn takes(&self) -> String {
        self.takes.to_owned()
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Wrong>> {
        unfit(given.as_text().ok_or(None).and_then(self.read))
    }

    fn show(&self, value: &T) -> String {
        (self.show)(value)
    }
}

/// Texts: a list in the file, or separated by commas anywhere.
pub(super) struct List<T> {
    pub takes: &'static str,
    pub read: fn(Vec<String>) -> Result<T, Why>,
    pub show: fn(&T) -> String,
}

/// The most texts in a list.
const MAX_LIST: usize = 1_024;

impl<T> Form for List<T> {
    type Value = T;

    fn takes(&self) -> String {
        self.takes.to_owned()
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Wrong>> {
        let texts: Option<Vec<String>> = match given {
            Given::Typed(toml::Value::Array(values)) => {
                values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
            }
            _ => given.as_text().map(separated),
        };
        unfit(match texts {
            None => Err(None),
            Some(texts) if texts.len() > MAX_LIST => why(format!("has more than {MAX_LIST} entries")),
            Some(texts) if texts.iter().any(String::is_empty) => why("has an empty entry"),
            Some(texts) => (self.read)(texts),
        })
    }

    fn show(&self, value: &T) -> String {
        (self.show)(value)
    }
}

fn separated(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',').map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1000", Some(1_000)),
            ("512KiB", Some(524_288)),
            ("1MiB", Some(1_048_576)),
            ("1 MiB", None),
            ("1MB", None),
            ("1mib", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("", None),
            ("99999999999999999999", None),
            ("18446744073709551615KiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        let size = Size { min: 0, max: usize::MAX };
        for (bytes, text) in [(0, "0"), (1, "1"), (1_536, "1536"), (1_024, "1KiB"), (16 * MIB, "16MiB")] {
            assert_eq!(size.show(&bytes), text);
        }
    }

    #[test]
    fn shows_what_was_given_on_one_line_without_passwords() {
        for (given, shown) in [
            (Given::Text(String::new()), "an empty text"),
            (Given::Text("a\nb".to_owned()), r#""a\nb""#),
            (Given::Text("redis://:pw@h".to_owned()), r#""redis://:***@h""#),
            (Given::Typed(toml::Value::Float(0.5)), "0.5"),
            (Given::Typed(toml::Value::Boolean(true)), "true"),
            (Given::Typed(toml::Value::Array(Vec::new())), "a list"),
            (Given::Typed(toml::Value::Table(toml::Table::new())), "a table"),
        ] {
            assert_eq!(given.shown(), shown);
        }
    }
}
