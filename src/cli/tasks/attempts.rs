//! `tasks attempts`.

use crate::cli::connection::Connection;
use crate::cli::table::{Cell, Column, Table, Tone};
use crate::cli::terminal::{Style, say};
use crate::cli::{Failure, words};
use crate::client::{AttemptRow, Attempts};
use crate::task::TaskId;
use chrono::DateTime;

/// Show what became of a task's attempts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks attempts 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks attempts 0190163d-8694-739b-aea5-966c26f8ad91 --json | jq -r '.attempts[].error'

Exit codes: 0 done, 1 there is no such task, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The task's id
    id: TaskId,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { id, json, connection } = args;
    let reply = connection.client()?.attempts(id).await?;
    if json {
        say(&reply.text());
        return Ok(());
    }
    let Attempts { attempts } = reply.read()?;
    say(&table(&attempts).render(Style::detect()));
    Ok(())
}

fn table(attempts: &[AttemptRow]) -> Table {
    let mut table = Table::new(&[
        Column::Number("ATTEMPT"),
        Column::Text("OUTCOME"),
        Column::Text("STARTED"),
        Column::Number("TOOK"),
        Column::Text("WORKER"),
        Column::Long("ERROR"),
    ]);
    for AttemptRow { attempt, worker_id, started_at, finished_at, outcome, error } in attempts {
        let tone = match outcome.as_deref() {
            None => Tone::Busy,
            Some("success" | "completed") => Tone::Good,
            Some(_) => Tone::Bad,
        };
        table.row(vec![
            Cell::new(attempt),
            Cell::toned(outcome.as_deref().unwrap_or("running"), tone),
            Cell::maybe(started_at.as_deref().map(words::time)),
            Cell::maybe(took(started_at.as_deref(), finished_at.as_deref()).map(words::span)),
            Cell::maybe(worker_id.as_deref()),
            Cell::maybe(error.as_deref()),
        ]);
    }
    table
}

/// Both times are the database's.
fn took(started: Option<&str>, finished: Option<&str>) -> Option<std::time::Duration> {
    let read = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    (read(finished?)? - read(started?)?).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_runs_has_no_end() {
        let json = r#"{"attempts": [
            {"attempt": 1, "worker_id": "w", "started_at": "2026-11-25T10:00:00Z", "finished_at": "2026-11-25T10:03:12Z",
             "outcome": "error", "error": "no luck"},
            {"attempt": 2, "worker_id": "w", "started_at": "2026-11-25T10:04:00Z", "finished_at": null,
             "outcome": null, "error": null}]}"#;
        let Attempts { attempts } = serde_json::from_str(json).unwrap();
        let expected = "ATTEMPT  OUTCOME  STARTED                 TOOK  WORKER  ERROR\n      \
                        1  error    2026-11-25T10:00:00Z  3m 12s  w       no luck\n      \
                        2  running  2026-11-25T10:04:00Z       -  w       -";
        assert_eq!(table(&attempts).render(Style::PLAIN), expected);
    }
}
