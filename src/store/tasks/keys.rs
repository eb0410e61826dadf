//! The keys of tasks: how they stand, and how a transaction takes them.
//!
//! Only who inserts a key's row, or takes it over, inserts its task: `INSERT IGNORE` in sorted order has one
//! winner, and whoever finds itself beaten begins anew and reads the winner's row. Looking comes first and locks
//! nothing, so that a key which is held costs its holder no wait.
//!
//! A unique key is given up by nobody when its task ends: that would cost every finish. Who finds one
//! whose time is over looks at the holder. It locks the key's row first and looks then: of two that take it
//! over at once, or of one and a manual retry of its holder, or of one and the purge, the second sees what the first has done.

use crate::store::connection::{Connection, Store, now, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, split, statement};
use crate::task::{KeyHash, RequestHash, TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Binary, Datetime, Nullable, TinyInt, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

pub(in crate::store) static LOOK: Texts = Texts::new(|keys| {
    format!(
        "SELECT hash, request_hash, task_id, more_ids, task_keys.expires_at, task_keys.expires_at <= NOW(6), tasks.lane, \
           COALESCE(tasks.status IN ('queued', 'scheduled') AND tasks.expires_at <= NOW(6) - INTERVAL 5 SECOND, FALSE) \
         FROM task_keys LEFT JOIN tasks ON tasks.id = task_keys.task_id WHERE hash IN ({})",
        marks(keys)
    )
});
pub(in crate::store) static LOCK: Texts =
    Texts::new(|keys| format!("SELECT hash FROM task_keys WHERE hash IN ({}) ORDER BY hash FOR UPDATE", marks(keys)));
pub(in crate::store) static ADD: Texts = Texts::new(|keys| {
    let row = format!("({})", marks(5));
    format!(
        "INSERT IGNORE INTO task_keys (hash, request_hash, task_id, more_ids, expires_at) VALUES {}",
        vec![row; keys].join(",")
    )
});
pub(in crate::store) const TAKE_OVER: &str =
    "UPDATE task_keys SET request_hash = ?, task_id = ?, more_ids = ?, expires_at = ? WHERE hash = ?";

type Row = (Vec<u8>, Option<Vec<u8>>, Key, Option<Vec<u8>>, NaiveDateTime, i64, Option<u8>, i64);
type Sql = (Binary, Nullable<Binary>, Binary, Nullable<Binary>, Datetime, BigInt, Nullable<Unsigned<TinyInt>>, BigInt);

/// A key's row, and how the first of its tasks is.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Of an idempotency key.
    pub(super) request: Option<RequestHash>,
    /// At least one; of a unique key its holder.
    pub(super) tasks: Vec<TaskId>,
    pub(super) until: Timestamp,
    /// `until` has passed.
    over: bool,
    /// None: its row is there no more. Zero: it has ended.
    lane: Option<u8>,
    /// It has expired before it started, longer ago than a claim takes that began before: it cannot start any more.
    /// Sooner only the expirer knows, which locks its row.
    expired: bool,
}

impl Standing {
    /// Whether the key is held, and may not be taken.
    pub(super) fn holds(&self) -> bool {
        let lives = self.lane.is_some_and(|lane| lane > 0) && !self.expired;
        !self.over || self.request.is_none() && lives
    }

    /// The first of its tasks is there no more.
    pub(super) fn is_gone(&self) -> bool {
        self.lane.is_none()
    }

    /// The first of its tasks.
    pub(super) fn holder(&self) -> TaskId {
        self.tasks.as_slice().first().copied().unwrap_or(TaskId(Uuid::nil()))
    }
}

/// What a transaction writes under a key that it takes.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    /// Of an idempotency key.
    pub(super) request: Option<RequestHash>,
    /// Of a unique key the one that holds it.
    pub(super) first: TaskId,
    pub(super) more: Vec<TaskId>,
    pub(super) until: Timestamp,
}

impl Mark {
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

/// The keys that one transaction asks about.
#[derive(Debug)]
pub(super) struct Keys {
    standing: HashMap<KeyHash, Standing>,
    taken: BTreeMap<KeyHash, Mark>,
}

impl Keys {
    /// Reads them, and locks those that may be taken over.
    pub(super) async fn look(conn: &mut Connection, hashes: &BTreeSet<KeyHash>) -> QueryResult<Self> {
        let mut standing = look(conn, hashes).await?;
        let over: BTreeSet<KeyHash> = standing.iter().filter(|(_, row)| !row.holds()).map(|(hash, _)| *hash).collect();
        if !over.is_empty() {
            lock(conn, &over).await?;
            standing.retain(|hash, _| !over.contains(hash));
            standing.extend(look(conn, &over).await?);
        }
        Ok(Self { standing, taken: BTreeMap::new() })
    }

    /// Locks them all, and reads them then.
    pub(super) async fn hold(conn: &mut Connection, hashes: &BTreeSet<KeyHash>) -> QueryResult<Self> {
        lock(conn, hashes).await?;
        Ok(Self { standing: look(conn, hashes).await?, taken: BTreeMap::new() })
    }

    /// The row that holds this key, unless it may be taken.
    pub(super) fn held(&self, hash: &KeyHash) -> Option<&Standing> {
        self.row(hash).filter(|row| row.holds())
    }

    /// The key's row, whether it holds or not.
    pub(super) fn row(&self, hash: &KeyHash) -> Option<&Standing> {
        self.standing.get(hash)
    }

    /// What this transaction has taken it for.
    pub(super) fn taken(&self, hash: &KeyHash) -> Option<&Mark> {
        self.taken.get(hash)
    }

    /// Takes a key that nobody holds.
    pub(super) fn take(&mut self, hash: KeyHash, mark: Mark) {
        self.taken.insert(hash, mark);
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// [`DieselError::RollbackTransaction`] when another transaction was faster with one of them: its row
    /// can be read when this one begins anew.
    pub(super) async fn write(&self, conn: &mut Connection) -> QueryResult<()> {
        let rows: Vec<(&KeyHash, &Mark, Option<Vec<u8>>)> =
            self.taken.iter().map(|(hash, mark)| (hash, mark, more_ids(mark))).collect();
        let (over, fresh): (Vec<_>, Vec<_>) = rows.iter().partition(|(hash, _, _)| self.standing.contains_key(*hash));
        for (hash, mark, more) in over {
            let mut binds = values(mark, more.as_deref());
            binds.push(Bind::Bytes(hash.as_bytes()));
            statement(TAKE_OVER, binds).execute(conn).await?;
        }
        let mut added = 0;
        for slice in split(&fresh) {
            let mut binds = Vec::with_capacity(slice.len() * 5);
            for (hash, mark, more) in slice {
                binds.push(Bind::Bytes(hash.as_bytes()));
                binds.extend(values(mark, more.as_deref()));
            }
            added += statement(ADD.of(slice.len()), binds).execute(conn).await?;
        }
        if added < fresh.len() { Err(DieselError::RollbackTransaction) } else { Ok(()) }
    }
}

fn more_ids(mark: &Mark) -> Option<Vec<u8>> {
    (!mark.more.is_empty()).then(|| mark.more.iter().flat_map(|id| *id.0.as_bytes()).collect())
}

/// A row's values but for the hash.
fn values<'a>(mark: &'a Mark, more: Option<&'a [u8]>) -> Vec<Bind<'a>> {
    vec![
        Bind::OptBytes(mark.request.as_ref().map(|request| &request.as_bytes()[..])),
        Bind::Id(mark.first.0),
        Bind::OptBytes(more),
        Bind::Time(mark.until.naive_utc()),
    ]
}

fn binds(hashes: &BTreeSet<KeyHash>) -> Vec<Bind<'_>> {
    hashes.iter().map(|hash| Bind::Bytes(hash.as_bytes())).collect()
}

async fn look(conn: &mut Connection, hashes: &BTreeSet<KeyHash>) -> QueryResult<HashMap<KeyHash, Standing>> {
    let mut found = HashMap::with_capacity(hashes.len());
    for chunk in binds(hashes).chunks(MAX_ROWS) {
        let rows: Vec<Row> = select::<Sql>(LOOK.of(chunk.len()), padded(chunk)).load(conn).await?;
        for (hash, request, first, more, until, over, lane, expired) in rows {
            let mut tasks = vec![TaskId::from(first)];
            let more = more.unwrap_or_default();
            tasks.extend(more.chunks(16).filter_map(|id| Uuid::from_slice(id).ok()).map(TaskId));
            let request = match request {
                None => None,
                Some(bytes) => Some(RequestHash::from_bytes(digest(&bytes)?)),
            };
            let standing = Standing { request, tasks, until: utc(until), over: over != 0, lane, expired: expired != 0 };
            found.insert(KeyHash::from_bytes(digest(&hash)?), standing);
        }
    }
    Ok(found)
}

/// In the order of the hashes, as everybody does it.
async fn lock(conn: &mut Connection, hashes: &BTreeSet<KeyHash>) -> QueryResult<()> {
    for chunk in binds(hashes).chunks(MAX_ROWS) {
        let _: Vec<Vec<u8>> = select::<Binary>(LOCK.of(chunk.len()), padded(chunk)).load(conn).await?;
    }
    Ok(())
}

pub(super) fn digest(bytes: &[u8]) -> QueryResult<[u8; 32]> {
    bytes.try_into().map_err(|_| DieselError::DeserializationError("a hash has 32 bytes".into()))
}

/// A task that has ended, has a unique key, and is about to live again.
#[derive(Debug, Clone)]
pub(in crate::store) struct Revived {
    pub(in crate::store) id: TaskId,
    pub(in crate::store) name: Arc<str>,
    pub(in crate::store) unique_key: Arc<str>,
}

/// For a manual retry, inside its transaction: takes each task's unique key, or keeps it where it is its
/// own. Answers each in order: None, the key is the task's and the task may live again; else the other task that holds
/// it, and this one must stay as it is. Of two with one key the first gets it.
///
/// The keys' rows stay locked until the transaction ends, so that nobody takes one over, or purges it, on the
/// ground that its task has ended. Call it before or after the update that revives the tasks, in the same transaction.
///
/// # Errors
/// [`DieselError::RollbackTransaction`] when a submission was faster: let it pass out of the work of `Store::run`,
/// which begins anew.
pub(in crate::store) async fn retake(conn: &mut Connection, tasks: &[Revived]) -> QueryResult<Vec<Option<TaskId>>> {
    let hash = |task: &Revived| KeyHash::unique(&task.name, &task.unique_key);
    let mut keys = Keys::hold(conn, &tasks.iter().map(hash).collect()).await?;
    let until = now(conn).await?;
    let (mut answers, mut holders) = (Vec::with_capacity(tasks.len()), HashMap::new());
    for task in tasks {
        let hash = hash(task);
        let holder = *holders.entry(hash).or_insert_with(|| match keys.row(&hash) {
            Some(row) if row.holds() || row.holder() == task.id => row.holder(),
            _ => {
                keys.take(hash, Mark { request: None, first: task.id, more: Vec::new(), until });
                task.id
            }
        });
        answers.push((holder != task.id).then_some(holder));
    }
    keys.write(conn).await?;
    Ok(answers)
}

/// How many of these tasks [`retake`] would leave as they are, as it looks now: nothing is locked.
pub(in crate::store) async fn held(conn: &mut Connection, tasks: &[Revived]) -> QueryResult<usize> {
    if tasks.is_empty() {
        return Ok(0);
    }
    let hash = |task: &Revived| KeyHash::unique(&task.name, &task.unique_key);
    let rows = look(conn, &tasks.iter().map(hash).collect()).await?;
    let mut holders: HashMap<KeyHash, TaskId> = HashMap::new();
    let is_held = |task: &&Revived| {
        let holder = holders.entry(hash(task)).or_insert_with_key(|hash| match rows.get(hash) {
            Some(row) if row.holds() => row.holder(),
            _ => task.id,
        });
        *holder != task.id
    };
    Ok(tasks.iter().filter(is_held).count())
}

/// The task that holds a unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub id: TaskId,
    /// The key is held until then in any case, and for as long as the task lives.
    pub until: Timestamp,
}

impl Store {
    /// Who holds this unique key of a task type. None: nobody, a submission would get it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn unique_key_holder(&self, name: &str, key: &str) -> Result<Option<Holder>, StoreError> {
        let hash = KeyHash::unique(name, key);
        self.run("keys", move |conn, _| {
            async move {
                let rows = look(conn, &BTreeSet::from([hash])).await?;
                Ok(rows.get(&hash).filter(|row| row.holds()).map(|row| Holder { id: row.holder(), until: row.until }))
            }
            .boxed()
        })
        .await
    }

    /// [`retake`] in a transaction of its own: for the tests.
    ///
    /// # Errors
    /// When the database cannot be reached.
    #[doc(hidden)]
    pub async fn retake_key(&self, id: TaskId, name: &str, key: &str) -> Result<Option<TaskId>, StoreError> {
        let tasks = Arc::new([Revived { id, name: name.into(), unique_key: key.into() }]);
        let answers = self
            .run("keys", move |conn, _| {
                let tasks = Arc::clone(&tasks);
                async move { conn.transaction(async |conn| retake(conn, &*tasks).await).await }.boxed()
            })
            .await?;
        Ok(answers.into_iter().next().flatten())
    }
}
