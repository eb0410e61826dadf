//! One question each, with a number for an answer. The short form asks few times and allows
//! much; the long form has the numbers and the bounds of the documentation.

pub(crate) mod backlog;
pub(crate) mod flushall;
pub(crate) mod killed_worker;
pub(crate) mod mysql_killed;
pub(crate) mod redis_down;
pub(crate) mod schedulers;

use crate::handler::{NAME, Order};
use crate::journal::Accepted;
use crate::oracle::{self, Evidence, Verdict};
use crate::processes::Process;
use crate::report::Report;
use crate::rig::Rig;
use futures_util::future::join_all;
use std::time::Duration;
use taskrunnerx::store::Store;
use taskrunnerx::store::tasks::Insert;
use taskrunnerx::task::{Backoff, NewTask, When};
use taskrunnerx::telemetry::Metrics;

/// For everything that takes no measured time.
const PATIENCE: Duration = Duration::from_secs(180);
/// Rows in one insert.
const BATCH: u64 = 500;

/// Puts so many tasks into the backlog, past the API.
async fn insert(rig: &Rig, count: u64, ms: u64) -> Vec<Accepted> {
    // Migrations block, which is not done on this thread.
    tokio::spawn(insert_at(rig.database_url().to_owned(), count, ms)).await.unwrap()
}

async fn insert_at(url: String, count: u64, ms: u64) -> Vec<Accepted> {
    let store = Store::new(&url, Some(2), Metrics::new().unwrap()).unwrap();
    store.migrate().await.unwrap();
    let mut accepted = Vec::new();
    for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        let orders: Vec<Order> =
            (first..count.min(first + BATCH)).map(|nonce| Order { nonce, ms, ..Order::default() }).collect();
        let batch = orders.iter().map(|order| vec![Insert { task: task(order), direct: false }]).collect();
        for (order, group) in orders.into_iter().zip(store.insert_tasks(batch).await) {
            let task = group.unwrap().remove(0);
            accepted.push(Accepted { id: task.id.0, order, queue: "default", at: 0, cancel: None });
        }
    }
    accepted
}

fn task(order: &Order) -> NewTask {
    NewTask {
        name: NAME.into(),
        way: taskrunnerx::task::Way::Stream,
        queue: "default".into(),
        priority: 0,
        payload: serde_json::to_string(order).unwrap().into(),
        when: When::Now,
        timeout: PATIENCE,
        max_attempts: 100,
        backoff: Backoff::fixed(Duration::from_millis(100)),
        expires_in: None,
        schedule: None,
        tags: Vec::new(),
        metadata: None,
        unique: None,
    }
}

/// Waits until every task is at its end.
async fn all_ended(rig: &Rig) -> Result<(), String> {
    rig.until_none(PATIENCE, "SELECT COUNT(*) FROM tasks WHERE status IN ('scheduled', 'queued', 'running')").await
}

/// Ends a scenario: what is left is looked at with `workers` of the processes as workers, all of
/// them end, the oracle judges, the report is printed. Nothing may be wrong.
async fn conclude(
    rig: Rig,
    mut report: Report,
    (accepted, unknown): (Vec<Accepted>, u64),
    processes: Vec<Process>,
    workers: usize,
) -> Verdict {
    let mut breaches: Vec<String> = all_ended(&rig).await.err().into_iter().collect();
    breaches.extend(oracle::judge_rest(&rig, workers).await);
    let mut lives = Vec::new();
    let stopped = processes.into_iter().map(async |mut process| {
        process.stop().await;
        process
    });
    for mut process in join_all(stopped).await {
        breaches.append(&mut process.surprises);
        lives.extend_from_slice(process.lives());
    }
    let evidence = Evidence::gather(&rig, accepted, unknown, lives).await;
    let mut verdict = evidence.judge();
    verdict.breaches.extend(breaches);
    report.add("lost, by a non-owner, started twice", {
        let Verdict { lost, by_non_owners, started_twice, .. } = &verdict;
        format!("{lost}, {by_non_owners}, {started_twice}")
    });
    report.add("attempts started; claimed and never started", {
        let Verdict { starts, never_started, .. } = &verdict;
        format!("{starts}; {never_started}")
    });
    report.print();
    let first: Vec<&String> = verdict.breaches.iter().take(20).collect();
    assert!(first.is_empty(), "{} breaches, of which the first: {first:#?}", verdict.breaches.len());
    rig.stop().await;
    verdict
}
