//! `schedules list` and `schedules get`.

use crate::cli::connection::Connection;
use crate::cli::paging::{self, Paging};
use crate::cli::table::{Cell, Column, Table, Tone, details};
use crate::cli::terminal::{Style, say};
use crate::cli::{Failure, values, words};
use crate::client::{Reply, ScheduleRow};
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Show schedules: when they fire, and what became of the last time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules list
  taskrunnerx schedules list --limit 1000 --json | jq -r '.schedules[] | select(.pause).name'

TASK is how the latest task is. NEXT is there also while it is paused: what comes then is skipped.

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct ListArgs {
    #[command(flatten)]
    paging: Paging,
    /// The JSON that the server gives: {schedules, next_cursor}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Show one schedule
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules get nightly
  taskrunnerx schedules get nightly --json | jq -r .next_fire_at

Exit codes: 0 done, 1 there is no such schedule, 2 usage, 3 the server cannot be reached.")]
pub(super) struct GetArgs {
    /// The schedule
    #[arg(value_parser = values::word)]
    name: String,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn list(args: ListArgs) -> Result<(), Failure> {
    let ListArgs { paging: Paging { limit, cursor }, json, connection } = args;
    let found = connection.client()?.schedules(limit, cursor).await.map_err(paging::refused)?;
    if json {
        say(&found.to_json());
        return Ok(());
    }
    say(&table(&found.read()?).render(Style::detect()));
    paging::tell_of_more(&found, "schedule");
    Ok(())
}

pub(super) async fn get(args: GetArgs) -> Result<(), Failure> {
    let GetArgs { name, json, connection } = args;
    show(&connection.client()?.schedule(&name).await?, json)
}

fn table(schedules: &[ScheduleRow]) -> Table {
    let mut table = Table::new(&[
        Column::Text("NAME"),
        Column::Text("WHEN"),
        Column::Text("ZONE"),
        Column::Text("NEXT"),
        Column::Text("LAST"),
        Column::Text("OUTCOME"),
        Column::Text("TASK"),
        Column::Text("MANAGED BY"),
        Column::Long("PAUSED"),
    ]);
    for row in schedules {
        let task = row.last_task.as_ref().map(|task| task.status.as_str());
        table.row(vec![
            Cell::new(&row.name),
            when(row),
            Cell::maybe(row.timezone.as_deref()),
            next(row),
            Cell::maybe(row.last_fire_at.as_deref().map(words::time)),
            Cell::maybe(row.last_outcome.as_deref()),
            task.map_or_else(|| Cell::new(""), Cell::status),
            Cell::new(&row.managed_by),
            row.pause.as_ref().map_or_else(|| Cell::new(""), |pause| Cell::toned(words::pause(pause), Tone::Waiting)),
        ]);
    }
    table
}

fn when(row: &ScheduleRow) -> Cell {
    match (&row.cron, &row.every) {
        (Some(cron), _) => Cell::new(cron),
        (None, Some(every)) => Cell::new(format_args!("every {every}")),
        (None, None) => Cell::toned("unreadable", Tone::Bad),
    }
}

/// What waits for its turn comes before what has not come.
fn next(row: &ScheduleRow) -> Cell {
    match (&row.waiting_fire_at, &row.next_fire_at) {
        (Some(at), _) => Cell::toned(format_args!("{} waits", words::time(at)), Tone::Waiting),
        (None, Some(at)) => Cell::new(words::time(at)),
        (None, None) => Cell::toned("ended", Tone::Faint),
    }
}

/// A schedule as an answer has it.
pub(super) fn show(reply: &Reply, json: bool) -> Result<(), Failure> {
    if json {
        say(&reply.text());
        return Ok(());
    }
    say(&shown(&reply.read()?, Style::detect()));
    Ok(())
}

/// What is shown, in this order; what a schedule does not have is left out.
const FIELDS: [&str; 21] = [
    "name",
    "cron",
    "every",
    "timezone",
    "task",
    "misfire",
    "catch_up",
    "overlap",
    "jitter",
    "starts_at",
    "ends_at",
    "max_fires",
    "pause_after_failures",
    "managed_by",
    "next_fire_at",
    "waiting_fire_at",
    "fires",
    "last_fire_at",
    "last_outcome",
    "created_at",
    "updated_at",
];
/// What of a pause, and of the latest task.
const PAUSE: [(&str, &str); 4] =
    [("since", "paused since"), ("by", "paused by"), ("reason", "reason"), ("resume_at", "resumes at")];
const TASK: [(&str, &str); 5] = [
    ("id", "last task"),
    ("status", "its status"),
    ("reason", "its reason"),
    ("last_error", "its last error"),
    ("result", "its result"),
];

type Object = HashMap<String, Box<RawValue>>;

fn shown(schedule: &Object, style: Style) -> String {
    let inner = |key: &str| -> Object {
        schedule.get(key).and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
    };
    let (pause, task) = (inner("pause"), inner("last_task"));
    let own = FIELDS.into_iter().filter_map(|field| Some((field, cell(field, schedule.get(field)?)?)));
    let pause = PAUSE.into_iter().filter_map(|(key, name)| Some((name, cell(key, pause.get(key)?)?)));
    let task = TASK.into_iter().filter_map(|(key, name)| Some((name, cell(key, task.get(key)?)?)));
    details(own.chain(task).chain(pause).collect(), style)
}

fn cell(field: &str, value: &RawValue) -> Option<Cell> {
    let value = value.get();
    if value == "null" {
        return None;
    }
    // A text without its quotes, anything else as it stands.
    let text: String = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
    Some(match field {
        "status" => Cell::status(&text),
        field if field.ends_with("_at") || field == "since" => Cell::new(words::time(&text)),
        _ => Cell::new(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(more: serde_json::Value) -> serde_json::Value {
        let mut row = json!({"name": "nightly", "cron": "0 3 * * *", "every": null, "timezone": "Europe/Berlin",
            "task": {"name": "backup"}, "managed_by": "file", "pause": null,
            "next_fire_at": "2026-11-27T02:00:00Z", "waiting_fire_at": null, "fires": 1,
            "last_fire_at": "2026-11-26T02:00:00Z", "last_outcome": "fired", "new": 1,
            "last_task": {"id": "x", "status": "failed", "reason": "error", "finished_at": null,
                          "last_error": "no luck"}});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    }

    #[test]
    fn each_schedule_has_a_line() {
        let paused = json!({"since": "2026-11-25T10:00:00.5Z", "reason": "moving", "by": "ops", "resume_at": null});
        let rows = [
            row(json!({})),
            row(json!({"name": "often", "cron": null, "timezone": null, "every": "5m", "last_task": null,
                       "pause": paused})),
            row(json!({"name": "old", "cron": null, "timezone": null, "next_fire_at": null})),
            row(json!({"name": "w", "waiting_fire_at": "2026-11-26T02:00:00Z"})),
        ];
        let rows: Vec<ScheduleRow> = rows.into_iter().map(|row| serde_json::from_value(row).unwrap()).collect();
        let text = table(&rows).render(Style::PLAIN);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join("|"))
            .collect();
        assert_eq!(
            lines,
            [
                "NAME|WHEN|ZONE|NEXT|LAST|OUTCOME|TASK|MANAGED BY|PAUSED",
                "nightly|0 3 * * *|Europe/Berlin|2026-11-27T02:00:00Z|2026-11-26T02:00:00Z|fired|failed|file|-",
                "often|every 5m|-|2026-11-27T02:00:00Z|2026-11-26T02:00:00Z|fired|-|file|since 2026-11-25T10:00:00Z by ops: moving",
                "old|unreadable|-|ended|2026-11-26T02:00:00Z|fired|failed|file|-",
                "w|0 3 * * *|Europe/Berlin|2026-11-26T02:00:00Z waits|2026-11-26T02:00:00Z|fired|failed|file|-",
            ]
        );
    }

    #[test]
    fn a_schedule_is_told_with_its_latest_task_and_its_pause() {
        let pause = json!({"since": "2026-11-25T10:00:00.5Z", "reason": "moving", "by": null, "resume_at": null});
        let schedule = serde_json::from_value(row(json!({"pause": pause}))).unwrap();
        let text = shown(&schedule, Style::PLAIN);
        for line in ["task            {\"name\":\"backup\"}", "its status      failed", "reason          moving"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        assert!(!text.contains("every") && !text.contains("paused by"), "{text}");
    }
}
