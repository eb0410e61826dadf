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
    let inserting =
        tokio::spawn(async move { store.insert_tasks(vec![vec![Insert { task: noop(), direct: false }]]).await });
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
    let mut operator = ground.world.sql().await;
    // Eight connections: as many calls wait at once.
    operator.query_drop("LOCK TABLES queues WRITE").await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let store = ground.store.clone();
            tokio::spawn(async move { store.queue_names().await.unwrap() })
        })
        .collect();
    let sessions = sessions(&mut ground.sql).await;
    let waiting =
        format!("SELECT id FROM {sessions} WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%'");
    let pool: Vec<u64> = eventually("all eight wait", async || {
        let ids: Vec<u64> = ground.sql.query(&waiting).await.unwrap();
        (ids.len() == 8).then_some(ids)
    })
    .await;
    operator.query_drop("UNLOCK TABLES").await.unwrap();
    for call in calls {
        call.await.unwrap();
    }
    for id in &pool {
        operator.query_drop(format!("KILL {id}")).await.unwrap();
    }
    // One call, with fewer tries than there are dead connections.
    ground.store.now().await.unwrap();
    let lost = ground.world.metrics.store_errors.with_label_values(&["lost"]).get();
    assert_eq!(lost, 0, "nobody has seen an error");
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
