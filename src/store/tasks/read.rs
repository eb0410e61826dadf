//! What readers ask: one task, a page of tasks, how deep a queue is.

use crate::store::connection::{Connection, Store, utc};
use crate::store::error::StoreError;
use crate::store::row::{Key, TaskRow, TaskSql};
use crate::store::schema::tasks::dsl;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select};
use crate::task::{Status, Task, TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::dsl::sql;
use diesel::mysql::Mysql;
use diesel::sql_types::{BigInt, Bool, Datetime, Nullable};
use diesel::{
    BoolExpressionMethods, BoxableExpression, ExpressionMethods, OptionalExtension, QueryDsl, QueryResult,
    SelectableHelper, TextExpressionMethods,
};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Rows that one page looks at, at most: a filter that matches nothing still answers quickly,
/// with a short page and a cursor.
pub(super) const PAGE_SCAN: i64 = 10_000;
/// Payloads and results in one page, at most; a page that would be larger is a short one.
const PAGE_BYTES: u64 = 16 << 20;

/// Which tasks to list. Several values of one kind mean any of them; different kinds all hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub statuses: Vec<Status>,
    pub queues: Vec<String>,
    pub names: Vec<String>,
    pub tags: Vec<String>,
    pub ids: Vec<TaskId>,
    /// Inclusive.
    pub created_after: Option<Timestamp>,
    /// Exclusive.
    pub created_before: Option<Timestamp>,
}

/// A page, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub tasks: Vec<Task>,
    /// Where the next page begins: before this id. None: there is no more.
    pub next: Option<TaskId>,
}

/// How many live tasks a queue has, by state, and since when the oldest queued one is eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    pub scheduled: u64,
    pub queued: u64,
    pub running: u64,
    /// Whole microseconds.
    pub oldest_us: Option<u64>,
}

impl Depth {
    /// As the metrics name the states.
    #[must_use]
    pub fn by_status(&self) -> [(&'static str, u64); 3] {
        [("scheduled", self.scheduled), ("queued", self.queued), ("running", self.running)]
    }

    /// How long the oldest queued task has been eligible; zero: there is none.
    #[must_use]
    pub fn oldest(&self) -> Duration {
        Duration::from_micros(self.oldest_us.unwrap_or(0))
    }
}

/// The lanes' counts come from the index alone; only what is in flight (bounded by the
/// dispatch window and the slots) is looked up by row.
pub(in crate::store) const DEPTH: &str = "SELECT \
     (SELECT COUNT(*) FROM tasks WHERE queue = ? AND lane = 1), \
     (SELECT COUNT(*) FROM tasks WHERE queue = ? AND lane = 2), \
     (SELECT COUNT(*) FROM tasks WHERE queue = ? AND (lane = 4 OR lane BETWEEN 64 AND 191)), \
     (SELECT COUNT(*) FROM tasks WHERE queue = ? AND lane = 3 AND status = 'queued'), \
     (SELECT COUNT(*) FROM tasks WHERE queue = ? AND lane = 3 AND status = 'running'), \
     (SELECT MIN(run_at) FROM (SELECT run_at FROM tasks WHERE queue = ? AND lane = 2 ORDER BY position LIMIT 1) b), \
     (SELECT MIN(run_at) FROM (SELECT run_at FROM tasks WHERE queue = ? AND lane = 4 ORDER BY position LIMIT 1) o), \
     (SELECT MIN(run_at) FROM (SELECT run_at FROM tasks WHERE queue = ? AND lane BETWEEN 64 AND 191 \
                               ORDER BY lane, position LIMIT 1) h), \
     (SELECT MIN(run_at) FROM tasks WHERE queue = ? AND lane = 3 AND status = 'queued'), \
     NOW(6)";
type Oldest = (Option<NaiveDateTime>, Option<NaiveDateTime>, Option<NaiveDateTime>, Option<NaiveDateTime>);
type OldestSql = (Nullable<Datetime>, Nullable<Datetime>, Nullable<Datetime>, Nullable<Datetime>);
type DepthRow = ((i64, i64, i64, i64, i64), Oldest, NaiveDateTime);
type DepthSql = ((BigInt, BigInt, BigInt, BigInt, BigInt), OldestSql, Datetime);

/// Rows of more than this many bytes of payload and result are read alone, not in a batch.
const BATCH_ROW_BYTES: u64 = 64 << 10;

pub(in crate::store) static SMALL: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, name, queue, priority, status, reason, attempt, forgiven, max_attempts, timeout_ms, backoff, run_at, \
         expires_at, dispatched_at, worker_id, cancel_requested_at, created_at, started_at, finished_at, schedule, tags, \
         metadata, payload, result, last_error, progress, progress_note, unique_key FROM tasks \
         WHERE id IN ({}) AND OCTET_LENGTH(payload) + COALESCE(OCTET_LENGTH(result), 0) <= ?",
        marks(ids)
    )
});

impl Store {
    /// Several tasks by one statement, in the order of `ids`. None: there is no such task, or it is too large to be
    /// read beside others.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn small_tasks(&self, ids: Vec<TaskId>) -> Result<Vec<Option<Task>>, StoreError> {
        self.saw_batch("get", ids.len());
        let ids = Arc::new(ids);
        let wanted = Arc::clone(&ids);
        let rows = self
            .run("get", move |conn, _| {
                let ids = Arc::clone(&wanted);
                async move {
                    let mut rows: Vec<TaskRow> = Vec::with_capacity(ids.len());
                    for chunk in ids.chunks(MAX_ROWS) {
                        let mut binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
                        binds.push(Bind::Number(BATCH_ROW_BYTES));
                        rows.extend(select::<TaskSql>(SMALL.of(chunk.len()), binds).load::<TaskRow>(conn).await?);
                    }
                    Ok(rows)
                }
                .boxed()
            })
            .await?;
        let tasks: Result<HashMap<TaskId, Task>, _> =
            rows.into_iter().map(|row| Task::try_from(row).map(|task| (task.id, task))).collect();
        let tasks = tasks.map_err(|e| StoreError::Unexpected(e.to_string()))?;
        // An id that stands twice is answered twice.
        Ok(ids.iter().map(|id| tasks.get(id).cloned()).collect())
    }

    /// One task.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let row = self
            .run("get", move |conn, _| {
                async move { dsl::tasks.find(Key(id.0)).select(TaskRow::as_select()).first(conn).await.optional() }
                    .boxed()
            })
            .await?;
        row.map(Task::try_from).transpose().map_err(|e| StoreError::Unexpected(e.to_string()))
    }

    /// The next page of at most `limit` tasks before the cursor, newest first. Looks at no
    /// more than [`PAGE_SCAN`] rows.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn list(&self, filter: Filter, before: Option<TaskId>, limit: u32) -> Result<Page, StoreError> {
        let filter = Arc::new(filter);
        let (rows, next) = self
            .run("list", move |conn, _| {
                let filter = Arc::clone(&filter);
                async move { list(conn, &filter, before, limit).await }.boxed()
            })
            .await?;
        let tasks: Result<Vec<Task>, _> = rows.into_iter().map(Task::try_from).collect();
        Ok(Page { tasks: tasks.map_err(|e| StoreError::Unexpected(e.to_string()))?, next })
    }

    /// How deep a queue is.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn depth(&self, queue: Arc<str>) -> Result<Depth, StoreError> {
        self.run("depth", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let binds = vec![Bind::Text(&queue); 9];
                let ((scheduled, backlog, aside, dispatched, running), (waits, stands, held, flies), now): DepthRow =
                    select::<DepthSql>(DEPTH, binds).get_result(conn).await?;
                let count = |n: i64| u64::try_from(n).unwrap_or(0);
                let oldest = [waits, stands, held, flies].into_iter().flatten().min();
                Ok(Depth {
                    scheduled: count(scheduled),
                    queued: count(backlog) + count(aside) + count(dispatched),
                    running: count(running),
                    oldest_us: oldest
                        .and_then(|at| (utc(now) - utc(at)).num_microseconds())
                        .map(|us| u64::try_from(us).unwrap_or(0)),
                })
            }
            .boxed()
        })
        .await
    }
}

/// A condition of a listing.
type Condition<'a> = Box<dyn BoxableExpression<dsl::tasks, Mysql, SqlType = Nullable<Bool>> + 'a>;

async fn list(
    conn: &mut Connection,
    filter: &Filter,
    before: Option<TaskId>,
    limit: u32,
) -> QueryResult<(Vec<TaskRow>, Option<TaskId>)> {
    // Ids carry the time they were made, from the same clock as `created_at`: a range in time
    // is a range of the primary key.
    let top = [before.map(|id| id.0), filter.created_before.map(id_after)].into_iter().flatten().min();
    let top = Key(top.unwrap_or(Uuid::max()));
    let bottom = Key(filter.created_after.map_or(Uuid::nil(), first_id));
    // Only a filter that rows may fail needs a bound on the rows looked at.
    let floor: Option<Key> = if filter.is_selective() {
        dsl::tasks
            .select(dsl::id)
            .filter(dsl::id.lt(top).and(dsl::id.ge(bottom)))
            .order(dsl::id.desc())
            .offset(PAGE_SCAN - 1)
            .first(conn)
            .await
            .optional()?
    } else {
        None
    };
    // First the ids and how large each answer will be, then only the rows that fit.
    let size = sql::<BigInt>("OCTET_LENGTH(payload) + COALESCE(OCTET_LENGTH(result), 0)");
    let mut query = dsl::tasks
        .select((dsl::id, size))
        .filter(dsl::id.lt(top).and(dsl::id.ge(floor.unwrap_or(bottom))))
        .order(dsl::id.desc())
        .limit(i64::from(limit) + 1)
        .into_boxed::<Mysql>();
    if !filter.statuses.is_empty() {
        query = query.filter(dsl::status.eq_any(filter.statuses.iter().map(|s| s.as_str())));
    }
    if !filter.queues.is_empty() {
        query = query.filter(dsl::queue.eq_any(&filter.queues));
    }
    if !filter.names.is_empty() {
        query = query.filter(dsl::name.eq_any(&filter.names));
    }
    if !filter.ids.is_empty() {
        query = query.filter(dsl::id.eq_any(filter.ids.iter().map(|id| Key(id.0))));
    }
    let has_tag = |tag: &String| -> Condition<'_> {
        // Tags hold no quote; `_` is a wildcard of LIKE.
        Box::new(dsl::tags.like(format!("%\"{}\"%", tag.replace('_', "\\_"))))
    };
    if let Some(any) = filter.tags.iter().map(has_tag).reduce(|a, b| Box::new(a.or(b))) {
        query = query.filter(any);
    }
    if let Some(at) = filter.created_after {
        query = query.filter(dsl::created_at.ge(at.naive_utc()));
    }
    if let Some(at) = filter.created_before {
        query = query.filter(dsl::created_at.lt(at.naive_utc()));
    }
    let found: Vec<(Key, i64)> = query.load(conn).await?;
    let fitting: Vec<Key> = fitting(&found, limit);
    let next = match fitting.last() {
        Some(last) if fitting.len() < found.len() => Some(TaskId::from(*last)),
        // A short page that stopped at the floor goes on below it.
        _ => floor.map(TaskId::from),
    };
    let rows = dsl::tasks
        .select(TaskRow::as_select())
        .filter(dsl::id.eq_any(fitting))
        .order(dsl::id.desc())
        .load(conn)
        .await?;
    Ok((rows, next))
}

/// The first ids up to `limit` whose rows stay within [`PAGE_BYTES`] together; one at least.
fn fitting(found: &[(Key, i64)], limit: u32) -> Vec<Key> {
    let mut bytes = 0;
    let within = found.iter().enumerate().take_while(|(i, (_, size))| {
        bytes += u64::try_from(*size).unwrap_or(0);
        *i == 0 || bytes <= PAGE_BYTES
    });
    within.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|(_, (id, _))| *id).collect()
}

impl Filter {
    /// Whether rows within the range of ids may fail it. Ids and times alone do not scan.
    fn is_selective(&self) -> bool {
        self.ids.is_empty()
            && !(self.statuses.is_empty() && self.queues.is_empty() && self.names.is_empty() && self.tags.is_empty())
    }
}

/// The smallest id that was made after this instant's millisecond.
pub(super) fn id_after(at: Timestamp) -> Uuid {
    first_id(at.checked_add_signed(chrono::TimeDelta::milliseconds(1)).unwrap_or(at))
}

/// The smallest id of this millisecond.
pub(super) fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis) << 80)
}
