//! Keys are made, given another secret, and revoked. Whoever makes or revokes one waits for whoever else does, so that
//! there are never too many, and one is left that may make others.

use super::{Hash, KeyRow, MAX_KEYS, MAX_REVOKED, look};
use crate::store::connection::{Connection, Store, now};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, select, statement};
use crate::task::{KeyId, Scope};
use diesel::sql_types::{BigInt, Binary};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// Whoever makes or revokes a key waits here for whoever else does: so the bound holds, and an admin is left.
const FIRST: &str = "SELECT id FROM api_keys ORDER BY id LIMIT 1 FOR UPDATE";
const COUNT: &str = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NULL";
/// Keys that may make others, now. Two tell whether one is the last.
const ADMINS: &str = "SELECT id FROM api_keys WHERE revoked_at IS NULL \
     AND (expires_at IS NULL OR expires_at > NOW(6)) AND scopes LIKE '%\"admin\"%' LIMIT 2";
const COUNT_REVOKED: &str = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NOT NULL";
const FORGET: &str = "DELETE FROM api_keys WHERE revoked_at IS NOT NULL ORDER BY revoked_at LIMIT ?";
const INSERT: &str = "INSERT INTO api_keys (id, name, hash, scopes, queues, names, rate_limit, created_at, created_by, \
     expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
/// From left to right. Once more with the same hash, it changes nothing.
const ROTATE: &str = "UPDATE api_keys SET previous_hash = IF(? > 0, hash, NULL), \
     previous_until = IF(? > 0, NOW(6) + INTERVAL ? MICROSECOND, NULL), hash = ? \
     WHERE id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > NOW(6)) AND hash <> ?";
const HAS: &str = "SELECT 1 FROM api_keys WHERE id = ? AND hash = ?";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = NOW(6), previous_hash = NULL, previous_until = NULL \
     WHERE id = ? AND revoked_at IS NULL";

/// A key as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeyRow {
    pub id: KeyId,
    /// At most [`MAX_KEY_NAME`] characters.
    pub name: String,
    pub hash: Hash,
    pub scopes: Vec<Scope>,
    pub queues: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub rate_limit: Option<u32>,
    /// At most [`MAX_KEY_NAME`] characters.
    pub created_by: String,
    pub expires_in: Option<Duration>,
}

/// Whether one of the keys here must be left that may make others. At that moment: one that will expire counts while it
/// works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// Without one nobody could make a key over REST ever again.
    Kept,
    /// There is another way in: the bootstrap key, or whoever says so has the database.
    Elsewhere,
}

/// What making a key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    Done(Box<KeyRow>),
    /// There are [`MAX_KEYS`] already.
    TooMany,
    /// It would lock out whoever makes keys: none may, and this one may not either.
    NoAdmin,
}

/// What a revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked, now or since earlier.
    Done(Box<KeyRow>),
    /// No other key may make keys: nothing was changed.
    LastAdmin,
    /// There is no such key.
    Unknown,
}

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    Done(KeyRow),
    /// It is revoked, or has expired: nothing was changed.
    Over(KeyRow),
    /// There is no such key.
    Unknown,
}

impl Store {
    /// Keeps a key; gives it as it is then.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be kept all the same; nobody has it.
    pub async fn insert_api_key(&self, key: NewKeyRow, admin: Admin) -> Result<Inserted, StoreError> {
        let key = Arc::new(key);
        self.run("api_keys", move |conn, tries| {
            let key = Arc::clone(&key);
            async move {
                if tries > 0
                    && let Some(kept) = look(conn, key.id).await?
                {
                    return Ok(Inserted::Done(Box::new(kept)));
                }
                conn.transaction(async |conn| insert(conn, &key, admin).await).await
            }
            .boxed()
        })
        .await
    }

    /// Gives a key another hash; the one it had works for so long yet.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same.
    pub async fn rotate_api_key(&self, id: KeyId, hash: Hash, overlap: Duration) -> Result<Rotated, StoreError> {
        self.run("api_keys", move |conn, _| {
            async move {
                let micros = Bind::Signed(i64::try_from(overlap.as_micros()).unwrap_or(i64::MAX));
                let (id_bind, hash_bind) = (Bind::Id(id.0), Bind::Bytes(&hash));
                let binds = vec![micros, micros, micros, hash_bind, id_bind, hash_bind];
                statement(ROTATE, binds).execute(conn).await?;
                let has: Option<i64> =
                    select::<BigInt>(HAS, vec![id_bind, hash_bind]).get_result(conn).await.optional()?;
                Ok(match look(conn, id).await? {
                    Some(row) if has.is_some() => Rotated::Done(row),
                    Some(row) => Rotated::Over(row),
                    None => Rotated::Unknown,
                })
            }
            .boxed()
        })
        .await
    }

    /// Revokes a key, also one that is so already; gives it as it is then.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same; asking again does no harm.
    pub async fn revoke_api_key(&self, id: KeyId, admin: Admin) -> Result<Revoked, StoreError> {
        self.run("api_keys", move |conn, _| {
            async move { conn.transaction(async |conn| revoke(conn, id, admin).await).await }.boxed()
        })
        .await
    }
}

fn json(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    serde_json::to_string(&words).unwrap_or_default()
}

async fn count(conn: &mut Connection, text: &str) -> QueryResult<u64> {
    let count: i64 = select::<BigInt>(text, vec![]).get_result(conn).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Until the transaction ends, no other makes or revokes a key.
async fn wait_for_others(conn: &mut Connection) -> QueryResult<()> {
    let _first: Option<Key> = select::<Binary>(FIRST, vec![]).get_result(conn).await.optional()?;
    Ok(())
}

/// One or two keys that may make others, where there are any.
async fn admins(conn: &mut Connection) -> QueryResult<Vec<Key>> {
    select::<Binary>(ADMINS, vec![]).load(conn).await
}

async fn revoke(conn: &mut Connection, id: KeyId, admin: Admin) -> QueryResult<Revoked> {
    wait_for_others(conn).await?;
    if admin == Admin::Kept && admins(conn).await? == [Key(id.0)] {
        return Ok(Revoked::LastAdmin);
    }
    statement(REVOKE, vec![Bind::Id(id.0)]).execute(conn).await?;
    Ok(look(conn, id).await?.map_or(Revoked::Unknown, |row| Revoked::Done(Box::new(row))))
}

async fn insert(conn: &mut Connection, key: &NewKeyRow, admin: Admin) -> QueryResult<Inserted> {
    wait_for_others(conn).await?;
    if count(conn, COUNT).await? >= MAX_KEYS {
        return Ok(Inserted::TooMany);
    }
    if admin == Admin::Kept && !key.scopes.contains(&Scope::Admin) && admins(conn).await?.is_empty() {
        return Ok(Inserted::NoAdmin);
    }
    let spare = count(conn, COUNT_REVOKED).await?.saturating_sub(MAX_REVOKED);
    if spare > 0 {
        statement(FORGET, vec![Bind::Number(spare)]).execute(conn).await?;
    }
    let NewKeyRow { id, name, hash, scopes, queues, names, rate_limit, created_by, expires_in } = key;
    let scopes = json(&scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>());
    let (queues, names) = (queues.as_deref().map(json), names.as_deref().map(json));
    let created_at = now(conn).await?.naive_utc();
    let binds = vec![
        Bind::Id(id.0),
        Bind::Text(name),
        Bind::Bytes(hash),
        Bind::Text(&scopes),
        Bind::OptText(queues.as_deref()),
        Bind::OptText(names.as_deref()),
        Bind::OptNumber(rate_limit.map(u64::from)),
        Bind::Time(created_at),
        Bind::Text(created_by),
        Bind::OptTime(expires_in.map(|span| created_at + span)),
    ];
    statement(INSERT, binds).execute(conn).await?;
    look(conn, *id).await?.map(|row| Inserted::Done(Box::new(row))).ok_or(diesel::result::Error::NotFound)
}
