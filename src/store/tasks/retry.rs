//! Retry by hand: what has failed or was cancelled is queued again, with all of its attempts before it.
//!
//! The attempt number stays, since it fences; what has been is forgiven instead. The attempts themselves are in
//! `task_attempts` already: whatever ends one without success writes it there with the same transaction.

use super::choose::{self, Batch, Found, LOCK, LOOK, Selection};
use super::keys::{Revived, held, retake};
use super::{expire, failures, lane};
use crate::store::connection::{Connection, Store, now};
use crate::store::error::StoreError;
use crate::store::row::{Key, TaskRow};
use crate::store::schema::tasks::dsl;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, statement};
use crate::task::{Status, Task, TaskId, Timestamp, Way, position};
use diesel::{OptionalExtension, QueryDsl, QueryResult, SelectableHelper};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Assignments are made from left to right and each sees those before it: `status` comes last. The error of one that
/// failed stays, as it does while a task backs off. An expiry that has passed goes: whoever retries by hand wants it run.
pub(in crate::store) static AGAIN: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET forgiven = attempt, crash_count = 0, reason = NULL, \
         last_error = IF(status = 'failed', last_error, NULL), cancel_requested_at = NULL, finished_at = DEFAULT, \
         dispatched_at = NULL, expires_at = IF(expires_at <= NOW(6), NULL, expires_at), run_at = ?, \
         position = (9 - priority) * 9007199254740992 + ?, lane = ?, status = 'queued' \
         WHERE id IN ({}) AND status IN ('failed', 'cancelled')",
        marks(ids)
    )
});

/// How tasks of a type come to who runs them.
pub type Ways = Arc<dyn Fn(&str) -> Way + Send + Sync>;

/// A task as it is after something was asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub task: Task,
    /// It was this call that did it.
    pub changed: bool,
    /// It stayed as it was, since this task holds its unique key.
    pub held_by: Option<TaskId>,
}

/// The lane in which a task waits that is eligible now.
pub(super) fn lane_of(way: Way, name: &str) -> u64 {
    match way {
        Way::Stream => lane::BACKLOG,
        Way::Outside => lane::OUTSIDE,
        Way::Held => lane::held(name),
    }
}

impl Store {
    /// Queues a task again that has failed or was cancelled, and leaves any other alone. Gives the task as it is then;
    /// None: there is none with this id.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same.
    pub async fn retry(&self, id: TaskId, ways: Ways) -> Result<Option<Asked>, StoreError> {
        // The same instant at every try: by it a task is known that a try whose answer was lost has queued.
        let clock = self.now().await?;
        self.run("retry", move |conn, tries| {
            let ways = Arc::clone(&ways);
            async move {
                conn.transaction(async |conn| {
                    let rows = choose::found(conn, &LOCK, &[id]).await?;
                    let Again { queued, held_by, .. } = again(conn, rows, &ways, clock).await?;
                    let asked = asked(conn, id, !queued.is_empty(), (tries > 0).then_some(clock)).await?;
                    Ok(asked.map(|(row, changed)| (row, changed, held_by)))
                })
                .await
            }
            .boxed()
        })
        .await?
        .map(|(row, changed, held_by)| Ok(Asked { held_by, ..to_asked(row, changed)? }))
        .transpose()
    }

    /// Queues those of at most 256 tasks again that a selection means, the first `most` of them. `dry`: only says
    /// which they are.
    ///
    /// # Errors
    /// When the database cannot be reached. Some may then be queued all the same.
    pub async fn retry_chosen(
        &self,
        ids: Vec<TaskId>,
        selection: Arc<Selection>,
        most: usize,
        dry: bool,
        ways: Ways,
    ) -> Result<Batch, StoreError> {
        self.saw_batch("retry", ids.len());
        let ids = Arc::new(ids);
        self.run("retry", move |conn, _| {
            let (ids, selection, ways) = (Arc::clone(&ids), Arc::clone(&selection), Arc::clone(&ways));
            async move {
                let mut found = meant(conn, &ids, &selection).await?;
                found.truncate(most);
                let matched: Vec<TaskId> = found.iter().map(|found| found.id).collect();
                if dry || matched.is_empty() {
                    let held = held(conn, &revived(&found)).await?;
                    return Ok(Batch { matched, held, ..Batch::default() });
                }
                let Again { queued: changed, held, .. } = conn
                    .transaction(async |conn| {
                        let rows = choose::meant(conn, &LOCK, &matched, &selection).await?;
                        let clock = now(conn).await?;
                        again(conn, rows, &ways, clock).await
                    })
                    .await?;
                Ok(Batch { matched, changed, held })
            }
            .boxed()
        })
        .await
    }
}

/// Those of at most 256 tasks that a selection means, as they stand, in order.
pub(super) async fn matched(conn: &mut Connection, ids: &[TaskId], selection: &Selection) -> QueryResult<Vec<TaskId>> {
    Ok(meant(conn, ids, selection).await?.into_iter().map(|found| found.id).collect())
}

async fn meant(conn: &mut Connection, ids: &[TaskId], selection: &Selection) -> QueryResult<Vec<Found>> {
    let ids = ids.get(..ids.len().min(MAX_ROWS)).unwrap_or_default();
    choose::meant(conn, &LOOK, ids, selection).await
}

/// Those with a unique key.
fn revived(rows: &[Found]) -> Vec<Revived> {
    let revived = |row: &Found| {
        Some(Revived { id: row.id, name: Arc::clone(&row.name), unique_key: Arc::clone(row.unique_key.as_ref()?) })
    };
    rows.iter().filter_map(revived).collect()
}

/// What became of the tasks that were to be queued.
struct Again {
    queued: Vec<Found>,
    /// So many were left alone, since another task holds their unique key.
    held: usize,
    /// Of one that was left alone, the task that holds its unique key.
    held_by: Option<TaskId>,
}

/// Queues those of the tasks that may be, whose rows are locked. One whose unique key another task holds stays as it is.
async fn again(conn: &mut Connection, mut rows: Vec<Found>, ways: &Ways, clock: Timestamp) -> QueryResult<Again> {
    rows.retain(|row| matches!(row.status, Status::Failed | Status::Cancelled));
    let revived = revived(&rows);
    let mut held: HashMap<TaskId, TaskId> = HashMap::new();
    if !revived.is_empty() {
        let holders = retake(conn, &revived).await?;
        held.extend(revived.iter().zip(holders).filter_map(|(task, holder)| Some((task.id, holder?))));
        rows.retain(|row| !held.contains_key(&row.id));
    }
    let mut lanes: BTreeMap<u64, Vec<Bind<'_>>> = BTreeMap::new();
    for row in &rows {
        lanes.entry(lane_of(ways(&row.name), &row.name)).or_default().push(Bind::Id(row.id.0));
    }
    for (lane, ids) in &lanes {
        let binds = vec![Bind::Time(clock.naive_utc()), Bind::Number(position::scheduled(clock)), Bind::Number(*lane)];
        statement(AGAIN.of(ids.len()), [binds, padded(ids)].concat()).execute(conn).await?;
        failures::forget(conn, ids).await?;
        expire::renew(conn, ids).await?;
    }
    Ok(Again { queued: rows, held: held.len(), held_by: held.into_values().next() })
}

/// The row as it is in this transaction. `mark`: a try before may have changed it, and then it says so by this `run_at`.
pub(super) async fn asked(
    conn: &mut Connection,
    id: TaskId,
    changed: bool,
    mark: Option<Timestamp>,
) -> QueryResult<Option<(TaskRow, bool)>> {
    let row = dsl::tasks.find(Key(id.0)).select(TaskRow::as_select()).first(conn).await.optional()?;
    Ok(row.map(|row: TaskRow| {
        let before = mark.is_some_and(|mark| row.became_eligible(mark));
        (row, changed || before)
    }))
}

pub(super) fn to_asked(row: TaskRow, changed: bool) -> Result<Asked, StoreError> {
    let task = Task::try_from(row).map_err(|e| StoreError::Unexpected(e.to_string()))?;
    Ok(Asked { task, changed, held_by: None })
}
