//! Claim: one owner an attempt.

use super::proxy::Proxy;
use super::{Ground, first_attempt, noop};
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use taskrunnerx::store::StoreError;
use taskrunnerx::store::tasks::{Claim, LostClaim};
use taskrunnerx::task::{Reason, Status, TaskId, WorkerId};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_that_claim_the_same_attempts_one_wins_each() {
    let ground = Ground::new().await;
    let ids = ground.dispatched(100).await;
    let (a, b) = (WorkerId::fresh(), WorkerId::fresh());
    let (lost_a, lost_b) =
        tokio::join!(ground.store.claim(a, first_attempt(&ids)), ground.store.claim(b, first_attempt(&ids)));
    let (lost_a, lost_b) = (lost_a.unwrap(), lost_b.unwrap());
    for id in ids {
        let task = ground.task(id).await;
        assert_eq!((task.status, task.attempt), (Status::Running, 1));
        let (owner_lost, other_lost) = if task.worker_id == Some(a) { (&lost_a, &lost_b) } else { (&lost_b, &lost_a) };
        assert_eq!((owner_lost.get(&id), other_lost.get(&id)), (None, Some(&LostClaim::Running)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_says_why_and_changes_nothing() {
    let mut ground = Ground::new().await;
    let (me, other) = (WorkerId::fresh(), WorkerId::fresh());
    let by = format!("worker_id = UNHEX('{}')", other.0.simple());
    // Each row carries the attempt number that its claim names, unless the number is the point.
    let cases = [
        ("attempt = 3".to_owned(), LostClaim::Moved),
        ("attempt = 1".to_owned(), LostClaim::Moved),
        ("attempt = 2, status = 'scheduled', lane = 1, dispatched_at = NULL".to_owned(), LostClaim::Moved),
        (format!("attempt = 2, status = 'running', {by}"), LostClaim::Running),
        (format!("attempt = 3, status = 'running', {by}"), LostClaim::Running),
        ("attempt = 2, status = 'completed', lane = 0".to_owned(), LostClaim::Finished),
        ("attempt = 2, status = 'failed', lane = 0".to_owned(), LostClaim::Finished),
        ("attempt = 2, status = 'cancelled', lane = 0".to_owned(), LostClaim::Finished),
    ];
    let ids = ground.dispatched(cases.len() + 1).await;
    let (good, bad) = ids.split_last().unwrap();
    ground.set(*good, "attempt = 2").await;
    let mut before = Vec::new();
    for (id, (assignments, _)) in bad.iter().zip(&cases) {
        ground.set(*id, assignments).await;
        before.push(ground.row(*id).await);
    }
    let gone = TaskId(uuid::Uuid::now_v7());
    let claims = ids.iter().chain([&gone]).map(|id| Claim { id: *id, attempt: 2 }).collect();
    let lost = ground.store.claim(me, claims).await.unwrap();
    let expected: HashMap<TaskId, LostClaim> =
        bad.iter().copied().zip(cases.iter().map(|case| case.1)).chain([(gone, LostClaim::Gone)]).collect();
    assert_eq!(lost, expected);
    for (id, row) in bad.iter().zip(before) {
        assert_eq!(ground.row(*id).await, row, "{:?}", expected[id]);
    }
    let task = ground.task(*good).await;
    assert_eq!((task.status, task.attempt, task.worker_id), (Status::Running, 3, Some(me)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_sent_again_is_won_again_and_spends_one_attempt() {
    let ground = Ground::new().await;
    let worker = WorkerId::fresh();
    let ids = ground.running(worker, 5).await;
    assert_eq!(ground.store.claim(worker, first_attempt(&ids)).await.unwrap(), HashMap::new());
    for id in ids {
        assert_eq!(ground.task(id).await.attempt, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_won_all_the_same() {
    let ground = Ground::new().await;
    let ids = ground.dispatched(3).await;
    let proxy = Proxy::new(&ground.world).await;
    let worker = WorkerId::fresh();
    // The statement's values hold the worker's id.
    proxy.lose(worker.0.as_bytes(), 1);
    assert_eq!(proxy.store.claim(worker, first_attempt(&ids)).await.unwrap(), HashMap::new());
    assert_eq!(proxy.left(), 0);
    for id in ids {
        let task = ground.task(id).await;
        assert_eq!((task.status, task.attempt, task.worker_id), (Status::Running, 1, Some(worker)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_task_is_cancelled_and_never_starts() {
    let mut ground = Ground::new().await;
    let mut mortal = noop();
    mortal.expires_in = Some(Duration::from_secs(3600));
    let ids = ground.insert(mortal, true, 4).await;
    for id in &ids[..2] {
        ground.set(*id, "expires_at = NOW(6) - INTERVAL 1 MICROSECOND").await;
    }
    let lost = ground.store.claim(WorkerId::fresh(), first_attempt(&ids)).await.unwrap();
    assert_eq!(lost, ids[..2].iter().map(|id| (*id, LostClaim::Expired)).collect());
    for id in &ids[..2] {
        let task = ground.task(*id).await;
        assert_eq!((task.status, task.reason, task.attempt), (Status::Cancelled, Some(Reason::Expired), 0));
        assert!(task.started_at.is_none() && task.finished_at.is_some() && task.dispatched_at.is_none());
    }
    for id in &ids[2..] {
        assert_eq!(ground.task(*id).await.status, Status::Running);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_after_it_was_seen_as_expired_is_not_cancelled() {
    let mut ground = Ground::new().await;
    let ids = ground.dispatched(3).await;
    for id in &ids {
        ground.set(*id, "expires_at = NOW(6) - INTERVAL 1 SECOND").await;
    }
    let proxy = Proxy::new(&ground.world).await;
    proxy.hold(b"reason = 'expired'");
    let (store, claims) = (proxy.store.clone(), first_attempt(&ids));
    let claiming = tokio::spawn(async move { store.claim(WorkerId::fresh(), claims).await.unwrap() });
    proxy.held().await;
    ground.set(ids[0], "status = 'cancelled', reason = 'cancelled', lane = 0").await;
    ground.set(ids[1], "expires_at = NOW(6) + INTERVAL 1 HOUR").await;
    let before = (ground.row(ids[0]).await, ground.row(ids[1]).await);
    proxy.go_on();
    assert_eq!(claiming.await.unwrap().len(), 3);
    assert_eq!((ground.row(ids[0]).await, ground.row(ids[1]).await), before);
    assert_eq!(ground.task(ids[2]).await.reason, Some(Reason::Expired));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_gives_up_before_the_sweep_would_take_its_tasks() {
    let ground = Ground::new().await;
    let ids = ground.dispatched(1).await;
    let worker = WorkerId::fresh();
    let mut operator = ground.world.sql().await;
    operator.query_drop("LOCK TABLES tasks WRITE").await.unwrap();
    let began = Instant::now();
    let answer = ground.store.claim(worker, first_attempt(&ids)).await;
    assert!(matches!(answer, Err(StoreError::TimedOut)), "{answer:?}");
    let grace = taskrunnerx::lifecycle::dispatch::SWEEP_GRACE.to_std().unwrap();
    assert!(began.elapsed() < grace, "{:?}", began.elapsed());
    // The connection that still waits is not given to anybody else.
    ground.store.now().await.unwrap();
    operator.query_drop("UNLOCK TABLES").await.unwrap();
    // Whether or not the statement that was given up still came through: it is this worker's.
    assert_eq!(ground.store.claim(worker, first_attempt(&ids)).await.unwrap(), HashMap::new());
    assert_eq!(ground.task(ids[0]).await.attempt, 1);
}
