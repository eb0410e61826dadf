//! Of a task that runs: who runs it, until when, and what becomes of it if that worker is gone.

use super::super::{Cause, Code, Facts, Fields, Next};
use super::{since, time, until, words};
use crate::store::roster::WorkerRow;

pub(super) fn running(facts: &Facts) -> (Vec<Cause>, Option<Next>) {
    let task = &facts.task;
    let owner = facts.roster.workers.iter().find(|row| Some(row.id) == task.worker_id);
    let deadline = task.started_at.map(|at| at + task.timeout);
    let lost = lost(facts, owner);
    let asked = task.cancel_requested_at.map(|at| {
        let detail =
            format!("a cancel was asked for {} ago, and its worker has yet to stop it", words(since(facts, at)));
        Cause::new(Code::CancelRequested, detail, Fields { since: Some(at), ..Fields::default() })
    });
    let next = match (&lost, &asked) {
        (Some(lost), _) => Some(rescue(facts, lost)),
        (None, Some(_)) => Some(Next { at: None, detail: "its worker stops it, and it ends cancelled".to_owned() }),
        (None, None) => deadline
            .map(|at| Next { at: Some(at), detail: "its attempt is timed out, unless it has ended before".to_owned() }),
    };
    let main = Cause::new(Code::Running, said(facts, owner), fields(facts, owner));
    // A worker that is gone comes first: what the row says is no longer so.
    (lost.into_iter().chain([main]).chain(asked).collect(), next)
}

fn said(facts: &Facts, owner: Option<&WorkerRow>) -> String {
    let task = &facts.task;
    let ago = task.started_at.map_or_else(String::new, |at| format!(" since {}", words(since(facts, at))));
    let place = owner.map_or_else(String::new, |row| format!(" on {}", row.host));
    let progress = task.progress.map_or_else(String::new, |done| format!(", {:.0} % done", done * 100.0));
    let note = task.progress_note.as_deref().map_or_else(String::new, |note| format!(" ({note})"));
    let spent = task.attempt.saturating_sub(task.forgiven);
    format!("attempt {spent} of {} runs{ago}{place}{progress}{note}", task.max_attempts)
}

fn fields(facts: &Facts, owner: Option<&WorkerRow>) -> Fields {
    let task = &facts.task;
    let deadline = task.started_at.map(|at| at + task.timeout);
    Fields {
        since: task.started_at,
        until: deadline,
        wait: deadline.map(|at| until(facts, at)),
        attempt: Some(task.attempt.saturating_sub(task.forgiven)),
        max_attempts: Some(task.max_attempts),
        queue: Some(task.queue.to_string()),
        worker_id: task.worker_id.map(|id| id.to_string()),
        host: owner.map(|row| row.host.clone()),
        lease_until: owner.map(|row| row.lease_until),
        progress: task.progress,
        progress_note: task.progress_note.clone(),
        ..Fields::default()
    }
}

/// Where its worker gives no sign of life.
fn lost(facts: &Facts, owner: Option<&WorkerRow>) -> Option<Cause> {
    let id = facts.task.worker_id.map(|id| id.to_string());
    let Some(row) = owner else {
        let detail = "its worker is not there any more".to_owned();
        return Some(Cause::new(Code::WorkerLost, detail, Fields { worker_id: id, ..Fields::default() }));
    };
    if row.is_live(facts.now) {
        return None;
    }
    let detail = match row.dead_at {
        Some(at) => format!("its worker on {} was declared dead at {}", row.host, time(at)),
        None => format!("the lease of its worker on {} ran out at {}", row.host, time(row.lease_until)),
    };
    let fields = Fields {
        since: Some(row.dead_at.unwrap_or(row.lease_until)),
        worker_id: id,
        host: Some(row.host.clone()),
        lease_until: Some(row.lease_until),
        ..Fields::default()
    };
    Some(Cause::new(Code::WorkerLost, detail, fields))
}

fn rescue(facts: &Facts, lost: &Cause) -> Next {
    let rescuers = facts.roster.processes().count();
    let detail = match (rescuers, lost.fields.host.is_some()) {
        (0, _) => "it is taken over as soon as a worker process runs: none does",
        (_, true) => {
            "a worker process takes it over, usually within seconds: it starts again, or ends if that was its last attempt"
        }
        (_, false) => "a worker process finds it, within about the time of a lease, and takes it over",
    };
    Next { at: None, detail: detail.to_owned() }
}
