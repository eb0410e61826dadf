//! A task as it is asked for: the JSON of `POST /api/tasks`, and of a schedule's task.

use super::fields::{Fault, Fields, got, shown};
use super::position::MAX_PRIORITY;
use super::{Backoff, Timestamp, Unique, When, duration, key, name};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use std::fmt;
use std::time::Duration;

/// Longest timeout of one attempt.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 86_400);
/// Most attempts of one task.
pub const MAX_ATTEMPTS: u32 = 1000;
/// Most tags of one task.
pub const MAX_TAGS: usize = 16;
/// Longest metadata, in bytes of JSON.
pub const MAX_METADATA: usize = 16 * 1024;

/// What was asked for; what was left out is for the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Submission {
    pub name: String,
    /// JSON text, byte for byte; `null` if none was sent.
    pub payload: String,
    pub queue: Option<String>,
    pub priority: Option<u8>,
    pub when: Option<When>,
    pub timeout: Option<Duration>,
    pub max_attempts: Option<u32>,
    pub backoff: Option<Backoff>,
    pub expires_in: Option<Duration>,
    pub tags: Vec<String>,
    /// A JSON object, byte for byte.
    pub metadata: Option<String>,
    pub unique: Option<Unique>,
}

/// Reads a submission. Faults come back beside what could be read, so that the caller can add
/// its own (an unknown task type) and report all of them at once.
///
/// # Errors
/// When the text is no JSON object at all.
pub fn read(text: &str, max_payload: usize) -> Result<(Submission, Vec<Fault>), serde_json::Error> {
    let mut fields = Fields::read(text)?;
    let name = fields.string("name", |text| name::check(text, name::MAX_NAME));
    let payload = fields.raw_or_null("payload").unwrap_or("null");
    if payload.len() > max_payload {
        fields.fault("/payload", format_args!("has {} bytes; takes at most {max_payload}", payload.len()));
    }
    let submission = Submission {
        payload: payload.to_owned(),
        queue: fields.string("queue", |text| name::check(text, name::MAX_QUEUE)),
        priority: fields.number("priority", 0..=u32::from(MAX_PRIORITY)).and_then(|p| u8::try_from(p).ok()),
        when: when(&mut fields),
        timeout: fields.take("timeout", |text| bounded(text, Duration::from_millis(1), MAX_TIMEOUT)),
        max_attempts: fields.number("max_attempts", 1..=MAX_ATTEMPTS),
        backoff: backoff(&mut fields),
        expires_in: fields.take("expires_in", |text| bounded(text, Duration::from_millis(1), duration::MAX)),
        tags: tags(&mut fields),
        metadata: fields.take("metadata", metadata),
        unique: unique(&mut fields),
        name: name.unwrap_or_default(),
    };
    let mut faults = fields.finish();
    if submission.name.is_empty() && !faults.iter().any(|fault| fault.pointer == "#/name") {
        faults.insert(0, Fault::at("/name", "is missing; it says which task type to run"));
    }
    Ok((submission, faults))
}

fn unique(fields: &mut Fields<'_>) -> Option<Unique> {
    let named = fields.has("unique_key");
    let key = fields.string("unique_key", key::check_unique);
    let held_for = fields.take("unique_for", |text| bounded(text, Duration::from_millis(1), duration::MAX));
    if held_for.is_some() && !named {
        fields.fault("/unique_for", "goes with a unique_key, and there is none");
    }
    Some(Unique { key: key?.into(), held_for })
}

fn when(fields: &mut Fields<'_>) -> Option<When> {
    let run_at = fields.take("run_at", instant).map(When::At);
    let delay = fields.take("delay", |text| span(text).map(When::After));
    if run_at.is_some() && delay.is_some() {
        fields.fault("/delay", "stands beside run_at; takes one of the two");
    }
    match delay.or(run_at) {
        Some(When::After(Duration::ZERO)) => Some(When::Now),
        other => other,
    }
}

/// Reads an instant from its JSON text.
///
/// # Errors
/// A message of what was got and what is taken.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    let value: Option<String> = serde_json::from_str(text).ok();
    value.as_deref().and_then(instant_of).ok_or_else(|| got(text, TAKES_INSTANT))
}

/// What an instant may be, wherever one is read.
pub const TAKES_INSTANT: &str =
    "a time as in RFC 3339, such as 2030-01-31T12:00:00Z, from the year 1970 on and before 2250";

/// Seconds since 1970 that an instant may have, to the end of 2249: the column holds years from 1000, the index years
/// before 2255.
pub const SECONDS: std::ops::Range<i64> = 0..8_835_955_200;

/// An instant as RFC 3339 writes it, within what [`SECONDS`] says.
#[must_use]
pub fn instant_of(text: &str) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    Some(at).filter(|at| SECONDS.contains(&at.timestamp()))
}

/// An instant by its microseconds since 1970, within what [`SECONDS`] says.
#[must_use]
pub fn instant_of_micros(micros: i64) -> Option<Timestamp> {
    Timestamp::from_timestamp_micros(micros).filter(|at| SECONDS.contains(&at.timestamp()))
}

/// A duration as a string or a number of seconds.
fn span(text: &str) -> Result<Duration, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    duration::from_value(&value).map_err(|mut fault| {
        if value.is_number() {
            // As it was written: one with many digits reads back as another.
            fault.got = text.chars().take(MAX_SHOWN).collect();
        }
        fault.to_string()
    })
}

/// So much of a number is quoted.
const MAX_SHOWN: usize = 40;

/// Reads a duration in a range from its JSON text.
///
/// # Errors
/// A message of what was got and what is taken.
pub fn bounded(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let span = span(text)?;
    // A number of seconds is rounded to the millisecond; what is a little too much is too much all the same.
    let beyond = text.parse::<f64>().is_ok_and(|seconds| seconds > most.as_secs_f64());
    if !beyond && (least..=most).contains(&span) {
        Ok(span)
    } else {
        Err(got(text, &format!("a duration from {} to {}", duration::format(least), duration::format(most))))
    }
}

fn backoff(fields: &mut Fields<'_>) -> Option<Backoff> {
    match Backoff::from_json(fields.raw("backoff")?) {
        Ok(backoff) => Some(backoff),
        Err(faults) => {
            for (pointer, detail) in faults {
                fields.fault(&format!("/backoff{pointer}"), detail);
            }
            None
        }
    }
}

fn tags(fields: &mut Fields<'_>) -> Vec<String> {
    let takes = || format!("a list of at most {MAX_TAGS} strings");
    let Some(text) = fields.raw("tags") else { return Vec::new() };
    let values: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(values) => values,
        Err(_) => {
            fields.fault("/tags", got(text, &takes()));
            return Vec::new();
        }
    };
    if values.len() > MAX_TAGS {
        fields.fault("/tags", format_args!("got {} tags; takes {}", values.len(), takes()));
        return Vec::new();
    }
    let mut tags = Vec::with_capacity(values.len());
    for (i, value) in values.into_iter().enumerate() {
        let pointer = format!("/tags/{i}");
        match serde_json::from_str::<String>(value.get()) {
            Err(_) => fields.fault(&pointer, got(value.get(), "a string")),
            Ok(tag) => match name::check(&tag, name::MAX_NAME) {
                Err(fault) => fields.fault(&pointer, fault),
                Ok(()) if tags.contains(&tag) => fields.fault(&pointer, format_args!("{} stands twice", shown(&tag))),
                Ok(()) => tags.push(tag),
            },
        }
    }
    tags
}

fn metadata(text: &str) -> Result<String, Box<dyn fmt::Display>> {
    if !text.starts_with('{') {
        return Err(Box::new(got(text, "an object")));
    }
    if text.len() > MAX_METADATA {
        return Err(Box::new(format!("has {} bytes; takes at most {MAX_METADATA}", text.len())));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    #[test]
    fn an_instant_is_of_the_years_that_are_said() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", None),
            ("2249-12-31T23:59:59Z", Some(8_835_955_199)),
            ("2250-01-01T00:00:00Z", None),
            ("2250-01-01T00:30:00+01:00", Some(8_835_953_400)),
            ("2030-01-31", None),
        ] {
            assert_eq!(instant_of(text).map(|at| at.timestamp()), seconds, "{text}");
            assert_eq!(instant(&format!("{text:?}")).ok().map(|at| at.timestamp()), seconds, "{text}");
        }
        for text in ["7", "null", "\"soon\"", "\"2250-01-01T00:00:00Z\""] {
            assert_eq!(instant(text).unwrap_err(), got(text, TAKES_INSTANT));
        }
    }

    #[test]
    fn a_full_submission_reads_back_and_its_payload_is_untouched() {
        let payload = r#"{ "b":1.50,  "a": 12345678901234567890123, "a": "\u00e9" }"#;
        let text = format!(
            r#"{{"name": "echo", "payload": {payload}, "queue": "q", "priority": 9, "delay": "1h30m", "timeout": 1.5,
               "max_attempts": 3, "backoff": "5s", "expires_in": "2h", "tags": ["a", "b"], "metadata": {{"k": [1]}},
               "unique_key": "order 17", "unique_for": "1h"}}"#
        );
        let (submission, faults) = read(&text, MAX).unwrap();
        assert_eq!(faults, []);
        let expected = Submission {
            name: "echo".into(),
            payload: payload.into(),
            queue: Some("q".into()),
            priority: Some(9),
            when: Some(When::After(Duration::from_secs(5400))),
            timeout: Some(Duration::from_millis(1500)),
            max_attempts: Some(3),
            backoff: Some(Backoff::fixed(Duration::from_secs(5))),
            expires_in: Some(Duration::from_secs(7200)),
            tags: vec!["a".into(), "b".into()],
            metadata: Some(r#"{"k": [1]}"#.into()),
            unique: Some(Unique { key: "order 17".into(), held_for: Some(Duration::from_secs(3600)) }),
        };
        assert_eq!(submission, expected);
    }

    #[test]
    fn a_name_is_enough_and_null_is_a_payload() {
        let (submission, faults) = read(r#"{"name": "noop", "queue": null}"#, MAX).unwrap();
        assert_eq!((submission.payload.as_str(), submission.queue, faults), ("null", None, vec![]));
    }

    #[test]
    fn every_fault_is_reported_with_its_pointer() {
        let text = r#"{"name": 7, "queue": "a b", "priority": 10, "run_at": "tomorrow", "delay": "soon", "timeout": 0,
            "max_attempts": 0, "backoff": {"kind": "cubic", "base": -1}, "expires_in": "1x", "tags": ["ok", 1, "ok"],
            "metadata": [], "unique_key": "", "unique_for": 0, "colour": "red"}"#;
        let (_, faults) = read(text, MAX).unwrap();
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "#/name",
                "#/queue",
                "#/priority",
                "#/run_at",
                "#/delay",
                "#/timeout",
                "#/max_attempts",
                "#/backoff/kind",
                "#/backoff/base",
                "#/expires_in",
                "#/tags/1",
                "#/tags/2",
                "#/metadata",
                "#/unique_key",
                "#/unique_for",
                "#/colour"
            ]
        );
    }

    #[test]
    fn a_number_that_is_no_duration_is_quoted_as_it_was_written() {
        for number in ["99999999999999999999", "-0.50", "1e300"] {
            let (_, faults) = read(&format!(r#"{{"name": "echo", "delay": {number}}}"#), MAX).unwrap();
            assert!(faults[0].detail.starts_with(&format!("got {number}, which ")), "{faults:?}");
        }
    }

    #[test]
    fn the_payloads_size_and_both_times_at_once_are_faults() {
        let (_, faults) =
            read(r#"{"name": "echo", "payload": "12345", "delay": 1, "run_at": "2030-01-01T00:00:00Z"}"#, 6).unwrap();
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/payload", "#/delay"]);
        let (_, faults) = read("{}", MAX).unwrap();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].pointer, "#/name");
    }

    #[test]
    fn a_unique_key_needs_no_time_and_a_time_needs_a_key() {
        let (submission, faults) = read(r#"{"name": "noop", "unique_key": "k"}"#, MAX).unwrap();
        assert_eq!((submission.unique, faults), (Some(Unique { key: "k".into(), held_for: None }), vec![]));
        let (_, faults) = read(r#"{"name": "noop", "unique_for": "1h"}"#, MAX).unwrap();
        assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), ["#/unique_for"]);
    }
}
