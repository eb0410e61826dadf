//! Leases: of workers on their tasks, of dispatchers on their queues.

use super::proxy::Proxy;
use super::{Ground, MINUTE, entry, first_attempt, key, queue};
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::rescue;
use taskrunnerx::store::tasks::{Claim, Finish, Held, Record};
use taskrunnerx::store::workers::{LiveWorker, NewWorker};
use taskrunnerx::task::{Reason, Status, TaskId, WorkerId};

fn row(worker: WorkerId) -> String {
    key(TaskId(worker.0))
}

fn ids(mut held: Vec<Held>) -> Vec<TaskId> {
    held.sort_unstable_by_key(|held| held.id);
    held.into_iter().map(|held| held.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_workers_whose_own_lease_ran_out_are_fenced_and_they_stay_fenced() {
    let mut ground = Ground::new().await;
    let long = ground.register(MINUTE).await;
    let short = ground.register(Duration::ZERO).await;
    assert_eq!(ground.store.fence_expired_workers().await.unwrap(), 1);
    let query = format!("SELECT CAST(dead_at AS CHAR) FROM workers WHERE id = {}", row(short));
    let died: String = ground.sql.query_first(&query).await.unwrap().unwrap();
    assert_eq!(ground.store.fence_expired_workers().await.unwrap(), 0, "once");
    assert_eq!(ground.sql.query_first::<String, _>(&query).await.unwrap().unwrap(), died);
    assert_eq!(ground.store.dead_workers().await.unwrap(), [short]);
    let live: Vec<LiveWorker> = ground.store.live_workers().await.unwrap();
    assert_eq!(live.into_iter().map(|worker| worker.id).collect::<Vec<_>>(), [long]);
    // Too late for the one, and for one that has no row; not for the other.
    assert!(!ground.store.renew_worker(short, MINUTE).await.unwrap());
    assert!(!ground.store.renew_worker(WorkerId::fresh(), MINUTE).await.unwrap());
    assert!(ground.store.renew_worker(long, MINUTE).await.unwrap());
    assert_eq!(ground.store.fence_expired_workers().await.unwrap(), 0);
    assert_eq!(ground.store.dead_workers().await.unwrap(), [short], "a refused renewal changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_lives_while_its_lease_does_and_nobody_has_fenced_it() {
    let mut ground = Ground::new().await;
    let lives = ground.register(MINUTE).await;
    let fenced = ground.register(MINUTE).await;
    ground.register(Duration::ZERO).await;
    ground.sql.query_drop(format!("UPDATE workers SET dead_at = NOW(6) WHERE id = {}", row(fenced))).await.unwrap();
    let live: Vec<LiveWorker> = ground.store.live_workers().await.unwrap();
    assert_eq!(live.into_iter().map(|worker| worker.id).collect::<Vec<_>>(), [lives]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_renewal_that_nobody_fenced_counts() {
    let ground = Ground::new().await;
    let late = ground.register(Duration::ZERO).await;
    assert!(ground.store.renew_worker(late, MINUTE).await.unwrap());
    assert_eq!(ground.store.fence_expired_workers().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_whose_answer_was_lost_is_one_worker() {
    let mut ground = Ground::new().await;
    let proxy = Proxy::new(&ground.world).await;
    let id = WorkerId::fresh();
    proxy.lose(id.0.as_bytes(), 1);
    let worker = NewWorker { id, host: "here".into(), pid: 1, queues: "[]".into(), slots: 1 };
    proxy.store.register_worker(worker, MINUTE).await.unwrap();
    assert_eq!((proxy.left(), ground.number("SELECT COUNT(*) FROM workers").await), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_what_runs_under_a_worker_that_has_no_row() {
    let mut ground = Ground::new().await;
    let (live, dead, gone) = (ground.register(MINUTE).await, ground.register(Duration::ZERO).await, WorkerId::fresh());
    ground.store.fence_expired_workers().await.unwrap();
    ground.running(live, 1).await;
    let of_dead = ground.running(dead, 3).await;
    let orphans = ground.running(gone, 2).await;
    // Claimed once, and in the stream again: the row keeps the name of its last worker.
    for worker in [dead, gone] {
        let id = ground.running(worker, 1).await[0];
        ground.set(id, "status = 'queued'").await;
    }
    assert_eq!(ids(ground.store.orphans(100).await.unwrap()), orphans);
    assert_eq!(ids(ground.store.running_under(dead, 100).await.unwrap()), of_dead);
    assert_eq!(rescue::orphans(&ground.tools()).await.unwrap(), 2);
    assert_eq!(ground.store.orphans(100).await.unwrap(), []);
    for id in orphans {
        assert_eq!(ground.task(id).await.status, Status::Queued);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_takes_what_the_dead_worker_ran_and_leaves_nothing_of_it() {
    let mut ground = Ground::new().await;
    let (live, dead) = (ground.register(MINUTE).await, ground.register(Duration::ZERO).await);
    let (kept, taken) = (ground.running(live, 3).await, ground.running(dead, 5).await);
    ground.store.lease_queues(dead, vec![queue()], MINUTE).await.unwrap();
    let stream = ground.stream();
    stream.ensure_group("default").await.unwrap();
    for worker in [live, dead] {
        stream.append(vec![entry(&ground.task(taken[0]).await)]).await.unwrap();
        stream.reader(worker).read(&[queue()], 1, None).await.unwrap();
    }
    let parts = ground.tools();
    assert_eq!(rescue::pass(&parts).await.unwrap(), 5);
    assert_eq!(rescue::pass(&parts).await.unwrap(), 0);
    for id in taken {
        let task = ground.task(id).await;
        assert_eq!((task.status, task.attempt, task.dispatched_at), (Status::Queued, 1, None));
    }
    for id in kept {
        assert_eq!(ground.task(id).await.status, Status::Running);
    }
    assert_eq!(ground.number(&format!("SELECT COUNT(*) FROM workers WHERE id = {}", row(dead))).await, 0);
    assert_eq!(stream.state(&queue()).await.unwrap().pending, 1, "the living one's");
    assert_eq!(ground.store.lease_queues(live, vec![queue()], MINUTE).await.unwrap(), [queue()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_still_names_tasks_keeps_its_row() {
    let mut ground = Ground::new().await;
    let dead = ground.register(Duration::ZERO).await;
    let id = ground.running(dead, 1).await[0];
    // A claim that commits while the rescuer is at it: it has been read, and has moved on since.
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop(format!("UPDATE tasks SET attempt = 2 WHERE id = {}", key(id))).await.unwrap();
    let parts = ground.tools();
    let pass = tokio::spawn(async move { rescue::pass(&parts).await.unwrap() });
    ground.until_blocked(1).await;
    operator.query_drop("COMMIT").await.unwrap();
    assert_eq!(pass.await.unwrap(), 0, "guarded by the attempt it has read");
    assert_eq!(ground.number("SELECT COUNT(*) FROM workers").await, 1);
    assert_eq!(rescue::pass(&ground.tools()).await.unwrap(), 1, "by the next pass");
    assert_eq!(ground.number("SELECT COUNT(*) FROM workers").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_at_a_time_dispatches_a_queue() {
    let mut ground = Ground::new().await;
    let (a, b) = (WorkerId::fresh(), WorkerId::fresh());
    let all: Vec<Arc<str>> = ["default", "one", "two"].map(Arc::from).into();
    ground.store.ensure_queues(all.clone()).await.unwrap();
    ground.store.ensure_queues(all.clone()).await.unwrap();
    assert_eq!(ground.store.queue_names().await.unwrap(), all, "each once");
    assert_eq!(ground.store.lease_queues(a, all[..2].to_vec(), MINUTE).await.unwrap(), all[..2]);
    assert_eq!(ground.store.lease_queues(b, all.clone(), MINUTE).await.unwrap(), all[2..]);
    assert_eq!(ground.store.lease_queues(a, all.clone(), 60 * MINUTE).await.unwrap(), all[..2]);
    let renewed = "SELECT COUNT(*) FROM queues WHERE dispatcher_until > NOW(6) + INTERVAL 30 MINUTE";
    assert_eq!(ground.number(renewed).await, 2);
    // It ran out on one of them.
    let query = "UPDATE queues SET dispatcher_until = NOW(6) - INTERVAL 1 MICROSECOND WHERE name = 'one'";
    ground.sql.query_drop(query).await.unwrap();
    assert_eq!(ground.store.lease_queues(b, all.clone(), MINUTE).await.unwrap(), all[1..]);
    assert_eq!(ground.store.lease_queues(a, all.clone(), MINUTE).await.unwrap(), all[..1]);
    ground.store.release_queues(a).await.unwrap();
    assert_eq!(ground.store.lease_queues(a, all[1..].to_vec(), MINUTE).await.unwrap(), [] as [Arc<str>; 0]);
    assert_eq!(ground.store.lease_queues(b, all.clone(), MINUTE).await.unwrap(), all);
    assert_eq!(ground.store.lease_queues(a, all.clone(), MINUTE).await.unwrap(), [] as [Arc<str>; 0]);
    // A lease that is over when it is answered is none.
    assert_eq!(ground.store.lease_queues(b, all, Duration::ZERO).await.unwrap(), [] as [Arc<str>; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_ask_at_once_share_no_queue() {
    let ground = Ground::new().await;
    let all: Vec<Arc<str>> = (0..20).map(|i| Arc::from(format!("q{i:02}"))).collect();
    ground.store.ensure_queues(all.clone()).await.unwrap();
    let ask = || ground.store.lease_queues(WorkerId::fresh(), all.clone(), MINUTE);
    let (a, b) = tokio::join!(ask(), ask());
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.len() + b.len(), all.len());
    assert!(a.iter().all(|name| !b.contains(name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dead_worker_counts_a_forgiven_attempt_does_not_and_the_third_death_poisons() {
    let mut ground = Ground::new().await;
    let id = ground.dispatched(1).await[0];
    let parts = ground.tools();
    // A drain first: forgiven, and no death.
    let drained = WorkerId::fresh();
    ground.store.claim(drained, first_attempt(&[id])).await.unwrap();
    let record = Record::Requeue { forgiven: true, error: None };
    let drain =
        Finish { id, attempt: 1, worker: drained, record, history: Some(("interrupted", None)), crashed: false };
    ground.store.finish(vec![drain]).await;
    for death in 1..=3u32 {
        let worker = ground.register(Duration::ZERO).await;
        ground.store.claim(worker, vec![Claim { id, attempt: death }]).await.unwrap();
        assert_eq!(ground.task(id).await.attempt, death + 1);
        assert_eq!(rescue::pass(&parts).await.unwrap(), 1);
        let crashes = ground.number(&format!("SELECT crash_count FROM tasks WHERE id = {}", key(id))).await;
        let task = ground.task(id).await;
        assert_eq!((crashes, task.attempt, task.forgiven), (u64::from(death), death + 1, 1));
        assert_eq!(task.status, if death == 3 { Status::Failed } else { Status::Queued });
    }
    let task = ground.task(id).await;
    assert_eq!(task.reason, Some(Reason::Poisoned), "with an attempt left");
    let history: Vec<(u32, String)> =
        ground.sql.query("SELECT attempt, outcome FROM task_attempts ORDER BY attempt").await.unwrap();
    let words = ["interrupted", "lost", "lost", "lost"].map(str::to_owned);
    assert_eq!(history, [1, 2, 3, 4].into_iter().zip(words).collect::<Vec<_>>());
}
