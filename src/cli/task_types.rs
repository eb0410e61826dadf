//! `task-types`.

use super::Failure;
use super::connection::Connection;
use super::table::{Cell, Column, Table};
use super::terminal::{Style, say};
use super::words;
use crate::client::{TaskTypeRow, TaskTypes};

/// Show what can be submitted, and what a submission that says little gets
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx task-types
  taskrunnerx task-types --json | jq '.task_types[] | select(.name == \"thumbnail\").schema'

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The JSON that the server gives, with the schemas of payloads
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { json, connection } = args;
    let reply = connection.client()?.task_types().await?;
    if json {
        say(&reply.text());
        return Ok(());
    }
    let TaskTypes { task_types } = reply.read()?;
    let mut table = Table::new(&[
        Column::Text("NAME"),
        Column::Text("EXECUTOR"),
        Column::Text("QUEUE"),
        Column::Number("PRIORITY"),
        Column::Text("TIMEOUT"),
        Column::Number("ATTEMPTS"),
        Column::Number("AT ONCE"),
    ]);
    for TaskTypeRow { name, executor, queue, priority, timeout, max_attempts, concurrency } in task_types {
        table.row(vec![
            Cell::new(name),
            Cell::new(executor),
            Cell::new(queue),
            Cell::new(priority),
            Cell::new(words::span_of(&timeout)),
            Cell::new(max_attempts),
            Cell::maybe(concurrency),
        ]);
    }
    say(&table.render(Style::detect()));
    Ok(())
}
