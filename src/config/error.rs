//! What loading says: faults that stop the start, warnings that do not, and the values that came out of it.

use std::fmt;

use thiserror::Error;

/// Everything that is wrong with the configuration, all at once, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", lines(.faults))]
pub struct ConfigError {
    /// In the order of the keys' table, then what the file has beyond it. Never empty.
    pub faults: Vec<Fault>,
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// One wrong value, unknown key, or unreadable source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The full key, such as `worker.lease`.
    pub key: String,
    /// Where the value came from: a flag, an environment variable, or a file.
    pub origin: String,
    /// What was given, unless it is secret, and what is taken.
    pub problem: String,
}

impl Fault {
    /// Control characters become spaces, so that every fault is one line whatever a parser had to say.
    pub(super) fn new(key: impl Into<String>, origin: impl Into<String>, problem: impl Into<String>) -> Self {
        let line = |text: String| text.replace(char::is_control, " ");
        Self { key: line(key.into()), origin: line(origin.into()), problem: line(problem.into()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.problem)
    }
}

/// Something that does not stop the start and may not be what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The environment variables that it is about; their values are never looked at.
    pub variables: Vec<String>,
    /// What is odd about them.
    pub detail: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.variables.len() == 1 { "environment variable" } else { "environment variables" };
        write!(f, "{noun} {}: {}", self.variables.join(", "), self.detail)
    }
}

/// A value as it is in force, for the `config` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The full key.
    pub key: String,
    /// The value as one would write it, secrets hidden; in parentheses where it stands for no value.
    pub value: String,
    /// Where it came from: a flag, an environment variable, a file, or `default`.
    pub origin: String,
    /// What it would be if nobody had said anything, in the same form.
    pub default: String,
}
