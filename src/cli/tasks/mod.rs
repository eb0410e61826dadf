//! `tasks`: as they are, what they said, live; and what can be done to them.

mod attempts;
mod delete;
mod explain;
mod filter;
mod follow;
mod get;
mod list;
mod logs;
mod moves;
mod run_now;
mod screen;
mod sweep;
mod watch;

pub(super) use follow::{State, follow};
pub(super) use screen::Screen;

use super::Failure;
use crate::client::{Reply, Verb};
use crate::task::TaskId;

/// Look at tasks of a running server, and cancel, retry, run or delete them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks list --status failed
  taskrunnerx tasks explain 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks retry --status failed --name mail --since 2h

Each command has its own --help.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show tasks, newest first, or as they move
    List(list::Args),
    /// Show one task
    Get(get::Args),
    /// Follow a task to its end: its state, its progress, its log
    Watch(watch::Args),
    /// Print what a task's attempts have logged
    Logs(logs::Args),
    /// Show what became of a task's attempts
    Attempts(attempts::Args),
    /// Say why a task does not run, or what became of it
    Explain(explain::Args),
    /// Stop tasks: those named, or all that a filter finds
    Cancel(sweep::CancelArgs),
    /// Run tasks again that failed or were cancelled: those named, or all that a filter finds
    Retry(sweep::RetryArgs),
    /// Run tasks now that wait for their time
    Run(run_now::Args),
    /// Remove tasks that have ended
    Delete(delete::Args),
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List(args) => list::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Attempts(args) => attempts::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Cancel(sweep::CancelArgs { asked }) => sweep::run(Verb::Cancel, asked, None).await,
        Command::Retry(sweep::RetryArgs { asked, fingerprint }) => sweep::run(Verb::Retry, asked, fingerprint).await,
        Command::Run(args) => run_now::run(args).await,
        Command::Delete(args) => delete::run(args).await,
    }
}

/// What was done to a task, in a line: in words, or as the server's JSON. A 204 has none.
fn line(id: TaskId, reply: &Reply, json: bool, words: &str) -> String {
    if json { reply.text().trim_end().to_owned() } else { format!("{id} {words}") }
}
