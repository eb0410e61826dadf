//! How long a failed task waits before its next attempt.
//!
//! Pure: the caller brings the count of failures and the random number, so a test can ask for any delay there is.
//! Full jitter is the default because tasks that failed together, when what they call was down, should not come back
//! together.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::task::duration;
use crate::task::name::quoted;

/// The smallest factor: below it a delay would shrink from one attempt to the next.
pub const MIN_FACTOR: f64 = 1.0;

/// The largest factor.
pub const MAX_FACTOR: f64 = 100.0;

const DEFAULT_BASE: Duration = Duration::from_secs(1);
const DEFAULT_FACTOR: f64 = 2.0;
const DEFAULT_MAX: Duration = Duration::from_secs(3_600);
const PARTS: [&str; 5] = ["kind", "base", "factor", "max", "jitter"];

/// Everything wrong with a value that should be a backoff: JSON pointers into it (`""` is the whole, `"/base"` a part)
/// with what was given and what is taken there.
pub type Faults = Vec<(String, String)>;

/// How the delay grows from one failed attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `base`, then `factor` times the delay before, up to `max`.
    Exponential,
    /// `base` after every failure.
    Fixed,
}

/// What randomness does to the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anything from nothing up to the delay.
    Full,
    /// The delay as computed.
    None,
}

/// The rule for the delays between a task's attempts.
///
/// What [`from_json`](Backoff::from_json) and [`from_value`](Backoff::from_value) return holds `base <= max` and a
/// factor within [`MIN_FACTOR`] and [`MAX_FACTOR`]; [`delay`](Backoff::delay) copes with any other too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// How the delay grows.
    pub kind: Kind,
    /// The first delay, or with [`Kind::Fixed`] every one.
    pub base: Duration,
    /// What each delay is multiplied by for the next; without meaning for [`Kind::Fixed`].
    pub factor: f64,
    /// The longest delay.
    pub max: Duration,
    /// What randomness does to it.
    pub jitter: Jitter,
}

impl Default for Backoff {
    /// Exponential from 1 s, doubling, up to 1 h, with full jitter.
    fn default() -> Self {
        Self {
            kind: Kind::Exponential,
            base: DEFAULT_BASE,
            factor: DEFAULT_FACTOR,
            max: DEFAULT_MAX,
            jitter: Jitter::Full,
        }
    }
}

impl Backoff {
    /// The same delay after every failure, without jitter.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self { kind: Kind::Fixed, base: delay, factor: MIN_FACTOR, max: delay, jitter: Jitter::None }
    }

    /// The wait after `failures` failed attempts (the first failure is 1; 0 counts as 1), with `random` in `[0, 1)`.
    ///
    /// Never above `max`. A `random` outside its range counts as the nearest end, and one that is no number as 0.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let whole = match self.kind {
            Kind::Fixed => self.base.min(self.max),
            Kind::Exponential => self.grown(failures.saturating_sub(1)),
        };
        match self.jitter {
            Jitter::None => whole,
            Jitter::Full => {
                let share = if random > 0.0 { random.min(1.0) } else { 0.0 };
                Duration::try_from_secs_f64(whole.as_secs_f64() * share).map_or(whole, |part| part.min(whole))
            }
        }
    }

    /// `base * factor^steps`, at most `max`.
    fn grown(&self, steps: u32) -> Duration {
        if self.base.is_zero() {
            return Duration::ZERO; // before zero times infinity
        }
        if steps == 0 {
            return self.base.min(self.max); // exactly, without the way through floats
        }
        let seconds = self.base.as_secs_f64() * self.usable_factor().powf(f64::from(steps));
        // What does not fit into a Duration is above every max.
        Duration::try_from_secs_f64(seconds).map_or(self.max, |delay| delay.min(self.max))
    }

    /// The factor within its range; one that is no number is the smallest.
    fn usable_factor(&self) -> f64 {
        if self.factor >= MIN_FACTOR { self.factor.min(MAX_FACTOR) } else { MIN_FACTOR }
    }

    /// The JSON text, every part spelled out:
    /// `{"kind":"exponential","base":"1s","factor":2,"max":"1h","jitter":"full"}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let kind = match self.kind {
            Kind::Exponential => "exponential",
            Kind::Fixed => "fixed",
        };
        let jitter = match self.jitter {
            Jitter::Full => "full",
            Jitter::None => "none",
        };
        format!(
            r#"{{"kind":"{kind}","base":"{}","factor":{},"max":"{}","jitter":"{jitter}"}}"#,
            duration::format(self.base),
            self.usable_factor(),
            duration::format(self.max),
        )
    }

    /// Reads the JSON text of what [`from_value`](Self::from_value) takes.
    ///
    /// # Errors
    /// All faults at once; a text that is not JSON is one fault of the whole.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        let value = serde_json::from_str(text).map_err(|error| {
            let detail = format!("got {}, which is not JSON ({error}); takes {}", quoted(text), accepted());
            vec![(String::new(), detail)]
        })?;
        Self::from_value(&value)
    }

    /// Reads an object of any of the parts `kind`, `base`, `factor`, `max` and `jitter`, or a bare duration.
    ///
    /// Without a `kind` it is exponential, and what is left out has the values of [`Backoff::default`]. With the kind
    /// `fixed` what is left out is base 1 s, factor 1, max the base, and jitter none: who writes a fixed delay means
    /// that delay. A bare duration or number of seconds is that fixed delay.
    ///
    /// # Errors
    /// All faults at once: wrong values, unknown parts, a base above the max.
    pub fn from_value(value: &Value) -> Result<Self, Faults> {
        match value {
            Value::Object(parts) => from_parts(parts),
            Value::String(_) | Value::Number(_) => {
                duration::from_value(value).map(Self::fixed).map_err(|fault| vec![(String::new(), fault.to_string())])
            }
            Value::Null | Value::Bool(_) | Value::Array(_) => {
                Err(vec![(String::new(), format!("got {}; takes {}", shown(value), accepted()))])
            }
        }
    }
}

fn accepted() -> String {
    format!("an object of {}, or a duration, which means fixed", PARTS.join(", "))
}

fn from_parts(parts: &Map<String, Value>) -> Result<Backoff, Faults> {
    let mut faults = Faults::new();
    for unknown in parts.keys().filter(|key| !PARTS.contains(&key.as_str())) {
        let pointer = format!("/{}", unknown.replace('~', "~0").replace('/', "~1"));
        faults.push((pointer, format!("is not a part of a backoff; takes {}", PARTS.join(", "))));
    }
    let kinds = [("exponential", Kind::Exponential), ("fixed", Kind::Fixed)];
    let jitters = [("full", Jitter::Full), ("none", Jitter::None)];
    let kind = part(parts, "kind", &mut faults, |value| one_of(value, &kinds));
    let base = part(parts, "base", &mut faults, duration_part);
    let factor = part(parts, "factor", &mut faults, factor_part);
    let max = part(parts, "max", &mut faults, duration_part);
    let jitter = part(parts, "jitter", &mut faults, |value| one_of(value, &jitters));

    let defaults = match kind.unwrap_or(Kind::Exponential) {
        Kind::Exponential => Backoff::default(),
        Kind::Fixed => Backoff::fixed(base.unwrap_or(DEFAULT_BASE)),
    };
    let backoff = Backoff {
        kind: defaults.kind,
        base: base.unwrap_or(defaults.base),
        factor: factor.unwrap_or(defaults.factor),
        max: max.unwrap_or(defaults.max),
        jitter: jitter.unwrap_or(defaults.jitter),
    };
    let max_given = parts.get("max").is_some_and(|max| !max.is_null());
    // A part that was refused has a default in its place here, which is nothing to compare with.
    if faults.is_empty() && backoff.base > backoff.max {
        let (base, max) = (duration::format(backoff.base), duration::format(backoff.max));
        faults.push(if max_given {
            ("/max".to_owned(), format!("got {max}, which is below base; takes at least base ({base})"))
        } else {
            ("/base".to_owned(), format!("got {base}, which is above max; takes at most max ({max} unless given)"))
        });
    }
    if faults.is_empty() { Ok(backoff) } else { Err(faults) }
}

fn part<T>(
    parts: &Map<String, Value>,
    key: &str,
    faults: &mut Faults,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Option<T> {
    // As everywhere, null is what was left out.
    match read(parts.get(key).filter(|value| !value.is_null())?) {
        Ok(value) => Some(value),
        Err(detail) => {
            faults.push((format!("/{key}"), detail));
            None
        }
    }
}

fn duration_part(value: &Value) -> Result<Duration, String> {
    duration::from_value(value).map_err(|fault| fault.to_string())
}

fn factor_part(value: &Value) -> Result<f64, String> {
    value
        .as_f64()
        .filter(|factor| (MIN_FACTOR..=MAX_FACTOR).contains(factor))
        .ok_or_else(|| format!("got {}; takes a number from {MIN_FACTOR} to {MAX_FACTOR}", shown(value)))
}

fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("got {}; takes {}", shown(value), words.join(" or "))
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests;
