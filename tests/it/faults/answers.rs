//! The database did it, and nobody was told: one test for each kind of call of which that can
//! be said. What a lost connection does within one call stands in the guards' tests.

use super::crew::{Crew, Stage, fired_once, until_streams_are_empty};
use super::{Ground, is_consistent, play, tasks, until_ended};
use crate::guards::{entry, only};
use crate::harness::eventually;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::submit::SubmitError;
use taskrunnerx::scheduler::ScheduleSpec;
use taskrunnerx::seam::{Fault, Loss};
use taskrunnerx::store::StoreError;
use taskrunnerx::store::tasks::Idempotency;
use taskrunnerx::task::schedule::Definition;
use taskrunnerx::task::{Backoff, KeyHash, NewTask, RequestHash, Status};
use tokio_util::sync::CancellationToken;

const UNSENT: Fault = Fault::Before(Loss::TimedOut);
const UNANSWERED: Fault = Fault::After(Loss::TimedOut);
const LATE: Fault = Fault::Late(Duration::from_millis(300));

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_timed_out_is_in_once_or_not_at_all() {
    let mut stage = Stage::new(4).await;
    let submitter = stage.crew.submitter();
    submitter.submit(vec![play(&["ok"])]).await.unwrap();
    for (fault, more) in [(UNSENT, 0), (UNANSWERED, 1), (LATE, 1)] {
        let before = tasks(&stage.ground).await.len();
        stage.script.strike("insert", fault);
        let answer = submitter.submit(vec![play(&["ok"])]).await;
        assert!(matches!(answer, Err(SubmitError::Store(StoreError::TimedOut))), "{answer:?}");
        eventually("it is in", async || (tasks(&stage.ground).await.len() == before + more).then_some(())).await;
    }
    until_ended(&mut stage.ground).await;
    assert_eq!((tasks(&stage.ground).await.len(), stage.crew.begun()), (3, (3, vec![])));
    is_consistent(&mut stage.ground, &stage.crew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_under_a_key_that_timed_out_is_answered_with_its_task_when_it_is_repeated() {
    let mut stage = Stage::new(4).await;
    let submitter = stage.crew.submitter();
    for (number, (fault, repeated)) in [(UNSENT, false), (UNANSWERED, true), (LATE, true)].into_iter().enumerate() {
        let key = Idempotency {
            hash: KeyHash::idempotency("somebody", &number.to_string()),
            request: RequestHash::of(b"body"),
            retain: Duration::from_secs(3600),
        };
        stage.script.strike("keyed", fault);
        let answer = submitter.submit_keyed(vec![play(&["ok"])], Some(key)).await;
        assert!(matches!(answer, Err(SubmitError::Store(StoreError::TimedOut))), "{answer:?}");
        let there = number + usize::from(repeated);
        eventually("it is in", async || (tasks(&stage.ground).await.len() == there).then_some(())).await;
        let receipt = submitter.submit_keyed(vec![play(&["ok"])], Some(key)).await.unwrap();
        assert_eq!((receipt.repeated, receipt.created), (repeated, usize::from(!repeated)));
        assert_eq!(tasks(&stage.ground).await[0].id, receipt.tasks[0].id);
    }
    until_ended(&mut stage.ground).await;
    assert_eq!((tasks(&stage.ground).await.len(), stage.crew.begun()), (3, (3, vec![])));
    is_consistent(&mut stage.ground, &stage.crew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_its_worker_gave_up_is_released_and_forgiven() {
    for fault in [UNANSWERED, LATE] {
        let mut stage = Stage::new(4).await;
        stage.script.strike("claim", fault);
        let id = only(stage.crew.submitter().submit(vec![play(&["ok"])]).await.unwrap()).id;
        until_ended(&mut stage.ground).await;
        let task = stage.ground.task(id).await;
        assert_eq!((task.status, task.attempt, task.forgiven), (Status::Completed, 2, 1), "{fault:?}");
        assert_eq!(stage.crew.begun().0, 1, "the first never began");
        is_consistent(&mut stage.ground, &stage.crew).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_not_sent_is_swept_and_costs_no_attempt() {
    // By way of the dispatcher's memory, and by the row of what came through the gate.
    for direct in [false, true] {
        let mut stage = Stage::new(4).await;
        stage.script.strike("claim", UNSENT);
        let id = stage.ground.insert(play(&["ok"]), direct, 1).await[0];
        if direct {
            stage.ground.stream().append(vec![entry(&stage.ground.task(id).await)]).await.unwrap();
        }
        until_ended(&mut stage.ground).await;
        assert_eq!((stage.ground.task(id).await.attempt, stage.script.left()), (1, 0), "direct: {direct}");
        assert_eq!(stage.ground.world.metrics.tasks_undispatched.get(), 1, "direct: {direct}");
        is_consistent(&mut stage.ground, &stage.crew).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_being_released_does_not_begin_by_a_second_entry() {
    let mut stage = Stage::new(4).await;
    stage.script.strike("claim", UNANSWERED);
    // The heartbeat's release, which is under way for as long as this.
    stage.script.strike("finish", Fault::Late(Duration::from_secs(2)));
    let task = only(stage.crew.submitter().submit(vec![play(&["long", "ok"])]).await.unwrap());
    eventually("it is being released", async || (stage.script.left() == 0).then_some(())).await;
    stage.ground.stream().append(vec![entry(&task)]).await.unwrap();
    until_ended(&mut stage.ground).await;
    let task = stage.ground.task(task.id).await;
    assert_eq!((task.attempt, task.forgiven), (2, 1));
    is_consistent(&mut stage.ground, &stage.crew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_was_recorded_and_not_answered_counts_once() {
    let mut stage = Stage::new(4).await;
    let submitter = stage.crew.submitter();
    let plans: [&[&str]; 3] = [&["ok"], &["give up"], &["fail", "ok"]];
    for fault in [UNSENT, UNANSWERED, LATE] {
        for plan in plans {
            stage.script.strike("finish", fault);
            // Recorded and said again before the next attempt.
            let backoff = Backoff::fixed(Duration::from_secs(1));
            submitter.submit(vec![NewTask { backoff, ..play(plan) }]).await.unwrap();
            until_ended(&mut stage.ground).await;
            assert_eq!(stage.script.left(), 0);
        }
    }
    let metrics = &stage.ground.world.metrics;
    let counted = |word| metrics.tasks_finished.with_label_values(&["default", "play", word]).get();
    // The row says so first: the last answer is counted when it has been said again.
    eventually("everything is counted", async || {
        (counted("completed") + counted("permanent") + counted("retried") >= 12).then_some(())
    })
    .await;
    assert_eq!((counted("completed"), counted("permanent"), counted("retried")), (6, 3, 3));
    assert_eq!(metrics.tasks_fenced.get(), 0);
    is_consistent(&mut stage.ground, &stage.crew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_was_read_without_an_answer_is_read_again() {
    for fault in [UNSENT, UNANSWERED, LATE] {
        // The look at its head, and then what the entries need.
        for looks in [0, 1] {
            let mut stage = Stage::new(4).await;
            for _ in 0..looks {
                stage.script.strike("dispatch", Fault::Slow(Duration::ZERO));
            }
            stage.script.strike("dispatch", fault);
            stage.ground.insert(play(&["ok"]), false, 3).await;
            until_ended(&mut stage.ground).await;
            assert_eq!(stage.script.left(), 0);
            assert!(tasks(&stage.ground).await.iter().all(|task| task.attempt == 1));
            assert_eq!(stage.ground.world.metrics.tasks_undispatched.get(), 0, "nothing had to be swept");
            is_consistent(&mut stage.ground, &stage.crew).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_was_not_answered_is_made_again() {
    for fault in [UNSENT, UNANSWERED, LATE] {
        let mut stage = Stage::new(0).await;
        // Long ago, behind an open gate, and their entries were never added.
        for id in stage.ground.insert(play(&["ok"]), true, 3).await {
            stage.ground.set(id, "dispatched_at = dispatched_at - INTERVAL 1 HOUR").await;
        }
        stage.script.strike("undispatch", fault);
        stage.crew.hire(4);
        until_ended(&mut stage.ground).await;
        assert_eq!(stage.script.left(), 0);
        assert!(tasks(&stage.ground).await.iter().all(|task| task.attempt == 1));
        is_consistent(&mut stage.ground, &stage.crew).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_and_was_moved_without_an_answer_is_dispatched() {
    let mut stage = Stage::new(4).await;
    for fault in [UNSENT, UNANSWERED, LATE] {
        stage.script.strike("promote", fault);
        let delayed = NewTask { when: taskrunnerx::task::When::After(Duration::from_millis(50)), ..play(&["ok"]) };
        stage.ground.insert(delayed, false, 1).await;
        until_ended(&mut stage.ground).await;
        assert_eq!(stage.script.left(), 0);
    }
    is_consistent(&mut stage.ground, &stage.crew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_not_answered_begins_again_under_another_id() {
    for fault in [UNANSWERED, LATE] {
        let mut ground = Ground::new().await;
        let script = Arc::new(super::weather::Script::default());
        script.strike("worker", fault);
        let mut crew = Crew::new(&ground, script.clone());
        crew.hire(4);
        crew.ready().await;
        // The lease of the row that is there counts from a time before the second registration.
        let query = "SELECT COUNT(*) FROM workers WHERE dead_at IS NULL";
        assert_eq!(ground.number(query).await, 2, "{fault:?}");
        eventually("the one that nobody is goes", async || (ground.number(query).await == 1).then_some(())).await;
        crew.submitter().submit(vec![play(&["ok"])]).await.unwrap();
        until_ended(&mut ground).await;
        is_consistent(&mut ground, &crew).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_not_answered_costs_nothing() {
    let mut stage = Stage::new(4).await;
    let ids = "SELECT HEX(id) FROM workers WHERE dead_at IS NULL";
    let before: Vec<String> = stage.ground.sql.query(ids).await.unwrap();
    let submitter = stage.crew.submitter();
    for fault in [UNSENT, UNANSWERED, LATE] {
        stage.script.strike("heartbeat", fault);
        eventually("it was struck", async || (stage.script.left() == 0).then_some(())).await;
        submitter.submit(vec![play(&["slow"])]).await.unwrap();
        until_ended(&mut stage.ground).await;
    }
    let after: Vec<String> = stage.ground.sql.query(ids).await.unwrap();
    assert_eq!((before.len(), before), (1, after));
    assert!(tasks(&stage.ground).await.iter().all(|task| task.attempt == 1));
    is_consistent(&mut stage.ground, &stage.crew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_whose_fire_was_not_answered_fires_once() {
    let mut stage = Stage::new(4).await;
    let faults = [UNSENT, UNANSWERED, LATE, Fault::Late(Duration::from_millis(1500))];
    faults.into_iter().for_each(|fault| stage.script.strike("fire", fault));
    let tick = r#"{"cron":"* * * * * *","task":{"name":"play","payload":{"plan":["ok"]}}}"#;
    let read = Definition::from_json(tick, 1 << 20).unwrap();
    let ticking = CancellationToken::new();
    stage.crew.schedule(vec![ScheduleSpec { name: "tick".into(), read }], ticking.clone());
    let ledger = "SELECT COUNT(*) FROM schedule_fires";
    eventually("it was struck, and fires", async || {
        (stage.script.left() == 0 && stage.ground.number(ledger).await > 4).then_some(())
    })
    .await;
    ticking.cancel();
    until_ended(&mut stage.ground).await;
    fired_once(&mut stage.ground).await;
    is_consistent(&mut stage.ground, &stage.crew).await;
}

/// The release holds what it gives back, and the hand-over waits until nothing is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_doubt_does_not_hold_up_the_hand_over_after_a_lost_lease() {
    let mut stage = Stage::new(4).await;
    let submitter = stage.crew.submitter();
    let hangs = only(submitter.submit(vec![play(&["hang", "ok"])]).await.unwrap()).id;
    eventually("it runs", async || (stage.ground.task(hangs).await.status == Status::Running).then_some(())).await;
    stage.script.strike("claim", UNANSWERED);
    stage.script.strike("finish", Fault::Slow(Duration::from_secs(8)));
    submitter.submit(vec![play(&["ok"])]).await.unwrap();
    eventually("a release is under way", async || (stage.script.left() == 0).then_some(())).await;
    for _ in 0..7 {
        stage.script.strike("heartbeat", UNSENT);
    }
    until_ended(&mut stage.ground).await;
    let crashes = "SELECT CAST(SUM(crash_count) AS UNSIGNED) FROM tasks";
    assert_eq!(stage.ground.number(crashes).await, 0, "its worker handed them over, and did not die");
}

/// Nobody is there to clear its consumer: the rescuer knows of dead workers by their rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_row_is_gone_leaves_nothing_pending() {
    let mut stage = Stage::new(4).await;
    let submitter = stage.crew.submitter();
    for _ in 0..3 {
        submitter.submit(vec![play(&["hang", "ok"])]).await.unwrap();
    }
    let running = "SELECT COUNT(*) FROM tasks WHERE status = 'running'";
    eventually("they run", async || (stage.ground.number(running).await == 3).then_some(())).await;
    stage.ground.sql.query_drop("DELETE FROM workers").await.unwrap();
    until_ended(&mut stage.ground).await;
    until_streams_are_empty(&stage.ground, &["default"]).await;
}
