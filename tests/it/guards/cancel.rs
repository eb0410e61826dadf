//! Cancel: one statement over the three live states, against whatever else moves the row.

use super::{Ground, first_attempt};
use mysql_async::Value;
use taskrunnerx::store::tasks::CancelAsked;
use taskrunnerx::task::{Reason, Status, TaskId, When, WorkerId};

async fn cancel(ground: &Ground, id: TaskId) -> CancelAsked {
    ground.store.cancel(id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_ends_at_once_in_whichever_lane() {
    let ground = Ground::new().await;
    let mut later = super::noop();
    later.when = When::After(super::MINUTE);
    let ids = [ground.insert(later, false, 1).await, ground.backlog(1).await, ground.dispatched(1).await].concat();
    let beside = ground.backlog(1).await[0];
    for id in ids {
        let asked = cancel(&ground, id).await;
        assert!(asked.changed);
        let task = asked.task;
        assert_eq!((task.status, task.reason, task.attempt), (Status::Cancelled, Some(Reason::Cancelled), 0));
        assert_eq!(task.last_error.as_deref(), Some("cancelled before it started"));
        assert!(task.finished_at.is_some() && task.finished_at == task.cancel_requested_at);
        assert_eq!(task.dispatched_at, None);
        // Its entry comes all the same, and finds nothing to claim.
        let lost = ground.store.claim(WorkerId::fresh(), first_attempt(&[id])).await.unwrap();
        assert_eq!(lost.len(), 1);
        assert_eq!(ground.task(id).await, task);
    }
    assert_eq!(ground.task(beside).await.status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_marked_once_and_nothing_else_of_it_changes() {
    let mut ground = Ground::new().await;
    let id = ground.running(WorkerId::fresh(), 1).await[0];
    let before = ground.row(id).await;
    let asked = cancel(&ground, id).await;
    assert!(asked.changed && asked.task.status == Status::Running);
    let marked = ground.row(id).await;
    let changed: Vec<&Value> =
        marked.iter().zip(&before).filter(|(now, then)| now != then).map(|(now, _)| now).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    let again = cancel(&ground, id).await;
    assert_eq!(again.task.cancel_requested_at, asked.task.cancel_requested_at, "when it was asked for first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_left_alone_and_what_never_was_is_none() {
    let mut ground = Ground::new().await;
    for (status, reason) in [("completed", "NULL"), ("failed", "'error'"), ("cancelled", "'expired'")] {
        let id = ground.dispatched(1).await[0];
        ground.set(id, &format!("status = '{status}', reason = {reason}, lane = 0, finished_at = NOW(6)")).await;
        let before = ground.row(id).await;
        assert!(!cancel(&ground, id).await.changed);
        assert_eq!(ground.row(id).await, before, "{status}");
    }
    assert_eq!(ground.store.cancel(TaskId(uuid::Uuid::now_v7())).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_claim_and_a_cancel_at_once_one_comes_first_and_neither_is_forgotten() {
    let ground = Ground::new().await;
    let me = WorkerId::fresh();
    let ids = ground.dispatched(64).await;
    for id in ids {
        let (asked, lost) = tokio::join!(ground.store.cancel(id), ground.store.claim(me, first_attempt(&[id])));
        let (asked, won) = (asked.unwrap().unwrap(), lost.unwrap().is_empty());
        assert!(asked.changed);
        let task = ground.task(id).await;
        assert!(task.cancel_requested_at.is_some());
        let expected = if won { (Status::Running, 1) } else { (Status::Cancelled, 0) };
        assert_eq!((task.status, task.attempt), expected);
    }
}
