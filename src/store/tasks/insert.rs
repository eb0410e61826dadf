//! Submit: a batch of new tasks in as few statements as its size has bits.

use super::{expire, lane};
use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, Texts, marks, padded, select, split, statement};
use crate::task::{Backoff, NewTask, Status, Task, TaskId, Timestamp, Way, When, position};
use diesel::QueryResult;
use diesel::sql_types::Binary;
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use uuid::{Builder, Variant, Version};

/// What every task has.
const COLUMNS: &str = "id, name, queue, priority, status, lane, position, max_attempts, timeout_ms, run_at, \
                       dispatched_at, created_at, payload";
/// What only some have; without it a row takes a third less of the server's time.
const EXTRAS: &str = "backoff, expires_at, schedule, tags, metadata";
/// What those have that hold a key of their own, beside the extras.
const UNIQUE: &str = "unique_key";

pub(in crate::store) static INSERT: Texts = Texts::new(|rows| {
    let row = format!("({})", marks(13));
    format!("INSERT INTO tasks ({COLUMNS}) VALUES {}", vec![row; rows].join(","))
});
pub(in crate::store) static INSERT_WITH: Texts = Texts::new(|rows| {
    let row = format!("({})", marks(18));
    format!("INSERT INTO tasks ({COLUMNS}, {EXTRAS}) VALUES {}", vec![row; rows].join(","))
});
pub(in crate::store) static INSERT_UNIQUE: Texts = Texts::new(|rows| {
    let row = format!("({})", marks(19));
    format!("INSERT INTO tasks ({COLUMNS}, {EXTRAS}, {UNIQUE}) VALUES {}", vec![row; rows].join(","))
});
pub(in crate::store) static EXISTING: Texts =
    Texts::new(|ids| format!("SELECT id FROM tasks WHERE id IN ({})", marks(ids)));

/// Keeps ids of one microsecond in the order in which they were made. Each process begins
/// somewhere else in the lower half of the range: ids of two of them meet by neither part.
static MADE: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random::<u32>() >> 3));
/// As many bits of [`MADE`] as stand between the variant and the random ones.
const MADE_BITS: u32 = 0x3fff_ffff;

/// A task to insert.
#[derive(Debug, Clone)]
pub struct Insert {
    pub task: NewTask,
    /// Its queue's gate is open: the caller adds it to the stream itself after the commit, so
    /// `dispatched_at` is set here.
    pub direct: bool,
}

/// A task with its place in the index, ready to be bound.
#[derive(Debug, Clone)]
pub(in crate::store) struct Placed {
    pub(in crate::store) task: Task,
    lane: u64,
    position: u64,
    extras: Option<Extras>,
}

/// The columns that a plain task leaves to their defaults.
#[derive(Debug, Clone)]
struct Extras {
    /// None: the built-in one.
    backoff: Option<String>,
    tags: Option<String>,
}

/// Which columns a row is inserted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    WithExtras,
    /// With extras and a unique key.
    Unique,
}

impl Store {
    /// Inserts a batch of groups and answers each group in order with its rows. The tasks of a group
    /// are accepted together or not at all. A batch that fails for a reason of its own data is
    /// halved until the bad group stands alone.
    pub async fn insert_tasks(&self, batch: Vec<Vec<Insert>>) -> Vec<Result<Vec<Task>, StoreError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.saw_batch("insert", batch.iter().map(Vec::len).sum());
        let now = match self.now().await {
            Ok(now) => now,
            Err(error) => return batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let place = |insert: Insert| Placed::new(insert.task, insert.direct, now);
        let groups = batch.into_iter().map(|group| group.into_iter().map(place).collect()).collect();
        self.insert_placed(groups, false).await
    }

    /// `look_first`: an earlier statement may have inserted some of them.
    fn insert_placed(
        &self,
        groups: Vec<Vec<Placed>>,
        look_first: bool,
    ) -> BoxFuture<'_, Vec<Result<Vec<Task>, StoreError>>> {
        async move {
            let groups = Arc::new(groups);
            let shared = Arc::clone(&groups);
            let result = self
                .run("insert", move |conn, tries| {
                    let groups = Arc::clone(&shared);
                    async move { insert_once(conn, &groups, look_first || tries > 0).await }.boxed()
                })
                .await;
            match result {
                Ok(()) => {
                    let groups = Arc::unwrap_or_clone(groups).into_iter();
                    groups.map(|group| Ok(group.into_iter().map(|row| row.task).collect())).collect()
                }
                // Alone and not looked for yet: it may be refused because it is there.
                Err(StoreError::Refused(_)) if !look_first && groups.len() == 1 => {
                    self.insert_placed(groups.to_vec(), true).await
                }
                // Lost at every try, with a server that takes connections: it may be the batch.
                Err(StoreError::Refused(_) | StoreError::Lost(_)) if groups.len() > 1 => {
                    let (left, right) = groups.split_at(groups.len() / 2);
                    let mut answers = self.insert_placed(left.to_vec(), true).await;
                    answers.extend(self.insert_placed(right.to_vec(), true).await);
                    answers
                }
                Err(error) => groups.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        .boxed()
    }
}

async fn insert_once(conn: &mut Connection, groups: &[Vec<Placed>], look_first: bool) -> QueryResult<()> {
    let rows: Vec<&Placed> = groups.iter().flatten().collect();
    if !look_first {
        return insert_rows(conn, &rows).await;
    }
    // The answer of the try before may have been lost after its commit: insert what is missing.
    let existing = existing(conn, &rows).await?;
    let missing: Vec<&Placed> = rows.into_iter().filter(|row| !existing.contains(&row.task.id)).collect();
    insert_rows(conn, &missing).await
}

/// The rows of these that are in.
pub(in crate::store) async fn existing(conn: &mut Connection, rows: &[&Placed]) -> QueryResult<HashSet<TaskId>> {
    let mut found = HashSet::new();
    let ids: Vec<Bind<'_>> = rows.iter().map(|row| Bind::Id(row.task.id.0)).collect();
    for chunk in ids.chunks(crate::store::sql::MAX_ROWS) {
        let keys: Vec<Key> = select::<Binary>(EXISTING.of(chunk.len()), padded(chunk)).load(conn).await?;
        found.extend(keys.into_iter().map(TaskId::from));
    }
    Ok(found)
}

/// Inserts rows: one statement alone, several in a transaction.
async fn insert_rows(conn: &mut Connection, rows: &[&Placed]) -> QueryResult<()> {
    let shapes = by_shape(rows);
    match slices(&shapes).as_slice() {
        [] => Ok(()),
        [only] if only.iter().all(|row| row.task.expires_at.is_none()) => insert_slice(conn, only).await,
        _ => conn.transaction(async |conn| insert_within(conn, rows).await).await,
    }
}

/// Inserts rows within a transaction, and beside those that expire where they are looked for then.
pub(in crate::store) async fn insert_within(conn: &mut Connection, rows: &[&Placed]) -> QueryResult<()> {
    for slice in slices(&by_shape(rows)) {
        insert_slice(conn, slice).await?;
    }
    expire::note(conn, rows).await
}

fn by_shape<'a>(rows: &[&'a Placed]) -> [Vec<&'a Placed>; 3] {
    let like = |shape| rows.iter().copied().filter(|row| row.shape() == shape).collect();
    [Shape::Plain, Shape::WithExtras, Shape::Unique].map(like)
}

fn slices<'s, 'a>(shapes: &'s [Vec<&'a Placed>; 3]) -> Vec<&'s [&'a Placed]> {
    shapes.iter().flat_map(|rows| split(rows)).collect()
}

/// All of them of one shape.
async fn insert_slice(conn: &mut Connection, rows: &[&Placed]) -> QueryResult<()> {
    let mut binds = Vec::with_capacity(rows.len() * 19);
    for row in rows {
        row.bind(&mut binds);
    }
    let texts = match rows.first().map(|row| row.shape()) {
        Some(Shape::Unique) => &INSERT_UNIQUE,
        Some(Shape::WithExtras) => &INSERT_WITH,
        Some(Shape::Plain) | None => &INSERT,
    };
    statement(texts.of(rows.len()), binds).execute(conn).await.map(|_| ())
}

impl Placed {
    /// Gives a new task its identity, its times and its place. `now` is the database's clock.
    pub(in crate::store) fn new(new: NewTask, direct: bool, now: Timestamp) -> Self {
        let NewTask {
            name,
            way,
            queue,
            priority,
            payload,
            when,
            timeout,
            max_attempts,
            backoff,
            expires_in,
            schedule,
            tags,
            metadata,
            unique,
        } = new;
        let run_at = match when {
            When::Now => now,
            When::After(delay) => later(now, delay),
            When::At(instant) => instant.max(now),
        };
        let (status, lane, place) = if run_at > now {
            (Status::Scheduled, lane::WAITING, position::scheduled(run_at))
        } else if way == Way::Outside {
            (Status::Queued, lane::OUTSIDE, position::queued(priority, run_at))
        } else if way == Way::Held {
            (Status::Queued, lane::held(&name), position::queued(priority, run_at))
        } else if direct {
            (Status::Queued, lane::FLIGHT, position::queued(priority, run_at))
        } else {
            (Status::Queued, lane::BACKLOG, position::queued(priority, run_at))
        };
        let usual = backoff == Backoff::default();
        let plain = usual
            && expires_in.is_none()
            && schedule.is_none()
            && tags.is_empty()
            && metadata.is_none()
            && unique.is_none();
        let extras = (!plain).then(|| Extras {
            backoff: (!usual).then(|| backoff.to_json()),
            tags: if tags.is_empty() { None } else { serde_json::to_string(&tags).ok() },
        });
        let task = Task {
            id: new_id(now),
            name,
            queue,
            priority,
            status,
            reason: None,
            payload,
            attempt: 0,
            forgiven: 0,
            max_attempts,
            timeout,
            run_at,
            expires_at: expires_in.map(|span| later(now, span)),
            dispatched_at: (lane == lane::FLIGHT).then_some(now),
            worker_id: None,
            cancel_requested_at: None,
            created_at: now,
            started_at: None,
            finished_at: None,
            schedule,
            tags,
            metadata,
            result: None,
            last_error: None,
            progress: None,
            progress_note: None,
            unique_key: unique.map(|unique| unique.key),
            backoff,
        };
        Self { task, lane, position: place, extras }
    }

    fn bind<'a>(&'a self, binds: &mut Vec<Bind<'a>>) {
        let task = &self.task;
        binds.extend([
            Bind::Id(task.id.0),
            Bind::Text(&task.name),
            Bind::Text(&task.queue),
            Bind::Number(task.priority.into()),
            Bind::Text(task.status.as_str()),
            Bind::Number(self.lane),
            Bind::Number(self.position),
            Bind::Number(task.max_attempts.into()),
            Bind::Number(millis(task.timeout)),
            Bind::Time(task.run_at.naive_utc()),
            Bind::OptTime(task.dispatched_at.map(|t| t.naive_utc())),
            Bind::Time(task.created_at.naive_utc()),
            Bind::Text(&task.payload),
        ]);
        if let Some(extras) = &self.extras {
            binds.extend([
                Bind::OptText(extras.backoff.as_deref()),
                Bind::OptTime(task.expires_at.map(|t| t.naive_utc())),
                Bind::OptText(task.schedule.as_deref()),
                Bind::OptText(extras.tags.as_deref()),
                Bind::OptText(task.metadata.as_deref()),
            ]);
        }
        if let Some(key) = &task.unique_key {
            binds.push(Bind::Text(key));
        }
    }

    fn shape(&self) -> Shape {
        match (&self.extras, &self.task.unique_key) {
            (None, _) => Shape::Plain,
            (Some(_), None) => Shape::WithExtras,
            (Some(_), Some(_)) => Shape::Unique,
        }
    }
}

/// An id whose time part is the database's clock to the microsecond (RFC 9562, 6.2, method 3):
/// sorting by id is sorting by `created_at`, whichever process or lane made it. The `uuid`
/// crate's own context never goes back, and would date a batch that was overtaken later than its rows.
fn new_id(now: Timestamp) -> TaskId {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    let fraction = now.timestamp_subsec_micros() % 1000 * 4096 / 1000;
    let made = MADE.fetch_add(1, Ordering::Relaxed) & MADE_BITS;
    let bits = u128::from(millis) << 80
        | u128::from(fraction) << 64
        | u128::from(made) << 32
        | u128::from(rand::random::<u32>());
    TaskId(Builder::from_u128(bits).with_version(Version::SortRand).with_variant(Variant::RFC4122).into_uuid())
}

/// This long after `now`.
pub(super) fn later(now: Timestamp, span: Duration) -> Timestamp {
    chrono::TimeDelta::from_std(span).ok().and_then(|span| now.checked_add_signed(span)).unwrap_or(Timestamp::MAX_UTC)
}

/// Whole milliseconds; a shorter time counts as one.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_clock_even_where_it_goes_back_and_by_order_within_a_microsecond() {
        let at = |us| Timestamp::from_timestamp_micros(1_700_000_000_000_000 + us).unwrap();
        let made: Vec<(i64, TaskId)> = [5, 5, 2, 999, 1000, 3, 5].map(|us| (us, new_id(at(us)))).into();
        let mut sorted = made.clone();
        sorted.sort_by_key(|(us, _)| *us);
        assert!(sorted.is_sorted_by_key(|(_, id)| *id), "{sorted:?}");
        for (us, id) in made {
            assert_eq!(i64::try_from(id.0.as_u128() >> 80).unwrap(), at(us).timestamp_millis());
            assert_eq!((id.0.get_version_num(), id.0.get_variant()), (7, Variant::RFC4122));
        }
    }
}
