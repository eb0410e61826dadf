//! A task on a terminal: a bar that moves; and each of its states in words.

use super::follow::State;
use crate::cli::terminal::{harmless, say};
use crate::client::{Event, LogLine};
use crate::task::Status;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// What a person sees.
pub(in crate::cli) struct Screen {
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
    /// For a task that is watched: its log goes to standard output, above the bar.
    pub(super) fn watch() -> Self {
        Self::new(std::io::stdout().is_terminal() && std::io::stderr().is_terminal())
    }

    /// For a task whose result is waited for: a bar alone, beside what goes to standard output.
    pub(in crate::cli) fn aside() -> Self {
        Self::new(std::io::stderr().is_terminal())
    }

    fn new(terminal: bool) -> Self {
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        // Gone also where the command is interrupted.
        let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::AndClear);
        if terminal {
            style(&bar, WITHOUT);
            bar.enable_steady_tick(STROKE);
        }
        Self { bar, terminal, said: None }
    }

    pub(in crate::cli) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// The bar alone.
    pub(in crate::cli) fn show_state(&self, event: &Event) {
        if let Ok(state) = serde_json::from_str::<State>(&event.data)
            && self.terminal
        {
            self.draw(&state);
        }
    }

    pub(super) fn show(&mut self, event: &Event) {
        if event.name == "log" {
            if let Ok(LogLine { line, .. }) = serde_json::from_str(&event.data) {
                let line = if self.terminal { harmless(&line) } else { format!("| {line}") };
                self.bar.suspend(|| say(&line));
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
            _ => say(&words(&state)),
        }
        self.said = Some(state);
    }

    fn draw(&self, state: &State) {
        self.bar.set_length(PARTS);
        self.bar.set_position(parts(state.progress.unwrap_or(0.0)));
        let template = if state.progress.is_some() { WITH_PROGRESS } else { WITHOUT };
        style(&self.bar, template);
        let note = state.progress_note.as_deref().map_or(String::new(), |note| format!("  {note}"));
        self.bar.set_message(harmless(&format!(
            "{} {}, attempt {} of {}{note}",
            state.name, state.status, state.attempt, state.max_attempts
        )));
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

/// A state in a line, of what the server and the task say: nothing in it is a command to a terminal.
pub(super) fn words(state: &State) -> String {
    let State { name, status, reason, attempt, max_attempts, progress, progress_note, last_error } = state;
    let mut text = format!("{name} {status}, attempt {attempt} of {max_attempts}");
    let ended = state.status().is_some_and(Status::is_terminal);
    if let (Some(progress), false) = (progress, ended) {
        text.push_str(&format!(", {:.0}%", progress * 100.0));
        text.extend(progress_note.iter().map(|note| format!(" {note}")));
    }
    text.extend(reason.iter().filter(|reason| *reason != status).map(|reason| format!(", {reason}")));
    text.extend(last_error.iter().map(|error| format!(": {error}")));
    harmless(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let loud = State { last_error: Some("\u{1b}]0;x\u{7}no\nluck\u{9b}2J".to_owned()), ..failed };
        assert_eq!(words(&loud), "noop failed, attempt 1 of 5, error:  ]0;x no luck 2J");
        assert_eq!([0.0, 0.001, 0.5, 1.0].map(parts), [0, 1, 500, 1000]);
    }
}
