//! Purge of keys: those whose time is over, by the index of their times. A unique key whose holder lives stays, and is
//! walked over once a pass.

use super::keys::{Keys, digest};
use crate::store::connection::{Connection, Store};
use crate::store::error::StoreError;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::KeyHash;
use chrono::{DateTime, NaiveDateTime};
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Datetime};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::collections::BTreeSet;

/// Keys walked over in one batch.
const STEP_ROWS: u64 = 1000;

pub(in crate::store) const WALK_KEYS: &str = "SELECT hash, task_keys.expires_at, \
       request_hash IS NULL AND COALESCE(tasks.lane, 0) > 0 \
     FROM task_keys LEFT JOIN tasks ON tasks.id = task_keys.task_id \
     WHERE task_keys.expires_at >= ? AND task_keys.expires_at <= NOW(6) AND (task_keys.expires_at > ? OR hash > ?) \
     ORDER BY task_keys.expires_at, hash LIMIT ?";
pub(in crate::store) static PURGE_KEYS: Texts =
    Texts::new(|keys| format!("DELETE FROM task_keys WHERE hash IN ({})", marks(keys)));

type Row = (Vec<u8>, NaiveDateTime, i64);
type Sql = (Binary, Datetime, BigInt);

/// Where a pass over the keys stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPlace {
    expires_at: NaiveDateTime,
    hash: KeyHash,
}

impl KeyPlace {
    /// Before the first key.
    fn start() -> Self {
        Self { expires_at: DateTime::UNIX_EPOCH.naive_utc(), hash: KeyHash::from_bytes([0; 32]) }
    }
}

/// One batch of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeKeysStep {
    /// Keys deleted.
    pub purged: usize,
    /// Where the next batch begins; None: the pass is over.
    pub next: Option<KeyPlace>,
}

impl Store {
    /// Walks one batch onward from a place (None: from the start) and deletes what nobody holds any more.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn purge_keys_step(&self, from: Option<KeyPlace>) -> Result<PurgeKeysStep, StoreError> {
        let from = from.unwrap_or_else(KeyPlace::start);
        let step = self.run("purge", move |conn, _| async move { step(conn, from).await }.boxed()).await?;
        if step.purged > 0 {
            self.saw_batch("purge", step.purged);
        }
        Ok(step)
    }
}

async fn step(conn: &mut Connection, from: KeyPlace) -> QueryResult<PurgeKeysStep> {
    let at = Bind::Time(from.expires_at);
    let binds = vec![at, at, Bind::Bytes(from.hash.as_bytes()), Bind::Number(STEP_ROWS)];
    let rows: Vec<Row> = select::<Sql>(WALK_KEYS, binds).load(conn).await?;
    let (mut next, mut loose) = (None, BTreeSet::new());
    for (hash, expires_at, held) in &rows {
        let hash = KeyHash::from_bytes(digest(hash)?);
        next = Some(KeyPlace { expires_at: *expires_at, hash });
        if *held == 0 {
            loose.insert(hash);
        }
    }
    let purged = if loose.is_empty() { 0 } else { conn.transaction(async |conn| purge(conn, &loose).await).await? };
    let full = u64::try_from(rows.len()).is_ok_and(|n| n >= STEP_ROWS);
    Ok(PurgeKeysStep { purged, next: next.filter(|_| full) })
}

/// What is loose still when its row is locked: it may have been taken over, or its holder made to live again.
async fn purge(conn: &mut Connection, loose: &BTreeSet<KeyHash>) -> QueryResult<usize> {
    let keys = Keys::hold(conn, loose).await?;
    let loose: Vec<Bind<'_>> =
        loose.iter().filter(|hash| keys.held(hash).is_none()).map(|hash| Bind::Bytes(hash.as_bytes())).collect();
    let mut purged = 0;
    for chunk in loose.chunks(MAX_ROWS) {
        purged += statement(PURGE_KEYS.of(chunk.len()), padded(chunk)).execute(conn).await?;
    }
    Ok(purged)
}
