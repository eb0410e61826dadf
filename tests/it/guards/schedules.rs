//! Fire: one entry of the ledger an instant, whoever looks and however often, and one task where it fired.

mod locks;

use super::proxy::Proxy;
use super::{Ground, noop};
use chrono::TimeDelta;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::store::queues::NewPause;
use taskrunnerx::store::schedules::{
    BackfillTask, Come, Defined, Entry, Fired, Judge, NewSchedule, Owns, Removed, Verdict,
};
use taskrunnerx::task::schedule::Outcome;
use taskrunnerx::task::{NewTask, Status, Timestamp};

const HOURLY: &str = r#"{"cron":"@hourly","timezone":"UTC","task":{"name":"noop"}}"#;

fn name() -> Arc<str> {
    "tick".into()
}

fn task() -> NewTask {
    NewTask { queue: "of-schedules".into(), schedule: Some(name()), ..noop() }
}

fn entry(at: Timestamp, outcome: Outcome) -> Entry {
    Entry { at, outcome, instants: 1, since: None, task: outcome.submits().then(task) }
}

/// The instant that is due gets this outcome; the next one is an hour later.
fn judge(outcome: Outcome) -> Judge {
    Arc::new(move |come: &Come, _| {
        let due = come.row.next_fire_at.unwrap();
        let next = Some(due + TimeDelta::hours(1));
        Verdict { entries: vec![entry(due, outcome)], next, ..Verdict::default() }
    })
}

fn fired(found: &[Fired]) -> usize {
    found.iter().map(|one| one.tasks.len()).sum()
}

impl Ground {
    /// A schedule that is due since a second ago; gives its instant.
    async fn due(&self) -> Timestamp {
        let due = self.store.now().await.unwrap() - TimeDelta::seconds(1);
        let defined = self.store.define_schedule(self.schedule(HOURLY, Some(due)), None).await.unwrap();
        assert!(matches!(defined, Defined::Created(_)), "{defined:?}");
        due
    }

    fn schedule(&self, definition: &str, next_fire_at: Option<Timestamp>) -> NewSchedule {
        NewSchedule {
            name: name(),
            definition: definition.to_owned(),
            managed_by: "api".to_owned(),
            pause_after: None,
            next_fire_at,
        }
    }

    /// Tasks, and ledger rows that have one.
    async fn tasks_and_fires(&mut self) -> (u64, u64) {
        (
            self.number("SELECT COUNT(*) FROM tasks").await,
            self.number("SELECT COUNT(*) FROM schedule_fires f JOIN tasks t ON t.id = f.task_id").await,
        )
    }

    async fn next(&self) -> Option<Timestamp> {
        self.store.schedule(name()).await.unwrap().unwrap().next_fire_at
    }

    async fn ledger(&self) -> Vec<(Timestamp, String)> {
        let rows = self.store.fires(name(), None, 100).await.unwrap();
        rows.into_iter().map(|row| (row.fire_at, row.outcome)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_that_saw_the_same_instant_fire_it_once() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let (one, two) = tokio::join!(
        ground.store.fire_due(128, judge(Outcome::Fired)),
        ground.store.fire_due(128, judge(Outcome::Fired))
    );
    assert_eq!(fired(&one.unwrap()) + fired(&two.unwrap()), 1);
    assert_eq!(ground.tasks_and_fires().await, (1, 1));
    assert_eq!(ground.next().await, Some(due + TimeDelta::hours(1)));
    assert!(ground.store.fire_due(128, judge(Outcome::Fired)).await.unwrap().is_empty(), "nothing is due");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_alone_keeps_an_instant_from_firing_twice() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    assert_eq!(fired(&ground.store.fire_due(1, judge(Outcome::Fired)).await.unwrap()), 1);
    // The schedule's row as it was: restored from a backup, or turned back by hand.
    let again = "UPDATE schedules SET next_fire_at = (SELECT fire_at FROM schedule_fires)";
    ground.sql.query_drop(again).await.unwrap();
    let found = ground.store.fire_due(1, judge(Outcome::Fired)).await.unwrap();
    assert_eq!((found.len(), fired(&found), found[0].entries.len()), (1, 0, 0));
    assert_eq!(ground.tasks_and_fires().await, (1, 1));
    let row = ground.store.schedule(name()).await.unwrap().unwrap();
    assert_eq!((row.next_fire_at, row.fires), (Some(due + TimeDelta::hours(1)), 1), "and it goes on from there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_by_the_old_definition_comes_before_the_new_one() {
    let ground = Ground::new().await;
    ground.due().await;
    let daily = ground.schedule(r#"{"cron":"@daily","timezone":"UTC","task":{"name":"noop"}}"#, None);
    assert_eq!(ground.store.define_schedule(daily.clone(), None).await.unwrap(), Defined::IsDue);
    ground.store.fire_this(name(), judge(Outcome::Fired)).await.unwrap().unwrap();
    assert!(matches!(ground.store.define_schedule(daily.clone(), None).await.unwrap(), Defined::Replaced(_)));
    assert!(
        matches!(ground.store.define_schedule(daily.clone(), None).await.unwrap(), Defined::Unchanged(row) if row.version == 2)
    );
    // The configuration takes it over, and then it is nobody else's.
    let configured = NewSchedule { managed_by: "config".to_owned(), ..daily.clone() };
    assert!(matches!(ground.store.define_schedule(configured, None).await.unwrap(), Defined::Unchanged(_)));
    assert_eq!(ground.store.define_schedule(daily, None).await.unwrap(), Defined::Configured);
    assert_eq!(ground.store.remove_schedule(name(), None).await.unwrap(), Removed::Configured);
    ground.store.keep_configured(vec![name()]).await.unwrap();
    assert!(ground.store.schedule(name()).await.unwrap().is_some());
    ground.store.keep_configured(Vec::new()).await.unwrap();
    assert_eq!(ground.store.schedule(name()).await.unwrap(), None);
    assert_eq!(ground.store.remove_schedule(name(), None).await.unwrap(), Removed::Unknown);
    assert_eq!(ground.ledger().await.len(), 1, "what has been stays in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_becomes_anothers_while_its_owner_changes_it_stays_as_it_is() {
    let mut ground = Ground::new().await;
    let theirs = HOURLY.replace("noop", "echo");
    let put = |ground: &Ground| ground.schedule(HOURLY, None);
    let owns: Owns = Arc::new(|row| row.definition.contains("noop"));
    assert!(matches!(ground.store.define_schedule(put(&ground), None).await.unwrap(), Defined::Created(_)));
    let mut operator = ground.world.sql().await;
    let change = format!("UPDATE schedules SET definition = '{theirs}'");
    for removes in [false, true] {
        // It was theirs when they looked, and a moment before the lock.
        ground.sql.query_drop(format!("UPDATE schedules SET definition = '{HOURLY}'")).await.unwrap();
        operator.query_drop("START TRANSACTION").await.unwrap();
        operator.query_drop(&change).await.unwrap();
        let (store, owns, daily) = (ground.store.clone(), Arc::clone(&owns), put(&ground));
        let changing = tokio::spawn(async move {
            if removes {
                return store.remove_schedule(name(), Some(owns)).await.unwrap() == Removed::Foreign;
            }
            let daily = NewSchedule { definition: daily.definition.replace("hourly", "daily"), ..daily };
            store.define_schedule(daily, Some(owns)).await.unwrap() == Defined::Foreign
        });
        ground.until_blocked(1).await;
        operator.query_drop("COMMIT").await.unwrap();
        assert!(changing.await.unwrap(), "removes: {removes}");
        assert_eq!(ground.store.schedule(name()).await.unwrap().unwrap().definition, theirs);
    }
    // Their own they change, and what is not there yet is nobody's.
    ground.sql.query_drop(format!("UPDATE schedules SET definition = '{HOURLY}'")).await.unwrap();
    let same = ground.store.define_schedule(put(&ground), Some(Arc::clone(&owns))).await.unwrap();
    assert!(matches!(same, Defined::Unchanged(_)), "{same:?}");
    assert_eq!(ground.store.remove_schedule(name(), Some(Arc::clone(&owns))).await.unwrap(), Removed::Removed);
    let none: Owns = Arc::new(|_| false);
    let made = ground.store.define_schedule(put(&ground), Some(none)).await.unwrap();
    assert!(matches!(made, Defined::Created(_)), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_creates_its_queue_in_the_same_breath() {
    let ground = Ground::new().await;
    ground.due().await;
    assert!(!ground.store.queue_names().await.unwrap().contains(&"of-schedules".into()));
    ground.store.fire_due(1, judge(Outcome::Fired)).await.unwrap();
    assert!(ground.store.queue_names().await.unwrap().contains(&"of-schedules".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_whose_answer_was_lost_has_fired_once() {
    let mut ground = Ground::new().await;
    ground.due().await;
    let proxy = Proxy::new(&ground.world).await;
    proxy.lose(b"\x03COMMIT", 1);
    assert!(proxy.store.fire_due(1, judge(Outcome::Fired)).await.unwrap().is_empty(), "the schedule has moved on");
    assert_eq!((proxy.left(), ground.tasks_and_fires().await), (0, (1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_skipped_stands_in_the_ledger_without_a_task() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    ground.store.fire_due(1, judge(Outcome::SkippedMisfire)).await.unwrap();
    assert_eq!(ground.ledger().await, [(due, "skipped_misfire".to_owned())]);
    assert_eq!((ground.tasks_and_fires().await, ground.next().await), ((0, 0), Some(due + TimeDelta::hours(1))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_waits_fires_once_when_the_task_before_it_has_ended() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let both: Judge = Arc::new(move |come, _| {
        assert!(!come.busy);
        let entries = vec![entry(due, Outcome::Fired), entry(due + TimeDelta::milliseconds(1), Outcome::Waiting)];
        Verdict { entries, next: None, ..Verdict::default() }
    });
    let first = ground.store.fire_due(1, both).await.unwrap().remove(0).tasks.remove(0);
    let row = ground.store.schedule(name()).await.unwrap().unwrap();
    assert_eq!((row.fires, row.last_task), (2, Some(first.id)));
    let waits = row.waiting.unwrap();
    let settle = || -> Judge {
        Arc::new(move |come: &Come, _| Verdict {
            entries: vec![entry(come.row.waiting.unwrap(), Outcome::Fired)],
            ..Verdict::default()
        })
    };
    assert!(ground.store.fire_waiting(10, settle()).await.unwrap().is_empty(), "the task before it lives");
    ground.set(first.id, "status = 'failed', lane = 0").await;
    let pause = NewPause { reason: None, resume_in: None, by: "test".to_owned() };
    ground.store.pause_schedule(name(), pause).await.unwrap().unwrap();
    assert!(ground.store.fire_waiting(10, settle()).await.unwrap().is_empty(), "it is paused");
    ground.store.resume_schedule(name()).await.unwrap().unwrap();
    let (one, two) = tokio::join!(ground.store.fire_waiting(10, settle()), ground.store.fire_waiting(10, settle()));
    assert_eq!(fired(&one.unwrap()) + fired(&two.unwrap()), 1);
    assert_eq!(ground.tasks_and_fires().await, (2, 2));
    let row = ground.store.schedule(name()).await.unwrap().unwrap();
    assert_eq!((row.waiting, row.fires, row.last.unwrap().outcome.as_str()), (None, 2, "fired"));
    assert_eq!(ground.ledger().await[0], (waits, "fired".to_owned()));
    // The schedule's row as it was: the ledger alone keeps it from firing again.
    let again = "UPDATE schedules SET waiting_fire_at = (SELECT MAX(fire_at) FROM schedule_fires), last_task_id = NULL";
    ground.sql.query_drop(again).await.unwrap();
    assert!(ground.store.fire_waiting(10, settle()).await.unwrap().is_empty());
    assert_eq!(ground.tasks_and_fires().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_before_is_cancelled_in_the_same_breath() {
    let ground = Ground::new().await;
    let due = ground.due().await;
    let first = ground.store.fire_due(1, judge(Outcome::Fired)).await.unwrap().remove(0).tasks.remove(0);
    let cancels: Judge = Arc::new(move |come, _| {
        assert!(come.busy);
        let entries = vec![entry(due + TimeDelta::milliseconds(1), Outcome::Fired)];
        Verdict { entries, next: None, cancels: true, pause: None }
    });
    let second = ground.store.fire_this(name(), Arc::clone(&cancels)).await.unwrap();
    assert!(second.is_none(), "it is not due");
    let mut ground = ground;
    ground.sql.query_drop("UPDATE schedules SET next_fire_at = NOW(6)").await.unwrap();
    let second = ground.store.fire_this(name(), cancels).await.unwrap().unwrap();
    assert_eq!(second.cancelled.map(|asked| asked.task.id), Some(first.id));
    assert_eq!(ground.task(first.id).await.status, Status::Cancelled);
    assert_eq!(ground.task(second.tasks[0].id).await.status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_are_counted_since_the_schedule_was_resumed() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    ground.sql.query_drop("UPDATE schedules SET pause_after = 2").await.unwrap();
    let mut expected = 0;
    for (n, status) in
        ["failed", "failed", "completed", "failed", "failed", "running", "resumed", "failed"].iter().enumerate()
    {
        if *status == "resumed" {
            ground.store.resume_schedule(name()).await.unwrap().unwrap();
            expected = 0;
            continue;
        }
        let at = due + TimeDelta::milliseconds(i64::try_from(n).unwrap());
        ground.sql.query_drop("UPDATE schedules SET next_fire_at = NOW(6)").await.unwrap();
        let seen: Judge = Arc::new(move |come, _| {
            assert_eq!(come.failures, expected, "before {n}");
            Verdict { entries: vec![entry(at, Outcome::Fired)], next: None, ..Verdict::default() }
        });
        let id = ground.store.fire_this(name(), seen).await.unwrap().unwrap().tasks[0].id;
        ground.set(id, &format!("status = '{status}', lane = 0")).await;
        expected = match *status {
            "failed" => expected + 1,
            "running" => expected,
            _ => 0,
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_gives_a_task_to_instants_that_have_none_and_to_no_other() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let hour = TimeDelta::hours(1);
    ground.store.fire_due(1, judge(Outcome::SkippedMisfire)).await.unwrap();
    ground.sql.query_drop("UPDATE schedules SET next_fire_at = NOW(6)").await.unwrap();
    let fired: Judge = Arc::new(move |_, _| {
        let entries = vec![entry(due + hour, Outcome::Fired), entry(due + hour * 2, Outcome::Waiting)];
        Verdict { entries, next: None, ..Verdict::default() }
    });
    ground.store.fire_due(1, fired).await.unwrap();
    let tasks: Vec<BackfillTask> = (-1..3).map(|n| BackfillTask { at: due + hour * n, task: task() }).collect();
    let (one, two) =
        tokio::join!(ground.store.backfill(name(), tasks.clone()), ground.store.backfill(name(), tasks.clone()));
    assert_eq!(
        one.unwrap().unwrap().len() + two.unwrap().unwrap().len(),
        2,
        "of two at once each instant comes to one"
    );
    let outcomes: Vec<String> = ground.ledger().await.into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, ["waiting", "fired", "backfill", "backfill"]);
    assert_eq!(ground.tasks_and_fires().await, (3, 3));
    assert_eq!(ground.store.backfill("nobody".into(), tasks).await.unwrap(), None);
    assert!(ground.store.fire_by_hand(name(), task()).await.unwrap().is_some());
    assert!(ground.ledger().await.iter().any(|(_, outcome)| outcome == "manual"));
    let row = ground.store.schedule(name()).await.unwrap().unwrap();
    assert_eq!(row.fires, 2, "neither counts towards max_fires");
    assert_eq!(row.last.map(|last| last.outcome).as_deref(), Some("waiting"), "the latest is later than all of them");
    assert_eq!(
        ground.store.purge_fires(Duration::from_secs(7200)).await.unwrap(),
        (0, false),
        "none is as old as that"
    );
    assert_eq!(ground.store.purge_fires(Duration::ZERO).await.unwrap(), (3, false), "what has come, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_somebody_writes_while_it_is_fired_gets_no_second_task() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let proxy = Proxy::new(&ground.world).await;
    // It has been looked for, and was not there.
    proxy.hold(b"INSERT IGNORE INTO schedule_fires");
    let store = proxy.store.clone();
    let firing = tokio::spawn(async move { store.fire_due(128, judge(Outcome::Fired)).await.unwrap() });
    proxy.held().await;
    // The schedule's row is locked: what is written is said by its value.
    let row = "INSERT INTO schedule_fires (schedule, fire_at, outcome, recorded_at) VALUES (?, ?, 'fired', NOW(6))";
    ground.sql.exec_drop(row, (&*name(), due.naive_utc().to_string())).await.unwrap();
    proxy.go_on();
    let found = firing.await.unwrap();
    assert_eq!((found.len(), fired(&found)), (1, 0));
    assert_eq!(ground.tasks_and_fires().await, (0, 0));
    assert_eq!(ground.next().await, Some(due + TimeDelta::hours(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_by_hand_and_not_answered_is_submitted_once() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let proxy = Proxy::new(&ground.world).await;
    proxy.lose(b"\x03COMMIT", 1);
    let task_by_hand = proxy.store.fire_by_hand(name(), task()).await.unwrap().unwrap();
    assert_eq!((proxy.left(), ground.tasks_and_fires().await), (0, (1, 1)));
    assert_eq!(ground.task(task_by_hand.id).await.status, Status::Queued);
    proxy.lose(b"\x03COMMIT", 1);
    let tasks = (1..4).map(|n| BackfillTask { at: due - TimeDelta::hours(n), task: task() }).collect();
    let submitted = proxy.store.backfill(name(), tasks).await.unwrap().unwrap();
    assert_eq!((proxy.left(), submitted.len(), ground.tasks_and_fires().await), (0, 3, (4, 4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_put_a_name_first_one_makes_it_and_the_other_finds_it() {
    let ground = Ground::new().await;
    let put = async || ground.store.define_schedule(ground.schedule(HOURLY, None), None).await.unwrap();
    for round in 0..8 {
        let made = [tokio::join!(put(), put()), tokio::join!(put(), put())];
        let made: Vec<Defined> = made.into_iter().flat_map(|(a, b)| [a, b]).collect();
        let created = made.iter().filter(|one| matches!(one, Defined::Created(_))).count();
        let unchanged = made.iter().filter(|one| matches!(one, Defined::Unchanged(_))).count();
        assert_eq!((created, unchanged), (1, 3), "{round}: {made:?}");
        assert_eq!(ground.store.remove_schedule(name(), None).await.unwrap(), Removed::Removed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_cancelled_only_for_one_that_comes_in_its_place() {
    let mut ground = Ground::new().await;
    ground.due().await;
    let first = ground.store.fire_due(1, judge(Outcome::Fired)).await.unwrap().remove(0).tasks.remove(0);
    // Its instant is due again, by a row that was turned back: it is in the ledger, and nothing comes of it.
    ground.sql.query_drop("UPDATE schedules SET next_fire_at = last_fire_at").await.unwrap();
    let cancels: Judge = Arc::new(|come, _| {
        let due = come.row.next_fire_at.unwrap();
        Verdict { entries: vec![entry(due, Outcome::Fired)], next: None, cancels: true, pause: None }
    });
    let again = ground.store.fire_this(name(), cancels).await.unwrap().unwrap();
    assert_eq!((again.tasks.len(), again.cancelled), (0, None));
    // Nor for one that is refused.
    ground.sql.query_drop("UPDATE schedules SET next_fire_at = NOW(6)").await.unwrap();
    let refused: Judge = Arc::new(|come, _| {
        let due = come.row.next_fire_at.unwrap();
        Verdict { entries: vec![entry(due, Outcome::Refused)], next: None, cancels: true, pause: None }
    });
    assert_eq!(ground.store.fire_this(name(), refused).await.unwrap().unwrap().cancelled, None);
    assert_eq!(ground.task(first.id).await.status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_schedules_have_missed_is_written_in_several_transactions() {
    let mut ground = Ground::new().await;
    let due = ground.due().await;
    let others = "INSERT INTO schedules (name, definition, managed_by, version, next_fire_at, created_at, updated_at) \
                  SELECT CONCAT('s', seq.n), s.definition, s.managed_by, 1, s.next_fire_at, NOW(6), NOW(6) FROM schedules s, \
                  (SELECT 1 n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) seq";
    ground.sql.query_drop(others).await.unwrap();
    let missed: Judge = Arc::new(move |_, _| {
        let at = |n| entry(due - TimeDelta::minutes(1000 - i64::from(n)), Outcome::SkippedMisfire);
        Verdict { entries: (0..1000).map(at).collect(), next: Some(due + TimeDelta::hours(1)), ..Verdict::default() }
    });
    let mut sizes = Vec::new();
    loop {
        match ground.store.fire_due(128, Arc::clone(&missed)).await.unwrap().len() {
            0 => break,
            some => sizes.push(some),
        }
    }
    assert_eq!(sizes, [5, 5], "no transaction has more than it may");
    assert_eq!(ground.number("SELECT COUNT(*) FROM schedule_fires").await, 10_000);
    assert_eq!(ground.number("SELECT COUNT(*) FROM schedules WHERE next_fire_at > NOW(6)").await, 10);
    assert_eq!(ground.number("SELECT COUNT(*) FROM schedules WHERE definition <> '' AND version = 1").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tasks_of_several_schedules_are_written_in_several_transactions() {
    let mut ground = Ground::new().await;
    ground.due().await;
    let others = "INSERT INTO schedules (name, definition, managed_by, version, next_fire_at, created_at, updated_at) \
                  SELECT CONCAT('s', seq.n), s.definition, s.managed_by, 1, s.next_fire_at, NOW(6), NOW(6) FROM schedules s, \
                  (SELECT 1 n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) seq";
    ground.sql.query_drop(others).await.unwrap();
    // Three of them are more than one transaction is to have; all of them would still be one that the server takes.
    let payload: Arc<str> = format!("\"{}\"", "x".repeat(2_900_000)).into();
    let large: Judge = Arc::new(move |come, _| {
        let due = come.row.next_fire_at.unwrap();
        let task = NewTask { payload: Arc::clone(&payload), ..task() };
        let entries = vec![Entry { task: Some(task), ..entry(due, Outcome::Fired) }];
        Verdict { entries, next: Some(due + TimeDelta::hours(1)), ..Verdict::default() }
    });
    let mut sizes = Vec::new();
    loop {
        match ground.store.fire_due(128, Arc::clone(&large)).await.unwrap().len() {
            0 => break,
            some => sizes.push(some),
        }
    }
    assert_eq!(sizes, [3, 2], "no transaction has more than it may");
    assert_eq!(ground.tasks_and_fires().await, (5, 5));
}
