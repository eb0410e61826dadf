//! What a process does around its lease: here the daemons are real ones.

use super::{Ground, entry, key};
use crate::harness::{Daemon, DaemonBuilder, World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use taskrunnerx::cli::dev::servers::{Durability, Options, Servers};
use taskrunnerx::store::Store;
use taskrunnerx::store::workers::NewWorker;
use taskrunnerx::task::{TaskId, WorkerId};
use taskrunnerx::telemetry::Metrics;

const LEASE: &str = "3s";

async fn worker(world: &World) -> Daemon {
    let mut worker = world.daemon("worker");
    worker.env("TASKRUNNERX_WORKER__LEASE", LEASE);
    worker.ready().await
}

/// A task whose claim waits for the operator as soon as its worker has read it.
async fn held_up(ground: &mut Ground) -> (TaskId, mysql_async::Conn) {
    let id = ground.dispatched(1).await[0];
    let mut operator = ground.world.sql().await;
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop(format!("SELECT id FROM tasks WHERE id = {} FOR UPDATE", key(id))).await.unwrap();
    ground.stream().append(vec![entry(&ground.task(id).await)]).await.unwrap();
    ground.until_blocked(1).await;
    (id, operator)
}

/// The claim comes through, too late: no attempt may start from it. Another one does.
async fn starts_once(ground: &mut Ground, worker: &Daemon, id: TaskId, mut operator: mysql_async::Conn) {
    operator.query_drop("ROLLBACK").await.unwrap();
    eventually("completed", async || {
        let query = format!("SELECT 1 FROM tasks WHERE id = {} AND status = 'completed'", key(id));
        ground.sql.query_first::<u8, _>(query).await.unwrap()
    })
    .await;
    let attempts = ground.task(id).await.attempt;
    assert_eq!(attempts, 2, "the late claim was one, and was rescued");
    let started = worker.metric("taskrunnerx_task_wait_seconds_count{queue=\"default\"}").await;
    assert_eq!(started, 1.0, "the late one never began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_answered_after_the_worker_was_declared_dead_starts_nothing() {
    let mut ground = Ground::new().await;
    let worker = worker(&ground.world).await;
    let (id, operator) = held_up(&mut ground).await;
    ground.sql.query_drop("UPDATE workers SET dead_at = NOW(6)").await.unwrap();
    eventually("it has noticed", async || (worker.logged("declared this worker dead") > 0).then_some(())).await;
    starts_once(&mut ground, &worker, id, operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_answered_after_the_lease_could_not_be_renewed_starts_nothing() {
    let mut ground = Ground::new().await;
    let worker = worker(&ground.world).await;
    // From here on no renewal is answered.
    let mut shut = ground.world.sql().await;
    shut.query_drop("LOCK TABLES workers WRITE").await.unwrap();
    let (id, operator) = held_up(&mut ground).await;
    eventually("its lease is over", async || (worker.logged("could not be renewed in time") > 0).then_some(())).await;
    shut.query_drop("UNLOCK TABLES").await.unwrap();
    starts_once(&mut ground, &worker, id, operator).await;
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
}

/// When each lost attempt was taken over, in microseconds after an instant.
async fn taken_over(sql: &mut mysql_async::Conn, instant: &str) -> Vec<i64> {
    let query = format!(
        "SELECT TIMESTAMPDIFF(MICROSECOND, '{instant}', finished_at) FROM task_attempts WHERE outcome = 'lost'"
    );
    sql.query(query).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_that_has_just_started_gives_everybody_a_lease() {
    let mut ground = Ground::new().await;
    let late = ground.register(Duration::ZERO).await;
    let id = ground.running(late, 1).await[0];
    ground.running(WorkerId::fresh(), 1).await;
    let worker = worker(&ground.world).await;
    let query = format!("SELECT CAST(started_at AS CHAR) FROM workers WHERE id <> {}", key(TaskId(late.0)));
    let started: String = ground.sql.query_first(query).await.unwrap().unwrap();
    eventually("both taken over, and run", async || {
        let query = "SELECT COUNT(*) FROM tasks WHERE status = 'completed' AND attempt = 2";
        (ground.number(query).await == 2).then_some(())
    })
    .await;
    let waits = taken_over(&mut ground.sql, &started).await;
    // It is registered a moment after its rescuer began to count.
    assert!(waits.len() == 2 && waits.iter().all(|wait| *wait > 2_500_000), "{waits:?} for {id}");
    drop(worker);
}

/// A worker elsewhere, whose lease is over a moment later: what a standstill does to those who live.
async fn late(ground: &mut Ground) -> WorkerId {
    let worker = ground.register(Duration::from_secs(1)).await;
    let query = format!("SELECT COUNT(*) FROM workers WHERE id = {} AND lease_until < NOW(6)", key(TaskId(worker.0)));
    eventually("its lease is over", async || (ground.number(&query).await == 1).then_some(())).await;
    worker
}

/// It renews after two passes, and nobody has declared it dead.
async fn renews(ground: &Ground, worker: WorkerId) {
    let began = Instant::now();
    eventually("two passes", async || (began.elapsed() > Duration::from_secs(2)).then_some(())).await;
    assert!(ground.store.renew_worker(worker, super::MINUTE).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_that_stood_still_or_that_failed_gives_everybody_a_lease() {
    let mut ground = Ground::new().await;
    let daemon = worker(&ground.world).await;
    ground.running(WorkerId::fresh(), 1).await;
    eventually("it rescues", async || (daemon.logged("tasks taken over") > 0).then_some(())).await;
    daemon.signal("-STOP");
    let stopped = Instant::now();
    let worker = late(&mut ground).await;
    eventually("longer than a gap", async || (stopped.elapsed() > Duration::from_millis(4500)).then_some(())).await;
    daemon.signal("-CONT");
    renews(&ground, worker).await;

    // Its clock query is answered, and its pass is not.
    let worker = ground.register(Duration::from_secs(1)).await;
    ground.sql.query_drop("RENAME TABLE workers TO elsewhere").await.unwrap();
    eventually("a pass failed", async || (daemon.logged("rescue: trouble") > 0).then_some(())).await;
    ground.sql.query_drop("RENAME TABLE elsewhere TO workers").await.unwrap();
    renews(&ground, worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_standstill_of_the_database_everybody_has_a_lease_to_speak_up() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("d");
    let options = Options { data_dir, ephemeral: true, durability: Durability::Relaxed };
    let servers = Servers::start(&options).await.unwrap();
    let daemon = |roles: &str| {
        let mut builder = DaemonBuilder::new(&["serve", "--role", roles, "--bind", "127.0.0.1:0"]);
        builder.env("DATABASE_URL", &servers.database_url).env("REDIS_URL", &servers.redis_url);
        builder.env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "").env("TASKRUNNERX_WORKER__LEASE", LEASE);
        builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "2");
        builder.ready()
    };
    let (one, two) = (daemon("all").await, daemon("worker").await);
    // Two whose outcomes come while nobody can record them, and two that run for longer than
    // their workers may trust their leases.
    let mut tasks: Vec<Value> = Vec::new();
    for ms in [1000, 1000, 4000, 4000] {
        tasks.push(one.submit(json!({"name": "sleep", "payload": {"ms": ms}})).await);
    }
    let mut sql = mysql_async::Conn::from_url(&servers.database_url).await.unwrap();
    eventually("all four run", async || {
        let query = "SELECT COUNT(*) FROM tasks WHERE status = 'running'";
        let running: u64 = sql.query_first(query).await.unwrap().unwrap();
        (running == 4).then_some(())
    })
    .await;
    // A worker elsewhere: nothing of it is on its way to the database.
    let store = Store::new(&servers.database_url, Some(1), Metrics::new().unwrap()).unwrap();
    let elsewhere = WorkerId::fresh();
    let row = NewWorker { id: elsewhere, host: "elsewhere".into(), pid: 1, queues: "[]".into(), slots: 1 };
    store.register_worker(row, Duration::from_secs(3)).await.unwrap();
    let pid = servers.database.pid().unwrap();
    signal(pid, "-STOP");
    let stopped = Instant::now();
    for daemon in [&one, &two] {
        eventually("it gave up", async || (daemon.logged("could not be renewed in time") > 0).then_some(())).await;
    }
    eventually("every lease is over", async || (stopped.elapsed() > Duration::from_millis(3500)).then_some(())).await;
    signal(pid, "-CONT");
    let resumed: String = sql.query_first("SELECT CAST(NOW(6) AS CHAR)").await.unwrap().unwrap();
    // Two passes later it renews, and nobody has declared it dead.
    let resumed_at = Instant::now();
    eventually("two passes", async || (resumed_at.elapsed() > Duration::from_secs(2)).then_some(())).await;
    assert!(store.renew_worker(elsewhere, Duration::from_secs(60)).await.unwrap());
    let mut attempts = Vec::new();
    for task in &tasks {
        attempts.push(one.until(&task["id"], "completed").await["attempt"].clone());
    }
    assert_eq!(attempts, [1, 1, 2, 2], "what had ended counts");
    // Those who ran them handed them over: no rescuer had to, and nobody has died.
    assert_eq!(taken_over(&mut sql, &resumed).await.len(), 2);
    let deaths: u64 = sql.query_first("SELECT SUM(crash_count) FROM tasks").await.unwrap().unwrap();
    assert_eq!(deaths, 0);
    servers.stop().await;
}
