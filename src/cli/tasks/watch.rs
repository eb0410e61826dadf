//! `tasks watch`: a bar and the log on a terminal, plain lines in a pipe, or JSON.

use super::follow::follow;
use super::screen::{Screen, words};
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::terminal::say;
use crate::client::Event;
use crate::task::{Status, TaskId};

/// Follow a task to its end: its state, its progress, its log
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks watch 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks watch 0190163d-8694-739b-aea5-966c26f8ad91 && echo it worked
  taskrunnerx tasks watch 0190163d-8694-739b-aea5-966c26f8ad91 --json | jq -r .data.status

A terminal gets a bar below the log; a pipe gets a line for each change, and the log's lines behind `| `.

Exit codes: 0 completed, 1 failed or cancelled, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The task's id
    id: TaskId,
    /// One JSON object an event: {event, id?, data}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { id, json, connection } = args;
    let client = connection.client()?;
    let state = if json {
        follow(&client, id, |event| say(&line(event))).await?
    } else {
        let mut screen = Screen::watch();
        let state = follow(&client, id, |event| screen.show(event)).await?;
        screen.clear();
        say(&words(&state));
        state
    };
    match state.status() {
        Some(Status::Completed) => Ok(()),
        // It has been said.
        _ => Err(Failure::new("")),
    }
}

/// An event on one line. Line breaks in its data stand between tokens of JSON.
fn line(event: &Event) -> String {
    let Event { name, id, data } = event;
    let id = id.as_ref().map_or(String::new(), |id| format!(r#""id":"{id}","#));
    format!(r#"{{"event":"{name}",{id}"data":{}}}"#, data.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let event = Event { name: "task".to_owned(), id: None, data: "{\"payload\":\n1}".to_owned() };
        assert_eq!(line(&event), r#"{"event":"task","data":{"payload": 1}}"#);
        let event = Event { name: "log".to_owned(), id: Some("l1.1.2".to_owned()), data: "{}".to_owned() };
        assert_eq!(line(&event), r#"{"event":"log","id":"l1.1.2","data":{}}"#);
    }
}
