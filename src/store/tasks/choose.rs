//! Which tasks a verb on many of them is about: candidates in the order of their ids, from the index that has the
//! fewest of them, and what of their rows decides.
//!
//! Live tasks come from `agenda`, failed ones of a kind from `task_failures`, and what else has ended from a walk over
//! the primary key. Whether a candidate is meant is judged in plain Rust, over rows that were read, and once more over
//! the same rows locked.

use super::Filter;
use super::read::{first_id, id_after};
use crate::store::connection::{Connection, Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, Texts, marks, padded, select};
use crate::task::{Fingerprint, Status, TaskId};
use chrono::NaiveDateTime;
use diesel::sql_types::{BigInt, Binary, Bool, Datetime, Integer, Nullable, Text, Unsigned};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Candidates that one look gives, at most: 1.6 MB of ids.
const MOST: u64 = 100_000;
/// Rows that one step of a walk over the primary key looks at.
const WINDOW: u64 = 10_000;

/// All that lives in a queue, from the index alone, and in one statement: each task stands in it once, whatever moves.
pub(in crate::store) const LIVE: &str = "SELECT id FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane > 0 AND id > ? AND id < ? ORDER BY id LIMIT ?";
pub(in crate::store) const OF_KIND: &str = "SELECT task_id FROM task_failures FORCE INDEX (kind) \
     WHERE fingerprint = ? AND task_id > ? AND task_id < ? ORDER BY task_id LIMIT ?";
/// Where a step of the walk ends.
pub(in crate::store) const CEILING: &str =
    "SELECT id FROM tasks FORCE INDEX (PRIMARY) WHERE id > ? AND id < ? ORDER BY id LIMIT 1 OFFSET 9999";
pub(in crate::store) const ENDED: &str = "SELECT id FROM tasks FORCE INDEX (PRIMARY) \
     WHERE id > ? AND id < ? AND status IN ('failed', 'cancelled') ORDER BY id";
pub(in crate::store) static LOOK: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, name, queue, status, attempt, cancel_requested_at IS NOT NULL, tags, created_at, unique_key \
         FROM tasks WHERE id IN ({})",
        marks(ids)
    )
});
pub(in crate::store) static LOCK: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, name, queue, status, attempt, cancel_requested_at IS NOT NULL, tags, created_at, unique_key \
         FROM tasks WHERE id IN ({}) FOR UPDATE",
        marks(ids)
    )
});
pub(in crate::store) static KINDS: Texts =
    Texts::new(|ids| format!("SELECT task_id, fingerprint FROM task_failures WHERE task_id IN ({})", marks(ids)));

/// Which tasks are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Its states: those that the verb may find.
    pub filter: Filter,
    /// Failed of any of these kinds; none: of whichever.
    pub fingerprints: Vec<Fingerprint>,
}

/// The next candidates of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// In order.
    pub ids: Vec<TaskId>,
    /// Behind which id the next look begins; None: these were the last.
    pub next: Option<TaskId>,
}

/// A task that a verb was about, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: TaskId,
    pub name: Arc<str>,
    pub queue: Arc<str>,
    pub status: Status,
    pub attempt: u32,
    pub(super) cancel_requested: bool,
    tags: Option<String>,
    created_at: NaiveDateTime,
    pub(super) unique_key: Option<Arc<str>>,
}

/// What one batch came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The tasks that were meant, or would be.
    pub matched: Vec<TaskId>,
    /// Those that were changed, as they were before.
    pub changed: Vec<Found>,
    /// Those of a retry that stay as they are, since another task holds their unique key.
    pub held: usize,
}

type Row = (Key, String, String, String, u32, bool, Option<String>, NaiveDateTime, Option<String>);
type Sql = (Binary, Text, Text, Text, Unsigned<Integer>, Bool, Nullable<Text>, Datetime, Nullable<Text>);

impl Selection {
    /// Whether a task is meant, but for its kind of failure.
    pub(super) fn means(&self, found: &Found) -> bool {
        // Destructured, so that a new field cannot be forgotten here.
        let Filter { statuses, queues, names, tags, ids, created_after, created_before } = &self.filter;
        let has = |tag: &String| found.tags.as_ref().is_some_and(|all| all.contains(&format!("\"{tag}\"")));
        let created = utc(found.created_at);
        (statuses.is_empty() || statuses.contains(&found.status))
            && (queues.is_empty() || queues.iter().any(|queue| **queue == *found.queue))
            && (names.is_empty() || names.iter().any(|name| **name == *found.name))
            && (tags.is_empty() || tags.iter().any(has))
            && (ids.is_empty() || ids.contains(&found.id))
            && created_after.is_none_or(|at| created >= at)
            && created_before.is_none_or(|at| created < at)
    }

    /// The ids between which all of them stand, both exclusive.
    fn range(&self, after: Option<TaskId>) -> (Uuid, Uuid) {
        let before = |id: Uuid| Uuid::from_u128(id.as_u128().saturating_sub(1));
        let bottom = self.filter.created_after.map_or(Uuid::nil(), |at| before(first_id(at)));
        let top = self.filter.created_before.map_or(Uuid::max(), id_after);
        (after.map_or(bottom, |id| id.0.max(bottom)), top)
    }
}

/// The rows of these tasks; `text` is [`LOOK`] or [`LOCK`]. What is gone is left out, and so is what no reader could read.
pub(super) async fn found(conn: &mut Connection, text: &Texts, ids: &[TaskId]) -> QueryResult<Vec<Found>> {
    let binds = padded(&ids.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
    let rows: Vec<Row> = select::<Sql>(text.of(ids.len()), binds).load(conn).await?;
    let found = |(id, name, queue, status, attempt, cancel_requested, tags, created_at, unique_key): Row| {
        let status = Status::parse(&status)?;
        let (name, queue, unique_key) = (name.into(), queue.into(), unique_key.map(Arc::from));
        Some(Found {
            id: TaskId::from(id),
            name,
            queue,
            status,
            attempt,
            cancel_requested,
            tags,
            created_at,
            unique_key,
        })
    };
    let mut all: Vec<Found> = rows.into_iter().filter_map(found).collect();
    all.sort_unstable_by_key(|found| found.id);
    Ok(all)
}

/// Of these tasks, which at most 256 are, those that a selection means. Locked, it is so until the transaction ends.
pub(super) async fn meant(
    conn: &mut Connection,
    text: &Texts,
    ids: &[TaskId],
    selection: &Selection,
) -> QueryResult<Vec<Found>> {
    let mut all = found(conn, text, ids).await?;
    all.retain(|found| selection.means(found));
    if selection.fingerprints.is_empty() || all.is_empty() {
        return Ok(all);
    }
    let binds = padded(&all.iter().map(|found| Bind::Id(found.id.0)).collect::<Vec<_>>());
    let kinds: Vec<(Key, u64)> = select::<(Binary, Unsigned<BigInt>)>(KINDS.of(all.len()), binds).load(conn).await?;
    let kinds: HashMap<TaskId, u64> = kinds.into_iter().map(|(id, print)| (TaskId::from(id), print)).collect();
    all.retain(|found| kinds.get(&found.id).is_some_and(|print| selection.fingerprints.contains(&Fingerprint(*print))));
    Ok(all)
}

impl Store {
    /// The next candidates among what lives, behind an id.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn live_candidates(
        &self,
        selection: Arc<Selection>,
        after: Option<TaskId>,
    ) -> Result<Candidates, StoreError> {
        let (from, to) = selection.range(after);
        let queues: Vec<Arc<str>> = match selection.filter.queues.as_slice() {
            [] => self.queue_names().await?,
            named => named.iter().map(|queue| Arc::from(&**queue)).collect(),
        };
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let mut all = Vec::new();
        let mut more = false;
        for queue in queues {
            let ids: Vec<TaskId> = self
                .run("choose", move |conn, _| {
                    let queue = Arc::clone(&queue);
                    async move {
                        let binds = vec![Bind::Text(&queue), Bind::Id(from), Bind::Id(to), Bind::Number(MOST)];
                        ids(select::<Binary>(LIVE, binds).load(conn).await)
                    }
                    .boxed()
                })
                .await?;
            more |= ids.len() >= most;
            all.extend(ids);
            // The first so many of all queues together.
            all.sort_unstable();
            all.dedup();
            more |= all.len() > most;
            all.truncate(most);
        }
        Ok(Candidates { next: all.last().copied().filter(|_| more), ids: all })
    }

    /// The next candidates among what has failed or was cancelled, behind an id.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ended_candidates(
        &self,
        selection: Arc<Selection>,
        after: Option<TaskId>,
    ) -> Result<Candidates, StoreError> {
        self.run("choose", move |conn, _| {
            let selection = Arc::clone(&selection);
            async move {
                let (from, to) = selection.range(after);
                if selection.fingerprints.is_empty() {
                    return window(conn, from, to).await;
                }
                let mut all = Vec::new();
                let mut more = false;
                for print in &selection.fingerprints {
                    let binds = vec![Bind::Number(print.0), Bind::Id(from), Bind::Id(to), Bind::Number(MOST)];
                    let found = ids(select::<Binary>(OF_KIND, binds).load(conn).await)?;
                    more |= u64::try_from(found.len()).is_ok_and(|count| count >= MOST);
                    all.extend(found);
                }
                all.sort_unstable();
                all.dedup();
                let most = usize::try_from(MOST).unwrap_or(usize::MAX);
                more |= all.len() > most;
                all.truncate(most);
                Ok(Candidates { next: all.last().copied().filter(|_| more), ids: all })
            }
            .boxed()
        })
        .await
    }
}

fn ids(keys: QueryResult<Vec<Key>>) -> QueryResult<Vec<TaskId>> {
    Ok(keys?.into_iter().map(TaskId::from).collect())
}

/// A step of the walk over the primary key.
async fn window(conn: &mut Connection, from: Uuid, to: Uuid) -> QueryResult<Candidates> {
    let ceiling: Option<Key> =
        select::<Binary>(CEILING, vec![Bind::Id(from), Bind::Id(to)]).get_result(conn).await.optional()?;
    // Inclusive of the last row looked at.
    let end = ceiling.map_or(to, |key| Uuid::from_u128(key.0.as_u128().saturating_add(1)));
    let ids = ids(select::<Binary>(ENDED, vec![Bind::Id(from), Bind::Id(end)]).load(conn).await)?;
    Ok(Candidates { ids, next: ceiling.map(TaskId::from) })
}

const _: () = assert!(WINDOW == 10_000); // CEILING carries it as a literal, less one
