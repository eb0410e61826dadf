//! What arguments may be: read as the API reads them, so that a slip is a fault of usage before anything is sent.

use crate::task::{Backoff, duration, name, submission};
use chrono::{SecondsFormat, Utc};
use serde_json::value::RawValue;

/// A duration as the API takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) length: std::time::Duration,
}

/// `"90s"`, `"1h30m"`.
pub(super) fn span(text: &str) -> Result<Span, String> {
    let length = duration::parse(text).map_err(|fault| fault.to_string())?;
    Ok(Span { text: text.to_owned(), length })
}

/// A queue's name, which may stand in a path.
pub(super) fn queue(text: &str) -> Result<String, String> {
    name::check(text, name::MAX_QUEUE).map_err(|fault| fault.to_string())?;
    Ok(text.to_owned())
}

/// The name of a task type, or a tag.
pub(super) fn word(text: &str) -> Result<String, String> {
    name::check(text, name::MAX_NAME).map_err(|fault| fault.to_string())?;
    Ok(text.to_owned())
}

/// A time, as RFC 3339.
pub(super) fn time(text: &str) -> Result<String, String> {
    match submission::instant_of(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("takes {}", submission::TAKES_INSTANT)),
    }
}

/// A time, or how long ago it was by this machine's clock.
pub(super) fn past(text: &str) -> Result<String, String> {
    let Ok(ago) = duration::parse(text) else {
        return time(text).map_err(|takes| format!("{takes}, or how long ago, such as 90m or 7d"));
    };
    let at = chrono::TimeDelta::from_std(ago).ok().and_then(|ago| Utc::now().checked_sub_signed(ago));
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).ok_or_else(|| "is too long ago".to_owned())
}

/// A backoff as the API takes it: a duration, or a JSON object.
///
/// # Errors
/// All that is wrong with it, part by part.
pub(super) fn backoff(text: &str) -> Result<Box<RawValue>, String> {
    // A duration stands without the quotes that JSON wants.
    let json = if text.trim_start().starts_with(['{', '"']) { json(text)? } else { quoted_json(text)? };
    let told = |(pointer, detail): (String, String)| {
        let part = pointer.trim_start_matches('/');
        if part.is_empty() { detail } else { format!("{part}: {detail}") }
    };
    match Backoff::from_json(json.get()) {
        Ok(_) => Ok(json),
        Err(faults) => Err(faults.into_iter().map(told).collect::<Vec<_>>().join("; ")),
    }
}

fn quoted_json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(text).map_err(|error| error.to_string())
}

/// JSON text, as it stands.
///
/// # Errors
/// What is wrong with it, and what shells make of quotes.
pub(super) fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text.trim()).map_err(|error| {
        format!(
            "{} is not JSON ({error})\nQuote it for the shell: '{{\"key\": \"value\"}}', and a text within quotes of its \
             own: '\"hello\"'. @FILE reads a file, - reads standard input.",
            name::quoted(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn times_are_given_as_such_or_as_how_long_ago() {
        assert_eq!(past("2030-01-31T12:00:00+01:00").unwrap(), "2030-01-31T12:00:00+01:00");
        let ago = DateTime::parse_from_rfc3339(&past("1h30m").unwrap()).unwrap().with_timezone(&Utc);
        let seconds = (Utc::now() - ago).num_seconds();
        assert!((5_399..=5_460).contains(&seconds), "{seconds}");
        assert!(past("yesterday").unwrap_err().contains("how long ago"));
        assert!(time("1h").is_err() && time("2250-01-01T00:00:00Z").unwrap_err().contains("before 2250"));
    }

    #[test]
    fn json_stays_as_it_stands_and_what_is_none_says_how_to_quote() {
        assert_eq!(json(" {\"big\": 12345678901234567890123}\n").unwrap().get(), "{\"big\": 12345678901234567890123}");
        let fault = json("{key: value}").unwrap_err();
        assert!(fault.contains("Quote it for the shell") && fault.contains("{key: value}"), "{fault}");
    }

    #[test]
    fn a_backoff_is_a_duration_or_an_object_and_all_of_its_faults_are_told() {
        assert_eq!(backoff("90s").unwrap().get(), "\"90s\"");
        assert_eq!(backoff(" \"90s\" ").unwrap().get(), "\"90s\"");
        let whole = "{\"base\": \"2s\",  \"factor\": 1.50}";
        assert_eq!(backoff(whole).unwrap().get(), whole);
        assert!(backoff("90").unwrap_err().contains("has no unit"));
        assert!(backoff("{base: 2s}").unwrap_err().contains("Quote it for the shell"));
        let fault = backoff("{\"kind\": \"cubic\", \"base\": -1}").unwrap_err();
        assert!(fault.contains("kind: got \"cubic\"") && fault.contains("base: "), "{fault}");
    }

    #[test]
    fn names_are_checked_before_they_stand_in_a_path() {
        assert!(queue("mail.eu-1").is_ok());
        assert!(queue("../tasks").is_err() && queue("a b").is_err() && word("").is_err());
        assert_eq!(span("1m30s").unwrap().length.as_secs(), 90);
        assert!(span("90").unwrap_err().contains("has no unit"));
    }
}
