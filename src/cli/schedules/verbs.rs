//! `schedules run`, `pause`, `resume` and `delete`.

use super::look::show;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::each::{each, gone};
use crate::cli::terminal::say;
use crate::cli::values::{self, Span};
use crate::client::{Accepted, ClientError};

/// Submit a schedule's task now
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules run nightly
  taskrunnerx schedules run nightly | xargs taskrunnerx tasks watch

It prints the task's id. The rhythm of the schedule stays as it is, and a pause does not matter.

Exit codes: 0 done, 1 there is no such schedule, or its task is refused, 2 usage, 3 the server cannot be
reached.")]
pub(super) struct RunArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    /// The task as the JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Keep a schedule from firing; what comes meanwhile is skipped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules pause nightly
  taskrunnerx schedules pause nightly --reason 'the disk is full' --resume-in 2h

Each instant that comes meanwhile is in the ledger as skipped; `schedules backfill` makes up for them.

Exit codes: 0 done, 1 there is no such schedule, 2 usage, 3 the server cannot be reached.")]
pub(super) struct PauseArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    /// Why, for those who wonder
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Resume it by itself after this time, such as 2h
    #[arg(long, alias = "for", value_name = "DURATION", value_parser = values::span)]
    resume_in: Option<Span>,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Let a schedule fire again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules resume nightly

Exit codes: 0 done, also when it was not paused, 1 there is no such schedule, 2 usage,
3 the server cannot be reached.")]
pub(super) struct ResumeArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Remove schedules
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules delete nightly
  taskrunnerx schedules delete nightly hourly

The ledger stays for as long as ledgers are kept, and so do the tasks.

Exit codes: 0 done, 1 one of them is not there or the configuration manages it, 2 usage,
3 the server cannot be reached.")]
pub(super) struct DeleteArgs {
    /// The schedules
    #[arg(value_name = "NAME", required = true, value_parser = values::word)]
    names: Vec<String>,
    /// One JSON object a schedule: {name, deleted}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let RunArgs { name, json, connection } = args;
    let reply = connection.client()?.run_schedule(&name).await?;
    let text = reply.text();
    if json {
        say(text.trim_end());
        return Ok(());
    }
    say(&Accepted::read(text.as_bytes())?.id()?.to_string());
    Ok(())
}

pub(super) async fn pause(args: PauseArgs) -> Result<(), Failure> {
    let PauseArgs { name, reason, resume_in, json, connection } = args;
    let resume_in = resume_in.as_ref().map(|span| span.text.as_str());
    show(&connection.client()?.pause_schedule(&name, reason.as_deref(), resume_in).await?, json)
}

pub(super) async fn resume(args: ResumeArgs) -> Result<(), Failure> {
    let ResumeArgs { name, json, connection } = args;
    show(&connection.client()?.resume_schedule(&name).await?, json)
}

pub(super) async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let DeleteArgs { names, json, connection } = args;
    let client = connection.client()?;
    let call = async |name: String| {
        client.delete_schedule(&name).await?;
        Ok::<_, ClientError>(gone("name", name, json))
    };
    each(&names, "schedule", call).await
}
