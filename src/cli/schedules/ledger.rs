//! `schedules fires`, `next` and `backfill`: instants that have come, that will come, and that are made up for.

use super::recorded;
use crate::cli::connection::Connection;
use crate::cli::paging::{self, Paging};
use crate::cli::table::{Cell, Column, Table, Tone};
use crate::cli::terminal::{Style, say, say_aside};
use crate::cli::words::counted;
use crate::cli::{Failure, values, words};
use crate::client::FireRow;
use serde::Deserialize;

/// Show a schedule's ledger: each instant that has come, and what became of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules fires nightly
  taskrunnerx schedules fires nightly --limit 1000 --json | jq -r '.fires[] | select(.task_id == null).fire_at'
  taskrunnerx schedules fires nightly --follow

Newest first. A row that stands for several instants says how many, and when the first of them was. The
ledger of a schedule that was removed is still there.

With --follow nothing is shown of what was before: a line for each row that is recorded from now on, also when
an instant that waited has fired, and with --json an object a line. It looks once a second at the newest 500.

Exit codes: 0 done, 1 there is no such schedule, 2 usage, 3 the server cannot be reached, 130 interrupted.")]
pub(super) struct FiresArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    #[command(flatten)]
    paging: Paging,
    /// Show rows as they are recorded, until interrupted
    #[arg(long, short, conflicts_with_all = ["limit", "cursor"])]
    follow: bool,
    /// The JSON that the server gives: {fires, next_cursor}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Show when a schedule fires next
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules next nightly
  taskrunnerx schedules next nightly -n 100

A time a line, in UTC, as the definition has them: a pause is not looked at. Nothing: it has ended.

Exit codes: 0 done, 1 there is no such schedule, 2 usage, 3 the server cannot be reached.")]
pub(super) struct NextArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    /// So many
    #[arg(short, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    n: u32,
    /// The JSON that the server gives: {next}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Submit tasks for the instants of a range that have none
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules backfill nightly --from 7d --to 0s --dry-run
  taskrunnerx schedules backfill nightly --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z

An instant that has its task gets no other, so that it can be repeated. It prints the ids of the tasks that
it submitted, and with --dry-run the instants in the range.

Exit codes: 0 done, 1 there is no such schedule, or there are too many instants, 2 usage,
3 the server cannot be reached.")]
pub(super) struct BackfillArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    /// From this time on, as RFC 3339, or how long ago, such as 7d
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    from: String,
    /// Before this time, as RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    to: String,
    /// Submit nothing, show the instants
    #[arg(long)]
    dry_run: bool,
    /// The JSON that the server gives: {dry_run, instants, tasks}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct Next {
    next: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Backfilled {
    instants: Vec<String>,
    tasks: Vec<Submitted>,
}

#[derive(Debug, Deserialize)]
struct Submitted {
    id: String,
}

pub(super) async fn fires(args: FiresArgs) -> Result<(), Failure> {
    let FiresArgs { name, paging: Paging { limit, cursor }, follow, json, connection } = args;
    let client = connection.client()?;
    if follow {
        return recorded::run(&client, &name, json).await;
    }
    let found = client.fires(&name, limit, cursor).await.map_err(paging::refused)?;
    if json {
        say(&found.to_json());
        return Ok(());
    }
    say(&table(&found.read()?).render(Style::detect()));
    paging::tell_of_more(&found, "row");
    Ok(())
}

fn table(fires: &[FireRow]) -> Table {
    let mut table = Table::new(&[
        Column::Text("INSTANT"),
        Column::Text("OUTCOME"),
        Column::Text("TASK"),
        Column::Text("RECORDED"),
        Column::Number("INSTANTS"),
        Column::Text("SINCE"),
    ]);
    for FireRow { fire_at, outcome, task_id, recorded_at, instants, since } in fires {
        table.row(vec![
            Cell::new(words::time(fire_at)),
            Cell::toned(outcome, if task_id.is_some() { Tone::Good } else { Tone::Waiting }),
            Cell::maybe(task_id.as_deref()),
            Cell::new(words::time(recorded_at)),
            Cell::new(instants),
            Cell::maybe(since.as_deref().map(words::time)),
        ]);
    }
    table
}

pub(super) async fn next(args: NextArgs) -> Result<(), Failure> {
    let NextArgs { name, n, json, connection } = args;
    let reply = connection.client()?.next_fires(&name, n).await?;
    if json {
        say(&reply.text());
        return Ok(());
    }
    let Next { next } = reply.read()?;
    next.iter().for_each(|at| say(&words::time(at)));
    Ok(())
}

pub(super) async fn backfill(args: BackfillArgs) -> Result<(), Failure> {
    let BackfillArgs { name, from, to, dry_run, json, connection } = args;
    let reply = connection.client()?.backfill(&name, &from, &to, dry_run).await?;
    if json {
        say(&reply.text());
        return Ok(());
    }
    let Backfilled { instants, tasks } = reply.read()?;
    let range = counted(instants.len(), "instant");
    if dry_run {
        instants.iter().for_each(|at| say(&words::time(at)));
        say_aside(&format!("{range} in the range; those that have no task would get one"));
        return Ok(());
    }
    tasks.iter().for_each(|task| say(&task.id));
    say_aside(&format!("{range} in the range, {} submitted", counted(tasks.len(), "task")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_says_what_became_of_each_instant() {
        let fires = r#"[
            {"schedule": "a", "fire_at": "2026-11-26T02:00:00Z", "outcome": "fired", "task_id": "id",
             "recorded_at": "2026-11-26T02:00:00.25Z", "instants": 1, "since": null},
            {"schedule": "a", "fire_at": "2026-11-25T02:00:00.000001Z", "outcome": "skipped_misfire", "task_id": null,
             "recorded_at": "2026-11-26T01:00:00Z", "instants": 7, "since": "2026-11-19T02:00:00Z"}]"#;
        let text = table(&serde_json::from_str::<Vec<FireRow>>(fires).unwrap()).render(Style::PLAIN);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["INSTANT", "OUTCOME", "TASK", "RECORDED", "INSTANTS", "SINCE"]);
        assert_eq!(lines[1], ["2026-11-26T02:00:00Z", "fired", "id", "2026-11-26T02:00:00Z", "1", "-"]);
        let several = ["2026-11-25T02:00:00Z", "skipped_misfire", "-", "2026-11-26T01:00:00Z", "7"];
        assert_eq!(lines[2], [&several[..], &["2026-11-19T02:00:00Z"]].concat());
    }
}
