//! `tasks list`.

use super::filter::FilterArgs;
use super::moves;
use crate::cli::connection::Connection;
use crate::cli::paging::{self, Paging};
use crate::cli::table::{Cell, Column, Table, Tone};
use crate::cli::terminal::{Style, say};
use crate::cli::{Failure, words};
use crate::client::TaskRow;

/// Show tasks, newest first, or as they move
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks list
  taskrunnerx tasks list --status failed --queue mail --since 1h
  taskrunnerx tasks list --tag customer-7 --limit 1000 --json | jq -r '.tasks[].id'
  taskrunnerx tasks list --follow --status completed,failed

With --follow nothing is shown of what was before: a line for each task that moves from now on, and with --json
an object a line. It connects again where the connection is lost; what moved meanwhile is not shown.

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached, 130 interrupted.")]
pub(super) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    paging: Paging,
    /// Show tasks as they move, until interrupted
    #[arg(long, short, conflicts_with_all = ["limit", "cursor", "tag", "since", "until"])]
    follow: bool,
    /// The JSON that the server gives: {tasks, next_cursor}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { filter, paging: Paging { limit, cursor }, follow, json, connection } = args;
    let (client, filter) = (connection.client()?, filter.read());
    if follow {
        return moves::run(&client, &filter, json).await;
    }
    let tasks = client.list(&filter, limit, cursor).await.map_err(paging::refused)?;
    if json {
        say(&tasks.to_json());
        return Ok(());
    }
    say(&table(&tasks.read()?).render(Style::detect()));
    paging::tell_of_more(&tasks, "task");
    Ok(())
}

fn table(tasks: &[TaskRow]) -> Table {
    let mut table = Table::new(&[
        Column::Text("ID"),
        Column::Text("STATUS"),
        Column::Text("NAME"),
        Column::Text("QUEUE"),
        Column::Number("ATTEMPT"),
        Column::Text("CREATED"),
        Column::Long("NOTE"),
    ]);
    for task in tasks {
        table.row(vec![
            Cell::new(&task.id),
            Cell::status(&task.status),
            Cell::new(&task.name),
            Cell::new(&task.queue),
            Cell::new(format_args!("{}/{}", task.attempt, task.max_attempts)),
            Cell::new(words::time(&task.created_at)),
            note(task),
        ]);
    }
    table
}

/// What there is to say of a task in its state.
fn note(task: &TaskRow) -> Cell {
    let error = task.last_error.as_deref();
    match task.status.as_str() {
        "scheduled" => {
            let after = error.map_or(String::new(), |error| format!(" after {error}"));
            Cell::new(format_args!("at {}{after}", words::time(&task.run_at)))
        }
        "running" => {
            let progress = task.progress.map(|progress| format!("{:.0}%", progress * 100.0));
            let parts: Vec<String> = progress.into_iter().chain(task.progress_note.clone()).collect();
            Cell::new(parts.join(" "))
        }
        "failed" => Cell::toned(error.unwrap_or_default(), Tone::Bad),
        "completed" => Cell::maybe(task.finished_at.as_deref().map(|at| format!("at {}", words::time(at)))),
        _ => Cell::maybe(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(more: serde_json::Value) -> TaskRow {
        let mut task = json!({"id": "0190163d-8694-739b-aea5-966c26f8ad91", "name": "mail", "queue": "default",
            "status": "queued", "attempt": 0, "max_attempts": 5, "created_at": "2026-11-25T10:00:00.25Z",
            "run_at": "2026-11-25T10:05:00Z", "finished_at": null, "last_error": null, "progress": null,
            "progress_note": null, "new": 1});
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn each_task_has_a_line_with_what_there_is_to_say_of_it() {
        let tasks = [
            row(json!({})),
            row(json!({"status": "scheduled", "attempt": 1, "last_error": "no\nluck"})),
            row(json!({"status": "running", "attempt": 1, "progress": 0.5, "progress_note": "half"})),
            row(json!({"status": "failed", "attempt": 5, "last_error": "no luck"})),
        ];
        let text = table(&tasks).render(Style::PLAIN);
        let lines: Vec<&str> =
            text.lines().map(|line| line.trim_start_matches("0190163d-8694-739b-aea5-966c26f8ad91  ")).collect();
        assert_eq!(
            lines,
            [
                "ID                                    STATUS     NAME  QUEUE    ATTEMPT  CREATED               NOTE",
                "queued     mail  default      0/5  2026-11-25T10:00:00Z  -",
                "scheduled  mail  default      1/5  2026-11-25T10:00:00Z  at 2026-11-25T10:05:00Z after no luck",
                "running    mail  default      1/5  2026-11-25T10:00:00Z  50% half",
                "failed     mail  default      5/5  2026-11-25T10:00:00Z  no luck",
            ]
        );
    }
}
