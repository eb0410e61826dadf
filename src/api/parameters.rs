//! Query parameters: each wrong one is a fault, and all of them are told at once.

use super::problem::Problem;
use crate::task::fields::got;
use crate::task::{Fault, Status, Timestamp, name, submission};
use actix_web::web::Query;
use std::fmt::Display;
use std::str::FromStr;

/// As a request has them: in order, and as often as they stand there.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// Values of one parameter, and ids in one request.
pub(super) const MAX_VALUES: usize = 500;

/// Has each parameter taken: 422 with what is wrong with those that were not.
pub(super) fn read(
    pairs: &[(String, String)],
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), Problem> {
    let fault = |(key, value): &(String, String)| {
        take(key, value).err().map(|detail| Fault { pointer: format!("?{key}"), detail })
    };
    Problem::unless(pairs.iter().filter_map(fault).collect())
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
