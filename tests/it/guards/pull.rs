//! What workers outside may take, hold and say, statement by statement.

use super::{Ground, MINUTE, first_attempt, noop, queue};
use mysql_async::prelude::Queryable;
use std::collections::BTreeSet;
use std::time::Duration;
use taskrunnerx::store::tasks::Place;
use taskrunnerx::store::workers::{NewWorker, OUTSIDE};
use taskrunnerx::task::{NewTask, TaskId, Way, When, WorkerId};

const HOUR: Duration = Duration::from_secs(3600);

fn outside() -> NewTask {
    NewTask { way: Way::Outside, ..noop() }
}

impl Ground {
    async fn register_outside(&self, lease: Duration) -> WorkerId {
        let id = WorkerId::fresh();
        let worker = NewWorker { id, host: "there".into(), pid: OUTSIDE, queues: "[\"q\"]".into(), slots: 4 };
        self.store.register_worker(worker, lease).await.unwrap();
        id
    }

    async fn available(&self, limit: usize) -> Vec<TaskId> {
        let heads = self.store.available(vec![queue()], None, limit).await.unwrap();
        super::only(heads).into_iter().map(|offer| offer.id).collect()
    }

    async fn lanes(&mut self) -> Vec<(String, u64)> {
        self.sql.query("SELECT status, lane FROM tasks ORDER BY id").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_in_the_backlog_is_set_aside_and_only_that_comes_back() {
    let mut ground = Ground::new().await;
    let worker = ground.register(MINUTE).await;
    let later = NewTask { when: When::After(HOUR), ..outside() };
    // Of workers outside: never through a gate, and in their lane from the start; the others are as ours.
    let mut all = ground.insert(outside(), true, 1).await;
    all.extend(ground.insert(later, false, 1).await);
    all.extend(ground.backlog(1).await);
    all.extend(ground.dispatched(1).await);
    all.extend(ground.running(worker, 1).await);
    all.extend(ground.backlog(1).await);
    ground.set(all[5], "status = 'completed', lane = 0").await;
    let lanes = |aside: u64, ours: u64| {
        let row = |status: &str, lane| (status.to_owned(), lane);
        [
            row("queued", aside),
            row("scheduled", 1),
            row("queued", ours),
            row("queued", 3),
            row("running", 3),
            row("completed", 0),
        ]
    };
    assert_eq!(ground.lanes().await, lanes(4, 2));
    let mut rows = Vec::new();
    for id in &all {
        rows.push(ground.row(*id).await);
    }
    assert_eq!(ground.store.backlog_names(all.clone()).await.unwrap(), [(all[2], "noop".to_owned())]);
    assert_eq!(ground.store.set_aside(all.clone()).await.unwrap(), 1);
    assert_eq!(ground.lanes().await, lanes(4, 4));
    assert_eq!(ground.store.put_back(Place::default(), all.clone()).await.unwrap(), 2);
    assert_eq!(ground.lanes().await, lanes(2, 2));
    assert_eq!(ground.store.set_aside(vec![all[0]]).await.unwrap(), 1);
    for (id, row) in all.iter().zip(rows) {
        assert_eq!(ground.row(*id).await, row, "nothing else of it has changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_outside_get_what_is_theirs_by_priority_then_age() {
    let ground = Ground::new().await;
    let worker = ground.register_outside(MINUTE).await;
    let old = ground.insert(outside(), false, 3).await;
    let urgent = ground.insert(NewTask { priority: 9, ..outside() }, false, 2).await;
    ground.backlog(2).await;
    ground.insert(NewTask { queue: "other".into(), ..outside() }, false, 1).await;
    assert_eq!(ground.available(10).await, [urgent.clone(), old.clone()].concat());
    assert_eq!(ground.available(3).await, [urgent.clone(), vec![old[0]]].concat());
    assert!(ground.store.claim(worker, first_attempt(&urgent)).await.unwrap().is_empty());
    assert_eq!(ground.available(10).await, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_gives_workers_outside_nothing_until_its_pause_is_over() {
    let mut ground = Ground::new().await;
    let all = ground.insert(outside(), false, 1).await;
    for (pause, given) in [
        ("paused_at = NOW(6)", false),
        ("paused_at = NOW(6), resume_at = NOW(6) + INTERVAL 1 HOUR", false),
        ("paused_at = NOW(6), resume_at = NOW(6)", true),
        ("paused_at = NULL, resume_at = NULL", true),
    ] {
        ground.sql.query_drop(format!("UPDATE queues SET {pause} WHERE name = 'default'")).await.unwrap();
        assert_eq!(ground.available(10).await, if given { all.clone() } else { vec![] }, "{pause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_over_what_is_aside_meets_each_task_once_also_those_of_one_instant() {
    let mut ground = Ground::new().await;
    let all = ground.insert(outside(), false, 7).await;
    let position = "SELECT MAX(position) FROM tasks";
    let last = ground.number(position).await;
    for id in &all[1..6] {
        ground.set(*id, &format!("position = {last}")).await;
    }
    let (mut met, mut place) = (Vec::new(), Some(Place::default()));
    while let Some(from) = place {
        let step = ground.store.aside(queue(), from, 2).await.unwrap();
        met.extend(step.tasks.into_iter().map(|(id, _)| id));
        place = step.next;
    }
    assert_eq!((met.len(), BTreeSet::from_iter(met)), (7, BTreeSet::from_iter(all)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_worker_outside_is_renewed_while_it_lives_and_no_other_ones() {
    let mut ground = Ground::new().await;
    let (lives, ours) = (ground.register_outside(MINUTE).await, ground.register(MINUTE).await);
    let fenced = ground.register_outside(Duration::ZERO).await;
    assert_eq!(ground.store.fence_expired_workers().await.unwrap(), 1);
    let rows =
        "SELECT COUNT(*) FROM workers WHERE lease_until > NOW(6) + INTERVAL 30 MINUTE OR slots = 7 OR queues = '[]'";
    for (worker, renewed) in [(ours, false), (fenced, false), (WorkerId::fresh(), false), (lives, true)] {
        assert_eq!(ground.number(rows).await, 0);
        assert_eq!(ground.store.renew_outside(worker, HOUR).await.unwrap(), renewed, "{worker}");
        if !renewed {
            assert!(!ground.store.return_outside(worker, "[]".into(), 7, HOUR).await.unwrap(), "{worker}");
        }
    }
    assert_eq!(ground.number(rows).await, 1);
    assert!(ground.store.return_outside(lives, "[\"a\"]".into(), 9, MINUTE).await.unwrap());
    assert_eq!(ground.number(rows).await, 0);
    let live = ground.store.live_workers().await.unwrap();
    let mut live: Vec<_> = live.into_iter().map(|w| (w.outside, w.slots, w.queues)).collect();
    live.sort_unstable();
    assert_eq!(live, [(false, 4, "[\"*\"]".to_owned()), (true, 9, "[\"a\"]".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_had_no_time_to_name_yet_and_what_still_has_time_is_left_alone() {
    let mut ground = Ground::new().await;
    let (theirs, ours) = (ground.register_outside(MINUTE).await, ground.register(MINUTE).await);
    let all = ground.running(theirs, 3).await;
    let of_ours = ground.running(ours, 1).await[0];
    let ids = |held: Vec<taskrunnerx::store::tasks::Held>| held.into_iter().map(|held| held.id).collect::<Vec<_>>();
    assert_eq!(ids(ground.store.held_for(theirs, MINUTE, 10).await.unwrap()), []);
    // Each may take a minute.
    let started = |span: &str| format!("started_at = NOW(6) - INTERVAL {span}");
    ground.set(all[0], &started("61 SECOND")).await;
    ground.set(all[1], &started("59 SECOND")).await;
    ground.set(all[2], &started("2 HOUR")).await;
    ground.set(of_ours, &started("2 HOUR")).await;
    assert_eq!(ids(ground.store.held_for(theirs, MINUTE, 10).await.unwrap()), [all[0], all[2]]);
    let overdue = async |grace| {
        let found = ground.store.overdue(grace, 10).await.unwrap();
        found.into_iter().map(|attempt| attempt.held.id).collect::<Vec<_>>()
    };
    assert_eq!(overdue(Duration::ZERO).await, [all[0], all[2]]);
    assert_eq!(overdue(HOUR).await, [all[2]]);
    let attempts = ground.store.attempts(all.clone()).await.unwrap();
    let late: BTreeSet<TaskId> =
        attempts.iter().filter(|found| found.is_overdue()).map(|found| found.held.id).collect();
    assert_eq!(late, BTreeSet::from([all[0], all[2]]));
    ground.set(all[2], "status = 'completed', lane = 0").await;
    assert_eq!(ids(ground.store.held_for(theirs, MINUTE, 10).await.unwrap()), [all[0]]);
}
