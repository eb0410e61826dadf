//! API keys: who may ask for what. Of a key there is only its SHA-256.
//!
//! A key that is revoked keeps its row, the latest [`MAX_REVOKED`] of them: so that a table which has had a key never
//! looks like one that never had, and for whoever asks what became of it.

use super::connection::{Connection, Store, now, utc};
use super::error::StoreError;
use super::row::Key;
use super::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{KeyId, Scope, Timestamp};
use chrono::NaiveDateTime;
use diesel::sql_types::{BigInt, Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// The SHA-256 of a key.
pub type Hash = [u8; 32];

/// Most keys that are not revoked: every process has all of them at hand.
pub const MAX_KEYS: u64 = 1000;
/// Revoked keys that are kept; the oldest go when a key is made.
pub const MAX_REVOKED: u64 = 1000;
/// Longest name of a key and of who made it, in characters: what their columns hold.
pub const MAX_KEY_NAME: usize = 128;
/// Longest time after which a key expires, and until its previous one does.
pub const MAX_SPAN: Duration = Duration::from_secs(3650 * 86_400);
/// A use is not written where one was within this time, by another process perhaps: a little less than
/// the minute after which a process tells of the next.
const USED_SECONDS: &str = "50";

/// Who is let in, with what is left of each time. A previous one counts while it works.
pub(in crate::store) const LIVE: &str = "SELECT id, name, hash, IF(previous_until > NOW(6), previous_hash, NULL), \
     TIMESTAMPDIFF(MICROSECOND, NOW(6), previous_until), TIMESTAMPDIFF(MICROSECOND, NOW(6), expires_at), \
     scopes, queues, names, rate_limit FROM api_keys WHERE revoked_at IS NULL";
const ANY: &str = "SELECT 1 FROM api_keys LIMIT 1";
pub(in crate::store) static USED: Texts = Texts::new(|keys| {
    format!(
        "UPDATE api_keys SET last_used_at = NOW(6) WHERE id IN ({}) \
         AND (last_used_at IS NULL OR last_used_at < NOW(6) - INTERVAL {USED_SECONDS} SECOND)",
        marks(keys)
    )
});
/// What of a row is read for people.
macro_rules! look {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, IF(previous_until > NOW(6), previous_until, NULL), scopes, queues, names, rate_limit, \
             created_at, created_by, expires_at, last_used_at, revoked_at FROM api_keys ",
            $rest
        )
    };
}
/// A scan: the table's bounds keep it small.
const ALL: &str = look!("ORDER BY id");
const ONE: &str = look!("WHERE id = ?");
/// Whoever makes or revokes a key waits here for whoever else does: so the bound holds, and an admin is left.
const FIRST: &str = "SELECT id FROM api_keys ORDER BY id LIMIT 1 FOR UPDATE";
const COUNT: &str = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NULL";
/// Keys other than this one that may make keys, now.
const COUNT_ADMINS: &str = "SELECT COUNT(*) FROM api_keys WHERE id <> ? AND revoked_at IS NULL \
     AND (expires_at IS NULL OR expires_at > NOW(6)) AND scopes LIKE '%\"admin\"%'";
const IS_ADMIN: &str = "SELECT COUNT(*) FROM api_keys WHERE id = ? AND revoked_at IS NULL \
     AND (expires_at IS NULL OR expires_at > NOW(6)) AND scopes LIKE '%\"admin\"%'";
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

/// A key as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: KeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// None: every queue.
    pub queues: Option<Vec<String>>,
    /// Task types. None: every one.
    pub names: Option<Vec<String>>,
    /// Requests a second of one process.
    pub rate_limit: Option<u32>,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// Until when the key from before the last rotation works too.
    pub previous_until: Option<Timestamp>,
}

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

/// A key that is not revoked, as whoever lets people in needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveKey {
    pub id: KeyId,
    pub name: String,
    pub hash: Hash,
    /// The one from before the last rotation, and how long it works from when this was read.
    pub previous: Option<(Hash, Duration)>,
    /// Zero: it has expired. None: it never does.
    pub expires_in: Option<Duration>,
    pub scopes: Vec<Scope>,
    pub queues: Option<Vec<String>>,
    pub names: Option<Vec<String>>,
    pub rate_limit: Option<u32>,
}

/// Whether one of the keys here must be left that may make others.
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

type KeySql = (
    (Binary, Text, Nullable<Datetime>, Text, Nullable<Text>, Nullable<Text>, Nullable<Unsigned<Integer>>),
    (Datetime, Text, Nullable<Datetime>, Nullable<Datetime>, Nullable<Datetime>),
);
type KeyTuple = (
    (Key, String, Option<NaiveDateTime>, String, Option<String>, Option<String>, Option<u32>),
    (NaiveDateTime, String, Option<NaiveDateTime>, Option<NaiveDateTime>, Option<NaiveDateTime>),
);
type LiveSql = (
    (Binary, Text, Binary, Nullable<Binary>, Nullable<BigInt>, Nullable<BigInt>),
    (Text, Nullable<Text>, Nullable<Text>, Nullable<Unsigned<Integer>>),
);
type LiveTuple = (
    (Key, String, Vec<u8>, Option<Vec<u8>>, Option<i64>, Option<i64>),
    (String, Option<String>, Option<String>, Option<u32>),
);

fn row((what, when): KeyTuple) -> KeyRow {
    let (id, name, previous_until, scopes, queues, names, rate_limit) = what;
    let (created_at, created_by, expires_at, last_used_at, revoked_at) = when;
    KeyRow {
        id: KeyId::from(id),
        name,
        scopes: read_scopes(&scopes),
        queues: queues.as_deref().map(list),
        names: names.as_deref().map(list),
        rate_limit,
        created_at: utc(created_at),
        created_by,
        expires_at: expires_at.map(utc),
        last_used_at: last_used_at.map(utc),
        revoked_at: revoked_at.map(utc),
        previous_until: previous_until.map(utc),
    }
}

/// None: its hash is none, so nobody has the key.
fn live((which, what): LiveTuple) -> Option<LiveKey> {
    let (id, name, hash, previous, previous_us, expires_us) = which;
    let (scopes, queues, names, rate_limit) = what;
    let left = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    let previous = previous.and_then(|hash| Hash::try_from(hash).ok());
    Some(LiveKey {
        id: KeyId::from(id),
        name,
        hash: Hash::try_from(hash).ok()?,
        previous: previous.zip(previous_us.map(left)),
        expires_in: expires_us.map(left),
        scopes: read_scopes(&scopes),
        queues: queues.as_deref().map(list),
        names: names.as_deref().map(list),
        rate_limit,
    })
}

/// What is no list lets through nothing.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A word that this version does not know gives no right.
fn read_scopes(text: &str) -> Vec<Scope> {
    list(text).iter().filter_map(|word| Scope::parse(word)).collect()
}

fn json(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    serde_json::to_string(&words).unwrap_or_default()
}

async fn look(conn: &mut Connection, id: KeyId) -> QueryResult<Option<KeyRow>> {
    let found = select::<KeySql>(ONE, vec![Bind::Id(id.0)]).get_result::<KeyTuple>(conn).await.optional()?;
    Ok(found.map(row))
}

impl Store {
    /// Every key, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn api_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.run("api_keys", |conn, _| {
            async move {
                let rows: Vec<KeyTuple> = select::<KeySql>(ALL, vec![]).load(conn).await?;
                Ok(rows.into_iter().map(row).collect())
            }
            .boxed()
        })
        .await
    }

    /// The keys that are not revoked. None: there is no key and never was one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn live_api_keys(&self) -> Result<Option<Vec<LiveKey>>, StoreError> {
        self.run("api_keys", |conn, _| {
            async move {
                let rows: Vec<LiveTuple> = select::<LiveSql>(LIVE, vec![]).load(conn).await?;
                if rows.is_empty() {
                    let any: Option<i64> = select::<BigInt>(ANY, vec![]).get_result(conn).await.optional()?;
                    return Ok(any.map(|_| Vec::new()));
                }
                Ok(Some(rows.into_iter().filter_map(live).collect()))
            }
            .boxed()
        })
        .await
    }

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

    /// These keys have just been used.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn api_keys_used(&self, keys: Vec<KeyId>) -> Result<(), StoreError> {
        let keys = Arc::new(keys);
        self.run("api_keys", move |conn, _| {
            let keys = Arc::clone(&keys);
            async move {
                for chunk in keys.chunks(MAX_ROWS) {
                    let binds = padded(&chunk.iter().map(|key| Bind::Id(key.0)).collect::<Vec<_>>());
                    statement(USED.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

async fn count(conn: &mut Connection, text: &str, binds: Vec<Bind<'_>>) -> QueryResult<u64> {
    let count: i64 = select::<BigInt>(text, binds).get_result(conn).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Until the transaction ends, no other makes or revokes a key.
async fn wait_for_others(conn: &mut Connection) -> QueryResult<()> {
    let _first: Option<Key> = select::<Binary>(FIRST, vec![]).get_result(conn).await.optional()?;
    Ok(())
}

/// Whether a key other than this one may make keys.
async fn has_other_admin(conn: &mut Connection, id: KeyId) -> QueryResult<bool> {
    Ok(count(conn, COUNT_ADMINS, vec![Bind::Id(id.0)]).await? > 0)
}

async fn revoke(conn: &mut Connection, id: KeyId, admin: Admin) -> QueryResult<Revoked> {
    wait_for_others(conn).await?;
    if admin == Admin::Kept
        && count(conn, IS_ADMIN, vec![Bind::Id(id.0)]).await? > 0
        && !has_other_admin(conn, id).await?
    {
        return Ok(Revoked::LastAdmin);
    }
    statement(REVOKE, vec![Bind::Id(id.0)]).execute(conn).await?;
    Ok(look(conn, id).await?.map_or(Revoked::Unknown, |row| Revoked::Done(Box::new(row))))
}

async fn insert(conn: &mut Connection, key: &NewKeyRow, admin: Admin) -> QueryResult<Inserted> {
    wait_for_others(conn).await?;
    if count(conn, COUNT, vec![]).await? >= MAX_KEYS {
        return Ok(Inserted::TooMany);
    }
    if admin == Admin::Kept && !key.scopes.contains(&Scope::Admin) && !has_other_admin(conn, key.id).await? {
        return Ok(Inserted::NoAdmin);
    }
    let spare = count(conn, COUNT_REVOKED, vec![]).await?.saturating_sub(MAX_REVOKED);
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
