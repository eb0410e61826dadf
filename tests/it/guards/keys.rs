//! Keys: however many submit with one key at once, and whatever is lost on the way, one task is made.

use super::proxy::Proxy;
use super::{Ground, MINUTE, key, noop, only};
use crate::harness::eventually;
use mysql_async::prelude::Queryable;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::purge;
use taskrunnerx::lifecycle::submit::Submitter;
use taskrunnerx::store::tasks::{Entry, Holder, Idempotency, Insert, Keyed, KeyedGroup, Selection, Ways};
use taskrunnerx::store::{Store, StoreError};
use taskrunnerx::stream::Gates;
use taskrunnerx::task::{KeyHash, NewTask, RequestHash, TaskId, Unique, Way};

const HOUR: Duration = Duration::from_secs(3600);

/// A `noop` with a unique key.
fn unique(key: &str) -> NewTask {
    NewTask { unique: Some(Unique { key: key.into(), held_for: None }), ..noop() }
}

/// The same, held for an hour in any case.
fn for_an_hour(key: &str) -> NewTask {
    NewTask { unique: Some(Unique { key: key.into(), held_for: Some(HOUR) }), ..noop() }
}

fn hash(key: &str) -> String {
    let hex: String = KeyHash::unique("noop", key).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}

fn idempotency(key: &str, body: &str) -> Idempotency {
    let hash = KeyHash::idempotency("somebody", key);
    Idempotency { hash, request: RequestHash::of(body.as_bytes()), retain: HOUR }
}

fn group(tasks: Vec<NewTask>, idempotency: Option<Idempotency>) -> KeyedGroup {
    let tasks = tasks.into_iter().map(|task| Insert { task, direct: false }).collect();
    KeyedGroup { tasks, idempotency }
}

/// Each task alone.
fn each(tasks: Vec<NewTask>) -> Vec<KeyedGroup> {
    tasks.into_iter().map(|task| group(vec![task], None)).collect()
}

async fn submit(store: &Store, group: KeyedGroup) -> Keyed {
    only(store.insert_keyed(vec![group]).await).unwrap()
}

/// Whether it was made now, and the task that stands there.
fn places(keyed: &Keyed) -> Vec<(bool, TaskId)> {
    let Keyed::Accepted(entries) = keyed else { panic!("{keyed:?}") };
    entries
        .iter()
        .map(|entry| match entry {
            Entry::New(task) => (true, task.id),
            Entry::Held(id) => (false, *id),
        })
        .collect()
}

/// It was made now; its id.
fn made(keyed: &Keyed) -> TaskId {
    let (new, id) = only(places(keyed));
    assert!(new, "{keyed:?}");
    id
}

fn held_by(id: TaskId) -> Keyed {
    Keyed::Accepted(vec![Entry::Held(id)])
}

impl Ground {
    async fn end(&mut self, id: TaskId) {
        self.set(id, "status = 'completed', lane = 0, finished_at = NOW(6)").await;
    }

    async fn tasks_and_keys(&mut self) -> (u64, u64) {
        (self.number("SELECT COUNT(*) FROM tasks").await, self.number("SELECT COUNT(*) FROM task_keys").await)
    }

    /// Another process's store.
    fn process(&self) -> Store {
        Store::new(&self.world.database_url, Some(4), self.world.metrics.clone()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_submit_with_one_key_at_once_one_makes_a_task() {
    let mut ground = Ground::new().await;
    let processes: Vec<Store> = (0..6).map(|_| ground.process()).collect();
    for round in 0..10_u64 {
        let name = format!("k{round}");
        // One group alone, and one that others share a batch with.
        let batch = |i: usize| {
            let own = unique(&format!("own {round} {i}"));
            let mut batch = vec![group(vec![unique(&name)], Some(idempotency(&name, "body")))];
            batch.extend((i % 2 == 1).then(|| group(vec![own], None)));
            batch
        };
        let mut calls = tokio::task::JoinSet::new();
        for (i, store) in processes.iter().enumerate() {
            let (store, batch) = (store.clone(), batch(i));
            calls.spawn(async move { store.insert_keyed(batch).await.into_iter().map(Result::unwrap).collect() });
        }
        let answers: Vec<Vec<Keyed>> = calls.join_all().await;
        let (first, rest): (Vec<_>, Vec<_>) =
            answers.iter().map(|batch| &batch[0]).partition(|keyed| matches!(keyed, Keyed::Accepted(_)));
        let id = made(only(first));
        assert!(rest.iter().all(|keyed| **keyed == Keyed::Repeated(vec![id])), "{rest:?}");
        assert!(answers.iter().flat_map(|batch| batch.iter().skip(1)).all(|keyed| places(keyed)[0].0));
        assert_eq!(ground.tasks_and_keys().await, ((round + 1) * 4, (round + 1) * 5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_submit_with_one_unique_key_at_once_one_makes_a_task_also_where_it_is_to_be_taken_over() {
    let mut ground = Ground::new().await;
    let processes: Vec<Store> = (0..6).map(|_| ground.process()).collect();
    for round in 1..=10 {
        let mut calls = tokio::task::JoinSet::new();
        for store in processes.clone() {
            calls.spawn(async move { submit(&store, group(vec![unique("k")], None)).await });
        }
        let answers = calls.join_all().await;
        let new: Vec<&Keyed> = answers.iter().filter(|keyed| places(keyed)[0].0).collect();
        let id = made(only(new));
        assert!(answers.iter().all(|keyed| only(places(keyed)).1 == id), "{answers:?}");
        assert_eq!(ground.tasks_and_keys().await, (round, 1));
        ground.end(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_key_is_held_while_its_task_lives_and_for_its_time() {
    let mut ground = Ground::new().await;
    let store = ground.store.clone();
    let first = made(&submit(&store, group(vec![unique("k")], None)).await);
    assert_eq!(ground.task(first).await.unique_key.as_deref(), Some("k"));
    for status in ["status = 'scheduled', lane = 1", "status = 'running', lane = 3", "status = 'queued', lane = 64"] {
        ground.set(first, status).await;
        assert_eq!(submit(&store, group(vec![unique("k")], None)).await, held_by(first), "{status}");
    }
    // Other keys, and other types' keys.
    made(&submit(&store, group(vec![unique("K")], None)).await);
    made(&submit(&store, group(vec![NewTask { name: "echo".into(), ..unique("k") }], None)).await);
    ground.end(first).await;
    let second = made(&submit(&store, group(vec![for_an_hour("k")], None)).await);
    ground.end(second).await;
    assert_eq!(submit(&store, group(vec![unique("k")], None)).await, held_by(second), "its time is not over");
    let holder = store.unique_key_holder("noop", "k").await.unwrap();
    let until = ground.task(second).await.created_at + HOUR;
    assert_eq!(holder, Some(Holder { id: second, until }));
    ground.sql.query_drop("UPDATE task_keys SET expires_at = NOW(6)").await.unwrap();
    assert_eq!(store.unique_key_holder("noop", "k").await.unwrap(), None);
    let third = made(&submit(&store, group(vec![unique("k")], None)).await);
    // Gone is as good as ended.
    ground.sql.query_drop(format!("DELETE FROM tasks WHERE id = {}", key(third))).await.unwrap();
    made(&submit(&store, group(vec![unique("k")], None)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_holder_is_gone_before_its_time_is_over_nothing_of_the_group_is_accepted() {
    let mut ground = Ground::new().await;
    let id = made(&submit(&ground.store, group(vec![for_an_hour("k")], None)).await);
    let until = ground.task(id).await.created_at + HOUR;
    ground.sql.query_drop("DELETE FROM tasks").await.unwrap();
    let tasks = vec![noop(), unique("other"), unique("k")];
    let answer = submit(&ground.store, group(tasks, Some(idempotency("k", "body")))).await;
    assert_eq!(answer, Keyed::HolderGone { index: 2, id, until });
    assert_eq!(ground.tasks_and_keys().await, (0, 1), "no key of it either");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_belongs_to_one_request_and_knows_its_tasks_until_its_time_is_over() {
    let mut ground = Ground::new().await;
    let store = ground.store.clone();
    let holder = made(&submit(&store, group(vec![unique("held")], None)).await);
    let tasks = || vec![noop(), unique("held"), unique("a"), noop(), unique("a")];
    let bulk = |body| group(tasks(), Some(idempotency("k", body)));
    let first = places(&submit(&store, bulk("body")).await);
    assert_eq!(first.iter().map(|(new, _)| *new).collect::<Vec<_>>(), [true, false, true, true, false]);
    assert_eq!((first[1].1, first[4].1), (holder, first[2].1));
    let ids: Vec<TaskId> = first.iter().map(|(_, id)| *id).collect();
    assert_eq!(submit(&store, bulk("body")).await, Keyed::Repeated(ids.clone()), "in its order");
    assert_eq!(submit(&store, bulk("another body")).await, Keyed::OtherRequest);
    // Whatever becomes of the tasks.
    ground.sql.query_drop("UPDATE tasks SET status = 'completed', lane = 0").await.unwrap();
    assert_eq!(submit(&store, bulk("body")).await, Keyed::Repeated(ids));
    assert_eq!(ground.tasks_and_keys().await, (4, 3));
    ground.sql.query_drop("UPDATE task_keys SET expires_at = NOW(6) WHERE request_hash IS NOT NULL").await.unwrap();
    let again = places(&submit(&store, bulk("another body")).await);
    assert!(again[0].0 && again[0].1 != first[0].1, "it is as good as new");
    assert_eq!(submit(&store, bulk("body")).await, Keyed::OtherRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_batch_the_first_with_a_key_gets_it() {
    let mut ground = Ground::new().await;
    let request = |body| group(vec![noop()], Some(idempotency("k", body)));
    let batch = vec![
        request("body"),
        request("body"),
        request("another body"),
        group(vec![unique("u")], None),
        group(vec![noop(), unique("u"), unique("u")], None),
    ];
    let answers: Vec<Keyed> = ground.store.insert_keyed(batch).await.into_iter().map(Result::unwrap).collect();
    let (first, holder) = (made(&answers[0]), made(&answers[3]));
    assert_eq!(answers[1..3], [Keyed::Repeated(vec![first]), Keyed::OtherRequest]);
    let last = places(&answers[4]);
    assert_eq!((last[0].0, &last[1..]), (true, &[(false, holder), (false, holder)][..]));
    assert_eq!(ground.tasks_and_keys().await, (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_of_keyed_groups_the_bad_one_stands_alone() {
    for bad in [0, 3, 6] {
        let mut ground = Ground::new().await;
        let mut batch = each((0..7).map(|i| unique(&format!("k{i}"))).collect());
        batch[bad].tasks.push(Insert { task: NewTask { name: "x".repeat(129).into(), ..noop() }, direct: false });
        for (i, answer) in ground.store.insert_keyed(batch).await.into_iter().enumerate() {
            match answer {
                Err(StoreError::Refused(why)) => assert!(i == bad && why.contains("Data too long"), "{i}: {why}"),
                answer => assert!(i != bad && places(&answer.unwrap())[0].0),
            }
        }
        assert_eq!(ground.tasks_and_keys().await, (6, 6), "its key is free");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_tasks_whose_answer_was_lost_are_in_once_and_answered_as_theirs() {
    let key = || Some(idempotency("k", "body"));
    let many = || vec![noop(), unique("a"), unique("a"), noop(), unique("held")];
    // The keys, the tasks, the commit.
    for (tasks, key) in [(vec![unique("a")], None), (vec![noop()], key()), (many(), key()), (many(), None)] {
        for lost in [&b"INSERT IGNORE INTO task_keys"[..], b"INSERT INTO tasks", b"\x03COMMIT"] {
            let mut ground = Ground::new().await;
            let holder = made(&submit(&ground.store, group(vec![unique("held")], None)).await);
            let proxy = Proxy::new(&ground.world).await;
            proxy.lose(lost, 1);
            let answer = submit(&proxy.store, group(tasks.clone(), key)).await;
            assert_eq!(proxy.left(), 0);
            let places = places(&answer);
            let new: HashSet<TaskId> = places.iter().filter(|(new, _)| *new).map(|(_, id)| *id).collect();
            for id in &new {
                ground.task(*id).await;
            }
            if let [_, a, also_a, _, held] = places[..] {
                assert_eq!((also_a, held), ((false, a.1), (false, holder)));
            }
            let (rows, _) = ground.tasks_and_keys().await;
            assert_eq!((rows, new.len()), if places.len() == 1 { (2, 1) } else { (4, 3) });
            if key.is_some() {
                let ids = places.iter().map(|(_, id)| *id).collect();
                assert_eq!(submit(&ground.store, group(tasks.clone(), key)).await, Keyed::Repeated(ids));
            }
        }
    }
}

/// Waits until a call waits for a lock, or has gone on without.
async fn until_it_waits<T>(ground: &mut Ground, call: &tokio::task::JoinHandle<T>) {
    eventually("it waits for a lock, or is done", async || {
        (ground.blocked().await == 1 || call.is_finished()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_taken_over_is_not_taken_over_by_another() {
    let mut ground = Ground::new().await;
    let first = made(&submit(&ground.store, group(vec![unique("k")], None)).await);
    ground.end(first).await;
    let proxy = Proxy::new(&ground.world).await;
    proxy.hold(b"UPDATE task_keys");
    let store = proxy.store.clone();
    let one = tokio::spawn(async move { submit(&store, group(vec![unique("k")], None)).await });
    proxy.held().await;
    // It has seen that the holder has ended. So would these.
    let store = ground.store.clone();
    let other = tokio::spawn(async move { submit(&store, group(vec![unique("k")], None)).await });
    until_it_waits(&mut ground, &other).await;
    proxy.go_on();
    let id = made(&one.await.unwrap());
    assert_eq!(other.await.unwrap(), held_by(id));
    assert_eq!(ground.store.retake_key(first, "noop", "k").await.unwrap(), Some(id), "nor by its first holder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_holder_is_made_to_live_again_is_neither_taken_over_nor_purged() {
    let mut ground = Ground::new().await;
    let id = made(&submit(&ground.store, group(vec![unique("k")], None)).await);
    for purged in [false, true] {
        ground.end(id).await;
        // As a manual retry does it.
        let mut operator = ground.world.sql().await;
        operator.query_drop("START TRANSACTION").await.unwrap();
        let lock = format!("SELECT hash FROM task_keys WHERE hash = {} FOR UPDATE", hash("k"));
        operator.query_drop(lock).await.unwrap();
        operator.query_drop("UPDATE tasks SET status = 'queued', lane = 2").await.unwrap();
        let store = ground.store.clone();
        let call = tokio::spawn(async move {
            match purged {
                true => assert_eq!(purge::pass_keys(&store, Duration::ZERO).await.unwrap(), 0),
                false => assert_eq!(submit(&store, group(vec![unique("k")], None)).await, held_by(id)),
            }
        });
        until_it_waits(&mut ground, &call).await;
        operator.query_drop("COMMIT").await.unwrap();
        call.await.unwrap();
        assert_eq!(ground.tasks_and_keys().await, (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lives_again_takes_its_key_again_unless_another_has_it() {
    let mut ground = Ground::new().await;
    let first = made(&submit(&ground.store, group(vec![unique("k")], None)).await);
    ground.end(first).await;
    let retake = async |ground: &Ground, id| ground.store.retake_key(id, "noop", "k").await.unwrap();
    assert_eq!(retake(&ground, first).await, None, "it has it still");
    ground.sql.query_drop("DELETE FROM task_keys").await.unwrap();
    assert_eq!(retake(&ground, first).await, None, "nobody has it");
    ground.set(first, "status = 'queued', lane = 2").await;
    assert_eq!(submit(&ground.store, group(vec![unique("k")], None)).await, held_by(first), "it holds it again");
    ground.end(first).await;
    let second = made(&submit(&ground.store, group(vec![for_an_hour("k")], None)).await);
    assert_eq!(retake(&ground, first).await, Some(second));
    ground.end(second).await;
    assert_eq!(retake(&ground, first).await, Some(second), "for an hour");
    assert_eq!(retake(&ground, second).await, None);
    ground.sql.query_drop("UPDATE task_keys SET expires_at = NOW(6)").await.unwrap();
    assert_eq!(retake(&ground, first).await, None);
    assert_eq!(retake(&ground, second).await, None, "nobody has said yet that the first lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_takes_the_unique_key_again_unless_another_task_holds_it() {
    let mut ground = Ground::new().await;
    let store = ground.store.clone();
    let ways: Ways = Arc::new(|_| Way::Stream);
    let first = made(&submit(&store, group(vec![unique("k")], None)).await);
    ground.end(first).await;
    let second = made(&submit(&store, group(vec![unique("k")], None)).await);
    let plain = ground.insert(noop(), false, 1).await[0];
    for id in [first, plain] {
        ground.set(id, "status = 'failed', lane = 0").await;
    }
    let before = ground.row(first).await;
    let asked = store.retry(first, Arc::clone(&ways)).await.unwrap().unwrap();
    assert_eq!((asked.changed, asked.held_by), (false, Some(second)));
    // Among many it is passed over, and counted: also where nothing is to be changed.
    let selection = Arc::new(Selection::default());
    let many = vec![first, plain];
    let dry = store.retry_chosen(many.clone(), Arc::clone(&selection), 2, true, Arc::clone(&ways)).await.unwrap();
    assert_eq!((dry.matched.len(), dry.changed.len(), dry.held), (2, 0, 1));
    let batch = store.retry_chosen(many, Arc::clone(&selection), 2, false, Arc::clone(&ways)).await.unwrap();
    assert_eq!((batch.matched.len(), batch.held, only(batch.changed).id), (2, 1, plain));
    assert_eq!(ground.row(first).await, before);
    // Both have ended: of the two one lives again.
    ground.set(second, "status = 'cancelled', lane = 0").await;
    let both = vec![first, second];
    let dry = store.retry_chosen(both.clone(), Arc::clone(&selection), 2, true, Arc::clone(&ways)).await.unwrap();
    assert_eq!((dry.matched.len(), dry.held), (2, 1));
    let batch = store.retry_chosen(both, selection, 2, false, Arc::clone(&ways)).await.unwrap();
    assert_eq!(batch.held, 1);
    let lives = only(batch.changed).id;
    assert_eq!(submit(&store, group(vec![unique("k")], None)).await, held_by(lives));
    let other = if lives == first { second } else { first };
    assert_eq!(store.retry(other, Arc::clone(&ways)).await.unwrap().unwrap().held_by, Some(lives));
    // Nobody has it any more: who lives again has it.
    ground.sql.query_drop("DELETE FROM task_keys").await.unwrap();
    assert!(store.retry(other, ways).await.unwrap().unwrap().changed);
    assert_eq!(submit(&store, group(vec![unique("k")], None)).await, held_by(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_key_for_too_long_is_told_so_and_its_neighbours_are_accepted() {
    let ground = Ground::new().await;
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    let row = format!("INSERT INTO task_keys VALUES ({}, NULL, x'{:032}', NULL, NOW(6))", hash("k"), 0);
    operator.query_drop(row).await.unwrap();
    let batch = each(["a", "k", "b", "c"].map(unique).into());
    let answers: Vec<Keyed> = ground.store.insert_keyed(batch).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers[1], Keyed::Busy);
    for i in [0, 2, 3] {
        made(&answers[i]);
    }
    operator.query_drop("ROLLBACK").await.unwrap();
    made(&submit(&ground.store, group(vec![unique("k")], None)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_whose_time_is_over_are_purged_and_those_of_live_tasks_stay() {
    let mut ground = Ground::new().await;
    let store = ground.store.clone();
    let live = made(&submit(&store, group(vec![unique("live")], None)).await);
    let timed = made(&submit(&store, group(vec![for_an_hour("timed")], None)).await);
    let (ended, gone) = (unique("ended"), unique("gone"));
    let ended = made(&submit(&store, group(vec![ended], None)).await);
    let gone = made(&submit(&store, group(vec![gone], None)).await);
    submit(&store, group(vec![noop()], Some(idempotency("young", "body")))).await;
    submit(&store, group(vec![noop()], Some(idempotency("old", "body")))).await;
    let old: String = idempotency("old", "").hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let past = format!("UPDATE task_keys SET expires_at = NOW(6) WHERE hash = x'{old}'");
    ground.sql.query_drop(past).await.unwrap();
    for id in [timed, ended] {
        ground.end(id).await;
    }
    ground.sql.query_drop(format!("DELETE FROM tasks WHERE id = {}", key(gone))).await.unwrap();
    assert_eq!(purge::pass_keys(&store, Duration::ZERO).await.unwrap(), 3);
    let left: Vec<Vec<u8>> = ground.sql.query("SELECT hash FROM task_keys").await.unwrap();
    let kept = [KeyHash::unique("noop", "live"), KeyHash::unique("noop", "timed"), idempotency("young", "").hash];
    assert_eq!(left.into_iter().collect::<HashSet<_>>(), kept.map(|hash| hash.as_bytes().to_vec()).into());
    ground.end(live).await;
    assert_eq!(purge::pass_keys(&store, Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_over_the_keys_comes_past_those_that_stay() {
    let mut ground = Ground::new().await;
    // All of one moment, and more of them than a step walks over.
    let tasks: Vec<NewTask> = (0..1100).map(|i| unique(&format!("k{i}"))).collect();
    let ids: Vec<TaskId> =
        places(&submit(&ground.store, group(tasks, None)).await).into_iter().map(|(_, id)| id).collect();
    let younger = made(&submit(&ground.store, group(vec![unique("younger")], None)).await);
    ground.end(younger).await;
    ground.end(ids[500]).await;
    assert_eq!(purge::pass_keys(&ground.store, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(ground.tasks_and_keys().await, (1101, 1099));
}

/// What has no key asks nobody about keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_without_keys_does_not_wait_for_keys() {
    let mut ground = Ground::new().await;
    let (submitter, _lanes) = Submitter::start(ground.tools(), Gates::default(), 100);
    submitter.submit(vec![noop()]).await.unwrap();
    let mut operator = ground.world.sql().await;
    operator.query_drop("LOCK TABLES task_keys WRITE").await.unwrap();
    let keyed = {
        let submitter = submitter.clone();
        tokio::spawn(async move { submitter.submit_keyed(vec![unique("k")], None).await.unwrap() })
    };
    ground.until_shut_out().await;
    for _ in 0..10 {
        let plain = NewTask { tags: vec!["a".into()], timeout: MINUTE, ..noop() };
        submitter.submit(vec![noop(), plain]).await.unwrap();
    }
    assert!(!keyed.is_finished());
    operator.query_drop("UNLOCK TABLES").await.unwrap();
    assert_eq!(keyed.await.unwrap().created, 1);
}
