//! Access: API keys are made, rotated and revoked, by the API and by the command line alike.
//!
//! ```text
//!  create ──► (it works) ──► rotate: another secret, the old one works until the overlap is over ──► revoke
//! ```
//!
//! What is answered here holds in every process. Each process lets people in by a snapshot of all keys, and none by
//! one that is older than [`GREATEST_AGE`], counted from when its read was sent. A read that is sent after the commit
//! sees the change. So once the commit is [`GREATEST_AGE`] ago, every snapshot that lets anybody in has it, and that
//! is when a verb answers: without a message to anybody, whichever process is slow or cut off from Redis. Only the
//! lengths of times are compared, never two hosts' clocks.
//!
//! A request that was let in before may still be under way.

use crate::config::Secret;
pub use crate::store::api_keys::Admin;
use crate::store::api_keys::{Hash, Inserted, KeyRow, MAX_KEYS, NewKeyRow, Revoked, Rotated};
use crate::store::{Store, StoreError};
use crate::task::{KeyId, Scope};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// The oldest snapshot of the keys by which anybody is let in.
pub const GREATEST_AGE: Duration = Duration::from_secs(1);
/// Clocks of two hosts do not run at quite the same speed.
const MARGIN: Duration = Duration::from_millis(20);
/// Begins every key, so that one that was let out is found by those who look for such.
pub const PREFIX: &str = "trx_";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;

/// A key as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it; it need not be unique.
    pub name: String,
    /// At least one.
    pub scopes: Vec<Scope>,
    /// Only these queues; None: every one.
    pub queues: Option<Vec<String>>,
    /// Only these task types; None: every one.
    pub names: Option<Vec<String>>,
    /// None: it never expires.
    pub expires_in: Option<Duration>,
    /// Requests a second of one process; None: as `limits.rate` says.
    pub rate_limit: Option<u32>,
    /// Who makes it.
    pub by: String,
}

/// A key with its secret, which is shown once and kept nowhere.
#[derive(Debug, Clone)]
pub struct Made {
    pub key: KeyRow,
    pub secret: Secret,
}

/// A key could not be made, rotated or revoked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there are {MAX_KEYS} keys, and there may be no more; revoke one first")]
    TooMany,
    /// From then on nobody could make one over REST.
    #[error(
        "the first key must have the scope admin: none of those that work has it, and without one nobody could make another"
    )]
    NoAdmin,
    #[error("key {0} is the last admin key: without it nobody could make another; make one first")]
    LastAdmin(KeyId),
    #[error("there is no key {0}")]
    Unknown(KeyId),
    #[error("key {0} is revoked or has expired; make a new one")]
    Over(KeyId),
}

/// What is kept of a secret.
#[must_use]
pub fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// 256 bits that nobody guesses: so a plain SHA-256 of them is enough at rest.
fn fresh_secret() -> String {
    let random: [u8; SECRET_BYTES] = rand::random();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// What was committed just now holds everywhere when this ends.
async fn settle() {
    tokio::time::sleep_until(Instant::now() + GREATEST_AGE + MARGIN).await;
}

/// Every key, the oldest first, with the latest of those revoked.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(store: &Store) -> Result<Vec<KeyRow>, StoreError> {
    store.api_keys().await
}

/// Makes a key. When it is there, every process takes it.
///
/// # Errors
/// When there are too many, it would leave nobody who may make keys, or the database cannot be reached: there may then be a key whose secret nobody has.
pub async fn create(store: &Store, key: NewKey, admin: Admin) -> Result<Made, AccessError> {
    let NewKey { name, scopes, queues, names, expires_in, rate_limit, by } = key;
    let secret = fresh_secret();
    let (id, hash) = (KeyId::fresh(), hash(&secret));
    let row = NewKeyRow { id, name, hash, scopes, queues, names, rate_limit, created_by: by, expires_in };
    let key = match store.insert_api_key(row, admin).await? {
        Inserted::Done(key) => *key,
        Inserted::TooMany => return Err(AccessError::TooMany),
        Inserted::NoAdmin => return Err(AccessError::NoAdmin),
    };
    tracing::info!(key.id = %key.id, key.name = key.name, by = key.created_by, "API key made");
    settle().await;
    Ok(Made { key, secret: Secret::new(secret) })
}

/// Gives a key another secret. The one that it had works until the overlap is over; the one before that, no more.
///
/// # Errors
/// When there is no such key, it is over, or the database cannot be reached: it may then have another secret, which
/// nobody has, and the old one for the overlap.
pub async fn rotate(store: &Store, id: KeyId, overlap: Duration, by: &str) -> Result<Made, AccessError> {
    let secret = fresh_secret();
    let key = match store.rotate_api_key(id, hash(&secret), overlap).await? {
        Rotated::Done(key) => key,
        Rotated::Over(_) => return Err(AccessError::Over(id)),
        Rotated::Unknown => return Err(AccessError::Unknown(id)),
    };
    tracing::info!(key.id = %id, key.name = key.name, by, "API key rotated");
    settle().await;
    Ok(Made { key, secret: Secret::new(secret) })
}

/// Revokes a key, also one that is so already. When this is done, no process lets it in.
///
/// # Errors
/// When there is no such key, it is the last that may make others, or the database cannot be reached; asking again does
/// no harm.
pub async fn revoke(store: &Store, id: KeyId, by: &str, admin: Admin) -> Result<KeyRow, AccessError> {
    let key = match store.revoke_api_key(id, admin).await? {
        Revoked::Done(key) => *key,
        Revoked::LastAdmin => return Err(AccessError::LastAdmin(id)),
        Revoked::Unknown => return Err(AccessError::Unknown(id)),
    };
    tracing::info!(key.id = %id, key.name = key.name, by, "API key revoked");
    settle().await;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_can_be_sent_and_are_not_shown() {
        let (one, other) = (fresh_secret(), fresh_secret());
        assert_ne!(one, other);
        for secret in [&one, &other] {
            assert_eq!(secret.len(), PREFIX.len() + 43);
            assert!(secret.starts_with(PREFIX) && secret.bytes().all(|byte| byte.is_ascii_graphic()), "{secret}");
            assert!(!format!("{:?}", Secret::new(secret.clone())).contains(secret.as_str()));
        }
        assert_eq!(hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
