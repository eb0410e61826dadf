//! API keys: who may ask for what. Of a key there is only its SHA-256.
//!
//! A key that is revoked keeps its row, the latest [`MAX_REVOKED`] of them: so that a table which has had a key never
//! looks like one that never had, and for whoever asks what became of it.

mod changes;

pub use changes::{Admin, Inserted, NewKeyRow, Revoked, Rotated};

use super::connection::{Connection, Store, utc};
use super::error::StoreError;
use super::row::Key;
use super::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{KeyId, Scope, Timestamp};
use chrono::NaiveDateTime;
use diesel::sql_types::{BigInt, Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::RunQueryDsl;
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
