//! Query parameters: each wrong one is a fault, and all of them are told at once.

use super::problem::Problem;
use crate::task::fields::got;
use crate::task::{Fault, Status, Timestamp, name, submission};
use actix_web::HttpRequest;
use actix_web::web::Query;
use std::fmt::Display;
use std::str::FromStr;

/// As a request has them: in order, and as often as they stand there.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// Values of one parameter, and ids in one request.
pub(super) const MAX_VALUES: usize = 500;

/// Those that may stand there several times. A route where one of these has one value has to look at that itself.
const SEVERAL: [&str; 5] = ["status", "queue", "name", "tag", "id"];

/// Has each parameter taken: 422 with what is wrong with those that were not, and with those that stand twice and have
/// one value.
pub(super) fn read(
    pairs: &[(String, String)],
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), Problem> {
    let mut single: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for (key, value) in pairs {
        let taken = match take(key, value) {
            Ok(()) if single.contains(&key.as_str()) => Err("stands twice; takes one value".to_owned()),
            taken => taken,
        };
        match taken {
            Err(detail) => faults.push(Fault { pointer: format!("?{key}"), detail }),
            Ok(()) if SEVERAL.contains(&key.as_str()) => {}
            Ok(()) => single.push(key),
        }
    }
    Problem::unless(faults)
}

/// As they stand in a request.
pub(super) fn of(request: &HttpRequest) -> Vec<(String, String)> {
    url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect()
}

/// For a route that takes none, of its request.
pub(super) fn none_of(request: &HttpRequest) -> Result<(), Problem> {
    if request.query_string().is_empty() { Ok(()) } else { none(&of(request)) }
}

/// For a route that takes none.
pub(super) fn none(pairs: &[(String, String)]) -> Result<(), Problem> {
    read(pairs, |_, _| Err("is not a known parameter (this route takes none)".to_owned()))
}

/// What is wrong with a parameter that is not one of the known.
pub(super) fn unknown<T>(known: &str) -> Result<T, String> {
    Err(format!("is not a known parameter (known: {known})"))
}

/// A whole number, 1 and `most` included.
pub(super) fn count<T: FromStr + PartialOrd + From<u8> + Display + Copy>(value: &str, most: T) -> Result<T, String> {
    let read = value.parse().ok().filter(|read| (T::from(1)..=most).contains(read));
    read.ok_or_else(|| got(&name::quoted(value), &format!("a whole number from 1 to {most}")))
}

/// The place that a cursor names.
pub(super) fn cursor<T>(value: &str, place: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    place(value).ok_or_else(|| got(&name::quoted(value), "the next_cursor of an earlier page, as it was given"))
}

pub(super) fn status(word: &str) -> Result<Status, String> {
    let words = || Status::ALL.map(Status::as_str).join(", ");
    Status::parse(word).ok_or_else(|| got(&name::quoted(word), &words()))
}

/// Adds the values of a comma-separated parameter.
pub(super) fn several<T, E: Display>(
    into: &mut Vec<T>,
    value: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<(), String> {
    for word in value.split(',') {
        into.push(read(word).map_err(|fault| fault.to_string())?);
    }
    if into.len() > MAX_VALUES { Err(format!("has more than {MAX_VALUES} values")) } else { Ok(()) }
}

pub(super) fn named(word: &str, max: usize) -> Result<String, String> {
    name::check(word, max).map_err(|fault| fault.to_string())?;
    Ok(word.to_owned())
}

pub(super) fn instant(value: &str) -> Result<Timestamp, String> {
    submission::instant_of(value).ok_or_else(|| got(&name::quoted(value), submission::TAKES_INSTANT))
}

/// Cuts a page that was read with one row more than asked for; says whether there is more.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: impl TryInto<usize>) -> bool {
    let limit = limit.try_into().unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_value_stands_once_and_what_is_a_list_as_often_as_it_likes() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let pairs = [pair("queue", "a"), pair("limit", "1"), pair("queue", "b"), pair("limit", "2"), pair("x", "1")];
        let mut limits = Vec::new();
        let read = read(&pairs, |key, value| match key {
            "limit" => count(value, 500).map(|limit: u32| limits.push(limit)),
            "queue" => Ok(()),
            _ => unknown("limit, queue"),
        });
        let problem = read.unwrap_err().to_string();
        assert!(problem.contains("2 faults"), "{problem}");
        let twice = super::read(&pairs[1..4], |_, _| Ok(())).unwrap_err().to_string();
        assert!(twice.contains("?limit stands twice"), "{twice}");
        assert!(super::read(&pairs[..3], |_, _| Ok(())).is_ok());
    }
}
