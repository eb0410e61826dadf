//! The way from the backlog into the lanes of those that no stream takes, and back: the dispatcher sets aside what
//! workers outside run, and puts back what a process of ours runs by now.

use super::keys;
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, select, statement};
use crate::store::tasks::lane;
use crate::task::{TaskId, Way};
use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Binary, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;

pub(in crate::store) static NAMES: Texts =
    Texts::new(|ids| format!("SELECT id, name FROM tasks WHERE id IN ({}) AND lane = 2", marks(ids)));
pub(in crate::store) static SET_ASIDE: Texts =
    Texts::new(|ids| format!("UPDATE tasks SET lane = 4 WHERE id IN ({}) AND lane = 2", marks(ids)));
/// In the order of the index; those of one instant by their ids.
pub(in crate::store) const ASIDE: &str = "SELECT id, position, name FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane = ? AND position >= ? AND (position > ? OR id > ?) ORDER BY position, id LIMIT ?";
/// The next lane of those set aside in which there is anything.
pub(in crate::store) const NEXT_LANE: &str = "SELECT CAST(lane AS SIGNED) FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane > ? AND lane < 192 ORDER BY lane LIMIT 1";
pub(in crate::store) static PUT_BACK: Texts =
    Texts::new(|ids| format!("UPDATE tasks SET lane = 2 WHERE id IN ({}) AND lane = ?", marks(ids)));

/// A place among what was set aside or is held; the walk goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    lane: u64,
    position: u64,
    id: uuid::Uuid,
}

impl Default for Place {
    /// Before all of it.
    fn default() -> Self {
        Self { lane: lane::OUTSIDE, position: 0, id: uuid::Uuid::nil() }
    }
}

/// One batch of a walk over what was set aside or is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    pub tasks: Vec<(TaskId, String)>,
    /// How they came to be there.
    pub way: Way,
    /// Where the next batch begins; None: this was the last one.
    pub next: Option<Place>,
}

impl Store {
    /// The task types of those of these tasks that are in the backlog.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn backlog_names(&self, ids: Vec<TaskId>) -> Result<Vec<(TaskId, String)>, StoreError> {
        let ids = Arc::new(ids);
        self.run("dispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut found = Vec::with_capacity(ids.len());
                for chunk in ids.chunks(MAX_ROWS) {
                    let rows: Vec<(Key, String)> =
                        select::<(Binary, Text)>(NAMES.of(chunk.len()), keys(chunk)).load(conn).await?;
                    found.extend(rows.into_iter().map(|(id, name)| (TaskId::from(id), name)));
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }

    /// Takes tasks out of the backlog and sets them aside for workers outside; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn set_aside(&self, ids: Vec<TaskId>) -> Result<usize, StoreError> {
        self.change_lane(&SET_ASIDE, ids, None).await
    }

    /// Puts tasks of this place's lane back into the backlog; says how many.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn put_back(&self, from: Place, ids: Vec<TaskId>) -> Result<usize, StoreError> {
        self.change_lane(&PUT_BACK, ids, Some(from.lane)).await
    }

    async fn change_lane(
        &self,
        texts: &'static Texts,
        ids: Vec<TaskId>,
        from: Option<u64>,
    ) -> Result<usize, StoreError> {
        let ids = Arc::new(ids);
        self.run("dispatch", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut moved = 0;
                for chunk in ids.chunks(MAX_ROWS) {
                    let mut binds = keys(chunk);
                    binds.extend(from.map(Bind::Number));
                    moved += statement(texts.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(moved)
            }
            .boxed()
        })
        .await
    }

    /// The next tasks of a queue, at most `limit`, that were set aside or are held, behind a place, with their types.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn aside(&self, queue: Arc<str>, from: Place, limit: u64) -> Result<Aside, StoreError> {
        self.run("dispatch", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let (lane, position) = (Bind::Number(from.lane), Bind::Number(from.position));
                let binds = vec![Bind::Text(&queue), lane, position, position, Bind::Id(from.id), Bind::Number(limit)];
                let rows: Vec<(Key, u64, String)> =
                    select::<(Binary, Unsigned<BigInt>, Text)>(ASIDE, binds).load(conn).await?;
                let full = u64::try_from(rows.len()).is_ok_and(|count| count >= limit);
                let last =
                    rows.last().map(|(id, position, _)| Place { lane: from.lane, position: *position, id: id.0 });
                let next = if full {
                    last
                } else {
                    let behind: Option<i64> = select::<BigInt>(NEXT_LANE, vec![Bind::Text(&queue), lane])
                        .get_result(conn)
                        .await
                        .optional()?;
                    let lane = behind.and_then(|lane| u64::try_from(lane).ok());
                    lane.map(|lane| Place { lane, position: 0, id: uuid::Uuid::nil() })
                };
                let tasks = rows.into_iter().map(|(id, _, name)| (TaskId::from(id), name)).collect();
                let way = if from.lane == lane::OUTSIDE { Way::Outside } else { Way::Held };
                Ok(Aside { tasks, way, next })
            }
            .boxed()
        })
        .await
    }
}
