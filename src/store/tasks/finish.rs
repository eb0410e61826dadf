//! Finish: the outcomes of many attempts share a few statements in one transaction.
//!
//! Each row is guarded by id, attempt, worker and `running`: rows are grouped by worker and
//! attempt, so that the guard is exact for every id in the list. Moves back to waiting or
//! queued also require that nobody asked to cancel; what is left over is cancelled. A row
//! that did not change is read and classified.

mod moves;

pub(in crate::store) use moves::{CANCEL_ASKED, COMPLETE, COMPLETE_WITH, END, HISTORY, OWNERS, REQUEUE, RETRY};

use super::failures;
use crate::store::connection::{Connection, Store, now};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, padded, select, split, statement};
use crate::task::{Reason, Status, TaskId, Timestamp, WorkerId};
use diesel::QueryResult;
use diesel::sql_types::{Binary, Integer, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use moves::{Move, bind_values, due, history_values};
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

impl Finish {
    /// Whether this is what is recorded when an outcome could not be.
    fn is_last_resort(&self) -> bool {
        self.error().is_some_and(|error| error.starts_with(LAST_RESORT))
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
        statement(HISTORY.of(slice.len()), history_values(slice, clock)).execute(conn).await?;
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
    let affected = statement(kind.texts().of(rows.len()), binds).execute(conn).await?;
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
