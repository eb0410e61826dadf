//! What was judged becomes rows: of the ledger, of tasks, of the schedules themselves. A few statements for all of them.

use super::fire::{Entry, Fired, Verdict};
use super::{Connection, LastFire, ScheduleRow};
use crate::store::queues::ensure;
use crate::store::sql::{Bind, MAX_ROWS, Texts, padded, select, split, statement};
use crate::store::tasks::cancel::cancel;
use crate::store::tasks::{CancelAsked, Placed, insert_within};
use crate::task::schedule::Outcome;
use crate::task::{TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Datetime, Text};
use diesel_async::RunQueryDsl;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

static FOUND: Texts = Texts::new(|n| {
    let pairs = vec!["(?, ?)"; n].join(", ");
    format!("SELECT schedule, fire_at FROM schedule_fires WHERE (schedule, fire_at) IN ({pairs})")
});
static RECORD: Texts = Texts::new(|n| {
    let rows = vec!["(?, ?, ?, ?, NOW(6), ?, ?)"; n].join(", ");
    format!(
        "INSERT IGNORE INTO schedule_fires (schedule, fire_at, outcome, task_id, recorded_at, instants, since) VALUES {rows}"
    )
});
/// Of rows that are there, since they are locked: what an insert would need besides is never written.
static ADVANCE: Texts = Texts::new(|n| {
    let rows = vec!["(?, '', '', 0, NOW(6), NOW(6), ?, ?, ?, ?, ?, ?)"; n].join(", ");
    format!(
        "INSERT INTO schedules (name, definition, managed_by, version, created_at, updated_at, \
         next_fire_at, fires, waiting_fire_at, last_fire_at, last_outcome, last_task_id) VALUES {rows} \
         ON DUPLICATE KEY UPDATE next_fire_at = VALUES(next_fire_at), fires = VALUES(fires), \
         waiting_fire_at = VALUES(waiting_fire_at), last_fire_at = VALUES(last_fire_at), \
         last_outcome = VALUES(last_outcome), last_task_id = VALUES(last_task_id)"
    )
});
const PAUSE_ITSELF: &str = "UPDATE schedules SET paused_at = NOW(6), pause_reason = ?, paused_by = 'scheduler', \
     resume_at = NULL WHERE name = ?";

/// A schedule with what was made of it, ready to be written.
struct Written {
    fired: Fired,
    next: Option<Timestamp>,
    fires: u32,
    waiting: Option<Timestamp>,
    last: Option<LastFire>,
    last_task: Option<TaskId>,
    /// The task that is to be cancelled.
    before: Option<TaskId>,
    placed: Vec<Placed>,
    rows: Vec<Row>,
}

/// A row of the ledger to be.
struct Row {
    at: Timestamp,
    outcome: Outcome,
    task: Option<TaskId>,
    instants: u32,
    since: Option<Timestamp>,
}

/// Writes what was judged of schedules whose rows are locked.
///
/// # Errors
/// [`DieselError::RollbackTransaction`] where somebody has written an instant meanwhile who should not have: it is all
/// judged anew.
pub(super) async fn record(
    conn: &mut Connection,
    judged: Vec<(ScheduleRow, Verdict)>,
    now: Timestamp,
) -> QueryResult<Vec<Fired>> {
    let found = found(conn, &judged).await?;
    let written: Vec<Written> =
        judged.into_iter().map(|(row, verdict)| Written::new(&row, verdict, &found, now)).collect();
    insert_ledger(conn, &written).await?;
    let placed: Vec<&Placed> = written.iter().flat_map(|one| &one.placed).collect();
    insert_with_queues(conn, &placed).await?;
    advance(conn, &written).await?;
    let mut all = Vec::with_capacity(written.len());
    for Written { mut fired, before, .. } in written {
        if let Some(before) = before {
            // A row that cannot be read is not one to be cancelled by us.
            fired.cancelled = cancel(conn, before).await?.and_then(|found| CancelAsked::read(found).ok());
        }
        if let Some(reason) = &fired.paused {
            statement(PAUSE_ITSELF, vec![Bind::Text(reason), Bind::Text(&fired.schedule)]).execute(conn).await?;
        }
        all.push(fired);
    }
    Ok(all)
}

type Found = HashSet<(String, NaiveDateTime)>;

/// Which of these instants are in the ledger already, whatever their schedules' rows say.
async fn found(conn: &mut Connection, judged: &[(ScheduleRow, Verdict)]) -> QueryResult<Found> {
    let pairs: Vec<(&str, NaiveDateTime)> = judged
        .iter()
        .flat_map(|(row, verdict)| verdict.entries.iter().map(|entry| (&*row.name, entry.at.naive_utc())))
        .collect();
    let mut found = HashSet::new();
    for chunk in pairs.chunks(MAX_ROWS) {
        let binds = padded(chunk).into_iter().flat_map(|(name, at)| [Bind::Text(name), Bind::Time(at)]).collect();
        let rows: Vec<(String, NaiveDateTime)> =
            select::<(Text, Datetime)>(FOUND.of(chunk.len()), binds).load(conn).await?;
        found.extend(rows);
    }
    Ok(found)
}

impl Written {
    /// Leaves out what is in the ledger already.
    fn new(row: &ScheduleRow, verdict: Verdict, found: &Found, now: Timestamp) -> Self {
        let Verdict { entries, next, cancels, pause } = verdict;
        let fired = Fired {
            schedule: Arc::clone(&row.name),
            entries: Vec::new(),
            tasks: Vec::new(),
            cancelled: None,
            paused: pause,
        };
        let mut written = Self {
            fired,
            next,
            fires: row.fires,
            waiting: row.waiting,
            last: row.last.clone(),
            last_task: row.last_task,
            before: None,
            placed: Vec::new(),
            rows: Vec::new(),
        };
        for entry in entries {
            if !found.contains(&(row.name.to_string(), entry.at.naive_utc())) {
                written.add(entry, now);
            }
        }
        // Only for one that comes in its place.
        written.before = row.last_task.filter(|_| cancels && !written.placed.is_empty());
        written
    }

    fn add(&mut self, entry: Entry, now: Timestamp) {
        let Entry { at, outcome, instants, since, task } = entry;
        let placed = task.map(|task| Placed::new(task, false, now));
        let task = placed.as_ref().map(|placed| placed.task.id);
        if outcome == Outcome::Waiting {
            self.waiting = Some(at);
        }
        self.fires = self.fires.saturating_add(u32::from(outcome.submits() || outcome == Outcome::Waiting));
        self.last = Some(LastFire { at, outcome: outcome.as_str().to_owned() });
        self.last_task = task.or(self.last_task);
        self.fired.entries.push((at, outcome, instants));
        self.fired.tasks.extend(placed.as_ref().map(|placed| placed.task.clone()));
        self.placed.extend(placed);
        self.rows.push(Row { at, outcome, task, instants, since });
    }
}

async fn insert_ledger(conn: &mut Connection, written: &[Written]) -> QueryResult<()> {
    let rows: Vec<(&str, &Row)> =
        written.iter().flat_map(|one| one.rows.iter().map(|row| (&*one.fired.schedule, row))).collect();
    let mut inserted = 0;
    for slice in split(&rows) {
        let binds = slice.iter().flat_map(|(name, row)| {
            [
                Bind::Text(name),
                Bind::Time(row.at.naive_utc()),
                Bind::Text(row.outcome.as_str()),
                Bind::OptId(row.task.map(|id| id.0)),
                Bind::Number(row.instants.into()),
                Bind::OptTime(row.since.map(|at| at.naive_utc())),
            ]
        });
        inserted += statement(RECORD.of(slice.len()), binds.collect()).execute(conn).await?;
    }
    // The key of the ledger stands behind the lock.
    if inserted == rows.len() { Ok(()) } else { Err(DieselError::RollbackTransaction) }
}

async fn advance(conn: &mut Connection, written: &[Written]) -> QueryResult<()> {
    for slice in split(written) {
        let binds = slice.iter().flat_map(|one| {
            [
                Bind::Text(&one.fired.schedule),
                Bind::OptTime(one.next.map(|at| at.naive_utc())),
                Bind::Number(one.fires.into()),
                Bind::OptTime(one.waiting.map(|at| at.naive_utc())),
                Bind::OptTime(one.last.as_ref().map(|last| last.at.naive_utc())),
                Bind::OptText(one.last.as_ref().map(|last| last.outcome.as_str())),
                Bind::OptId(one.last_task.map(|id| id.0)),
            ]
        });
        statement(ADVANCE.of(slice.len()), binds.collect()).execute(conn).await?;
    }
    Ok(())
}

/// Tasks, in few statements, and the queues that they name: workers serve the queues that the table has.
pub(super) async fn insert_with_queues(conn: &mut Connection, placed: &[&Placed]) -> QueryResult<()> {
    let queues: BTreeSet<&str> = placed.iter().map(|placed| &*placed.task.queue).collect();
    ensure(conn, &queues.into_iter().collect::<Vec<_>>()).await?;
    insert_within(conn, placed).await
}
