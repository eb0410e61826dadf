//! The keys as this process knows them: a snapshot of all of them, which requests share.
//!
//! ```text
//!  age of the snapshot, from when its read was sent
//!  0 ─────────── 500 ms ─────────────── 1 s ────────────►
//!    used as it is │ used; read again behind │ read again before anybody is let in
//! ```
//!
//! Nobody polls: without requests nothing is read. Those who come at the same time wait for one read. That no
//! snapshot older than [`GREATEST_AGE`] lets anybody in is what `lifecycle::access` relies on, for a revocation that
//! holds everywhere when it is answered. Where the database cannot be asked, nobody is let in by a stored key.

use super::caller::{Caller, Kind, Rights};
use super::pace::Pace;
use crate::lifecycle::access::GREATEST_AGE;
use crate::store::api_keys::{Hash, LiveKey};
use crate::store::{Store, StoreError};
use crate::task::KeyId;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// A younger snapshot is not read again.
const FRESH: Duration = Duration::from_millis(500);
/// A key's use is told once in this time.
const USE_SECONDS: u64 = 60;
/// Uses wait so long for others, to be written together.
const USE_WAIT: Duration = Duration::from_secs(1);

/// The keys as they were read; None: there never was one.
type Read = Result<Option<Vec<LiveKey>>, StoreError>;
type Reader = Arc<dyn Fn() -> BoxFuture<'static, Read> + Send + Sync>;
type Writer = Arc<dyn Fn(Vec<KeyId>) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;
/// A read that is under way, for all who wait for it.
type Reading = Shared<BoxFuture<'static, Result<Arc<Snapshot>, StoreError>>>;

/// What the snapshots share of one key.
pub(super) struct Known {
    pub(super) id: KeyId,
    pub(super) caller: Caller,
    /// None: it may ask as often as it likes.
    pub(super) pace: Option<Pace>,
    /// The second of its last use that was told; 0: none was.
    told: AtomicU64,
    /// What it was made of: a row that was changed makes another.
    of: (String, Rights, Option<u32>),
}

impl Known {
    fn new(key: &LiveKey, rate: Option<NonZeroU32>) -> Self {
        let LiveKey { id, name, scopes, queues, names, rate_limit, .. } = key;
        let rights = Rights { scopes: Some(scopes.clone()), queues: queues.clone(), names: names.clone() };
        Self {
            id: *id,
            caller: Caller::new(name, Kind::Key(*id), rights.clone()),
            pace: rate_limit.and_then(NonZeroU32::new).or(rate).map(Pace::new),
            told: AtomicU64::new(0),
            of: (name.clone(), rights, *rate_limit),
        }
    }

    fn is_of(&self, key: &LiveKey) -> bool {
        let (name, Rights { scopes, queues, names }, rate_limit) = &self.of;
        *name == key.name
            && scopes.as_ref() == Some(&key.scopes)
            && *queues == key.queues
            && *names == key.names
            && *rate_limit == key.rate_limit
    }
}

/// What a secret opens.
struct Entry {
    hash: Hash,
    known: Arc<Known>,
    until: Option<Instant>,
}

impl Entry {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// What a secret turned out to be.
pub(super) enum Found {
    Valid(Arc<Known>),
    Expired,
    Unknown,
}

/// All keys at one instant.
pub(super) struct Snapshot {
    /// When the read was sent: the database may have been as it says just then, and not later.
    sent: Instant,
    /// None: there is no key in the database, and never was one.
    keys: Option<HashMap<Hash, Entry>>,
}

impl Snapshot {
    fn new(sent: Instant, keys: Option<Vec<LiveKey>>, before: Option<&Self>, rate: Option<NonZeroU32>) -> Self {
        let known: HashMap<KeyId, &Arc<Known>> = before
            .and_then(|before| before.keys.as_ref())
            .into_iter()
            .flat_map(|keys| keys.values().map(|entry| (entry.known.id, &entry.known)))
            .collect();
        let keys = keys.map(|keys| {
            let mut entries = HashMap::with_capacity(keys.len());
            for key in keys {
                let known = match known.get(&key.id) {
                    Some(known) if known.is_of(&key) => Arc::clone(known),
                    _ => Arc::new(Known::new(&key, rate)),
                };
                // Times that are left count from when the read was sent: a key ends early by as much as it took.
                let ends = key.expires_in.map(|left| sent + left);
                if let Some((hash, left)) = key.previous {
                    let until = ends.map_or(sent + left, |ends| ends.min(sent + left));
                    entries.insert(hash, Entry { hash, known: Arc::clone(&known), until: Some(until) });
                }
                entries.insert(key.hash, Entry { hash: key.hash, known, until: ends });
            }
            entries
        });
        Self { sent, keys }
    }

    /// Whether there is no key, and never was one.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_none()
    }

    /// The key of this hash.
    pub(super) fn find(&self, hash: &Hash) -> Found {
        let Some(entry) = self.keys.as_ref().and_then(|keys| keys.get(hash)) else { return Found::Unknown };
        let right: bool = entry.hash.ct_eq(hash).into();
        match (right, entry.is_over()) {
            (false, _) => Found::Unknown,
            (true, true) => Found::Expired,
            (true, false) => Found::Valid(Arc::clone(&entry.known)),
        }
    }
}

/// The latest snapshot, and how the next one is had.
pub(super) struct Keyring {
    reader: Reader,
    rate: Option<NonZeroU32>,
    latest: Arc<RwLock<Option<Arc<Snapshot>>>>,
    reading: Mutex<Option<Reading>>,
    uses: Arc<Uses>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// `rate` is for keys that have none of their own.
    pub(super) fn new(store: Store, rate: Option<NonZeroU32>) -> Self {
        let writer = store.clone();
        Self::over(
            Arc::new(move || {
                let store = store.clone();
                async move { store.live_api_keys().await }.boxed()
            }),
            Arc::new(move |keys| {
                let store = writer.clone();
                async move { store.api_keys_used(keys).await }.boxed()
            }),
            rate,
        )
    }

    fn over(reader: Reader, writer: Writer, rate: Option<NonZeroU32>) -> Self {
        let uses =
            Arc::new(Uses { writer, began: Instant::now(), waiting: Mutex::default(), due: AtomicBool::default() });
        Self { reader, rate, latest: Arc::default(), reading: Mutex::default(), uses }
    }

    /// The keys, as they were no longer than [`GREATEST_AGE`] ago, or at some moment after this call began.
    ///
    /// # Errors
    /// When the database had to be asked and could not be.
    pub(super) async fn current(&self) -> Result<Arc<Snapshot>, StoreError> {
        let asked = Instant::now();
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(latest) = latest {
            let age = asked.duration_since(latest.sent);
            if age < FRESH {
                return Ok(latest);
            }
            if age < GREATEST_AGE {
                drop(self.join());
                return Ok(latest);
            }
        }
        loop {
            let read = self.join().await?;
            // One that was under way may have been sent too long before.
            if read.sent >= asked || read.sent.elapsed() < GREATEST_AGE {
                return Ok(read);
            }
        }
    }

    /// The read that is under way; where there is none, one begins. It goes on whoever waits for it.
    fn join(&self) -> Reading {
        let mut slot = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = slot.as_ref().filter(|reading| reading.peek().is_none()) {
            return reading.clone();
        }
        let (reader, latest, rate) = (Arc::clone(&self.reader), Arc::clone(&self.latest), self.rate);
        let reading = async move {
            let sent = Instant::now();
            let keys = reader().await?;
            let mut latest = latest.write().unwrap_or_else(PoisonError::into_inner);
            let read = Arc::new(Snapshot::new(sent, keys, latest.as_deref(), rate));
            *latest = Some(Arc::clone(&read));
            Ok(read)
        };
        let reading = reading.boxed().shared();
        tokio::spawn(reading.clone());
        *slot = Some(reading.clone());
        reading
    }

    /// A key has let somebody in.
    pub(super) fn used(&self, known: &Known) {
        self.uses.used(known);
    }
}

/// Uses that are to be written.
struct Uses {
    writer: Writer,
    began: Instant,
    waiting: Mutex<Vec<KeyId>>,
    /// Somebody will write them.
    due: AtomicBool,
}

impl Uses {
    fn used(self: &Arc<Self>, known: &Known) {
        let second = self.began.elapsed().as_secs() + 1;
        let told = known.told.load(Ordering::Relaxed);
        if told != 0 && second < told + USE_SECONDS {
            return;
        }
        if known.told.compare_exchange(told, second, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(known.id);
        if self.due.swap(true, Ordering::AcqRel) {
            return;
        }
        let uses = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(USE_WAIT).await;
            // Before they are taken: who comes from now on sees to it again.
            uses.due.store(false, Ordering::Release);
            let keys = std::mem::take(&mut *uses.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            // The next use is told in a minute.
            if let Err(error) = (uses.writer)(keys).await {
                tracing::debug!(%error, "the uses of keys were not written");
            }
        });
    }
}

#[cfg(test)]
mod tests;
