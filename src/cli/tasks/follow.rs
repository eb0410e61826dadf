//! Follows a task's events to its end, also over connections that are lost.

use crate::cli::Failure;
use crate::cli::again::{TRIES, WAIT, is_final};
use crate::client::{Client, Event};
use crate::task::{Status, TaskId};
use serde::Deserialize;

/// What of a task is shown while it is followed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::cli) struct State {
    pub(in crate::cli) name: String,
    pub(in crate::cli) status: String,
    pub(in crate::cli) reason: Option<String>,
    pub(in crate::cli) attempt: u32,
    pub(in crate::cli) max_attempts: u32,
    pub(in crate::cli) progress: Option<f64>,
    pub(in crate::cli) progress_note: Option<String>,
    pub(in crate::cli) last_error: Option<String>,
}

impl State {
    pub(in crate::cli) fn status(&self) -> Option<Status> {
        Status::parse(&self.status)
    }

    fn has_ended(&self) -> bool {
        self.status().is_some_and(Status::is_terminal)
    }
}

/// Hands on each event until the task has ended; gives it as it then is.
///
/// # Errors
/// Where the server cannot be reached, at first or for ten seconds, or knows no such task.
pub(in crate::cli) async fn follow(
    client: &Client,
    id: TaskId,
    mut each: impl FnMut(&Event),
) -> Result<State, Failure> {
    let mut last: Option<String> = None;
    let mut state: Option<State> = None;
    let mut failed = 0;
    loop {
        let ended = match client.events(id, last.as_deref()).await {
            Ok(mut events) => loop {
                match events.next().await {
                    Ok(Some(event)) => {
                        failed = 0;
                        if event.name == "task" {
                            let read = serde_json::from_str(&event.data);
                            state = Some(read.map_err(|error| Failure::new(format!("an event is no task: {error}")))?);
                        }
                        last = event.id.clone().or(last);
                        each(&event);
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            },
            Err(error) => Some(error),
        };
        // The server ends a stream when the task has ended, and when it stops itself.
        match (ended, &state) {
            (None, Some(state)) if state.has_ended() => return Ok(state.clone()),
            (Some(error), _) if state.is_none() || failed >= TRIES || is_final(&error) => return Err(error.into()),
            (None, _) if failed >= TRIES => return Err(Failure::new("the server ends each stream at once")),
            _ => {}
        }
        failed += 1;
        tokio::time::sleep(WAIT).await;
    }
}
