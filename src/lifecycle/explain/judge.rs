//! From facts to causes. Pure: no I/O and no clock.

mod ended;
mod running;
#[cfg(test)]
mod tests;
mod waiting;

use super::{Explanation, Facts};
use crate::store::tasks::Stand;
use crate::task::{Status, Timestamp, duration};
use std::time::Duration;

/// Longest error in a sentence, in characters; the field has all of it.
const ERROR_IN_WORDS: usize = 200;

/// Why a task does not run, or what became of it.
#[must_use]
pub fn judge(facts: &Facts) -> Explanation {
    let task = &facts.task;
    let (causes, next) = match (task.status, facts.stand) {
        (Status::Scheduled, Stand::Until(due)) => waiting::mortal(facts, waiting::scheduled(facts, due)),
        // Read while it moved.
        (Status::Scheduled, _) => waiting::mortal(facts, waiting::scheduled(facts, task.run_at)),
        (Status::Queued, Stand::Until(due)) => waiting::mortal(facts, waiting::handed_back(facts, due)),
        (Status::Queued, _) => waiting::mortal(facts, waiting::queued(facts)),
        (Status::Running, _) => running::running(facts),
        (Status::Completed | Status::Failed | Status::Cancelled, _) => (ended::ended(facts), None),
    };
    let begin = match task.status {
        Status::Scheduled | Status::Queued if task.expires_at.is_some_and(|at| at <= facts.now) => {
            "The task will not start: "
        }
        Status::Scheduled => "The task is not due yet: ",
        Status::Queued => "The task waits to start: ",
        Status::Running => "The task is running: ",
        Status::Completed | Status::Failed | Status::Cancelled => "The task has ended: ",
    };
    let first = causes.first().map_or("nothing is known of it", |cause| cause.detail.as_str());
    Explanation { status: task.status, summary: format!("{begin}{first}."), causes, next }
}

/// How long it is from now until then; nothing where that has passed.
fn until(facts: &Facts, at: Timestamp) -> Duration {
    (at - facts.now).to_std().unwrap_or_default()
}

/// How long it has been.
fn since(facts: &Facts, at: Timestamp) -> Duration {
    (facts.now - at).to_std().unwrap_or_default()
}

/// A duration as a person says it: of a long one nobody wants the milliseconds.
fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    let rounded = match seconds {
        0..10 => span,
        10..3600 => Duration::from_secs(seconds),
        _ => Duration::from_secs(seconds / 60 * 60),
    };
    duration::format(rounded)
}

fn time(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// An error's beginning, on one line.
fn error_words(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let short: String = line.chars().take(ERROR_IN_WORDS).collect();
    if short.len() < error.len() { format!("{short} […]") } else { short }
}

/// `1 task`, `2 tasks`.
fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}
