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
    let snapshot = Snapshot::new(Instant::now(), Some(vec![expiring, rotated]), None, None);
    assert!(["a", "old", "b", "before"].iter().all(|secret| valid(&snapshot, secret)));
    pass(1000).await;
    assert!(matches!(snapshot.find(&hash("before")), Found::Expired));
    assert!(valid(&snapshot, "a") && valid(&snapshot, "b"));
    pass(1000).await;
    assert!(matches!(snapshot.find(&hash("a")), Found::Expired));
    assert!(matches!(snapshot.find(&hash("old")), Found::Expired), "no previous one outlives its key");
    assert!(valid(&snapshot, "b"));
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
