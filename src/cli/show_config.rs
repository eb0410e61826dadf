//! `config`: the values in force.

use super::{Failure, daemon, load, say};
use crate::config::{Environment, Flags};
use crate::executor::Registry;
use std::path::PathBuf;

/// Show the configuration in force and where each value came from; secrets are hidden.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, config: Option<PathBuf>, registry: Registry) -> Result<(), Failure> {
    let flags = Flags { config, ..Flags::default() };
    let (config, warnings) = load(&flags, &Environment::of_process())?;
    daemon::check(registry, &config).map_err(|error| Failure::with_code(error.exit_code(), error))?;
    let rows = config.effective();
    if args.json {
        for row in &rows {
            let line =
                serde_json::json!({"key": row.key, "value": row.value, "origin": row.origin, "default": row.default});
            say(&line.to_string());
        }
        return Ok(());
    }
    let width = |column: fn(&crate::config::Effective) -> &str, least: usize| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0).max(least)
    };
    let (keys, values) = (width(|row| &row.key, 3), width(|row| &row.value, 5));
    say(&format!("{:keys$}  {:values$}  ORIGIN", "KEY", "VALUE"));
    for row in &rows {
        say(&format!("{:keys$}  {:values$}  {}", row.key, row.value, row.origin));
    }
    for warning in warnings {
        say(&format!("warning: {warning}"));
    }
    Ok(())
}
