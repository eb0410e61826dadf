//! `queues`: what waits where, and what is kept from being started.

use super::Failure;
use super::connection::Connection;
use super::table::{Cell, Column, Table, Tone, details};
use super::terminal::{Style, say};
use super::values::{self, Span};
use super::words;
use crate::client::{QueueRow, Queues, Reply};

/// Look at queues, pause and resume them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx queues list
  taskrunnerx queues pause mail --reason 'the mail server is being moved'

Each command has its own --help.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every queue: how many tasks wait, for how long, and whether it is paused
    List(ListArgs),
    /// Show one queue
    Get(GetArgs),
    /// Keep a queue's tasks from being started; those that run go on
    Pause(PauseArgs),
    /// Let a queue's tasks start again
    Resume(ResumeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx queues list
  taskrunnerx queues list --json | jq -r '.queues[] | select(.served == false).name'

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
struct ListArgs {
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx queues get mail
  taskrunnerx queues get mail --json | jq .depths.queued

Exit codes: 0 done, 1 there is no such queue, 2 usage, 3 the server cannot be reached.")]
struct GetArgs {
    /// The queue
    #[arg(value_parser = values::queue)]
    queue: String,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx queues pause mail
  taskrunnerx queues pause mail --reason 'the provider is down' --resume-in 30m

A queue that is not there yet is made. What is submitted meanwhile is accepted, and waits.

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
struct PauseArgs {
    /// The queue
    #[arg(value_parser = values::queue)]
    queue: String,
    /// Why, for those who wonder
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Resume it by itself after this time, such as 30m
    #[arg(long, value_name = "DURATION", value_parser = values::span)]
    resume_in: Option<Span>,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx queues resume mail

Exit codes: 0 done, also when it was not paused, 1 there is no such queue, 2 usage,
3 the server cannot be reached.")]
struct ResumeArgs {
    /// The queue
    #[arg(value_parser = values::queue)]
    queue: String,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List(ListArgs { json, connection }) => list(&connection.client()?.queues().await?, json),
        Command::Get(GetArgs { queue, json, connection }) => show(&connection.client()?.queue(&queue).await?, json),
        Command::Pause(PauseArgs { queue, reason, resume_in, json, connection }) => {
            let resume_in = resume_in.as_ref().map(|span| span.text.as_str());
            show(&connection.client()?.pause(&queue, reason.as_deref(), resume_in).await?, json)
        }
        Command::Resume(ResumeArgs { queue, json, connection }) => {
            show(&connection.client()?.resume(&queue).await?, json)
        }
    }
}

fn list(reply: &Reply, json: bool) -> Result<(), Failure> {
    if json {
        say(&reply.text());
        return Ok(());
    }
    let Queues { queues } = reply.read()?;
    let mut table = Table::new(&[
        Column::Text("QUEUE"),
        Column::Text("STATE"),
        Column::Number("QUEUED"),
        Column::Number("RUNNING"),
        Column::Number("SCHEDULED"),
        Column::Number("OLDEST"),
        Column::Long("PAUSE"),
    ]);
    for queue in &queues {
        table.row(vec![
            Cell::new(&queue.name),
            state(queue),
            Cell::maybe(queue.depths.map(|depths| depths.queued)),
            Cell::maybe(queue.depths.map(|depths| depths.running)),
            Cell::maybe(queue.depths.map(|depths| depths.scheduled)),
            Cell::maybe(queue.oldest_age.as_deref().map(words::span_of)),
            Cell::maybe(queue.pause.as_ref().map(words::pause)),
        ]);
    }
    say(&table.render(Style::detect()));
    Ok(())
}

fn show(reply: &Reply, json: bool) -> Result<(), Failure> {
    if json {
        say(&reply.text());
        return Ok(());
    }
    say(&shown(&reply.read()?, Style::detect()));
    Ok(())
}

fn shown(queue: &QueueRow, style: Style) -> String {
    let QueueRow { name, pause, depths, oldest_age, rates, served: _, dispatcher, created_at } = queue;
    let pause = pause.as_ref();
    details(
        vec![
            ("queue", Cell::new(name)),
            ("state", state(queue)),
            ("paused since", Cell::maybe(pause.map(|pause| words::time(&pause.since)))),
            ("paused by", Cell::maybe(pause.and_then(|pause| pause.by.as_deref()))),
            ("reason", Cell::maybe(pause.and_then(|pause| pause.reason.as_deref()))),
            ("resumes at", Cell::maybe(pause.and_then(|pause| pause.resume_at.as_deref()).map(words::time))),
            ("queued", Cell::maybe(depths.map(|depths| depths.queued))),
            ("running", Cell::maybe(depths.map(|depths| depths.running))),
            ("scheduled", Cell::maybe(depths.map(|depths| depths.scheduled))),
            ("oldest", Cell::maybe(oldest_age.as_deref().map(words::span_of))),
            ("started/s", Cell::maybe(rates.map(|rates| format!("{:.1}", rates.started)))),
            ("dispatcher", Cell::maybe(dispatcher.as_deref())),
            ("created", Cell::new(words::time(created_at))),
        ],
        style,
    )
}

/// In a word: what an operator has done comes before what nobody does.
fn state(queue: &QueueRow) -> Cell {
    match (&queue.pause, queue.served) {
        (Some(_), _) => Cell::toned("paused", Tone::Waiting),
        (None, Some(false)) => Cell::toned("unserved", Tone::Bad),
        (None, Some(true)) => Cell::toned("active", Tone::Good),
        (None, None) => Cell::toned("unknown", Tone::Faint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_told_with_what_is_known_of_it() {
        let json = r#"{"name": "mail", "pause": {"since": "2026-11-25T10:00:00.5Z", "reason": "no luck", "by": "ops",
            "resume_at": null}, "depths": {"scheduled": 0, "queued": 7, "running": 1}, "oldest_age": "3m12s",
            "rates": {"started": 12.34}, "served": true, "dispatcher": null, "created_at": "2026-11-25T09:00:00Z", "new": 1}"#;
        let queue: QueueRow = serde_json::from_str(json).unwrap();
        assert_eq!(words::pause(queue.pause.as_ref().unwrap()), "since 2026-11-25T10:00:00Z by ops: no luck");
        let text = shown(&queue, Style::PLAIN);
        let expected = [
            "queue         mail",
            "state         paused",
            "paused since  2026-11-25T10:00:00Z",
            "paused by     ops",
            "reason        no luck",
            "queued        7",
            "running       1",
            "scheduled     0",
            "oldest        3m 12s",
            "started/s     12.3",
            "created       2026-11-25T09:00:00Z",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(state(&QueueRow { pause: None, served: Some(false), ..queue }), Cell::toned("unserved", Tone::Bad));
    }
}
