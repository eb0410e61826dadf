//! Tasks that expire, from outside: wherever one waits, it ends soon after, and whoever asks is told so.

use crate::explain_task::explain;
use crate::harness::{Daemon, World, eventually, noop};
use chrono::{DateTime, TimeDelta, Utc};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Most of them wait when it is over.
const SHORT: &str = "1500ms";
/// Many times what it takes on a machine that does something else besides.
const FAR: TimeDelta = TimeDelta::seconds(15);

/// Waits until it has expired; gives how long after its time that was.
async fn expired(api: &Daemon, id: &Value) -> TimeDelta {
    let task = api.until(id, "cancelled").await;
    assert_eq!((&task["reason"], &task["last_error"]), (&json!("expired"), &json!("expired before it started")));
    let at = |field: &str| task[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let late = at("finished_at") - at("expires_at");
    assert!(late >= TimeDelta::zero(), "{task}");
    late
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_task_waits_it_is_cancelled_soon_after_it_has_expired() {
    let world = World::new().await;
    let types = "[tasks.dig]\npull = true\n[tasks.sleep]\nconcurrency = 1\n";
    let mut api = world.daemon("api");
    api.file(types);
    let api = api.ready().await;
    let mut worker = world.daemon("worker");
    worker.file(types).env("TASKRUNNERX_WORKER__CONCURRENCY", "2").env("TASKRUNNERX_WORKER__QUEUES", "q,paused");
    let worker = worker.ready().await;
    api.post("/api/queues/paused/pause", &json!({})).await;
    // One sleeps, and the type's next one is held; another takes the last slot.
    let long = json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}, "timeout": "1h"});
    let busy = api.submit(long).await;
    api.until(&busy["id"], "running").await;
    let again = json!({"name": "fail", "queue": "q", "backoff": "1h", "expires_in": "1h"});
    let again = api.submit(again).await;
    api.until(&again["id"], "scheduled").await;
    // It has failed in time, however long that took; now its time comes.
    let mut sql = world.sql().await;
    let soon = "UPDATE tasks JOIN task_expiries ON task_id = id \
                SET expires_at = NOW(6) + INTERVAL 1 SECOND, due_at = NOW(6) + INTERVAL 1 SECOND WHERE name = 'fail'";
    sql.query_drop(soon).await.unwrap();

    let place = |body: Value, more: Value| {
        let mut body = body;
        let fields = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        body["expires_in"] = json!(SHORT);
        body
    };
    let mut ids = HashMap::from([("backing off", again["id"].clone())]);
    for (what, body) in [
        ("paused", place(noop("paused"), json!({}))),
        ("unserved", place(noop("nobodys"), json!({}))),
        ("delayed", place(noop("q"), json!({"delay": "1h"}))),
        ("for workers outside", place(noop("q"), json!({"name": "dig"}))),
        ("held by a limit", place(noop("q"), json!({"name": "sleep", "payload": {"ms": 1}}))),
        ("with a unique key", place(noop("paused"), json!({"unique_key": "k"}))),
    ] {
        let task = api.submit(body).await;
        ids.insert(what, task["id"].clone());
        let warned = task["warnings"].to_string();
        assert_eq!(warned.contains("expires before it is due"), what == "delayed", "{what}: {task}");
    }
    let far = api.submit(json!({"name": "noop", "queue": "q", "delay": "2h", "expires_in": "1h"})).await;
    let told = explain(&api, &far["id"]).await;
    assert!(told["summary"].as_str().unwrap().contains("but it expires before that"), "{told}");
    let waited = api.client.get(format!("{}/api/tasks/{}?wait=30", api.url, ids["paused"].as_str().unwrap()));
    let waited: Value = waited.send().await.unwrap().json().await.unwrap();
    assert_eq!(waited["reason"], "expired", "who waits for it is answered");
    for (what, id) in &ids {
        let late = expired(&api, id).await;
        eprintln!("{what}: cancelled {} ms after it had expired", late.num_milliseconds());
        assert!(late < FAR, "{what}: {late}");
        assert_eq!(explain(&api, id).await["causes"][0]["code"], "expired", "{what}");
    }
    let mut counted = 0.0;
    for (queue, name) in
        [("paused", "noop"), ("nobodys", "noop"), ("q", "noop"), ("q", "fail"), ("q", "dig"), ("q", "sleep")]
    {
        let series =
            format!("taskrunnerx_tasks_finished_total{{name=\"{name}\",outcome=\"expired\",queue=\"{queue}\"}}");
        counted += worker.metric(&series).await;
    }
    assert_eq!(counted, 7.0);
    // The key is free, and what ran has run on.
    let next = api.submit(json!({"name": "noop", "queue": "paused", "unique_key": "k"})).await;
    assert_ne!(next["id"], ids["with a unique key"]);
    assert_eq!(api.task(&busy["id"]).await["status"], "running");
    let noted = sql.query_first::<u64, _>("SELECT COUNT(*) FROM task_expiries").await.unwrap();
    assert_eq!(noted, Some(1), "the one that has an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_worker_lives_an_expired_task_waits_for_one_and_says_so() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let id = api.submit(json!({"name": "noop", "delay": "1h", "expires_in": "1ms"})).await["id"].clone();
    let told = eventually("it says that it has expired", async || {
        let told = explain(&api, &id).await;
        (told["causes"][0]["code"] == "expired").then_some(told)
    })
    .await;
    assert_eq!((&told["status"], &told["next"]["at"]), (&json!("scheduled"), &Value::Null), "{told}");
    let summary = told["summary"].as_str().unwrap();
    assert!(summary.contains("it has expired") && summary.contains("as soon as a worker process runs"), "{told}");
    // One that has just started holds off with rescues, and not with this.
    let mut worker = world.daemon("worker");
    worker.env("TASKRUNNERX_WORKER__QUEUES", "another").env("TASKRUNNERX_WORKER__LEASE", "1h");
    let _worker = worker.ready().await;
    expired(&api, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedules_task_expires_too() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    daemon.post("/api/queues/paused/pause", &json!({})).await;
    let task = json!({"name": "noop", "queue": "paused", "expires_in": "200ms"});
    let put = daemon.client.put(format!("{}/api/schedules/s", daemon.url));
    let put = put.json(&json!({"every": "1d", "task": task})).send().await.unwrap();
    assert!(put.status().is_success());
    let (status, run) = daemon.post("/api/schedules/s/run", &json!({})).await;
    assert!(status < 300, "{run}");
    let id = eventually("its task", async || {
        let (_, tasks) = daemon.get("/api/tasks?queue=paused").await;
        tasks["tasks"].as_array()?.first().map(|task| task["id"].clone())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(30), expired(&daemon, &id)).await.unwrap();
}
