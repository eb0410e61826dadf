//! Finish: the outcomes of many attempts share a few statements in one transaction.
//!
//! Each row is guarded by id, attempt, worker and `running`: rows are grouped by worker and
//! attempt, so that the guard is exact for every id in the list. Moves back to waiting or
//! queued also require that nobody asked to cancel; what is left over is cancelled. A row
//! that did not change is read and classified.

use super::failures;
use crate::store::connection::{Connection, Store, now};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, split, statement};
use crate::task::{Reason, Status, TaskId, Timestamp, WorkerId, position};
use diesel::QueryResult;
use diesel::sql_types::{Binary, Integer, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What to record of an attempt that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    pub id: TaskId,
    pub attempt: u32,
    pub worker: WorkerId,
    pub record: Record,
    /// For `task_attempts`: how it ended and with which error. None for a plain success.
    pub history: Option<(&'static str, Option<String>)>,
    /// The worker died: `crash_count` rises.
    pub crashed: bool,
}

/// The move to make.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// To `completed`.
    Completed { result: Option<Box<str>> },
    /// To `scheduled`, due after the delay.
    Retry { delay: Duration, error: Option<String> },
    /// To `queued`, into the backlog.
    Requeue { forgiven: bool, error: Option<String> },
    /// To `failed`.
    Failed { reason: Reason, error: Option<String> },
    /// To `cancelled`.
    Cancelled { error: Option<String> },
}

impl Record {
    /// The outcome in `tasks_finished_total`: `completed`, `retried` or the reason.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self {
            Record::Completed { .. } => "completed",
            Record::Retry { .. } | Record::Requeue { .. } => "retried",
            Record::Failed { reason, .. } => reason.as_str(),
            Record::Cancelled { .. } => Reason::Cancelled.as_str(),
        }
    }

    /// The state it leads to.
    #[must_use]
    pub const fn becomes(&self) -> Status {
        match self {
            Record::Completed { .. } => Status::Completed,
            Record::Retry { .. } => Status::Scheduled,
            Record::Requeue { .. } => Status::Queued,
            Record::Failed { .. } => Status::Failed,
            Record::Cancelled { .. } => Status::Cancelled,
        }
    }
}

/// What became of one finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Recorded, by this statement or by one whose answer was lost.
    Recorded,
    /// A cancel was asked for meanwhile: cancelled instead of moved back.
    Cancelled,
    /// Another attempt owns the task, or it has ended otherwise: discarded.
    Fenced,
}

/// Begins the error of a task whose outcome the database refused.
const LAST_RESORT: &str = "the outcome could not be stored";
const LAST_RESORT_CHARS: usize = 500;

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
enum Move {
    Complete,
    CompleteWith,
    Retry,
    Requeue,
    End,
}

impl Finish {
    const fn which(&self) -> Move {
        match &self.record {
            Record::Completed { result: None } => Move::Complete,
            Record::Completed { result: Some(_) } => Move::CompleteWith,
            Record::Retry { .. } => Move::Retry,
            Record::Requeue { .. } => Move::Requeue,
            Record::Failed { .. } | Record::Cancelled { .. } => Move::End,
        }
    }

    const fn becomes(&self) -> Status {
        self.record.becomes()
    }

    /// Whether this is what is recorded when an outcome could not be.
    fn is_last_resort(&self) -> bool {
        self.error().is_some_and(|error| error.starts_with(LAST_RESORT))
    }

    fn error(&self) -> Option<&str> {
        match &self.record {
            Record::Completed { .. } => None,
            Record::Retry { error, .. }
            | Record::Requeue { error, .. }
            | Record::Failed { error, .. }
            | Record::Cancelled { error } => error.as_deref(),
        }
    }
}

impl Store {
    /// Records a batch of outcomes and says of each, in order, what became of it. A batch
    /// that fails for a reason of its own data is halved; the lone bad outcome becomes a
    /// permanent failure that says why.
    pub async fn finish(&self, batch: Vec<Finish>) -> Vec<Result<Applied, StoreError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.saw_batch("finish", batch.len());
        self.finish_part(batch).await
    }

    fn finish_part(&self, batch: Vec<Finish>) -> BoxFuture<'_, Vec<Result<Applied, StoreError>>> {
        async move {
            let batch = Arc::new(batch);
            let shared = Arc::clone(&batch);
            let result = self
                .run("finish", move |conn, _| {
                    let batch = Arc::clone(&shared);
                    async move { record(conn, &batch).await }.boxed()
                })
                .await;
            match (result, batch.as_slice()) {
                (Ok(applied), all) => {
                    all.iter().map(|f| Ok(applied.get(&f.id).copied().unwrap_or(Applied::Recorded))).collect()
                }
                (Err(StoreError::Refused(why) | StoreError::Unexpected(why)), [only]) if !only.is_last_resort() => {
                    // The server's words may quote what it refused: only plain ones are kept.
                    let why: String = why.chars().filter(char::is_ascii).take(LAST_RESORT_CHARS).collect();
                    let error = format!("{LAST_RESORT}: {why}");
                    let failed = Finish {
                        record: Record::Failed { reason: Reason::Permanent, error: Some(error.clone()) },
                        history: Some(("permanent", Some(error))),
                        ..only.clone()
                    };
                    self.finish_part(vec![failed]).await
                }
                // Lost at every try, with a server that takes connections: it may be the batch.
                (Err(StoreError::Refused(_) | StoreError::Unexpected(_) | StoreError::Lost(_)), several)
                    if several.len() > 1 =>
                {
                    let (left, right) = several.split_at(several.len() / 2);
                    let mut answers = self.finish_part(left.to_vec()).await;
                    answers.extend(self.finish_part(right.to_vec()).await);
                    answers
                }
                (Err(error), all) => all.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        .boxed()
    }
}

type Groups<'a> = BTreeMap<(Move, WorkerId, u32), Vec<&'a Finish>>;

/// Those that were not simply recorded.
type Exceptions = HashMap<TaskId, Applied>;

async fn record(conn: &mut Connection, batch: &[Finish]) -> QueryResult<Exceptions> {
    let mut groups: Groups<'_> = BTreeMap::new();
    for finish in batch {
        groups.entry((finish.which(), finish.worker, finish.attempt)).or_default().push(finish);
    }
    for group in groups.values_mut() {
        group.sort_unstable_by_key(|finish| finish.id);
    }
    // One plain group is one statement: it needs no transaction around it.
    let plain = |kind: &Move| matches!(kind, Move::Complete | Move::CompleteWith);
    let mut found = Exceptions::new();
    match groups.first_key_value() {
        Some(((kind, worker, attempt), rows)) if groups.len() == 1 && plain(kind) && rows.len() <= MAX_ROWS => {
            apply(conn, *kind, *worker, *attempt, rows, None, &mut found).await?;
            Ok(found)
        }
        _ => conn.transaction(async |conn| record_all(conn, &groups).await).await,
    }
}

async fn record_all(conn: &mut Connection, groups: &Groups<'_>) -> QueryResult<Exceptions> {
    let mut found = Exceptions::new();
    // One reading for the whole batch: a retry is due exactly its delay after the attempt's end.
    let clock = now(conn).await?;
    for ((kind, worker, attempt), rows) in groups {
        for chunk in rows.chunks(MAX_ROWS) {
            apply(conn, *kind, *worker, *attempt, chunk, Some(clock), &mut found).await?;
        }
    }
    let history: Vec<&Finish> = groups
        .values()
        .flatten()
        .copied()
        .filter(|f| f.history.is_some() && found.get(&f.id) != Some(&Applied::Fenced))
        .collect();
    for slice in split(&history) {
        let mut binds = Vec::with_capacity(slice.len() * 6);
        for finish in slice {
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
        statement(HISTORY.of(slice.len()), binds).execute(conn).await?;
    }
    let is_failed = |f: &&&Finish| matches!(f.record, Record::Failed { .. }) && !found.contains_key(&f.id);
    let failed: Vec<TaskId> = groups.values().flatten().filter(is_failed).map(|f| f.id).collect();
    failures::note(conn, &failed).await?;
    Ok(found)
}

/// Makes one move for rows of one worker and attempt, and classifies what did not change.
async fn apply(
    conn: &mut Connection,
    kind: Move,
    worker: WorkerId,
    attempt: u32,
    rows: &[&Finish],
    clock: Option<Timestamp>,
    found: &mut Exceptions,
) -> QueryResult<()> {
    let due: Vec<Timestamp> = rows.iter().map(|finish| due(finish, clock)).collect();
    let rows_padded: Vec<(&Finish, Timestamp)> =
        padded(&rows.iter().copied().zip(due.iter().copied()).collect::<Vec<_>>());
    let ids: Vec<Bind<'_>> = rows_padded.iter().map(|(finish, _)| Bind::Id(finish.id.0)).collect();
    let mut binds = Vec::with_capacity(ids.len() * 9 + 2);
    bind_values(kind, &rows_padded, rows.len(), &mut binds);
    binds.extend(ids.iter().copied());
    binds.extend([Bind::Number(attempt.into()), Bind::Id(worker.0)]);
    let texts = match kind {
        Move::Complete => &COMPLETE,
        Move::CompleteWith => &COMPLETE_WITH,
        Move::Retry => &RETRY,
        Move::Requeue => &REQUEUE,
        Move::End => &END,
    };
    let affected = statement(texts.of(rows.len()), binds).execute(conn).await?;
    if affected == rows.len() {
        return Ok(());
    }
    let mut cancelled = false;
    if matches!(kind, Move::Retry | Move::Requeue) {
        let mut binds = ids.clone();
        binds.extend([Bind::Number(attempt.into()), Bind::Id(worker.0)]);
        cancelled = statement(CANCEL_ASKED.of(rows.len()), binds).execute(conn).await? > 0;
    }
    classify(conn, rows, ids, cancelled, found).await
}

/// The values of the CASE expressions, in the order in which the text has them.
/// Rows beyond `real` are padding: their ids stand further to the left already, where CASE finds
/// them first, so that nothing large needs to be sent twice.
fn bind_values<'a>(kind: Move, rows: &[(&'a Finish, Timestamp)], real: usize, binds: &mut Vec<Bind<'a>>) {
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

fn due(finish: &Finish, clock: Option<Timestamp>) -> Timestamp {
    let now = clock.unwrap_or(Timestamp::UNIX_EPOCH);
    match &finish.record {
        Record::Retry { delay, .. } => {
            chrono::TimeDelta::from_std(*delay).ok().and_then(|d| now.checked_add_signed(d)).unwrap_or(now)
        }
        _ => now,
    }
}

async fn classify(
    conn: &mut Connection,
    rows: &[&Finish],
    ids: Vec<Bind<'_>>,
    cancelled: bool,
    found: &mut Exceptions,
) -> QueryResult<()> {
    type Row = (Key, String, u32, Key);
    type Sql = (Binary, Text, Unsigned<Integer>, Binary);
    let owners: Vec<Row> = select::<Sql>(OWNERS.of(rows.len()), ids).load(conn).await?;
    let owners: HashMap<TaskId, Row> = owners.into_iter().map(|row| (TaskId::from(row.0), row)).collect();
    for finish in rows {
        let applied = match owners.get(&finish.id) {
            Some((_, status, attempt, worker)) if *attempt == finish.attempt && *worker == Key(finish.worker.0) => {
                match Status::parse(status) {
                    Some(status) if status == finish.becomes() => Applied::Recorded,
                    Some(Status::Cancelled) if cancelled => Applied::Cancelled,
                    // Recorded, and moved on by the dispatcher before this statement was sent again.
                    Some(Status::Queued) if finish.becomes() == Status::Scheduled => Applied::Recorded,
                    _ => Applied::Fenced,
                }
            }
            _ => Applied::Fenced,
        };
        if applied != Applied::Recorded {
            found.insert(finish.id, applied);
        }
    }
    Ok(())
}
