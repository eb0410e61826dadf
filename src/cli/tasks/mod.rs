//! `tasks`: one task, as it is, what it said, and live.

mod follow;
mod get;
mod logs;
mod watch;

use super::Failure;
use std::io::{Write, stdout};

/// Look at tasks of a running server
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show one task
    Get(get::Args),
    /// Print what a task's attempts have logged
    Logs(logs::Args),
    /// Follow a task to its end: its state, its progress, its log
    Watch(watch::Args),
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Get(args) => get::run(args).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Watch(args) => watch::run(args).await,
    }
}

/// A line on standard output. Where nobody reads it any more, as behind `head`, there is nothing left to do.
fn tell(line: &str) {
    if writeln!(stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}
