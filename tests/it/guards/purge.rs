//! Purge: only what has ended, and only when its time has come.

use super::{Ground, MINUTE, first_attempt, key};
use mysql_async::prelude::Queryable;
use std::time::Duration;
use taskrunnerx::lifecycle::purge;
use taskrunnerx::store::tasks::Retention;
use taskrunnerx::task::{TaskId, WorkerId};

const HOUR: Duration = Duration::from_secs(3600);

impl Ground {
    async fn left(&mut self) -> Vec<TaskId> {
        let ids: Vec<Vec<u8>> = self.sql.query("SELECT id FROM tasks ORDER BY id").await.unwrap();
        ids.iter().map(|id| TaskId(uuid::Uuid::from_slice(id).unwrap())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_or_ended_lately_stays() {
    let mut ground = Ground::new().await;
    let ids = ground.dispatched(9).await;
    ground.store.claim(WorkerId::fresh(), first_attempt(&ids[..1])).await.unwrap();
    let ended = |status: &str, hours: u32| {
        format!("status = '{status}', lane = 0, finished_at = NOW(6) - INTERVAL {hours} HOUR")
    };
    let rows = [("completed", 0), ("completed", 2), ("failed", 2), ("cancelled", 2), ("failed", 4), ("cancelled", 4)];
    for (id, (status, hours)) in ids[3..].iter().zip(rows) {
        ground.set(*id, &ended(status, hours)).await;
    }
    // A row that says when it ended, and has been made to run again since.
    ground.set(ids[2], "finished_at = NOW(6) - INTERVAL 9 HOUR").await;
    let retention = Retention { completed: HOUR, failed: 3 * HOUR };
    assert_eq!(purge::pass(&ground.store, retention, Duration::ZERO).await.unwrap(), 3);
    assert_eq!(ground.left().await, [0, 1, 2, 3, 5, 6].map(|i: usize| ids[i]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_to_run_again_while_it_is_being_purged_stays() {
    let mut ground = Ground::new().await;
    let ids = ground.dispatched(2).await;
    for id in &ids {
        ground.set(*id, "status = 'failed', lane = 0, finished_at = NOW(6) - INTERVAL 1 HOUR").await;
    }
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    for table in
        ["task_attempts (task_id, attempt, finished_at, outcome)", "task_logs (task_id, attempt, at, seq, line)"]
    {
        let rest = if table.starts_with("task_logs") { "NOW(6), 1, 'said'" } else { "NOW(6), 'error'" };
        for id in &ids {
            ground.sql.query_drop(format!("INSERT INTO {table} VALUES ({}, 1, {rest})", key(*id))).await.unwrap();
        }
    }
    let again = "UPDATE tasks SET status = 'queued', lane = 2, finished_at = DEFAULT, dispatched_at = NULL";
    operator.query_drop(format!("{again} WHERE id = {}", key(ids[0]))).await.unwrap();
    let store = ground.store.clone();
    let retention = Retention { completed: Duration::ZERO, failed: Duration::ZERO };
    let purging = tokio::spawn(async move { purge::pass(&store, retention, Duration::ZERO).await.unwrap() });
    ground.until_blocked(1).await;
    operator.query_drop("COMMIT").await.unwrap();
    assert_eq!(purging.await.unwrap(), 1);
    assert_eq!(ground.left().await, ids[..1]);
    // With all that is known of it.
    assert_eq!(ground.number("SELECT COUNT(*) FROM task_attempts").await, 1);
    assert_eq!(ground.number("SELECT COUNT(*) FROM task_logs").await, 1);
    assert_eq!(ground.orphans().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_run_again_and_ended_while_it_was_about_to_be_purged_stays() {
    let mut ground = Ground::new().await;
    let id = ground.dispatched(1).await[0];
    ground.set(id, "status = 'failed', lane = 0, finished_at = NOW(6) - INTERVAL 1 HOUR").await;
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop(format!("UPDATE tasks SET finished_at = NOW(6) WHERE id = {}", key(id))).await.unwrap();
    let store = ground.store.clone();
    let retention = Retention { completed: MINUTE, failed: MINUTE };
    let purging = tokio::spawn(async move { purge::pass(&store, retention, Duration::ZERO).await.unwrap() });
    ground.until_blocked(1).await;
    operator.query_drop("COMMIT").await.unwrap();
    assert_eq!(purging.await.unwrap(), 0);
    assert_eq!(ground.left().await, [id]);
}
