//! `tasks logs`.

use super::follow::follow;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::terminal::{quoted, say};
use crate::client::LogPage;
use crate::task::TaskId;

/// Print what a task's attempts have logged
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks logs 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks logs 0190163d-8694-739b-aea5-966c26f8ad91 --attempt 2
  taskrunnerx tasks logs 0190163d-8694-739b-aea5-966c26f8ad91 --follow
  taskrunnerx tasks logs 0190163d-8694-739b-aea5-966c26f8ad91 --json | jq -r .at

Exit codes: 0 done, 1 there is no such task, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The task's id
    id: TaskId,
    /// Go on until the task has ended
    #[arg(long, short)]
    follow: bool,
    /// Of this attempt alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// One JSON object a line: {attempt, at, line}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { id, follow: goes_on, attempt, json, connection } = args;
    let client = connection.client()?;
    if goes_on {
        follow(&client, id, |event| {
            if event.name == "log"
                && let Ok(line) = serde_json::from_str::<crate::client::LogLine>(&event.data)
                && attempt.is_none_or(|only| only == line.attempt)
            {
                say(&if json { event.data.as_str().into() } else { quoted(&line.line) });
            }
        })
        .await?;
        return Ok(());
    }
    let mut cursor = None;
    loop {
        let LogPage { logs, next_cursor } = client.logs(id, attempt, cursor.as_deref()).await?;
        for log in &logs {
            if json {
                say(&serde_json::to_string(log).map_err(Failure::new)?);
            } else {
                say(&quoted(&log.line));
            }
        }
        match next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}
