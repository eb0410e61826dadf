//! `[defaults]`: what a task has that neither its submission nor its type gives.

use std::time::Duration;

use super::form::{Form, Given, Span, Whole, Wrong};
use super::json;
use super::layers::{Key, Layers};
use super::secret::masked_url;
use crate::task::backoff::Backoff;
use crate::task::duration;

const DEFAULT_MAX_ATTEMPTS: u32 = 5;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// Attempts that a task may have; the first one counts.
pub(super) const MAX_ATTEMPTS: Whole<u32> = Whole { min: 1, max: 1_000 };

/// The time one attempt may take: 1 ms to 30 d.
pub(super) const TIMEOUT: Span = Span { min: Duration::from_millis(1), max: Duration::from_secs(30 * 86_400) };

/// `[defaults]`
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// Attempts in all, 1 to 1,000.
    pub max_attempts: u32,
    /// The time one attempt may take, 1 ms to 30 d.
    pub timeout: Duration,
    /// The wait between attempts.
    pub backoff: Backoff,
}

pub(super) fn read(layers: &mut Layers) -> Defaults {
    Defaults {
        max_attempts: layers.value(Key::new("defaults.max_attempts"), &MAX_ATTEMPTS, DEFAULT_MAX_ATTEMPTS),
        timeout: layers.value(Key::new("defaults.timeout"), &TIMEOUT, DEFAULT_TIMEOUT),
        backoff: layers.value(Key::new("defaults.backoff"), &BackoffForm, Backoff::default()),
    }
}

/// A backoff as over REST: an object (as JSON in a variable, a table in the file), or a duration for a fixed one.
pub(super) struct BackoffForm;

impl Form for BackoffForm {
    type Value = Backoff;

    fn takes(&self) -> String {
        "a table of kind, base, factor, max and jitter (in a variable its JSON), or a duration, which means fixed"
            .to_owned()
    }

    fn read(&self, given: &Given) -> Result<Backoff, Vec<Wrong>> {
        let read = match given {
            Given::Text(text) if text.trim_start().starts_with('{') => Backoff::from_json(text),
            // A bare text is a duration, so that a variable need not quote it.
            Given::Text(text) | Given::Typed(toml::Value::String(text)) => {
                let delay = duration::parse(text).map_err(|fault| vec![Wrong::Unfit(Some(fault.why.to_string()))]);
                return delay.map(Backoff::fixed);
            }
            Given::Typed(value) => match json::from_toml(value) {
                Ok(value) => Backoff::from_value(&value),
                Err(json::NotJson) => return Err(vec![Wrong::Unfit(Some("holds nan or inf".to_owned()))]),
            },
        };
        let wrong = |(pointer, detail): (String, String)| Wrong::Part(pointer.replace('/', "."), masked_url(&detail));
        read.map_err(|faults| faults.into_iter().map(wrong).collect())
    }

    fn show(&self, value: &Backoff) -> String {
        value.to_json()
    }
}
