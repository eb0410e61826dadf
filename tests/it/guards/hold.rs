//! Tasks whose type has a limit: how many are let go.

use super::{Ground, noop};
use std::sync::Arc;
use taskrunnerx::task::{Status, TaskId, Way, WorkerId};

const NAME: &str = "noop";

fn queue() -> Arc<str> {
    "default".into()
}

impl Ground {
    async fn held(&self, count: usize) -> Vec<TaskId> {
        let mut task = noop();
        task.way = Way::Held;
        self.insert(task, false, count).await
    }

    async fn let_go(&self, limit: u32, room: usize) -> Vec<TaskId> {
        let now = self.store.now().await.unwrap();
        let gone = self.store.let_go(queue(), NAME.into(), limit, room, now).await.unwrap();
        gone.into_iter().map(|task| task.id).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_goes_in_order_and_only_as_far_as_the_limit_and_the_room_reach() {
    let ground = Ground::new().await;
    let all = ground.held(6).await;
    assert!(ground.store.is_held(queue(), NAME.into()).await.unwrap());
    assert!(!ground.store.is_held(queue(), "echo".into()).await.unwrap(), "another type's");
    assert!(!ground.store.is_held("other".into(), NAME.into()).await.unwrap());
    assert_eq!(ground.let_go(2, 10).await, all[..2]);
    assert_eq!(ground.let_go(2, 10).await, [], "two are in the stream");
    assert_eq!(ground.let_go(4, 1).await, all[2..3], "room for one");
    // Running counts as well as waiting in the stream, and what has ended does not.
    let worker = WorkerId::fresh();
    assert!(ground.store.claim(worker, super::first_attempt(&all[..1])).await.unwrap().is_empty());
    assert_eq!(ground.let_go(3, 10).await, []);
    assert!(ground.store.cancel(all[1]).await.unwrap().is_some());
    assert_eq!(ground.task(all[1]).await.status, Status::Cancelled);
    assert_eq!(ground.let_go(3, 10).await, all[3..4]);
    // A cancelled one does not go.
    assert!(ground.store.cancel(all[4]).await.unwrap().is_some());
    assert_eq!(ground.let_go(9, 10).await, all[5..]);
    assert!(!ground.store.is_held(queue(), NAME.into()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flies_in_another_queue_counts() {
    let ground = Ground::new().await;
    let all = ground.held(2).await;
    ground.store.ensure_queues(vec!["other".into()]).await.unwrap();
    let mut elsewhere = noop();
    elsewhere.queue = "other".into();
    ground.insert(elsewhere, true, 1).await;
    assert_eq!(ground.let_go(2, 10).await, all[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lets_go_waits_for_who_does_so_in_another_queue() {
    use mysql_async::prelude::Queryable;
    let mut ground = Ground::new().await;
    ground.held(1).await;
    let flying = ground.backlog(1).await[0];
    let mut other = ground.world.sql().await;
    other.query_drop("START TRANSACTION").await.unwrap();
    other.query_drop("SELECT name FROM queues WHERE name = 'default' FOR UPDATE").await.unwrap();
    let (store, now) = (ground.store.clone(), ground.store.now().await.unwrap());
    let going = tokio::spawn(async move { store.let_go(queue(), NAME.into(), 1, 10, now).await.unwrap() });
    ground.until_blocked(1).await;
    other.query_drop(format!("UPDATE tasks SET lane = 3 WHERE id = {}", super::key(flying))).await.unwrap();
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(going.await.unwrap(), [], "the other one's counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_in_the_backlog_is_held() {
    let mut ground = Ground::new().await;
    let all = ground.backlog(3).await;
    assert!(ground.store.cancel(all[0]).await.unwrap().is_some());
    assert!(ground.store.claim(WorkerId::fresh(), super::first_attempt(&all[1..2])).await.unwrap().is_empty());
    assert_eq!(ground.store.hold(NAME.into(), all.clone()).await.unwrap(), 1);
    let query = format!("SELECT lane FROM tasks WHERE id = {}", super::key(all[1]));
    assert_eq!(ground.number(&query).await, 3, "where the rescuer looks");
    assert_eq!(ground.let_go(9, 10).await, all[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_types_that_share_a_lane_go_each_by_its_own_limit() {
    let mut ground = Ground::new().await;
    let all = ground.held(3).await;
    ground.set(all[0], "name = 'other'").await;
    assert_eq!(ground.let_go(1, 10).await, all[1..2]);
    assert_eq!(ground.let_go(1, 10).await, []);
}
