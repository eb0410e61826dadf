//! `tasks get`.

use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::table::{Cell, Tone, details};
use crate::cli::terminal::{Style, say};
use crate::task::TaskId;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Show one task
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks get 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks get 0190163d-8694-739b-aea5-966c26f8ad91 --json | jq .status

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

/// What is shown, in this order; what a task does not have is left out.
const FIELDS: [&str; 25] = [
    "id",
    "name",
    "queue",
    "status",
    "reason",
    "last_error",
    "progress",
    "progress_note",
    "result",
    "attempt",
    "max_attempts",
    "priority",
    "timeout",
    "payload",
    "tags",
    "metadata",
    "unique_key",
    "schedule",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "expires_at",
    "cancel_requested_at",
    "worker_id",
];

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { id, json, connection } = args;
    let reply = connection.client()?.task(id).await?;
    let text = reply.text();
    if json {
        say(&text);
        return Ok(());
    }
    let broken = |error| Failure::new(format!("the answer is no task: {error}"));
    say(&shown(&serde_json::from_str(&text).map_err(broken)?, Style::detect()));
    Ok(())
}

fn shown(task: &HashMap<String, Box<RawValue>>, style: Style) -> String {
    let found = FIELDS.into_iter().filter_map(|field| {
        let value = task.get(field)?.get();
        if ["null", "[]"].contains(&value) {
            return None;
        }
        // A text without its quotes, anything else as it stands.
        let value: String = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
        let tone = if field == "status" { Tone::of_status(&value) } else { Tone::Plain };
        Some((field, Cell::toned(value, tone)))
    });
    details(found.collect(), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_has_is_shown_as_it_stands() {
        let task = r#"{"id":"x","status":"failed","reason":"error","last_error":"no \"luck\"","progress":null,
            "payload":{"big": 12345678901234567890123},"tags":[],"more":1}"#;
        let expected = "id          x\nstatus      failed\nreason      error\nlast_error  no \"luck\"\n\
                        payload     {\"big\": 12345678901234567890123}";
        assert_eq!(shown(&serde_json::from_str(task).unwrap(), Style::PLAIN), expected);
    }
}
