//! Redis did it, and nobody was told, or it did not: whatever happens to an entry on its way,
//! its task runs once, and nothing stays in the stream while its worker lives.

use super::crew::{Stage, until_streams_are_empty};
use super::{is_consistent, play, tasks, until_ended};
use crate::guards::{entry, queue};
use crate::harness::eventually;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::rescue;
use taskrunnerx::seam::{Fault, Loss};
use taskrunnerx::task::NewTask;

const UNSENT: Fault = Fault::Before(Loss::Lost);
const UNANSWERED: Fault = Fault::After(Loss::Lost);

impl Stage {
    /// Each task has run, in its first attempt, and the stream is empty.
    async fn came_right(&mut self) {
        until_ended(&mut self.ground).await;
        assert_eq!(self.script.left(), 0);
        assert!(tasks(&self.ground).await.iter().all(|task| task.attempt == 1));
        is_consistent(&mut self.ground, &self.crew).await;
        until_streams_are_empty(&self.ground, &["default"]).await;
    }

    /// Waits until the fault has met a call, which then waits for an answer.
    async fn until_struck(&self) {
        eventually("it was struck", async || (self.script.left() == 0).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_added_and_not_answered_come_twice_and_their_tasks_run_once() {
    for fault in [UNANSWERED, Fault::Late(Duration::from_millis(200))] {
        let mut stage = Stage::new(4).await;
        stage.script.strike("append", fault);
        stage.ground.insert(play(&["slow"]), false, 3).await;
        stage.came_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_not_added_are_offered_again_and_need_no_sweep() {
    let mut stage = Stage::new(4).await;
    stage.script.strike("append", UNSENT);
    stage.ground.insert(play(&["ok"]), false, 3).await;
    stage.came_right().await;
    assert_eq!(stage.ground.world.metrics.tasks_undispatched.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_lost_alone_is_swept() {
    let mut stage = Stage::new(4).await;
    // From here on there is a group.
    stage.ground.insert(play(&["ok"]), false, 1).await;
    stage.came_right().await;
    stage.script.strike("read", UNANSWERED);
    stage.until_struck().await;
    // It is waiting for entries, and will not tell of them.
    stage.ground.insert(play(&["ok"]), false, 1).await;
    stage.came_right().await;
    assert_eq!(stage.ground.world.metrics.tasks_undispatched.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_failed_is_sent_again_though_nothing_else_is() {
    for fault in [UNSENT, UNANSWERED, Fault::Late(Duration::from_millis(200))] {
        let mut stage = Stage::new(4).await;
        stage.script.strike("acknowledge", fault);
        stage.ground.insert(play(&["ok"]), false, 1).await;
        stage.came_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_not_answered_is_swept_and_does_not_stay_pending() {
    let mut stage = Stage::new(4).await;
    // From here on there is a group: a read without one is answered, and loses nothing.
    stage.ground.insert(play(&["ok"]), false, 1).await;
    stage.came_right().await;
    stage.script.strike("read", UNANSWERED);
    stage.until_struck().await;
    // It is waiting for entries, and will not tell of them.
    let id = stage.ground.insert(play(&["ok"]), true, 1).await[0];
    let stream = stage.ground.stream();
    stream.append(vec![entry(&stage.ground.task(id).await)]).await.unwrap();
    let state = stream.state(&queue()).await.unwrap();
    assert_eq!((state.unread, state.pending), (0, 1), "delivered, to nobody");
    stage.came_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_before_another_queue_failed_is_claimed() {
    let mut stage = Stage::new(0).await;
    let stream = stage.ground.stream();
    stage.ground.store.ensure_queues(vec!["one".into()]).await.unwrap();
    for name in ["default", "default", "one"] {
        let task = NewTask { queue: name.into(), ..play(&["ok"]) };
        let id = stage.ground.insert(task, true, 1).await[0];
        stream.append(vec![entry(&stage.ground.task(id).await)]).await.unwrap();
        stream.ensure_group(name).await.unwrap();
    }
    // The first read finds one in each queue; the second asks for the rest of one of them.
    stage.script.strike("read", Fault::Slow(Duration::ZERO));
    stage.script.strike("read", UNSENT);
    stage.crew.hire(3);
    stage.came_right().await;
    assert_eq!(stage.ground.world.metrics.tasks_undispatched.get(), 0, "nothing had to be swept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_entries_go_even_if_redis_was_away_when_it_was_rescued() {
    for op in ["pending", "acknowledge", "consumer"] {
        let mut stage = Stage::new(0).await;
        let (dead, stream) = (stage.ground.register(Duration::ZERO).await, stage.ground.stream());
        let id = stage.ground.dispatched(1).await[0];
        stream.append(vec![entry(&stage.ground.task(id).await)]).await.unwrap();
        stream.ensure_group("default").await.unwrap();
        stream.reader(dead).read(&[queue()], 1, None).await.unwrap();
        let tools = stage.crew.tools().0;
        stage.script.strike(op, UNSENT);
        rescue::pass(&tools).await.unwrap();
        assert_eq!(stage.script.left(), 0);
        rescue::pass(&tools).await.unwrap();
        assert_eq!(stream.state(&queue()).await.unwrap().pending, 0, "{op}");
        assert_eq!(stage.ground.number("SELECT COUNT(*) FROM workers").await, 0, "{op}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_could_not_clear_its_consumer_leaves_that_to_the_rescuer() {
    let stage = Stage::new(4).await;
    stage.script.strike("pending", UNSENT);
    let (mut ground, script) = (stage.ground, Arc::clone(&stage.script));
    stage.crew.dismiss().await;
    assert_eq!((script.left(), ground.number("SELECT COUNT(*) FROM workers").await), (0, 1));
    use mysql_async::prelude::Queryable;
    ground.sql.query_drop("UPDATE workers SET lease_until = NOW(6) - INTERVAL 1 SECOND").await.unwrap();
    // Pass by pass: where Redis does not answer in time, the next one finds what is left.
    eventually("its row is gone", async || {
        rescue::pass(&ground.tools()).await.unwrap();
        (ground.number("SELECT COUNT(*) FROM workers").await == 0).then_some(())
    })
    .await;
}
