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
    /// When each ends.
    ends: HashMap<KeyId, Option<Instant>>,
}

impl Snapshot {
    fn new(sent: Instant, keys: Option<Vec<LiveKey>>, before: Option<&Self>, rate: Option<NonZeroU32>) -> Self {
        let known: HashMap<KeyId, &Arc<Known>> = before
            .and_then(|before| before.keys.as_ref())
            .into_iter()
            .flat_map(|keys| keys.values().map(|entry| (entry.known.id, &entry.known)))
            .collect();
        let mut all = HashMap::new();
        let keys = keys.map(|keys| {
            let mut entries = HashMap::with_capacity(keys.len());
            for key in keys {
                let known = match known.get(&key.id) {
                    Some(known) if known.is_of(&key) => Arc::clone(known),
                    _ => Arc::new(Known::new(&key, rate)),
                };
                // Times that are left count from when the read was sent: a key ends early by as much as it took.
                let ends = key.expires_in.map(|left| sent + left);
                all.insert(key.id, ends);
                if let Some((hash, left)) = key.previous {
                    let until = ends.map_or(sent + left, |ends| ends.min(sent + left));
                    entries.insert(hash, Entry { hash, known: Arc::clone(&known), until: Some(until) });
                }
                entries.insert(key.hash, Entry { hash: key.hash, known, until: ends });
            }
            entries
        });
        Self { sent, keys, ends: all }
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

    /// Whether a key is valid still.
    pub(super) fn has(&self, id: KeyId) -> bool {
        self.ends.get(&id).is_some_and(|ends| ends.is_none_or(|ends| Instant::now() < ends))
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
mod tests {
    use super::*;
    use crate::lifecycle::access::hash;
    use crate::task::Scope;
    use std::sync::atomic::AtomicUsize;

    fn key(secret: &str) -> LiveKey {
        LiveKey {
            id: KeyId::fresh(),
            name: secret.to_owned(),
            hash: hash(secret),
            previous: None,
            expires_in: None,
            scopes: vec![Scope::Read],
            queues: None,
            names: None,
            rate_limit: None,
        }
    }

    /// A database that counts, takes its time, and may be away.
    #[derive(Default)]
    struct Fake {
        keys: Mutex<Option<Vec<LiveKey>>>,
        reads: AtomicUsize,
        millis: AtomicU64,
        away: AtomicBool,
        used: Mutex<Vec<KeyId>>,
    }

    fn ring(fake: &Arc<Fake>) -> Keyring {
        let (reads, uses) = (Arc::clone(fake), Arc::clone(fake));
        Keyring::over(
            Arc::new(move || {
                let fake = Arc::clone(&reads);
                async move {
                    fake.reads.fetch_add(1, Ordering::SeqCst);
                    // As it was when it was asked; the answer comes later.
                    let keys = fake.keys.lock().unwrap().clone();
                    tokio::time::sleep(Duration::from_millis(fake.millis.load(Ordering::SeqCst))).await;
                    let away = fake.away.load(Ordering::SeqCst);
                    if away { Err(StoreError::TimedOut) } else { Ok(keys) }
                }
                .boxed()
            }),
            Arc::new(move |keys| {
                uses.used.lock().unwrap().extend(keys);
                async { Ok(()) }.boxed()
            }),
            None,
        )
    }

    async fn pass(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn valid(snapshot: &Snapshot, secret: &str) -> bool {
        matches!(snapshot.find(&hash(secret)), Found::Valid(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_snapshot_is_used_an_older_one_read_again_behind_and_an_old_one_before() {
        let fake = Arc::new(Fake::default());
        *fake.keys.lock().unwrap() = Some(vec![key("a")]);
        let ring = ring(&fake);
        let reads = || fake.reads.load(Ordering::SeqCst);
        assert!(valid(&ring.current().await.unwrap(), "a"));
        pass(499).await;
        ring.current().await.unwrap();
        assert_eq!(reads(), 1, "young");
        *fake.keys.lock().unwrap() = Some(Vec::new());
        pass(2).await;
        assert!(valid(&ring.current().await.unwrap(), "a"), "used while it is read again");
        pass(1).await;
        assert_eq!(reads(), 2);
        assert!(!valid(&ring.current().await.unwrap(), "a"));
        // Nobody asks, nobody reads.
        pass(60_000).await;
        assert_eq!(reads(), 2);
        *fake.keys.lock().unwrap() = Some(vec![key("b")]);
        assert!(valid(&ring.current().await.unwrap(), "b"), "read before anybody is let in");
        assert_eq!(reads(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_counts_from_when_the_read_was_sent() {
        let fake = Arc::new(Fake::default());
        *fake.keys.lock().unwrap() = Some(vec![key("a")]);
        let ring = ring(&fake);
        fake.millis.store(900, Ordering::SeqCst);
        assert!(valid(&ring.current().await.unwrap(), "a"));
        *fake.keys.lock().unwrap() = Some(Vec::new());
        // Here for 150 ms, sent 1,050 ms ago.
        pass(150).await;
        fake.millis.store(0, Ordering::SeqCst);
        assert!(!valid(&ring.current().await.unwrap(), "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_was_sent_too_long_before_somebody_asked_lets_nobody_in() {
        let fake = Arc::new(Fake::default());
        *fake.keys.lock().unwrap() = Some(vec![key("a")]);
        let ring = Arc::new(ring(&fake));
        fake.millis.store(3000, Ordering::SeqCst);
        let first = tokio::spawn({
            let ring = Arc::clone(&ring);
            async move { ring.current().await.unwrap() }
        });
        pass(1500).await;
        // Revoked, and a second later asked for: joins the read that does not know of it.
        *fake.keys.lock().unwrap() = Some(Vec::new());
        let second = ring.current().await.unwrap();
        assert!(!valid(&second, "a"));
        assert!(valid(&first.await.unwrap(), "a"), "whoever asked before it was read was let in by what held then");
        assert_eq!(fake.reads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_at_once_share_a_read_and_its_failure() {
        let fake = Arc::new(Fake::default());
        let ring = ring(&fake);
        fake.millis.store(10, Ordering::SeqCst);
        let all = futures_util::future::join_all((0..50).map(|_| ring.current())).await;
        assert!(all.iter().all(|read| read.as_ref().is_ok_and(|read| read.is_empty())));
        assert_eq!(fake.reads.load(Ordering::SeqCst), 1);
        // Away: what is young still counts, nothing else.
        fake.away.store(true, Ordering::SeqCst);
        pass(900).await;
        assert!(ring.current().await.is_ok());
        pass(200).await;
        let all = futures_util::future::join_all((0..50).map(|_| ring.current())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(fake.reads.load(Ordering::SeqCst), 3);
        fake.away.store(false, Ordering::SeqCst);
        assert!(ring.current().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_ends_when_it_expires_and_the_one_before_a_rotation_when_the_overlap_is_over() {
        let fake = Arc::new(Fake::default());
        let seconds = |n| Duration::from_secs(n);
        let expiring = LiveKey { expires_in: Some(seconds(2)), previous: Some((hash("old"), seconds(9))), ..key("a") };
        let rotated = LiveKey { previous: Some((hash("before"), seconds(1))), ..key("b") };
        let ids = (expiring.id, rotated.id);
        let snapshot = Snapshot::new(Instant::now(), Some(vec![expiring, rotated]), None, None);
        assert!(["a", "old", "b", "before"].iter().all(|secret| valid(&snapshot, secret)));
        assert!(snapshot.has(ids.0) && snapshot.has(ids.1) && !snapshot.has(KeyId::fresh()));
        pass(1000).await;
        assert!(matches!(snapshot.find(&hash("before")), Found::Expired));
        assert!(valid(&snapshot, "a") && valid(&snapshot, "b"));
        pass(1000).await;
        assert!(matches!(snapshot.find(&hash("a")), Found::Expired));
        assert!(matches!(snapshot.find(&hash("old")), Found::Expired), "no previous one outlives its key");
        assert!(!snapshot.has(ids.0) && snapshot.has(ids.1));
        assert!(matches!(snapshot.find(&hash("c")), Found::Unknown));
        drop(fake);
    }

    #[tokio::test(start_paused = true)]
    async fn uses_are_told_together_and_once_a_minute_a_key() {
        let fake = Arc::new(Fake::default());
        let (a, b) = (key("a"), LiveKey { rate_limit: Some(1), ..key("b") });
        let expected = [a.id, b.id];
        *fake.keys.lock().unwrap() = Some(vec![a, b]);
        let ring = ring(&fake);
        let use_all = async || {
            let snapshot = ring.current().await.unwrap();
            for secret in ["a", "b", "a"] {
                let Found::Valid(known) = snapshot.find(&hash(secret)) else { panic!("{secret} is valid") };
                ring.used(&known);
            }
            if let Found::Valid(known) = snapshot.find(&hash("b")) {
                known.pace.as_ref().unwrap().step().is_over()
            } else {
                true
            }
        };
        // Over many snapshots it stays the same key, with its limit and its last use.
        assert!(!use_all().await);
        let over = use_all().await;
        assert!(over);
        for _ in 0..29 {
            pass(2000).await;
            use_all().await;
        }
        assert_eq!(*fake.used.lock().unwrap(), expected);
        pass(2001).await;
        use_all().await;
        pass(1001).await;
        assert_eq!(fake.used.lock().unwrap().len(), 4);
    }
}
