//! `POST /api/tasks/{id}/cancel` over real processes: the one that is asked is never the one
//! that runs the task.

use crate::harness::{Daemon, World, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn cancel(api: &Daemon, id: &Value) -> (u16, Value) {
    api.post(&format!("/api/tasks/{}/cancel", id.as_str().unwrap()), &json!({})).await
}

async fn worker(world: &World, lease: &str) -> Daemon {
    let mut builder = world.daemon("worker");
    builder.env("TASKRUNNERX_WORKER__LEASE", lease);
    builder.ready().await
}

fn long() -> Value {
    json!({"name": "sleep", "payload": {"ms": 600_000}, "max_attempts": 5, "backoff": "1ms"})
}

#[tokio::test]
async fn a_task_that_waits_is_cancelled_at_once_and_never_runs() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let waits = api.submit(json!({"name": "noop"})).await;
    let later = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    for id in [&waits["id"], &later["id"]] {
        // Asked again, it says the same.
        for _ in 0..2 {
            let (status, task) = cancel(&api, id).await;
            assert_eq!((status, &task["status"], &task["reason"]), (200, &json!("cancelled"), &json!("cancelled")));
            assert_eq!(task["cancel_requested_at"], task["finished_at"]);
        }
    }
    assert_eq!(
        api.metric(r#"taskrunnerx_tasks_finished_total{name="noop",outcome="cancelled",queue="default"}"#).await,
        2.0
    );
    let _worker = worker(&world, "15s").await;
    api.run(json!({"name": "noop"}), "completed").await;
    assert_eq!(api.task(&waits["id"]).await["attempt"], 0);
}

#[tokio::test]
async fn a_running_task_is_cancelled_in_another_process_long_before_its_next_heartbeat() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    // It beats every 200 seconds.
    let worker = worker(&world, "10m").await;
    let task = api.submit(long()).await;
    api.until(&task["id"], "running").await;
    let (status, asked) = cancel(&api, &task["id"]).await;
    assert_eq!(status, 202, "{asked}");
    let ended = api.until(&task["id"], "cancelled").await;
    assert_eq!(
        (&ended["attempt"], &ended["reason"], &ended["last_error"]),
        (&json!(1), &json!("cancelled"), &json!("cancelled while running"))
    );
    assert_eq!(ended["cancel_requested_at"], asked["cancel_requested_at"]);
    assert_eq!(cancel(&api, &task["id"]).await.0, 200);
    // Its slot is free again.
    eventually("no slot is busy", async || (worker.metric("taskrunnerx_worker_busy").await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn a_cancel_whose_notice_is_lost_is_found_at_the_next_heartbeat() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    // Its notices go where no worker listens.
    builder.env("TASKRUNNERX_REDIS_PREFIX", "elsewhere");
    let api = builder.ready().await;
    let _worker = worker(&world, "3s").await;
    let task = api.submit(long()).await;
    api.until(&task["id"], "running").await;
    let asked = Instant::now();
    assert_eq!(cancel(&api, &task["id"]).await.0, 202);
    let ended = api.until(&task["id"], "cancelled").await;
    assert_eq!(ended["attempt"], 1);
    // A beat a second, a handler's second to return, and the rest for a busy machine.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_task_whose_worker_died_is_cancelled_instead_of_run_again() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut dying = worker(&world, "2s").await;
    // One that would be tried again, and one that would have failed.
    let mut last = long();
    last["max_attempts"] = json!(1);
    let tasks = [api.submit(long()).await, api.submit(last).await];
    for task in &tasks {
        api.until(&task["id"], "running").await;
    }
    dying.kill();
    for task in &tasks {
        assert_eq!(cancel(&api, &task["id"]).await.0, 202);
    }
    let _rescuer = worker(&world, "2s").await;
    for task in &tasks {
        let ended = api.until(&task["id"], "cancelled").await;
        assert_eq!((&ended["attempt"], &ended["reason"]), (&json!(1), &json!("cancelled")));
    }
}

#[tokio::test]
async fn what_cannot_be_cancelled_is_refused_with_the_reason() {
    let world = World::new().await;
    let api = world.daemon("all").ready().await;
    let done = api.run(json!({"name": "noop"}), "completed").await;
    let failed = api.run(json!({"name": "fail", "payload": {"message": "no", "permanent": true}}), "failed").await;
    for (task, word) in [(&done, "completed"), (&failed, "failed")] {
        let (status, problem) = cancel(&api, &task["id"]).await;
        assert_eq!(status, 409);
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
        let now = api.task(&task["id"]).await;
        assert_eq!((&now["status"], &now["cancel_requested_at"]), (&task["status"], &Value::Null));
    }
    assert_eq!(cancel(&api, &json!(uuid::Uuid::now_v7().to_string())).await.0, 404);
    assert_eq!(cancel(&api, &json!("17")).await.0, 422);
    let answer = api.client.get(format!("{}/api/tasks/x/cancel", api.url)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST, OPTIONS"));
}
