//! `tasks get`.

use super::tell;
use crate::cli::Failure;
use crate::cli::connection::Connection;
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
const FIELDS: [&str; 22] = [
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
    "schedule",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "worker_id",
];

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { id, json, connection } = args;
    let body = connection.client()?.task(id).await?;
    let text = String::from_utf8_lossy(&body);
    if json {
        tell(&text);
        return Ok(());
    }
    let broken = |error| Failure::new(format!("the answer is no task: {error}"));
    tell(table(&serde_json::from_str(&text).map_err(broken)?).trim_end());
    Ok(())
}

fn table(task: &HashMap<String, Box<RawValue>>) -> String {
    let mut text = String::new();
    for field in FIELDS {
        let Some(value) = task.get(field).map(|value| value.get()).filter(|value| !["null", "[]"].contains(value))
        else {
            continue;
        };
        // A text without its quotes, anything else as it stands.
        let value: String = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
        text.push_str(&format!("{field:14}  {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_has_is_shown_as_it_stands() {
        let task = r#"{"id":"x","status":"failed","reason":"error","last_error":"no \"luck\"","progress":null,
            "payload":{"big": 12345678901234567890123},"tags":[],"more":1}"#;
        let expected = "id              x\nstatus          failed\nreason          error\nlast_error      no \"luck\"\n\
                        payload         {\"big\": 12345678901234567890123}\n";
        assert_eq!(table(&serde_json::from_str(task).unwrap()), expected);
    }
}
