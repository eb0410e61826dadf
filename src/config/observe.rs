//! `[metrics]` and `[log]`: what the operator sees.

use super::form::{Switch, Why, Word};
use super::layers::{Key, Layers};

const DEFAULT_LEVEL: &str = "info";
const MAX_LEVEL: usize = 1_024;

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Whether `/metrics` asks for a key.
    pub require_key: bool,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `None` is text on a terminal and JSON elsewhere.
    pub format: Option<LogFormat>,
    /// Directives such as `info` or `info,taskrunnerx=debug`; their syntax is for the logger to check.
    pub level: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

const FORMAT: Word<LogFormat> = Word { takes: "text or json", read: read_format, show: show_format };
const LEVEL: Word<String> = Word {
    takes: "error, warn, info, debug, trace or off, also for a module: `info,taskrunnerx=debug`",
    read: read_level,
    show: String::clone,
};

pub(super) fn metrics(layers: &mut Layers) -> Metrics {
    Metrics { require_key: layers.value(Key::new("metrics.require_key"), &Switch, false) }
}

pub(super) fn log(layers: &mut Layers) -> Log {
    let level = Key::new("log.level").shared_variable("RUST_LOG");
    Log {
        format: layers.optional(Key::new("log.format"), &FORMAT, "text on a terminal, else json"),
        level: layers.value(level, &LEVEL, DEFAULT_LEVEL.to_owned()),
    }
}

fn read_format(text: &str) -> Result<LogFormat, Why> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(None),
    }
}

fn show_format(format: &LogFormat) -> String {
    match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    }
}

fn read_level(text: &str) -> Result<String, Why> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_LEVEL { Err(None) } else { Ok(text.to_owned()) }
}
