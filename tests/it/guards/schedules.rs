//! Fire: one task an instant, whoever looks and however often.

use super::proxy::Proxy;
use super::{Ground, noop};
use crate::harness::eventually;
use chrono::TimeDelta;
use mysql_async::prelude::Queryable;
use taskrunnerx::store::schedules::{Definition, Due, Fire};
use taskrunnerx::task::{NewTask, Timestamp};

fn fire(due: &Due, next_fire_at: Option<Timestamp>) -> Fire {
    let task = NewTask { queue: "of-schedules".into(), schedule: Some(due.name.clone()), ..noop() };
    Fire { schedule: due.name.clone(), version: due.version, fire_at: due.fire_at, next_fire_at, task }
}

impl Ground {
    /// A schedule that is due.
    async fn due(&self) -> Due {
        let now = self.store.now().await.unwrap();
        let definition = Definition {
            name: "tick".into(),
            cron: "@hourly".into(),
            timezone: "UTC".into(),
            task: "{}".into(),
            next_fire_at: Some(now - TimeDelta::seconds(1)),
        };
        self.store.apply_schedules(vec![definition]).await.unwrap();
        self.store.schedule_agenda().await.unwrap().due.remove(0)
    }

    /// Tasks, and ledger rows.
    async fn fired(&mut self) -> (u64, u64) {
        (
            self.number("SELECT COUNT(*) FROM tasks").await,
            self.number("SELECT COUNT(*) FROM schedule_fires f JOIN tasks t ON t.id = f.task_id").await,
        )
    }

    async fn next(&self) -> Option<Timestamp> {
        self.store.schedule_agenda().await.unwrap().next
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_that_saw_the_same_instant_fire_it_once() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let (soon, later) = (due.fire_at + TimeDelta::hours(1), due.fire_at + TimeDelta::hours(2));
    let (one, two) =
        tokio::join!(ground.store.fire(fire(&due, Some(later))), ground.store.fire(fire(&due, Some(later))));
    assert!(one.unwrap().is_some() != two.unwrap().is_some());
    assert_eq!(ground.fired().await, (1, 1));
    // And much later: it may not turn the schedule back either.
    assert_eq!(ground.store.fire(fire(&due, Some(soon))).await.unwrap(), None);
    assert_eq!((ground.fired().await, ground.next().await), ((1, 1), Some(later)));
    ground.store.skip_fire(due.clone(), "stale", Some(soon)).await.unwrap();
    assert_eq!((ground.fired().await, ground.next().await), ((1, 1), Some(later)));
    // Nor one that saw an instant before.
    let before = Due { fire_at: due.fire_at - TimeDelta::hours(1), ..due };
    assert_eq!(ground.store.fire(fire(&before, Some(soon))).await.unwrap(), None);
    assert_eq!((ground.fired().await, ground.next().await), ((1, 1), Some(later)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_alone_keeps_an_instant_from_firing_twice() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let next = Some(due.fire_at + TimeDelta::hours(1));
    assert!(ground.store.fire(fire(&due, next)).await.unwrap().is_some());
    // The schedule's row as it was: restored from a backup, or turned back by hand.
    let again = "UPDATE schedules SET next_fire_at = (SELECT fire_at FROM schedule_fires)";
    ground.sql.query_drop(again).await.unwrap();
    let seen = ground.store.schedule_agenda().await.unwrap().due.remove(0);
    assert_eq!(seen, due);
    assert_eq!(ground.store.fire(fire(&seen, next)).await.unwrap(), None);
    assert_eq!((ground.fired().await, ground.next().await), ((1, 1), next), "and it goes on from there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_changed_or_went_does_not_fire_as_it_was() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    ground.sql.query_drop("UPDATE schedules SET version = version + 1").await.unwrap();
    assert_eq!(ground.store.fire(fire(&due, None)).await.unwrap(), None);
    ground.store.skip_fire(due.clone(), "stale", None).await.unwrap();
    let changed = ground.store.schedule_agenda().await.unwrap().due.remove(0);
    assert_eq!((changed.version, changed.fire_at), (due.version + 1, due.fire_at), "still due, as it is now");
    ground.store.apply_schedules(Vec::new()).await.unwrap();
    assert_eq!(ground.store.fire(fire(&changed, None)).await.unwrap(), None);
    assert_eq!(ground.fired().await, (0, 0));
    assert_eq!(ground.number("SELECT COUNT(*) FROM schedule_fires").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_does_not_change_while_it_fires() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let proxy = Proxy::new(&ground.world).await;
    // Its row has been compared, and nothing is written yet.
    proxy.hold(b"INSERT IGNORE INTO queues");
    let (store, fire) = (proxy.store.clone(), fire(&due, None));
    let firing = tokio::spawn(async move { store.fire(fire).await.unwrap() });
    proxy.held().await;
    let mut operator = ground.world.sql().await;
    let change = "UPDATE schedules SET version = version + 1";
    let changing = tokio::spawn(async move { operator.query_drop(change).await.unwrap() });
    eventually("the change waits, or is done", async || {
        (ground.blocked().await == 1 || changing.is_finished()).then_some(())
    })
    .await;
    assert!(!changing.is_finished());
    proxy.go_on();
    assert!(firing.await.unwrap().is_some());
    changing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_creates_its_queue_in_the_same_breath() {
    let ground = Ground::new().await;
    let due = ground.due().await;
    assert!(!ground.store.queue_names().await.unwrap().contains(&"of-schedules".into()));
    ground.store.fire(fire(&due, None)).await.unwrap().unwrap();
    assert!(ground.store.queue_names().await.unwrap().contains(&"of-schedules".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_whose_answer_was_lost_has_fired_once() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let proxy = Proxy::new(&ground.world).await;
    proxy.lose(b"\x03COMMIT", 1);
    assert_eq!(proxy.store.fire(fire(&due, None)).await.unwrap(), None, "the schedule has moved on");
    assert_eq!((proxy.left(), ground.fired().await), (0, (1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_skipped_stands_in_the_ledger_without_a_task() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let next = Some(due.fire_at + TimeDelta::hours(1));
    ground.store.skip_fire(due.clone(), "refused", next).await.unwrap();
    let ledger: Vec<(String, Option<Vec<u8>>)> =
        ground.sql.query("SELECT outcome, task_id FROM schedule_fires").await.unwrap();
    assert_eq!((ledger, ground.next().await), (vec![("refused".to_owned(), None)], next));
    assert_eq!(ground.store.fire(fire(&due, None)).await.unwrap(), None);
    assert_eq!(ground.fired().await, (0, 0));
}
