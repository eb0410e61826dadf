//! `failures`.

use super::Failure;
use super::connection::Connection;
use super::table::{Cell, Column, Table, Tone};
use super::terminal::{Style, say};
use super::{values, words};
use crate::client::FailureRow;

/// Show failed tasks, grouped by their errors
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx failures
  taskrunnerx failures --queue mail --limit 10
  taskrunnerx failures --json | jq '.failures[0].task_ids'

A group is retried as a whole with `taskrunnerx tasks retry --fingerprint FINGERPRINT`.

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// Of these queues
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::queue)]
    queue: Vec<String>,
    /// Of these task types
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = values::word)]
    name: Vec<String>,
    /// At most so many groups
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { queue, name, limit, json, connection } = args;
    let failures = connection.client()?.failures(&queue, &name, limit).await?;
    if json {
        say(&failures.to_json());
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Text("FINGERPRINT"),
        Column::Number("COUNT"),
        Column::Text("NAME"),
        Column::Text("FIRST SEEN"),
        Column::Text("LAST SEEN"),
        Column::Long("ERROR"),
    ]);
    for FailureRow { fingerprint, name, message, count, count_capped, first_seen, last_seen } in failures.read()? {
        table.row(vec![
            Cell::new(fingerprint),
            Cell::new(format_args!("{count}{}", if count_capped { "+" } else { "" })),
            Cell::new(name),
            Cell::maybe(first_seen.as_deref().map(words::time)),
            Cell::maybe(last_seen.as_deref().map(words::time)),
            Cell::toned(message.unwrap_or_default(), Tone::Bad),
        ]);
    }
    say(&table.render(Style::detect()));
    Ok(())
}
