//! The instants that have come: looked at, judged and recorded in one transaction, many schedules at once.
//!
//! Rows that another process has locked are passed over (`SKIP LOCKED`): several schedulers share the work, and none waits
//! for another. What was judged is what is recorded, since nobody else can change it meanwhile.

use super::record::{insert_with_queues, record};
use super::{Connection, RowSql, RowTuple, ScheduleRow, columns, now, row};
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::store::tasks::{CancelAsked, Placed};
use crate::task::schedule::Outcome;
use crate::task::{NewTask, Status, Task, TaskId, Timestamp};
use diesel::QueryResult;
use diesel::sql_types::{Binary, Text};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::collections::HashMap;
use std::sync::Arc;

/// The most overdue first.
pub(in crate::store) const DUE: &str =
    columns!("WHERE next_fire_at <= ? ORDER BY next_fire_at LIMIT ? FOR UPDATE SKIP LOCKED");
const THIS: &str = columns!("WHERE name = ? AND next_fire_at <= ? FOR UPDATE");
/// Those whose earlier task has ended, or is gone, and that are not paused.
pub(in crate::store) const WAITING: &str = "SELECT s.name FROM schedules s LEFT JOIN tasks earlier ON earlier.id = s.last_task_id \
     WHERE s.waiting_fire_at IS NOT NULL AND (earlier.id IS NULL OR earlier.status IN ('completed', 'failed', 'cancelled')) \
     AND (s.paused_at IS NULL OR s.resume_at <= NOW(6)) \
     ORDER BY s.waiting_fire_at LIMIT ?";
static LOCKED: Texts = Texts::new(|n| {
    format!("{} ({}) FOR UPDATE SKIP LOCKED", columns!("WHERE waiting_fire_at IS NOT NULL AND name IN"), marks(n))
});
static STATUSES: Texts = Texts::new(|n| format!("SELECT id, status FROM tasks WHERE id IN ({})", marks(n)));
/// The statuses of a schedule's tasks, the newest first: of its newest thousand instants, whatever became of them.
const ENDS: &str = "SELECT t.status FROM \
     (SELECT fire_at, task_id, recorded_at FROM schedule_fires WHERE schedule = ? ORDER BY fire_at DESC LIMIT 1000) f \
     JOIN tasks t ON t.id = f.task_id \
     WHERE f.recorded_at > COALESCE((SELECT failures_from FROM schedules WHERE name = ?), '1970-01-01') \
     ORDER BY f.fire_at DESC LIMIT ?";
const SETTLE: &str = "UPDATE schedule_fires SET outcome = ?, task_id = ?, recorded_at = NOW(6) \
     WHERE schedule = ? AND fire_at = ? AND outcome = 'waiting'";
/// Rows of the ledger that one transaction writes, about: a schedule is judged whole.
const MAX_ENTRIES: usize = 4096;
/// And bytes of their tasks' payloads, about. The last schedule may add what one may have (`MAX_BYTES` in
/// lifecycle/fire/judge.rs) and a payload: a statement that had them all is still below the 16 MiB that MySQL and MariaDB
/// take unless they are told otherwise.
const MAX_BYTES: usize = 8 << 20;
/// Tasks of one schedule that are looked at for failures in a row, beyond as many as it asks for: those that run.
const MORE_ENDS: u64 = 20;

/// A schedule whose instant has come, as the judge sees it.
#[derive(Debug, Clone)]
pub struct Come {
    pub row: ScheduleRow,
    /// Its latest task has not ended.
    pub busy: bool,
    /// Its latest tasks that have ended and failed, without one that did not in between; 0 where nobody asks.
    pub failures: u32,
}

/// What the judge makes of it.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The oldest first.
    pub entries: Vec<Entry>,
    pub next: Option<Timestamp>,
    /// The latest task is to be cancelled.
    pub cancels: bool,
    /// It pauses itself, for this reason.
    pub pause: Option<String>,
}

/// A row of the ledger to be.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Timestamp,
    pub outcome: Outcome,
    /// It stands for so many instants.
    pub instants: u32,
    /// Of those the first.
    pub since: Option<Timestamp>,
    /// What is submitted with it.
    pub task: Option<NewTask>,
}

/// Judges a schedule whose instant has come; the time is the database's.
pub type Judge = Arc<dyn Fn(&Come, Timestamp) -> Verdict + Send + Sync>;

/// What was recorded of one schedule.
#[derive(Debug, Clone)]
pub struct Fired {
    pub schedule: Arc<str>,
    /// The instants that are in the ledger now and were not before, with the instants that each stands for.
    pub entries: Vec<(Timestamp, Outcome, u32)>,
    pub tasks: Vec<Task>,
    /// The task before, where it was to be cancelled.
    pub cancelled: Option<CancelAsked>,
    /// Why it paused itself.
    pub paused: Option<String>,
}

impl Store {
    /// Has the schedules that are due judged and recorded, the most overdue `limit` of them. Empty: none is due, or other
    /// processes are at them.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses what was judged. After a lost answer it may be done: the next
    /// look finds the schedules advanced, and the dispatchers their tasks.
    pub async fn fire_due(&self, limit: u64, judge: Judge) -> Result<Vec<Fired>, StoreError> {
        self.run("fire", move |conn, _| {
            let judge = Arc::clone(&judge);
            async move {
                conn.transaction(async |conn| {
                    let now = now(conn).await?;
                    let binds = vec![Bind::Time(now.naive_utc()), Bind::Number(limit)];
                    let rows: Vec<RowTuple> = select::<RowSql>(DUE, binds).load(conn).await?;
                    judge_and_record(conn, rows, now, &judge).await
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// The same for one schedule, also where others are at it.
    ///
    /// # Errors
    /// As of [`Store::fire_due`].
    pub async fn fire_this(&self, name: Arc<str>, judge: Judge) -> Result<Option<Fired>, StoreError> {
        self.run("fire", move |conn, _| {
            let (name, judge) = (Arc::clone(&name), Arc::clone(&judge));
            async move {
                conn.transaction(async |conn| {
                    let now = now(conn).await?;
                    let binds = vec![Bind::Text(&name), Bind::Time(now.naive_utc())];
                    let rows: Vec<RowTuple> = select::<RowSql>(THIS, binds).load(conn).await?;
                    Ok(judge_and_record(conn, rows, now, &judge).await?.pop())
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Fires the instants that waited for an earlier task which has ended. `judge` gives each one entry: the outcome, and
    /// what is submitted with it.
    ///
    /// # Errors
    /// As of [`Store::fire_due`].
    pub async fn fire_waiting(&self, limit: u64, judge: Judge) -> Result<Vec<Fired>, StoreError> {
        self.run("fire", move |conn, _| {
            let judge = Arc::clone(&judge);
            async move {
                let names: Vec<String> = select::<Text>(WAITING, vec![Bind::Number(limit)]).load(conn).await?;
                if names.is_empty() {
                    return Ok(Vec::new());
                }
                conn.transaction(async |conn| {
                    let now = now(conn).await?;
                    let mut fired = Vec::new();
                    for chunk in names.chunks(MAX_ROWS) {
                        let binds = padded(&chunk.iter().map(|name| Bind::Text(name)).collect::<Vec<_>>());
                        let rows: Vec<RowTuple> = select::<RowSql>(LOCKED.of(chunk.len()), binds).load(conn).await?;
                        for come in facts(conn, rows).await? {
                            fired.extend(settle(conn, come, now, &judge).await?);
                        }
                    }
                    Ok(fired)
                })
                .await
            }
            .boxed()
        })
        .await
    }
}

async fn judge_and_record(
    conn: &mut Connection,
    rows: Vec<RowTuple>,
    now: Timestamp,
    judge: &Judge,
) -> QueryResult<Vec<Fired>> {
    let (mut judged, mut entries, mut bytes) = (Vec::new(), 0, 0);
    for come in facts(conn, rows).await? {
        let verdict = judge(&come, now);
        entries += verdict.entries.len();
        bytes += verdict
            .entries
            .iter()
            .filter_map(|entry| entry.task.as_ref())
            .map(|task| task.payload.len())
            .sum::<usize>();
        judged.push((come.row, verdict));
        // The others stay due, for the next transaction.
        if entries >= MAX_ENTRIES || bytes >= MAX_BYTES {
            break;
        }
    }
    record(conn, judged, now).await
}

/// What else a judge has to know of these rows.
async fn facts(conn: &mut Connection, rows: Vec<RowTuple>) -> QueryResult<Vec<Come>> {
    let rows: Vec<ScheduleRow> = rows.into_iter().map(row).collect();
    let tasks: Vec<Bind<'_>> = rows.iter().filter_map(|row| row.last_task).map(|id| Bind::Id(id.0)).collect();
    let mut statuses: HashMap<TaskId, String> = HashMap::new();
    for chunk in tasks.chunks(MAX_ROWS) {
        let found: Vec<(Key, String)> =
            select::<(Binary, Text)>(STATUSES.of(chunk.len()), padded(chunk)).load(conn).await?;
        statuses.extend(found.into_iter().map(|(id, status)| (TaskId::from(id), status)));
    }
    let mut come = Vec::with_capacity(rows.len());
    for row in rows {
        let status = row.last_task.and_then(|id| statuses.get(&id)).and_then(|status| Status::parse(status));
        // Once it is paused nobody asks, and the ledger grows by what is skipped.
        let failures = match row.pause_after.filter(|_| row.pause.is_none()) {
            Some(enough) => failures(conn, &row.name, enough).await?,
            None => 0,
        };
        come.push(Come { row, busy: status.is_some_and(|status| !status.is_terminal()), failures });
    }
    Ok(come)
}

async fn failures(conn: &mut Connection, name: &str, enough: u32) -> QueryResult<u32> {
    let binds = vec![Bind::Text(name), Bind::Text(name), Bind::Number(u64::from(enough) + MORE_ENDS)];
    let statuses: Vec<String> = select::<Text>(ENDS, binds).load(conn).await?;
    let ended = statuses.iter().filter_map(|status| Status::parse(status)).filter(|status| status.is_terminal());
    Ok(u32::try_from(ended.take_while(|status| *status == Status::Failed).count()).unwrap_or(u32::MAX))
}

/// An instant that waited fires, unless its earlier task turned out to live or the schedule is paused.
async fn settle(conn: &mut Connection, come: Come, now: Timestamp, judge: &Judge) -> QueryResult<Option<Fired>> {
    let Some(at) = come.row.waiting.filter(|_| !come.busy && come.row.pause.is_none()) else { return Ok(None) };
    let Some(Entry { outcome, task, .. }) = judge(&come, now).entries.pop() else { return Ok(None) };
    let placed: Vec<Placed> = task.map(|task| Placed::new(task, false, now)).into_iter().collect();
    let id = placed.as_slice().first().map(|placed| placed.task.id);
    let binds = vec![
        Bind::Text(outcome.as_str()),
        Bind::OptId(id.map(|id| id.0)),
        Bind::Text(&come.row.name),
        Bind::Time(at.naive_utc()),
    ];
    // Gone from the ledger, or somebody's backfill had it: then there is nothing to fire.
    let settled = statement(SETTLE, binds).execute(conn).await? == 1;
    let row = &come.row;
    let last_task = id.filter(|_| settled).or(row.last_task);
    let text = "UPDATE schedules SET waiting_fire_at = NULL, last_task_id = ?, last_outcome = IF(last_fire_at = ?, ?, last_outcome) WHERE name = ?";
    let binds = vec![
        Bind::OptId(last_task.map(|id| id.0)),
        Bind::Time(at.naive_utc()),
        Bind::Text(outcome.as_str()),
        Bind::Text(&row.name),
    ];
    statement(text, binds).execute(conn).await?;
    if !settled {
        return Ok(None);
    }
    insert_with_queues(conn, &placed.iter().collect::<Vec<_>>()).await?;
    let tasks = placed.into_iter().map(|placed| placed.task).collect();
    let schedule = Arc::clone(&row.name);
    Ok(Some(Fired { schedule, entries: vec![(at, outcome, 1)], tasks, cancelled: None, paused: None }))
}
