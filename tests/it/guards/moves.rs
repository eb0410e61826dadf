//! Random moves by everybody at once: whatever comes, each row stays consistent, each move is
//! one of the table's, and no attempt number falls.

use super::{Ground, first_attempt, key, noop, queue};
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::time::Duration;
use taskrunnerx::lifecycle::rescue;
use taskrunnerx::store::tasks::{Claim, Finish, Record};
use taskrunnerx::task::{Reason, Status, Task, TaskId, When, WorkerId};

/// Rows that contradict themselves.
const INCONSISTENT: &str = include_str!("inconsistent.sql");

/// SplitMix64: the same seed, the same moves.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn chance(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    fn some(&mut self, ids: &[TaskId]) -> Vec<TaskId> {
        let mut some: Vec<TaskId> = ids.iter().copied().filter(|_| self.chance(2)).collect();
        some.dedup();
        some
    }
}

struct Play {
    ground: Ground,
    dice: Dice,
    ids: Vec<TaskId>,
    workers: Vec<WorkerId>,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let ground = Ground::new().await;
        let mut ids = Vec::new();
        for i in 0..8u8 {
            let mut task = noop();
            task.priority = i % 4;
            task.max_attempts = 50;
            task.when = if i % 3 == 0 { When::After(Duration::from_millis(2)) } else { When::Now };
            task.expires_in = (i % 4 == 3).then_some(Duration::from_millis(400));
            ids.extend(ground.insert(task, i % 2 == 0, 1).await);
        }
        let mut workers = Vec::new();
        for _ in 0..2 {
            workers.push(ground.register(super::MINUTE).await);
        }
        Self { ground, dice: Dice(seed), ids, workers }
    }

    async fn tasks(&self) -> HashMap<TaskId, Task> {
        let page = self.ground.store.list(Default::default(), None, 100).await.unwrap();
        page.tasks.into_iter().map(|task| (task.id, task)).collect()
    }

    fn worker(&mut self) -> WorkerId {
        self.workers[self.dice.roll(self.workers.len())]
    }

    /// The attempt number that a row has, or one beside it.
    fn about(&mut self, attempt: u32) -> u32 {
        if self.dice.chance(5) { (attempt + u32::from(self.dice.chance(2))).saturating_sub(1) } else { attempt }
    }

    fn record(&mut self) -> Record {
        let error = Some("e".to_owned());
        match self.dice.roll(16) {
            0 => Record::Completed { result: None },
            1 => Record::Completed { result: Some("1".into()) },
            2 => Record::Failed { reason: Reason::Error, error },
            3 => Record::Cancelled { error },
            n if n < 10 => Record::Requeue { forgiven: n % 2 == 0, error },
            n => Record::Retry { delay: Duration::from_millis(u64::try_from(n % 3).unwrap()), error },
        }
    }

    /// One move; gives its name.
    async fn step(&mut self, before: &HashMap<TaskId, Task>) -> &'static str {
        let store = self.ground.store.clone();
        let some = self.dice.some(&self.ids);
        match self.dice.roll(12) {
            0 | 1 => {
                store.promote_due(queue()).await.unwrap();
                "promote"
            }
            2 | 3 => {
                store.take_backlog(queue(), 1 + self.dice.roll(4)).await.unwrap();
                "dispatch"
            }
            4 => {
                store.undispatch_stale(queue(), store.now().await.unwrap(), 100).await.unwrap();
                "undispatch"
            }
            5 => {
                if let Some(at) = some.first().and_then(|id| before[id].dispatched_at) {
                    store.put_back(some, at).await.unwrap();
                }
                "put back"
            }
            6 => {
                let delay = Duration::from_millis(u64::try_from(self.dice.roll(3)).unwrap());
                store.hand_back(some, delay).await.unwrap();
                "hand back"
            }
            7 | 8 => {
                let worker = self.worker();
                let claims = some.iter().map(|id| Claim { id: *id, attempt: self.about(before[id].attempt) }).collect();
                store.claim(worker, claims).await.unwrap();
                "claim"
            }
            9 => {
                let id = self.ids[self.dice.roll(self.ids.len())];
                if before[&id].status == Status::Running && self.dice.chance(4) {
                    self.ground.set(id, "cancel_requested_at = NOW(6)").await;
                }
                "ask to cancel"
            }
            10 if self.dice.chance(4) => {
                // A worker dies, another comes.
                let dead = self.worker();
                let name = key(TaskId(dead.0));
                let query = format!("UPDATE workers SET lease_until = NOW(6) - INTERVAL 1 SECOND WHERE id = {name}");
                self.ground.sql.query_drop(query).await.unwrap();
                rescue::pass(&self.ground.tools()).await.unwrap();
                self.workers.retain(|worker| *worker != dead);
                self.workers.push(self.ground.register(super::MINUTE).await);
                "rescue"
            }
            _ => {
                let mut batch = Vec::new();
                for id in some {
                    let worker = before[&id].worker_id.filter(|_| !self.dice.chance(5));
                    let (worker, record) = (worker.unwrap_or_else(|| self.workers[0]), self.record());
                    let attempt = self.about(before[&id].attempt);
                    let history = Some(("error", None));
                    let crashed = self.dice.chance(3) && !matches!(record, Record::Completed { .. });
                    batch.push(Finish { id, attempt, worker, record, history, crashed });
                }
                for applied in store.finish(batch).await {
                    applied.unwrap();
                }
                "finish"
            }
        }
    }
}

async fn play(seed: u64) {
    let mut play = Play::new(seed).await;
    let mut before = play.tasks().await;
    for step in 0..150 {
        let what = play.step(&before).await;
        let at = format!("seed {seed}, step {step}: {what}");
        let wrong: Vec<String> = play.ground.sql.query(INCONSISTENT).await.unwrap();
        assert!(wrong.is_empty(), "{at}: {wrong:#?}");
        let after = play.tasks().await;
        for (id, task) in &after {
            let old = &before[id];
            let legal = old.status == task.status || old.status.may_become(task.status);
            assert!(legal, "{at}: {id} went from {} to {}", old.status, task.status);
            assert!(task.attempt >= old.attempt && task.forgiven >= old.forgiven, "{at}: {old:?} -> {task:?}");
            let claimed = task.status == Status::Running && old.status != Status::Running;
            assert_eq!(task.attempt - old.attempt, u32::from(claimed), "{at}: {old:?} -> {task:?}");
            assert!(claimed || task.worker_id == old.worker_id, "{at}: {old:?} -> {task:?}");
        }
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_rows_stay_consistent_and_attempts_never_fall() {
    for seed in 0..3 {
        play(seed).await;
    }
    // And ones that nobody has seen before.
    play(rand::random()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dead_worker_counts_a_forgiven_attempt_does_not_and_the_third_death_poisons() {
    let mut ground = Ground::new().await;
    let id = ground.dispatched(1).await[0];
    let parts = ground.tools();
    // A drain first: forgiven, and no death.
    let drained = WorkerId::fresh();
    ground.store.claim(drained, first_attempt(&[id])).await.unwrap();
    let record = Record::Requeue { forgiven: true, error: None };
    let drain =
        Finish { id, attempt: 1, worker: drained, record, history: Some(("interrupted", None)), crashed: false };
    ground.store.finish(vec![drain]).await;
    for death in 1..=3u32 {
        let worker = ground.register(Duration::ZERO).await;
        ground.store.claim(worker, vec![Claim { id, attempt: death }]).await.unwrap();
        assert_eq!(ground.task(id).await.attempt, death + 1);
        assert_eq!(rescue::pass(&parts).await.unwrap(), 1);
        let crashes = ground.number(&format!("SELECT crash_count FROM tasks WHERE id = {}", key(id))).await;
        let task = ground.task(id).await;
        assert_eq!((crashes, task.attempt, task.forgiven), (u64::from(death), death + 1, 1));
        assert_eq!(task.status, if death == 3 { Status::Failed } else { Status::Queued });
    }
    let task = ground.task(id).await;
    assert_eq!(task.reason, Some(Reason::Poisoned), "with an attempt left");
    let history: Vec<(u32, String)> =
        ground.sql.query("SELECT attempt, outcome FROM task_attempts ORDER BY attempt").await.unwrap();
    let words = ["interrupted", "lost", "lost", "lost"].map(str::to_owned);
    assert_eq!(history, [1, 2, 3, 4].into_iter().zip(words).collect::<Vec<_>>());
}
