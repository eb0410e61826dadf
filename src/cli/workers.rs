//! `workers`.

use super::Failure;
use super::connection::Connection;
use super::table::{Cell, Column, Table, Tone};
use super::terminal::{Style, say};
use super::words;
use crate::client::WorkerRow;

/// Show who works, and who did until lately
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx workers
  taskrunnerx workers --json | jq -r '.workers[] | select(.running == .slots).host'

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { json, connection } = args;
    let workers = connection.client()?.workers().await?;
    if json {
        say(&workers.to_json());
        return Ok(());
    }
    say(&table(&workers.read()?).render(Style::detect()));
    Ok(())
}

fn table(workers: &[WorkerRow]) -> Table {
    let mut table = Table::new(&[
        Column::Text("ID"),
        Column::Text("STATUS"),
        Column::Text("KIND"),
        Column::Long("HOST"),
        Column::Number("PID"),
        Column::Number("RUNNING"),
        Column::Number("SLOTS"),
        Column::Long("QUEUES"),
        Column::Text("STARTED"),
        Column::Text("LEASE UNTIL"),
    ]);
    for worker in workers {
        let WorkerRow { id, host, pid, kind, queues, slots, running, status, started_at, lease_until } = worker;
        let tone = match status.as_str() {
            "live" => Tone::Good,
            "expired" => Tone::Bad,
            _ => Tone::Faint,
        };
        table.row(vec![
            Cell::new(id),
            Cell::toned(status, tone),
            Cell::maybe(kind.as_deref()),
            Cell::maybe(host.as_deref()),
            Cell::maybe(*pid),
            Cell::maybe(*running),
            Cell::maybe(*slots),
            Cell::list(queues),
            Cell::maybe(started_at.as_deref().map(words::time)),
            Cell::maybe(lease_until.as_deref().map(words::time)),
        ]);
    }
    table
}
