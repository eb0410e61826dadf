//! The database is killed under load: nothing that was accepted is lost, and the processes are
//! well again by themselves.

use super::conclude;
use crate::form::Form;
use crate::load::{self, Ledger};
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::waiting::eventually;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// From its return until `/health` says ok.
const BOUND: Duration = Duration::from_secs(5);
/// Of the worker: no more can be under way when the database dies.
const SLOTS: usize = 32;
const CLIENTS: u64 = 8;
const EVERY: Duration = Duration::from_millis(25);

pub(crate) async fn run(form: Form) {
    let kills = form.of(1, 5);
    let rig = Rig::start().await;
    let api = rig.ready(rig.plan("api", "api")).await;
    let worker = rig.ready(rig.plan("worker", "worker")).await;
    let (ledger, stop) = (Arc::new(Ledger::default()), CancellationToken::new());
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        let doors = vec![Arc::clone(&api.url)];
        clients.spawn(load::client(Arc::clone(&ledger), doors, rig.client.clone(), EVERY, seed, stop.clone()));
    }
    let mut worst = Duration::ZERO;
    for _ in 0..kills {
        let before = ledger.accepted();
        eventually("load", async || (ledger.accepted() > before + 100).then_some(())).await;
        let mut servers = rig.servers.lock().await;
        servers.database.kill().await;
        let health = format!("{}/health", api.url.read().unwrap());
        eventually("it is seen to be down", async || (!is_ok(&rig.client, &health).await).then_some(())).await;
        servers.database.start().await.unwrap();
        drop(servers);
        let back = Instant::now();
        eventually("/health is ok", async || is_ok(&rig.client, &health).await.then_some(())).await;
        worst = worst.max(back.elapsed());
    }
    stop.cancel();
    while clients.join_next().await.is_some() {}
    let (accepted, unknown) = (ledger.accepted.lock().unwrap().clone(), ledger.unknown.load(Ordering::Relaxed));
    let mut report = Report::new(format!("The database is killed under load ({form:?} form)"));
    report.add("kills", kills).add("tasks accepted", accepted.len()).add("refused or unanswered", unknown);
    report.add("from its return until /health is ok, worst", seconds(worst));
    let verdict = conclude(rig, report, (accepted, unknown), vec![worker, api], 1).await;
    // A worker that may not trust its lease claims nothing that it would have to drop.
    assert!(verdict.never_started <= kills * SLOTS, "{} claims were dropped", verdict.never_started);
    assert!(worst <= form.bound(BOUND), "{worst:?}");
}

async fn is_ok(client: &reqwest::Client, health: &str) -> bool {
    let Ok(answer) = client.get(health).send().await else { return false };
    answer.json::<serde_json::Value>().await.is_ok_and(|report| report["status"] == "ok")
}
