//! `tasks watch`: a bar and the log on a terminal, plain lines in a pipe, or JSON.

use super::follow::{State, follow};
use super::tell;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::client::{Event, LogLine};
use crate::task::{Status, TaskId};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Follow a task to its end: its state, its progress, its log
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks watch 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks watch 0190163d-8694-739b-aea5-966c26f8ad91 && echo it worked
  taskrunnerx tasks watch 0190163d-8694-739b-aea5-966c26f8ad91 --json | jq -c 'select(.event == \"task\") | .data.status'

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
        follow(&client, id, |event| tell(&line(event))).await?
    } else {
        let mut screen = Screen::new();
        let state = follow(&client, id, |event| screen.show(event)).await?;
        screen.bar.finish_and_clear();
        tell(&words(&state));
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

/// What a person sees.
struct Screen {
    bar: ProgressBar,
    terminal: bool,
    said: Option<State>,
}

/// A bar has so many parts.
const PARTS: u64 = 1000;
const WITH_PROGRESS: &str = "{msg}  {wide_bar} {percent:>3}%  {elapsed}";
const WITHOUT: &str = "{spinner} {msg}  {elapsed}";
/// Between two strokes of a bar that nothing moves.
const STROKE: Duration = Duration::from_millis(200);

impl Screen {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let bar = if terminal {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        if terminal {
            style(&bar, WITHOUT);
            bar.enable_steady_tick(STROKE);
        }
        Self { bar, terminal, said: None }
    }

    fn show(&mut self, event: &Event) {
        if event.name == "log" {
            if let Ok(LogLine { line, .. }) = serde_json::from_str(&event.data) {
                let line = if self.terminal { line } else { format!("| {line}") };
                self.bar.suspend(|| tell(&line));
            }
            return;
        }
        let Ok(state) = serde_json::from_str::<State>(&event.data) else { return };
        if self.said.as_ref() == Some(&state) {
            return;
        }
        match state.status() {
            // The last word comes last: one that had ended before has a log yet to come.
            Some(status) if status.is_terminal() => return,
            _ if self.terminal => self.draw(&state),
            _ => tell(&words(&state)),
        }
        self.said = Some(state);
    }

    fn draw(&self, state: &State) {
        self.bar.set_length(PARTS);
        self.bar.set_position(parts(state.progress.unwrap_or(0.0)));
        let template = if state.progress.is_some() { WITH_PROGRESS } else { WITHOUT };
        style(&self.bar, template);
        let note = state.progress_note.as_deref().map_or(String::new(), |note| format!("  {note}"));
        self.bar.set_message(format!(
            "{} {}, attempt {} of {}{note}",
            state.name, state.status, state.attempt, state.max_attempts
        ));
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// A fraction in whole parts of the bar.
fn parts(fraction: f64) -> u64 {
    let thousandths = Duration::try_from_secs_f64(fraction).unwrap_or_default().as_millis();
    u64::try_from(thousandths).unwrap_or(PARTS).min(PARTS)
}

/// A state in a line.
fn words(state: &State) -> String {
    let State { name, status, reason, attempt, max_attempts, progress, progress_note, last_error } = state;
    let mut text = format!("{name} {status}, attempt {attempt} of {max_attempts}");
    let ended = state.status().is_some_and(Status::is_terminal);
    if let (Some(progress), false) = (progress, ended) {
        text.push_str(&format!(", {:.0}%", progress * 100.0));
        text.extend(progress_note.iter().map(|note| format!(" {note}")));
    }
    text.extend(reason.iter().filter(|reason| *reason != status).map(|reason| format!(", {reason}")));
    text.extend(last_error.iter().map(|error| format!(": {error}")));
    text
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

    #[test]
    fn states_are_said_in_words() {
        let state = State {
            name: "noop".to_owned(),
            status: "running".to_owned(),
            reason: None,
            attempt: 1,
            max_attempts: 5,
            progress: Some(0.5),
            progress_note: Some("half".to_owned()),
            last_error: None,
        };
        assert_eq!(words(&state), "noop running, attempt 1 of 5, 50% half");
        let failed = State {
            status: "failed".to_owned(),
            reason: Some("error".to_owned()),
            last_error: Some("no luck".to_owned()),
            ..state
        };
        assert_eq!(words(&failed), "noop failed, attempt 1 of 5, error: no luck");
        assert_eq!([0.0, 0.001, 0.5, 1.0].map(parts), [0, 1, 500, 1000]);
    }
}
