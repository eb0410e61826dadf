//! Whoever changes a schedule, or what became of its instants, has its row locked from the first look to the commit.

use super::{Ground, Proxy, fired, judge, name, task};
use crate::harness::eventually;
use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use taskrunnerx::store::Store;
use taskrunnerx::store::queues::NewPause;
use taskrunnerx::store::schedules::{BackfillTask, Come, Defined, Entry, Judge, NewSchedule, Removed, Verdict};
use taskrunnerx::task::schedule::Outcome;

const DAILY: &str = r#"{"cron":"@daily","timezone":"UTC","task":{"name":"noop"}}"#;
/// The first statement that writes of those that write into the ledger.
const RECORD: &str = "INSERT IGNORE INTO schedule_fires";
/// An instant of the schedule waits, for no task any more.
const WAITS: [&str; 2] = [
    "INSERT INTO schedule_fires (schedule, fire_at, outcome, recorded_at) SELECT name, '2026-01-01', 'waiting', NOW(6) FROM schedules",
    "UPDATE schedules SET waiting_fire_at = '2026-01-01'",
];

/// What somebody does with a schedule, and the statement before which that one is held up: the row has been looked at.
struct Deed {
    what: &'static str,
    before: &'static str,
    prepared: &'static [&'static str],
    act: fn(Store) -> BoxFuture<'static, ()>,
}

fn settle() -> Judge {
    Arc::new(|come: &Come, _| {
        let at = come.row.waiting.unwrap();
        let entry = Entry { at, outcome: Outcome::Fired, instants: 1, since: None, task: Some(task()) };
        Verdict { entries: vec![entry], ..Verdict::default() }
    })
}

const DEEDS: [Deed; 7] = [
    Deed {
        what: "fires what is due",
        before: RECORD,
        prepared: &[],
        act: |store| {
            async move { assert_eq!(fired(&store.fire_due(128, judge(Outcome::Fired)).await.unwrap()), 1) }.boxed()
        },
    },
    Deed {
        what: "fires this one",
        before: RECORD,
        prepared: &[],
        act: |store| {
            async move { assert!(store.fire_this(name(), judge(Outcome::Fired)).await.unwrap().is_some()) }.boxed()
        },
    },
    Deed {
        what: "fires what waited",
        before: "UPDATE schedule_fires",
        prepared: &WAITS,
        act: |store| async move { assert_eq!(fired(&store.fire_waiting(10, settle()).await.unwrap()), 1) }.boxed(),
    },
    Deed {
        what: "runs it by hand",
        before: RECORD,
        prepared: &[],
        act: |store| async move { assert!(store.fire_by_hand(name(), task()).await.unwrap().is_some()) }.boxed(),
    },
    Deed {
        what: "backfills it",
        before: RECORD,
        prepared: &[],
        act: |store| {
            async move {
                let at = store.now().await.unwrap() - TimeDelta::hours(1);
                let tasks = vec![BackfillTask { at, task: task() }];
                assert_eq!(store.backfill(name(), tasks).await.unwrap().unwrap().len(), 1);
            }
            .boxed()
        },
    },
    Deed {
        what: "redefines it",
        before: "UPDATE schedules SET definition",
        // Nothing is due.
        prepared: &["UPDATE schedules SET next_fire_at = NOW(6) + INTERVAL 1 HOUR"],
        act: |store| {
            async move {
                let daily = NewSchedule {
                    name: name(),
                    definition: DAILY.to_owned(),
                    managed_by: "api".to_owned(),
                    pause_after: None,
                    next_fire_at: None,
                };
                assert!(matches!(store.define_schedule(daily, None).await.unwrap(), Defined::Replaced(_)));
            }
            .boxed()
        },
    },
    Deed {
        what: "removes it",
        before: "DELETE FROM schedules",
        prepared: &[],
        act: |store| {
            async move { assert_eq!(store.remove_schedule(name(), None).await.unwrap(), Removed::Removed) }.boxed()
        },
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_a_schedule_that_another_has_looked_at_and_schedulers_pass_it_over() {
    for Deed { what, before, prepared, act } in DEEDS {
        eprintln!("somebody {what}");
        let mut ground = Ground::new().await;
        ground.due().await;
        for text in prepared {
            ground.sql.query_drop(*text).await.unwrap();
        }
        let proxy = Proxy::new(&ground.world).await;
        proxy.hold(before.as_bytes());
        let acting = tokio::spawn(act(proxy.store.clone()));
        proxy.held().await;
        assert!(
            ground.store.fire_due(128, judge(Outcome::Fired)).await.unwrap().is_empty(),
            "nobody waits for another"
        );
        assert!(ground.store.fire_waiting(10, settle()).await.unwrap().is_empty(), "nobody waits for another");
        let store = ground.store.clone();
        let pause = NewPause { reason: None, resume_in: None, by: "test".to_owned() };
        let pausing = tokio::spawn(async move { store.pause_schedule(name(), pause).await.unwrap() });
        eventually("the change waits, or is done", async || {
            (ground.blocked().await == 1 || pausing.is_finished()).then_some(())
        })
        .await;
        assert!(!pausing.is_finished(), "it changed while somebody {what}");
        proxy.go_on();
        acting.await.unwrap();
        assert_eq!(pausing.await.unwrap().is_some(), what != "removes it");
    }
}
