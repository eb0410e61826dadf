//! `schedules`: what fires when, what became of each instant, and files that say what is to be.
//!
//! ```text
//!  crontab ──import──▶ TOML ──files──▶ definitions ──diff──▶ steps ──apply──▶ the server
//!                       ▲                                                        │
//!                       └───────────────────────export───────────────────────────┘
//! ```

mod apply;
mod crontab;
mod diff;
mod export;
mod files;
mod import;
mod ledger;
mod look;
mod naming;
mod recorded;
mod tree;
mod verbs;
mod written;

use super::Failure;

/// Look at schedules and their ledger, apply them from files, run, pause and backfill them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules list
  taskrunnerx schedules apply --file schedules.toml
  taskrunnerx schedules pause nightly --resume-in 2h

Each command has its own --help.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show schedules: when they fire, and what became of the last time
    List(look::ListArgs),
    /// Show one schedule
    Get(look::GetArgs),
    /// Make the server's schedules what files say, and show what differs
    Apply(apply::Args),
    /// Print schedules as a file that `apply` takes
    Export(export::Args),
    /// Turn a crontab into a file that `apply` takes
    ImportCrontab(import::Args),
    /// Submit a schedule's task now
    Run(verbs::RunArgs),
    /// Keep a schedule from firing; what comes meanwhile is skipped
    Pause(verbs::PauseArgs),
    /// Let a schedule fire again
    Resume(verbs::ResumeArgs),
    /// Remove schedules
    Delete(verbs::DeleteArgs),
    /// Show a schedule's ledger: each instant that has come, and what became of it
    Fires(ledger::FiresArgs),
    /// Show when a schedule fires next
    Next(ledger::NextArgs),
    /// Submit tasks for the instants of a range that have none
    Backfill(ledger::BackfillArgs),
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List(args) => look::list(args).await,
        Command::Get(args) => look::get(args).await,
        Command::Apply(args) => apply::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::ImportCrontab(args) => import::run(args).await,
        Command::Run(args) => verbs::run(args).await,
        Command::Pause(args) => verbs::pause(args).await,
        Command::Resume(args) => verbs::resume(args).await,
        Command::Delete(args) => verbs::delete(args).await,
        Command::Fires(args) => ledger::fires(args).await,
        Command::Next(args) => ledger::next(args).await,
        Command::Backfill(args) => ledger::backfill(args).await,
    }
}
