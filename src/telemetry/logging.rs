//! Structured logs through `tracing`: text on a terminal, JSON lines otherwise.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Text if standard error is a terminal, else JSON.
    #[must_use]
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Format::Text } else { Format::Json }
    }
}

/// The filter text did not parse, or a subscriber was set already.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.level: {0}; accepted: error, warn, info, debug, trace, or a list of target=level")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up twice: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the process's logs to standard error. Panics are logged too: a handler's panic is an
/// error of its task, and its message belongs where the other messages are.
///
/// # Errors
/// When `level` is not a filter such as `info` or `taskrunnerx=debug`, or on a second call.
pub fn start(format: Format, level: &str) -> Result<(), LoggingError> {
    // The HTTP server narrates its start, and complains of every client that speaks no HTTP;
    // what comes after in the list overrides this.
    let filter = EnvFilter::try_new(format!("actix_server=warn,actix_http=off,{level}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
                .with_target(false);
            registry.with(layer).try_init()?;
        }
        Format::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_writer(std::io::stderr);
            registry.with(layer).try_init()?;
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(message, location, "panic");
    }));
    Ok(())
}
