//! Submit under keys: tasks that may be there already, with what makes them count once.
//!
//! Keys and tasks are written by one transaction. As with plain submissions, groups that come at the same time share
//! it, each is accepted as a whole or not at all, and a bad one stands alone in the end. A key that
//! another transaction is just taking makes this one wait for its end; where that takes too long, each group
//! goes alone, and only the one that it is about is told so.

use super::insert::{Insert, Placed, existing, insert_within, later};
use super::keys::{Keys, Mark};
use crate::store::connection::{Connection, Store};
use crate::store::error::{StoreError, is_lock_wait};
use crate::task::{KeyHash, RequestHash, Task, TaskId, Timestamp, Unique};
use diesel::QueryResult;
use diesel::result::Error as DieselError;
use diesel_async::AsyncConnection;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Groups that go at once when each goes alone.
const ALONE: usize = 4;

/// Tasks that are accepted together, under their unique keys and perhaps an idempotency key.
#[derive(Debug, Clone)]
pub struct KeyedGroup {
    /// At least one.
    pub tasks: Vec<Insert>,
    pub idempotency: Option<Idempotency>,
}

/// The key of a request that counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    pub hash: KeyHash,
    pub request: RequestHash,
    /// It is known for this long.
    pub retain: Duration,
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Keyed {
    /// Accepted now; in its order.
    Accepted(Vec<Entry>),
    /// Accepted before: the tasks of the first submission, in its order.
    Repeated(Vec<TaskId>),
    /// The idempotency key belongs to another request.
    OtherRequest,
    /// The unique key of the task at `index` is held by a task that is there no more.
    HolderGone { index: usize, id: TaskId, until: Timestamp },
    /// A transaction that has not ended is about to take one of its keys.
    Busy,
}

/// What stands in the place of a submitted task.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    New(Box<Task>),
    /// The task that holds its unique key.
    Held(TaskId),
}

/// A group with its rows and the hashes of its keys.
#[derive(Debug)]
struct Group {
    rows: Vec<Placed>,
    /// Of each row: its unique key, and until when it is held at least.
    unique: Vec<Option<(KeyHash, Timestamp)>>,
    /// With the end of its time.
    idempotency: Option<(Idempotency, Timestamp)>,
}

/// What is decided of a group in one transaction.
struct Judged {
    answer: Keyed,
    /// Its new tasks are yet to be inserted.
    insert: bool,
}

impl Store {
    /// Accepts a batch of groups under their keys and answers each in order.
    pub async fn insert_keyed(&self, batch: Vec<KeyedGroup>) -> Vec<Result<Keyed, StoreError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.saw_batch("keyed", batch.iter().map(|group| group.tasks.len()).sum());
        match self.now().await {
            Ok(now) => {
                let groups = batch.into_iter().map(|group| Arc::new(Group::of(group, now))).collect();
                self.insert_groups(groups, false).await
            }
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// `look_first`: an earlier transaction may have inserted some of them.
    fn insert_groups(
        &self,
        groups: Vec<Arc<Group>>,
        look_first: bool,
    ) -> BoxFuture<'_, Vec<Result<Keyed, StoreError>>> {
        async move {
            let shared = groups.clone();
            let result = self
                .run("keyed", move |conn, tries| {
                    let groups = shared.clone();
                    async move { insert_once(conn, &groups, look_first || tries > 0).await }.boxed()
                })
                .await;
            match result {
                Ok(Some(answers)) => answers.into_iter().map(Ok).collect(),
                Ok(None) if groups.len() == 1 => vec![Ok(Keyed::Busy)],
                Ok(None) => {
                    let alone = stream::iter(groups).map(|group| self.insert_groups(vec![group], true));
                    alone.buffered(ALONE).concat().await
                }
                // Alone and not looked for yet: it may be refused because it is there.
                Err(StoreError::Refused(_)) if !look_first && groups.len() == 1 => {
                    self.insert_groups(groups, true).await
                }
                // Lost at every try, with a server that takes connections: it may be the batch.
                Err(StoreError::Refused(_) | StoreError::Lost(_)) if groups.len() > 1 => {
                    let (left, right) = groups.split_at(groups.len() / 2);
                    let mut answers = self.insert_groups(left.to_vec(), true).await;
                    answers.extend(self.insert_groups(right.to_vec(), true).await);
                    answers
                }
                Err(error) => groups.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        .boxed()
    }
}

/// Why a transaction was undone.
enum Undone {
    /// It has waited for a key for as long as one waits.
    Waited,
    Failed(DieselError),
}

impl From<DieselError> for Undone {
    fn from(error: DieselError) -> Self {
        Undone::Failed(error)
    }
}

/// None: one of the keys was locked for too long.
async fn insert_once(
    conn: &mut Connection,
    groups: &[Arc<Group>],
    look_first: bool,
) -> QueryResult<Option<Vec<Keyed>>> {
    let waited = |error| if is_lock_wait(&error) { Undone::Waited } else { Undone::Failed(error) };
    let done = conn.transaction(async |conn| {
        let hashes = groups.iter().flat_map(|group| group.hashes()).collect();
        let mut keys = Keys::look(conn, &hashes).await.map_err(waited)?;
        // After the keys: what commits in between is seen here.
        let found = if look_first {
            existing(conn, &groups.iter().flat_map(|group| &group.rows).collect::<Vec<_>>()).await?
        } else {
            HashSet::new()
        };
        let judged: Vec<Judged> = groups.iter().map(|group| group.judge(&mut keys, &found)).collect();
        keys.write(conn).await.map_err(waited)?;
        let rows: Vec<&Placed> =
            groups.iter().zip(&judged).flat_map(|(group, judged)| group.to_insert(judged)).collect();
        insert_within(conn, &rows).await?;
        Ok(judged.into_iter().map(|judged| judged.answer).collect())
    });
    match done.await {
        Ok(answers) => Ok(Some(answers)),
        Err(Undone::Waited) => Ok(None),
        Err(Undone::Failed(error)) => Err(error),
    }
}

impl Group {
    fn of(group: KeyedGroup, now: Timestamp) -> Self {
        let KeyedGroup { tasks, idempotency } = group;
        let (mut rows, mut unique) = (Vec::with_capacity(tasks.len()), Vec::with_capacity(tasks.len()));
        for Insert { task, direct } in tasks {
            unique.push(task.unique.as_ref().map(|Unique { key, held_for }| {
                (KeyHash::unique(&task.name, key), held_for.map_or(now, |span| later(now, span)))
            }));
            rows.push(Placed::new(task, direct, now));
        }
        Self { rows, unique, idempotency: idempotency.map(|key| (key, later(now, key.retain))) }
    }

    fn hashes(&self) -> impl Iterator<Item = KeyHash> {
        let unique = self.unique.iter().flatten().map(|(hash, _)| *hash);
        unique.chain(self.idempotency.map(|(key, _)| key.hash))
    }

    /// Decides, and takes what it needs of the keys. `found` are rows that an earlier try has inserted.
    fn judge(&self, keys: &mut Keys, found: &HashSet<TaskId>) -> Judged {
        if self.rows.iter().any(|row| found.contains(&row.task.id)) {
            return Judged { answer: Keyed::Accepted(self.as_accepted(keys, found)), insert: false };
        }
        let answer = self.repeated(keys).unwrap_or_else(|| self.accept(keys));
        Judged { answer, insert: true }
    }

    /// An earlier try has committed this group: what it was answered with.
    fn as_accepted(&self, keys: &Keys, found: &HashSet<TaskId>) -> Vec<Entry> {
        let holder = |unique: &Option<(KeyHash, Timestamp)>| {
            let (hash, _) = unique.as_ref()?;
            Some(keys.row(hash)?.holder())
        };
        let places = self.rows.iter().zip(&self.unique);
        let entry = |(row, unique): (&Placed, _)| match holder(unique) {
            Some(id) if !found.contains(&row.task.id) => Entry::Held(id),
            _ => Entry::New(Box::new(row.task.clone())),
        };
        places.map(entry).collect()
    }

    /// What its idempotency key says, if somebody has it.
    fn repeated(&self, keys: &Keys) -> Option<Keyed> {
        let (key, _) = self.idempotency.as_ref()?;
        let (request, tasks) = match (keys.taken(&key.hash), keys.held(&key.hash)) {
            (Some(mark), _) => (mark.request, mark.tasks().collect()),
            (None, Some(row)) => (row.request, row.tasks.clone()),
            (None, None) => return None,
        };
        Some(if request == Some(key.request) { Keyed::Repeated(tasks) } else { Keyed::OtherRequest })
    }

    fn accept(&self, keys: &mut Keys) -> Keyed {
        let mut own: HashMap<KeyHash, Mark> = HashMap::new();
        let mut entries = Vec::with_capacity(self.rows.len());
        for (index, (row, unique)) in self.rows.iter().zip(&self.unique).enumerate() {
            let id = row.task.id;
            let holder = match unique {
                None => None,
                Some((hash, until)) => match (own.get(hash).or_else(|| keys.taken(hash)), keys.held(hash)) {
                    (Some(mark), _) => Some(mark.first),
                    (None, Some(row)) if row.is_gone() => {
                        return Keyed::HolderGone { index, id: row.holder(), until: row.until };
                    }
                    (None, Some(row)) => Some(row.holder()),
                    (None, None) => {
                        own.insert(*hash, Mark { request: None, first: id, more: Vec::new(), until: *until });
                        None
                    }
                },
            };
            entries.push(holder.map_or_else(|| Entry::New(Box::new(row.task.clone())), Entry::Held));
        }
        own.into_iter().for_each(|(hash, mark)| keys.take(hash, mark));
        let mut ids = entries.iter().map(Entry::id);
        if let (Some((key, until)), Some(first)) = (self.idempotency, ids.next()) {
            keys.take(key.hash, Mark { request: Some(key.request), first, more: ids.collect(), until });
        }
        Keyed::Accepted(entries)
    }

    /// The rows that are to be inserted.
    fn to_insert<'a>(&'a self, judged: &'a Judged) -> impl Iterator<Item = &'a Placed> {
        let entries = match &judged.answer {
            Keyed::Accepted(entries) if judged.insert => entries.as_slice(),
            _ => &[],
        };
        self.rows.iter().zip(entries).filter(|(_, entry)| matches!(entry, Entry::New(_))).map(|(row, _)| row)
    }
}

impl Entry {
    fn id(&self) -> TaskId {
        match self {
            Entry::New(task) => task.id,
            Entry::Held(id) => *id,
        }
    }
}
