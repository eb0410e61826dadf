//! What can go wrong with the database, provoked on the real server: each is told apart, and
//! what is worth another try gets it.

use super::proxy::Proxy;
use super::{Ground, key, noop, sessions};
use crate::harness::eventually;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use taskrunnerx::store::tasks::{Applied, Finish, Insert, Record};
use taskrunnerx::store::{Store, StoreError};
use taskrunnerx::task::{Status, WorkerId};

#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_a_deadlock_tries_again() {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    let mut ids = ground.running(me, 2).await;
    ids.sort_unstable();
    let weight = ground.dispatched(50).await;
    // The operator's transaction has changed more, so that the other one is undone.
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    for id in &weight {
        operator.query_drop(format!("UPDATE tasks SET result = '1' WHERE id = {}", key(*id))).await.unwrap();
    }
    operator.query_drop(format!("UPDATE tasks SET result = '1' WHERE id = {}", key(ids[1]))).await.unwrap();
    let record = Record::Retry { delay: Duration::ZERO, error: None };
    let finish = |id| Finish { id, attempt: 1, worker: me, record: record.clone(), history: None, crashed: false };
    let (store, batch) = (ground.store.clone(), ids.iter().map(|id| finish(*id)).collect());
    let finishing = tokio::spawn(async move { store.finish(batch).await });
    // It holds the first and waits for the second.
    ground.until_blocked(1).await;
    operator.query_drop(format!("UPDATE tasks SET result = '1' WHERE id = {}", key(ids[0]))).await.unwrap();
    operator.query_drop("COMMIT").await.unwrap();
    for applied in finishing.await.unwrap() {
        assert_eq!(applied.unwrap(), Applied::Recorded);
    }
    for id in ids {
        let task = ground.task(id).await;
        assert_eq!((task.status, task.result.as_deref()), (Status::Scheduled, Some("1")), "both came through");
    }
    assert_eq!(deadlocks(&ground), 0.0);
}

/// Contention that reached a caller.
fn deadlocks(ground: &Ground) -> f64 {
    let count = ground.world.metrics.store_errors.with_label_values(&["contended"]).get();
    f64::from(u32::try_from(count).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_wait_that_takes_too_long_is_tried_again() {
    let mut ground = Ground::new().await;
    ground.backlog(2).await;
    let mut operator = ground.world.sql().await;
    // Holds every row, and the gap behind the last.
    operator.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop("SELECT id FROM tasks FORCE INDEX (PRIMARY) FOR UPDATE").await.unwrap();
    let store = ground.store.clone();
    let inserting = tokio::spawn(async move { store.insert_tasks(vec![Insert { task: noop(), direct: false }]).await });
    ground.until_blocked(1).await;
    ground.until_blocked(0).await;
    ground.until_blocked(1).await;
    operator.query_drop("ROLLBACK").await.unwrap();
    inserting.await.unwrap().remove(0).unwrap();
    assert_eq!(ground.number("SELECT COUNT(*) FROM tasks").await, 3);
    assert_eq!(deadlocks(&ground), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_recovers_when_every_connection_is_killed() {
    let mut ground = Ground::new().await;
    let calls = || futures_util::future::join_all((0..8).map(|_| ground.store.now()));
    for answer in calls().await {
        answer.unwrap();
    }
    let mut operator = ground.world.sql().await;
    let sessions = sessions(&mut operator).await;
    let query = format!("SELECT id FROM {sessions} WHERE db = DATABASE() AND id <> CONNECTION_ID()");
    let own: u64 = ground.sql.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let all: Vec<u64> = operator.query(query).await.unwrap();
    let pool: Vec<u64> = all.into_iter().filter(|id| *id != own).collect();
    assert!(pool.len() >= 2, "{pool:?}");
    for id in &pool {
        operator.query_drop(format!("KILL {id}")).await.unwrap();
    }
    // At once, and by itself: nobody sees an error.
    for answer in futures_util::future::join_all((0..8).map(|_| ground.store.now())).await {
        answer.unwrap();
    }
    let left = ground.number(&format!("SELECT COUNT(*) FROM {sessions} WHERE db = DATABASE()")).await;
    assert!(left >= 3, "a pool again");
    let lost = ground.world.metrics.store_errors.with_label_values(&["lost"]).get();
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_every_time_is_said_to_be_lost() {
    let ground = Ground::new().await;
    let proxy = Proxy::new(&ground.world).await;
    proxy.lose(b"SELECT name FROM queues", 100);
    let answer = proxy.store.queue_names().await;
    assert!(matches!(&answer, Err(error @ StoreError::Lost(_)) if error.is_transient()), "{answer:?}");
    assert_eq!(proxy.left(), 95, "five tries");
    proxy.lose(b"", 0);
    proxy.store.queue_names().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable_and_wrong_sql_is_unexpected() {
    let mut ground = Ground::new().await;
    let nowhere = "mysql://root@localhost/nowhere?socket=/nowhere/mysql.sock";
    let answer = Store::new(nowhere, Some(1), ground.world.metrics.clone()).unwrap().now().await;
    assert!(matches!(&answer, Err(error @ StoreError::Unavailable(_)) if error.is_transient()), "{answer:?}");
    assert!(matches!(Store::new("no url", None, ground.world.metrics.clone()), Err(StoreError::Refused(_))));
    ground.sql.query_drop("ALTER TABLE queues RENAME COLUMN name TO title").await.unwrap();
    let answer = ground.store.queue_names().await;
    assert!(matches!(&answer, Err(error @ StoreError::Unexpected(_)) if !error.is_transient()), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_server_gives_up_is_sent_again() {
    let mut ground = Ground::new().await;
    let id = ground.dispatched(1).await[0];
    let sessions = sessions(&mut ground.sql).await;
    let query = format!("SELECT id FROM {sessions} WHERE db = DATABASE() AND info LIKE 'UPDATE tasks%'");
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop(format!("SELECT id FROM tasks WHERE id = {} FOR UPDATE", key(id))).await.unwrap();
    let (store, me) = (ground.store.clone(), WorkerId::fresh());
    let claiming = tokio::spawn(async move { store.claim(me, super::first_attempt(&[id])).await });
    ground.until_blocked(1).await;
    let waiting: u64 = eventually("its id", async || ground.sql.query_first(&query).await.unwrap()).await;
    ground.sql.query_drop(format!("KILL QUERY {waiting}")).await.unwrap();
    eventually("it waits again", async || {
        let now: Option<u64> = ground.sql.query_first(&query).await.unwrap();
        now.filter(|id| *id != waiting)
    })
    .await;
    operator.query_drop("ROLLBACK").await.unwrap();
    assert!(claiming.await.unwrap().unwrap().is_empty());
}
