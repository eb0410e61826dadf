//! The statements that make the moves, each beside the values that are bound to it: the order of the marks in a text
//! and the order in which its values are bound are one decision, and nothing but a test sees them part.

use super::{Finish, Record};
use crate::store::sql::{Bind, Texts, marks};
use crate::task::{Reason, Status, Timestamp, position};

const OWNED: &str = "AND attempt = ? AND worker_id = ? AND status = 'running'";

pub(in crate::store) static COMPLETE: Texts = Texts::new(|n| {
    format!(
        "UPDATE tasks SET status = 'completed', lane = 0, finished_at = NOW(6), last_error = NULL \
         WHERE id IN ({}) {OWNED}",
        marks(n)
    )
});
pub(in crate::store) static COMPLETE_WITH: Texts = Texts::new(|n| {
    format!(
        "UPDATE tasks SET status = 'completed', lane = 0, finished_at = NOW(6), last_error = NULL, result = {} \
         WHERE id IN ({}) {OWNED}",
        case(n),
        marks(n)
    )
});
pub(in crate::store) static RETRY: Texts = Texts::new(|n| {
    format!(
        "UPDATE tasks SET status = 'scheduled', lane = 1, dispatched_at = NULL, run_at = {0}, position = {0}, \
         last_error = {0}, crash_count = crash_count + {0} WHERE id IN ({1}) {OWNED} AND cancel_requested_at IS NULL",
        case(n),
        marks(n)
    )
});
pub(in crate::store) static REQUEUE: Texts = Texts::new(|n| {
    format!(
        "UPDATE tasks SET status = 'queued', lane = 2, dispatched_at = NULL, \
         position = (9 - priority) * 9007199254740992 + position % 9007199254740992 + 1, run_at = {0}, forgiven = forgiven + {0}, \
         last_error = COALESCE({0}, last_error), crash_count = crash_count + {0} \
         WHERE id IN ({1}) {OWNED} AND cancel_requested_at IS NULL",
        case(n),
        marks(n)
    )
});
pub(in crate::store) static END: Texts = Texts::new(|n| {
    format!(
        "UPDATE tasks SET status = {0}, reason = {0}, lane = 0, finished_at = NOW(6), last_error = {0}, \
         crash_count = crash_count + {0} WHERE id IN ({1}) {OWNED}",
        case(n),
        marks(n)
    )
});
pub(in crate::store) static CANCEL_ASKED: Texts = Texts::new(|n| {
    format!(
        "UPDATE tasks SET status = 'cancelled', reason = 'cancelled', lane = 0, finished_at = NOW(6), \
         last_error = 'cancelled while running' WHERE id IN ({}) {OWNED} AND cancel_requested_at IS NOT NULL",
        marks(n)
    )
});
pub(in crate::store) static OWNERS: Texts =
    Texts::new(|n| format!("SELECT id, status, attempt, worker_id FROM tasks WHERE id IN ({})", marks(n)));
pub(in crate::store) static HISTORY: Texts = Texts::new(|n| {
    // INSERT IGNORE: a finish that is sent again finds its own row.
    let row =
        "SELECT id, attempt, worker_id, started_at, ?, ?, ? FROM tasks WHERE id = ? AND attempt = ? AND worker_id = ?";
    format!(
        "INSERT IGNORE INTO task_attempts (task_id, attempt, worker_id, started_at, finished_at, outcome, error) {}",
        vec![row; n].join(" UNION ALL ")
    )
});

/// `CASE id WHEN ? THEN ? … END`: one value for each row.
fn case(n: usize) -> String {
    format!("CASE id {} END", vec!["WHEN ? THEN ?"; n].join(" "))
}

/// The statement that makes a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Move {
    Complete,
    CompleteWith,
    Retry,
    Requeue,
    End,
}

impl Move {
    pub(super) fn texts(self) -> &'static Texts {
        match self {
            Move::Complete => &COMPLETE,
            Move::CompleteWith => &COMPLETE_WITH,
            Move::Retry => &RETRY,
            Move::Requeue => &REQUEUE,
            Move::End => &END,
        }
    }
}

impl Finish {
    pub(super) const fn which(&self) -> Move {
        match &self.record {
            Record::Completed { result: None } => Move::Complete,
            Record::Completed { result: Some(_) } => Move::CompleteWith,
            Record::Retry { .. } => Move::Retry,
            Record::Requeue { .. } => Move::Requeue,
            Record::Failed { .. } | Record::Cancelled { .. } => Move::End,
        }
    }

    pub(super) const fn becomes(&self) -> Status {
        self.record.becomes()
    }

    pub(super) fn error(&self) -> Option<&str> {
        match &self.record {
            Record::Completed { .. } => None,
            Record::Retry { error, .. }
            | Record::Requeue { error, .. }
            | Record::Failed { error, .. }
            | Record::Cancelled { error } => error.as_deref(),
        }
    }
}

/// The values of the CASE expressions, in the order in which the text has them.
/// Rows beyond `real` are padding: their ids stand further to the left already, where CASE finds
/// them first, so that nothing large needs to be sent twice.
pub(super) fn bind_values<'a>(kind: Move, rows: &[(&'a Finish, Timestamp)], real: usize, binds: &mut Vec<Bind<'a>>) {
    let mut each = |value: &dyn Fn(&(&'a Finish, Timestamp)) -> Bind<'a>| {
        for (i, row) in rows.iter().enumerate() {
            let value = match value(row) {
                Bind::OptText(_) if i >= real => Bind::OptText(None),
                value => value,
            };
            binds.extend([Bind::Id(row.0.id.0), value]);
        }
    };
    let crashed = |row: &(&'a Finish, Timestamp)| Bind::Number(row.0.crashed.into());
    match kind {
        Move::Complete => {}
        Move::CompleteWith => each(&|(finish, _)| match &finish.record {
            Record::Completed { result } => Bind::OptText(result.as_deref()),
            _ => Bind::OptText(None),
        }),
        Move::Retry => {
            each(&|(_, due)| Bind::Time(due.naive_utc()));
            each(&|(_, due)| Bind::Number(position::scheduled(*due)));
            each(&|(finish, _)| Bind::OptText(finish.error()));
            each(&crashed);
        }
        Move::Requeue => {
            // Eligible again from now on; its age among others stays, but for a microsecond: a dispatcher
            // that remembers the task at its old place sees that it has come back. The position may lack
            // its priority: a late entry was claimed after the task had been handed back.
            each(&|(_, due)| Bind::Time(due.naive_utc()));
            each(&|(finish, _)| Bind::Number(matches!(finish.record, Record::Requeue { forgiven: true, .. }).into()));
            each(&|(finish, _)| Bind::OptText(finish.error()));
            each(&crashed);
        }
        Move::End => {
            each(&|(finish, _)| Bind::Text(finish.becomes().as_str()));
            each(&|(finish, _)| match &finish.record {
                Record::Failed { reason, .. } => Bind::Text(reason.as_str()),
                _ => Bind::Text(Reason::Cancelled.as_str()),
            });
            each(&|(finish, _)| Bind::OptText(finish.error()));
            each(&crashed);
        }
    }
}

pub(super) fn due(finish: &Finish, clock: Option<Timestamp>) -> Timestamp {
    let now = clock.unwrap_or(Timestamp::UNIX_EPOCH);
    match &finish.record {
        Record::Retry { delay, .. } => {
            chrono::TimeDelta::from_std(*delay).ok().and_then(|d| now.checked_add_signed(d)).unwrap_or(now)
        }
        _ => now,
    }
}

/// The values of the rows of the history, in the order in which the text has them.
pub(super) fn history_values<'a>(rows: &[&'a Finish], clock: Timestamp) -> Vec<Bind<'a>> {
    let mut binds = Vec::with_capacity(rows.len() * 6);
    for finish in rows {
        let (outcome, error) = finish.history.as_ref().map_or(("", None), |(o, e)| (*o, e.as_deref()));
        binds.extend([
            Bind::Time(clock.naive_utc()),
            Bind::Text(outcome),
            Bind::OptText(error),
            Bind::Id(finish.id.0),
            Bind::Number(finish.attempt.into()),
            Bind::Id(finish.worker.0),
        ]);
    }
    binds
}
