//! `config`: the values in force.

use super::table::{Cell, Column, Table, Tone};
use super::terminal::{Style, say, say_aside};
use super::{Failure, daemon, load};
use crate::config::{Environment, Flags};
use crate::executor::Registry;
use std::path::PathBuf;

/// Show the configuration in force and where each value came from; secrets are hidden.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx config                                      every value, and what has set it
  taskrunnerx config | grep -v 'default$'                 what is set here
  taskrunnerx config --config /etc/taskrunnerx.toml --json | jq -r 'select(.key == \"bind\").value'

Exit codes: 0 the configuration is right, 2 it is wrong, with all that is wrong.")]
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
    let mut table = Table::new(&[Column::Text("KEY"), Column::Text("VALUE"), Column::Text("ORIGIN")]);
    for row in &rows {
        let tone = if row.origin == "default" { Tone::Faint } else { Tone::Plain };
        table.row(vec![Cell::toned(&row.key, tone), Cell::toned(&row.value, tone), Cell::toned(&row.origin, tone)]);
    }
    say(&table.render(Style::detect()));
    for warning in warnings {
        say_aside(&format!("warning: {warning}"));
    }
    Ok(())
}
