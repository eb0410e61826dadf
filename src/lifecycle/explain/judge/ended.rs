//! Of a task that has ended: how.

use super::super::{Cause, Code, Facts, Fields};
use super::{error_words, time, words};
use crate::task::decide::POISON_CRASHES;
use crate::task::{Reason, Status};

pub(super) fn ended(facts: &Facts) -> Vec<Cause> {
    [how(facts)].into_iter().chain(held(facts)).collect()
}

/// Another task has its unique key.
fn held(facts: &Facts) -> Option<Cause> {
    let (holder, key) = (facts.holder?, facts.task.unique_key.as_deref().unwrap_or_default());
    let detail = format!("its unique key {key} is held by task {} by now, so it cannot be retried", holder.id);
    let fields = Fields { task_id: Some(holder.id.to_string()), ..Fields::default() };
    Some(Cause::new(Code::UniqueKeyHeld, detail, fields))
}

fn how(facts: &Facts) -> Cause {
    let task = &facts.task;
    let spent = task.attempt.saturating_sub(task.forgiven);
    let took = match (task.started_at, task.finished_at) {
        (Some(start), Some(end)) => (end - start).to_std().ok(),
        _ => None,
    };
    let at = task.finished_at.map_or_else(String::new, |at| format!(" at {}", time(at)));
    let why = task.last_error.as_deref().map_or_else(String::new, |error| format!(": {}", error_words(error)));
    let attempts = format!("attempt {spent} of {}", task.max_attempts);
    let (code, detail) = match (task.status, task.reason) {
        (Status::Completed, _) => {
            let after = took.map_or_else(String::new, |took| format!(", after {}", words(took)));
            (Code::Completed, format!("it completed{at}, in {attempts}{after}"))
        }
        (Status::Failed, reason) => {
            let what = match reason {
                Some(Reason::Permanent) => "with an error that no other attempt mends".to_owned(),
                Some(Reason::Timeout) => "since its last attempt exceeded its timeout".to_owned(),
                Some(Reason::Poisoned) => format!("since {POISON_CRASHES} workers died while they ran it"),
                Some(Reason::Error | Reason::Cancelled | Reason::Expired) | None => "with its last attempt".to_owned(),
            };
            (Code::Failed, format!("it failed for good{at} in {attempts}, {what}{why}"))
        }
        (_, Some(Reason::Expired)) => {
            let by = task.expires_at.map_or_else(String::new, |at| format!(" ({})", time(at)));
            (Code::Expired, format!("it was cancelled{at}, since it had not started before it expired{by}"))
        }
        (_, _) if spent > 0 => (Code::Cancelled, format!("it was cancelled{at}, in {attempts}")),
        (_, _) => (Code::Cancelled, format!("it was cancelled{at}, before it had started")),
    };
    let fields = Fields {
        since: task.finished_at,
        // When it was to start by.
        until: task.expires_at.filter(|_| code == Code::Expired),
        took: took.filter(|_| spent > 0),
        reason: task.reason.map(|reason| reason.as_str().to_owned()),
        attempt: Some(spent),
        max_attempts: Some(task.max_attempts),
        error: task.last_error.clone(),
        worker_id: task.worker_id.map(|id| id.to_string()),
        ..Fields::default()
    };
    Cause::new(code, detail, fields)
}
