//! Expire: what has not started in time is cancelled wherever it waits, and nothing else is.

use super::proxy::Proxy;
use super::{Ground, first_attempt, key, noop};
use mysql_async::prelude::Queryable;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::{expire, purge, rescue};
use taskrunnerx::store::tasks::{DeleteStep, Entry, Expiries, Insert, Keyed, KeyedGroup, Retention};
use taskrunnerx::task::{NewTask, Reason, Status, TaskId, Unique, Way, When, WorkerId};

const HOUR: Duration = Duration::from_secs(3600);

/// It expires within the hour.
fn mortal() -> NewTask {
    NewTask { expires_in: Some(HOUR), ..noop() }
}

impl Ground {
    /// Lets two hours pass for these tasks, as far as their expiry goes.
    async fn outlive(&mut self, ids: &[TaskId]) {
        let ids = ids.iter().map(|id| key(*id)).collect::<Vec<_>>().join(",");
        for (table, column, id) in [("tasks", "expires_at", "id"), ("task_expiries", "due_at", "task_id")] {
            let past = format!("UPDATE {table} SET {column} = {column} - INTERVAL 2 HOUR WHERE {id} IN ({ids})");
            self.sql.query_drop(past).await.unwrap();
        }
    }

    /// How many rows there are to look at, and how many of them name that task's own expiry.
    async fn noted(&mut self) -> (u64, u64) {
        let all = self.number("SELECT COUNT(*) FROM task_expiries").await;
        let own = "SELECT COUNT(*) FROM task_expiries JOIN tasks ON tasks.id = task_id AND expires_at = due_at";
        (all, self.number(own).await)
    }

    /// One pass; gives those that it has cancelled.
    async fn expire(&self) -> HashSet<TaskId> {
        let Expiries { expired, full } = self.store.expire().await.unwrap();
        assert!(!full);
        expired.into_iter().map(|task| task.id).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_cancelled_in_whatever_lane_it_waits() {
    let mut ground = Ground::new().await;
    let later = NewTask { when: When::After(HOUR), ..mortal() };
    let mut ids = Vec::new();
    for (task, direct) in [
        (later, false),
        (mortal(), false),
        (mortal(), true),
        (NewTask { way: Way::Outside, ..mortal() }, false),
        (NewTask { way: Way::Held, ..mortal() }, false),
    ] {
        ids.extend(ground.insert(task, direct, 2).await);
    }
    let given_back = ground.insert(mortal(), true, 2).await;
    ground.store.hand_back(given_back.clone(), HOUR).await.unwrap();
    ids.extend(given_back);
    ground.backlog(3).await;
    let lanes = "SELECT COUNT(DISTINCT lane, status) FROM tasks";
    assert_eq!(ground.number(lanes).await, 6, "they wait everywhere");
    assert_eq!(ground.noted().await, (12, 12), "and who has no expiry costs nothing");
    assert_eq!(ground.expire().await, HashSet::new());
    let (due, ahead): (Vec<TaskId>, Vec<TaskId>) = ids.chunks(2).map(|two| (two[0], two[1])).unzip();
    ground.outlive(&due).await;
    let mut before = Vec::new();
    for id in &ahead {
        before.push(ground.row(*id).await);
    }
    let tools = ground.tools();
    assert!(!expire::pass(&tools).await.unwrap());
    for id in &due {
        let task = ground.task(*id).await;
        assert_eq!((task.status, task.reason, task.attempt), (Status::Cancelled, Some(Reason::Expired), 0));
        assert!(task.started_at.is_none() && task.finished_at.is_some() && task.dispatched_at.is_none(), "{task:?}");
        assert_eq!(task.last_error.as_deref(), Some("expired before it started"));
        assert!(task.cancel_requested_at.is_none(), "nobody asked");
    }
    for (id, before) in ahead.iter().zip(before) {
        assert_eq!(ground.row(*id).await, before);
    }
    let ended = "SELECT COUNT(*) FROM tasks WHERE lane = 0";
    assert_eq!((ground.number(ended).await, ground.noted().await), (6, (6, 6)));
    let counted = tools.metrics.tasks_finished.with_label_values(&["default", "noop", "expired"]).get();
    assert_eq!(counted, 6);
    // Once.
    expire::pass(&tools).await.unwrap();
    assert_eq!(tools.metrics.tasks_finished.with_label_values(&["default", "noop", "expired"]).get(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_past_its_expiry_is_left_alone_and_cancelled_when_it_waits_again() {
    let mut ground = Ground::new().await;
    let worker = ground.register(HOUR).await;
    let ids = ground.insert(mortal(), true, 3).await;
    assert!(ground.store.claim(worker, first_attempt(&ids[..2])).await.unwrap().is_empty());
    ground.outlive(&ids).await;
    let before = (ground.row(ids[0]).await, ground.row(ids[1]).await);
    assert_eq!(ground.expire().await, HashSet::from([ids[2]]));
    assert_eq!((ground.row(ids[0]).await, ground.row(ids[1]).await), before);
    let soon = "SELECT COUNT(*) FROM task_expiries WHERE due_at BETWEEN NOW(6) - INTERVAL 1 MINUTE AND NOW(6) + INTERVAL 5 SECOND";
    assert_eq!(ground.number(soon).await, 2, "they are looked at again");
    // One is interrupted, the other completes.
    let held = ground.store.running_under(worker, 9).await.unwrap();
    let held = held.into_iter().filter(|held| held.id == ids[0]).collect();
    assert_eq!(rescue::release(&ground.tools(), held).await.unwrap(), 1);
    ground.set(ids[1], "status = 'completed', lane = 0, finished_at = NOW(6)").await;
    ground.sql.query_drop("UPDATE task_expiries SET due_at = NOW(6)").await.unwrap();
    assert_eq!(ground.expire().await, HashSet::from([ids[0]]));
    let task = ground.task(ids[0]).await;
    assert_eq!((task.status, task.reason, task.attempt), (Status::Cancelled, Some(Reason::Expired), 1));
    assert_eq!(ground.task(ids[1]).await.status, Status::Completed);
    assert_eq!(ground.noted().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_claimed_while_it_is_about_to_expire_runs_and_is_not_told_of() {
    let mut ground = Ground::new().await;
    let ids = ground.insert(mortal(), true, 2).await;
    ground.outlive(&ids).await;
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    let claim = "UPDATE tasks SET status = 'running', attempt = 1, worker_id = UNHEX(REPEAT('01', 16))";
    operator.query_drop(format!("{claim} WHERE id = {}", key(ids[0]))).await.unwrap();
    let store = ground.store.clone();
    let expiring = tokio::spawn(async move { store.expire().await.unwrap() });
    ground.until_blocked(1).await;
    operator.query_drop("COMMIT").await.unwrap();
    let told: Vec<TaskId> = expiring.await.unwrap().expired.into_iter().map(|task| task.id).collect();
    assert_eq!((told, ground.task(ids[0]).await.status), (vec![ids[1]], Status::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_put_off_or_taken_away_ends_nothing() {
    let mut ground = Ground::new().await;
    let ids = ground.insert(mortal(), false, 3).await;
    ground.outlive(&ids).await;
    ground.set(ids[0], "expires_at = NOW(6) + INTERVAL 1 HOUR").await;
    ground.set(ids[1], "expires_at = NULL").await;
    let before = (ground.row(ids[0]).await, ground.row(ids[1]).await);
    assert_eq!(ground.expire().await, HashSet::from([ids[2]]));
    assert_eq!((ground.row(ids[0]).await, ground.row(ids[1]).await), before);
    assert_eq!(ground.noted().await, (1, 1), "it is looked at when its time has come");
    ground.outlive(&ids[..1]).await;
    assert_eq!(ground.expire().await, HashSet::from([ids[0]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind_by_what_ends_or_goes() {
    let mut ground = Ground::new().await;
    let ids = ground.insert(mortal(), false, 5).await;
    for id in &ids {
        assert!(ground.store.cancel(*id).await.unwrap().unwrap().changed);
    }
    assert_eq!(ground.store.delete_step(ids[0]).await.unwrap(), DeleteStep::Deleted);
    assert_eq!(ground.noted().await, (4, 4), "an end costs nothing more");
    ground.sql.query_drop(format!("DELETE FROM tasks WHERE id = {}", key(ids[1]))).await.unwrap();
    ground.outlive(&ids[1..3]).await;
    let before = ground.row(ids[2]).await;
    assert_eq!(ground.expire().await, HashSet::new());
    assert_eq!((ground.noted().await, ground.row(ids[2]).await), ((2, 2), before));
    ground.set(ids[4], "finished_at = NOW(6) - INTERVAL 2 HOUR").await;
    let retention = Retention { completed: HOUR, failed: HOUR };
    assert_eq!(purge::pass(&ground.store, retention, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(ground.noted().await, (1, 1), "one has its retention before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lives_again_by_hand_expires_if_that_is_ahead() {
    let mut ground = Ground::new().await;
    let ids = ground.insert(mortal(), false, 3).await;
    for id in &ids {
        ground.store.cancel(*id).await.unwrap();
    }
    // As a version before would have left it.
    ground.sql.query_drop(format!("DELETE FROM task_expiries WHERE task_id = {}", key(ids[0]))).await.unwrap();
    ground.outlive(&ids[2..]).await;
    let ways: taskrunnerx::store::tasks::Ways = Arc::new(|_| Way::Stream);
    for id in &ids {
        assert!(ground.store.retry(*id, Arc::clone(&ways)).await.unwrap().unwrap().changed);
    }
    assert_eq!(ground.expire().await, HashSet::new());
    assert_eq!((ground.noted().await, ground.task(ids[2]).await.status), ((2, 2), Status::Queued));
    ground.outlive(&ids[..2]).await;
    assert_eq!(ground.expire().await, HashSet::from([ids[0], ids[1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_expire_at_once_are_shared_by_passes_and_each_is_told_of_once() {
    let mut ground = Ground::new().await;
    let ids = ground.insert(mortal(), false, 1000).await;
    ground.outlive(&ids).await;
    let mut passes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = ground.store.clone();
        passes.spawn(async move {
            let mut told = Vec::new();
            loop {
                let Expiries { expired, full } = store.expire().await.unwrap();
                told.extend(expired.into_iter().map(|task| task.id));
                if !full {
                    return told;
                }
            }
        });
    }
    let mut told: Vec<TaskId> = passes.join_all().await.concat();
    // What another pass had under way is left to it.
    told.extend(ground.expire().await);
    assert_eq!(told.len(), 1000);
    assert_eq!(told.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
    assert_eq!(ground.noted().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_does_not_wait_for_another() {
    let mut ground = Ground::new().await;
    let ids = ground.insert(mortal(), false, 2).await;
    ground.outlive(&ids).await;
    let mut operator = ground.world.sql().await;
    operator.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    operator.query_drop("START TRANSACTION").await.unwrap();
    let lock = "SELECT task_id FROM task_expiries ORDER BY due_at, task_id LIMIT 1 FOR UPDATE";
    let taken: Vec<u8> = operator.query_first(lock).await.unwrap().unwrap();
    let taken = TaskId(uuid::Uuid::from_slice(&taken).unwrap());
    // One that waited would be given up by the server, and fail.
    let done = ground.expire().await;
    operator.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(done, ids.into_iter().filter(|id| *id != taken).collect());
    assert_eq!(ground.expire().await, HashSet::from([taken]));
    assert_eq!(ground.noted().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_inserts_a_task_that_expires_notes_it_or_inserts_none() {
    let unique = |key: &str| NewTask { unique: Some(Unique { key: key.into(), held_for: None }), ..mortal() };
    let mut ground = Ground::new().await;
    let group = [noop(), mortal(), mortal(), unique("none"), NewTask { tags: vec!["a".into()], ..noop() }];
    let group = || group.iter().map(|task| Insert { task: task.clone(), direct: false }).collect::<Vec<_>>();
    ground.store.insert_tasks(vec![group(), group()]).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    assert_eq!(ground.noted().await, (6, 6));
    let tasks = vec![Insert { task: unique("k"), direct: false }];
    let keyed = ground.store.insert_keyed(vec![KeyedGroup { tasks, idempotency: None }]).await.pop().unwrap();
    assert!(matches!(keyed.unwrap(), Keyed::Accepted(entries) if matches!(entries.as_slice(), [Entry::New(_)])));
    assert_eq!(ground.noted().await, (7, 7));
    // One statement alone is not enough for one that expires.
    for lost in [&b"INSERT INTO task_expiries"[..], b"\x03COMMIT"] {
        let mut ground = Ground::new().await;
        let proxy = Proxy::new(&ground.world).await;
        proxy.lose(lost, 1);
        let task = Insert { task: mortal(), direct: false };
        assert_eq!(proxy.store.insert_tasks(vec![vec![task]]).await.pop().unwrap().unwrap().len(), 1);
        assert_eq!((proxy.left(), ground.noted().await), (0, (1, 1)));
        assert_eq!(ground.number("SELECT COUNT(*) FROM tasks").await, 1);
    }
    let mut ground = Ground::new().await;
    let proxy = Proxy::new(&ground.world).await;
    proxy.lose(b"INSERT INTO task_expiries", 100);
    let task = Insert { task: mortal(), direct: false };
    proxy.store.insert_tasks(vec![vec![task]]).await.pop().unwrap().unwrap_err();
    assert!(proxy.left() < 100);
    assert_eq!(ground.number("SELECT COUNT(*) FROM tasks").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_expired_holds_no_unique_key_and_who_has_started_does() {
    let mut ground = Ground::new().await;
    let submit = async |store: &taskrunnerx::store::Store| {
        let task = NewTask { unique: Some(Unique { key: "k".into(), held_for: None }), ..mortal() };
        let group = KeyedGroup { tasks: vec![Insert { task, direct: false }], idempotency: None };
        match store.insert_keyed(vec![group]).await.pop().unwrap().unwrap() {
            Keyed::Accepted(mut entries) => match entries.pop().unwrap() {
                Entry::New(task) => (true, task.id),
                Entry::Held(id) => (false, id),
            },
            other => panic!("{other:?}"),
        }
    };
    let (_, first) = submit(&ground.store).await;
    assert_eq!(submit(&ground.store).await, (false, first));
    ground.outlive(&[first]).await;
    assert_eq!(ground.store.unique_key_holder("noop", "k").await.unwrap(), None);
    let (new, second) = submit(&ground.store).await;
    assert!(new && second != first);
    assert_eq!(ground.expire().await, HashSet::from([first]));
    assert_eq!(submit(&ground.store).await, (false, second));
    // It started in time, and holds its key for as long as it runs.
    assert!(ground.store.claim(WorkerId::fresh(), first_attempt(&[second])).await.unwrap().is_empty());
    ground.outlive(&[second]).await;
    assert_eq!(submit(&ground.store).await, (false, second));
    assert_eq!(ground.expire().await, HashSet::new());
    assert_eq!(submit(&ground.store).await, (false, second));
}
