//! `GET /api/tasks/{id}/explain`: each cause brought about for real.

use crate::harness::{Daemon, World, eventually, noop, on, private_servers};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

pub(crate) async fn explain(api: &Daemon, id: &Value) -> Value {
    let (status, told) = api.get(&format!("/api/tasks/{}/explain", id.as_str().unwrap())).await;
    assert_eq!(status, 200, "{told}");
    told
}

fn codes(told: &Value) -> Vec<&str> {
    told["causes"].as_array().unwrap().iter().map(|cause| cause["code"].as_str().unwrap()).collect()
}

/// Waits until a task is explained by these causes; gives them.
async fn until(api: &Daemon, id: &Value, expected: &[&str]) -> Value {
    let mut last = Value::Null;
    let told = crate::waiting::within(crate::harness::LIMIT, async || {
        last = explain(api, id).await;
        (codes(&last) == expected).then(|| last.clone())
    })
    .await;
    told.unwrap_or_else(|| panic!("never {expected:?}, but {last}"))
}

/// A cause's fields.
fn cause<'a>(told: &'a Value, code: &str) -> &'a Value {
    told["causes"].as_array().unwrap().iter().find(|cause| cause["code"] == code).unwrap()
}

fn key(id: &Value) -> String {
    format!("UNHEX('{}')", id.as_str().unwrap().replace('-', ""))
}

#[tokio::test]
async fn what_waits_says_for_what_where_nobody_runs_anything() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let first = api.submit(noop("q")).await["id"].clone();
    let second = api.submit(noop("q")).await["id"].clone();
    let urgent = api.submit(json!({"name": "noop", "queue": "q", "priority": 9})).await["id"].clone();
    let told = explain(&api, &first).await;
    assert_eq!((codes(&told), &told["status"]), (vec!["no_worker", "backlog"], &json!("queued")));
    assert_eq!(told["summary"], "The task waits to start: no live worker process serves queue q.");
    assert_eq!((&told["causes"][0]["queue"], &told["next"]), (&json!("q"), &Value::Null));
    for (id, ahead) in [(&urgent, 0), (&first, 1), (&second, 2)] {
        let told = explain(&api, id).await;
        let place = cause(&told, "backlog");
        assert_eq!((&place["ahead"], &place["ahead_is_more"]), (&json!(ahead), &json!(false)), "{place}");
        assert_eq!((&place["slots"], &place["window"]), (&json!(0), &json!(0)), "{place}");
    }
    // A batch shares an instant: those stand in the order of their ids.
    let (_, bulk) = api.post("/api/tasks/bulk", &json!({"tasks": vec![noop("q"); 5]})).await;
    for (n, task) in bulk["tasks"].as_array().unwrap().iter().enumerate() {
        assert_eq!(cause(&explain(&api, &task["id"]).await, "backlog")["ahead"], 3 + n);
    }

    let later = api.submit(json!({"name": "noop", "queue": "q", "delay": "1h"})).await;
    let told = explain(&api, &later["id"]).await;
    assert_eq!((codes(&told), &told["status"]), (vec!["scheduled", "no_worker"], &json!("scheduled")));
    assert_eq!((&told["causes"][0]["until"], &told["next"]["at"]), (&later["run_at"], &later["run_at"]));
    assert!(told["causes"][0]["in"].as_str().unwrap().starts_with("59m"), "{told}");

    let pause = json!({"reason": "a check", "resume_in": "1h"});
    let (_, paused) = api.post("/api/queues/q/pause", &pause).await;
    let told = explain(&api, &first).await;
    assert_eq!(codes(&told), ["queue_paused", "no_worker", "backlog"]);
    let pause = &told["causes"][0];
    assert_eq!((&pause["by"], &pause["reason"]), (&json!("local"), &json!("a check")));
    assert_eq!((&pause["since"], &pause["until"]), (&paused["pause"]["since"], &paused["pause"]["resume_at"]));
    assert_eq!(told["next"]["at"], paused["pause"]["resume_at"]);
    assert!(told["summary"].as_str().unwrap().contains("was paused by local"), "{told}");

    // A worker that lives and does not dispatch.
    let mut sql = world.sql().await;
    sql.query_drop(
        "INSERT INTO workers (id, host, pid, queues, slots, started_at, lease_until) \
         VALUES (UNHEX(REPEAT('01', 16)), 'here', 1, '[\"*\"]', 64, NOW(6), NOW(6) + INTERVAL 1 DAY)",
    )
    .await
    .unwrap();
    let other = api.submit(noop("other")).await["id"].clone();
    assert_eq!(codes(&explain(&api, &other).await), ["no_dispatcher", "backlog"]);
    // As if it had come by the gate.
    sql.query_drop(format!("UPDATE tasks SET lane = 3, dispatched_at = NOW(6) WHERE id = {}", key(&other)))
        .await
        .unwrap();
    let told = explain(&api, &other).await;
    assert_eq!(codes(&told), ["dispatched"]);
    assert!(told["causes"][0]["since"].is_string() && told["causes"][0]["slots"] == 64, "{told}");

    api.post(&format!("/api/tasks/{}/cancel", first.as_str().unwrap()), &json!({})).await;
    let told = explain(&api, &first).await;
    assert_eq!((codes(&told), &told["causes"][0]["attempt"]), (vec!["cancelled"], &json!(0)), "{told}");

    assert_eq!(api.get(&format!("/api/tasks/{}/explain", uuid::Uuid::now_v7())).await.0, 404);
    assert_eq!(api.get("/api/tasks/7/explain").await.0, 422);
    assert_eq!(api.get(&format!("/api/tasks/{}/explain?why=1", first.as_str().unwrap())).await.0, 422);
}

#[tokio::test]
async fn what_has_run_says_how_it_ended_or_what_it_waits_for() {
    let world = World::new().await;
    let mut builder = world.daemon("api,worker");
    builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "1");
    let api = builder.ready().await;
    let done = api.run(noop("q"), "completed").await;
    let told = explain(&api, &done["id"]).await;
    assert_eq!((codes(&told), &told["causes"][0]["since"]), (vec!["completed"], &done["finished_at"]), "{told}");
    let failing = json!({"name": "fail", "payload": {"message": "no route"}, "max_attempts": 3, "backoff": "1h"});
    let again = api.run(failing, "scheduled").await;
    let told = until(&api, &again["id"], &["backing_off"]).await;
    let wait = &told["causes"][0];
    assert_eq!((&wait["attempt"], &wait["max_attempts"], &wait["until"]), (&json!(1), &json!(3), &again["run_at"]));
    assert_eq!((&wait["error"], &wait["outcome"]), (&json!("no route"), &json!("error")));
    assert!(told["summary"].as_str().unwrap().contains("attempt 1 of 3 failed (no route)"), "{told}");
    let failed = json!({"name": "fail", "payload": {"message": "never", "permanent": true}});
    let failed = api.run(failed, "failed").await;
    let told = explain(&api, &failed["id"]).await;
    let end = &told["causes"][0];
    assert_eq!((codes(&told), &end["reason"], &end["error"]), (vec!["failed"], &json!("permanent"), &json!("never")));

    // It had a key, which another task has taken.
    let keyed = json!({"name": "fail", "payload": {"permanent": true}, "unique_key": "k"});
    let before = api.run(keyed, "failed").await["id"].clone();
    assert_eq!(codes(&explain(&api, &before).await), ["failed"]);
    let later = json!({"name": "fail", "delay": "1h", "unique_key": "k"});
    let after = api.submit(later).await["id"].clone();
    let told = explain(&api, &before).await;
    assert_eq!((codes(&told), &told["causes"][1]["task_id"]), (vec!["failed", "unique_key_held"], &after), "{told}");

    // Its one slot is taken: what comes then is behind the window.
    let busy = api.submit(json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}, "timeout": "1h"})).await;
    api.until(&busy["id"], "running").await;
    let told = until(&api, &busy["id"], &["running"]).await;
    let run = &told["causes"][0];
    assert!(run["host"].is_string() && run["lease_until"].is_string() && run["since"].is_string(), "{told}");
    assert_eq!((&told["next"]["at"], &run["attempt"]), (&run["until"], &json!(1)));
    eventually("it says how far it is", async || {
        explain(&api, &busy["id"]).await["causes"][0]["progress"].is_f64().then_some(())
    })
    .await;
    let mut last = Value::Null;
    for _ in 0..20 {
        last = api.submit(noop("q")).await["id"].clone();
    }
    let told = until(&api, &last, &["backlog"]).await;
    let place = &told["causes"][0];
    assert!(place["ahead"].as_u64().unwrap() >= 15, "{told}");
    assert_eq!((&place["workers"], &place["slots"]), (&json!(1), &json!(1)), "{told}");
    eventually("the window is seen", async || {
        let told = explain(&api, &last).await;
        let place = &told["causes"][0];
        (place["window"].as_u64()? > 0 && place["in_flight"].as_u64()? > 0).then_some(())
    })
    .await;

    api.post("/api/queues/late/pause", &json!({})).await;
    let late = json!({"name": "noop", "queue": "late", "expires_in": "1ms"});
    let late = api.submit(late).await["id"].clone();
    api.post(&format!("/api/tasks/{}/cancel", busy["id"].as_str().unwrap()), &json!({})).await;
    api.post("/api/queues/late/resume", &json!({})).await;
    api.until(&late, "cancelled").await;
    assert_eq!(codes(&explain(&api, &late).await), ["expired"]);
}

#[tokio::test]
async fn a_task_whose_worker_was_killed_says_so_and_what_comes_then() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let start = async || {
        let mut builder = world.daemon("worker");
        builder.env("TASKRUNNERX_WORKER__LEASE", "3s");
        builder.ready().await
    };
    let mut worker = start().await;
    let id = api.submit(json!({"name": "sleep", "payload": {"ms": 600_000}})).await["id"].clone();
    let owner = api.until(&id, "running").await["worker_id"].clone();
    worker.kill();
    let told = until(&api, &id, &["worker_lost", "running"]).await;
    assert_eq!(told["causes"][0]["worker_id"], owner);
    assert!(told["summary"].as_str().unwrap().contains("the lease of its worker"), "{told}");
    assert!(told["next"]["detail"].as_str().unwrap().contains("as soon as a worker process runs"), "{told}");
    let _worker = start().await;
    let told = eventually("it runs again", async || {
        let told = explain(&api, &id).await;
        (codes(&told) == ["running"] && told["causes"][0]["worker_id"] != owner).then_some(told)
    })
    .await;
    assert_eq!(told["causes"][0]["attempt"], 2, "{told}");
}

#[tokio::test]
async fn without_redis_it_says_so() {
    let (mut servers, _directory) = private_servers().await;
    let api = on(&servers, "api,worker").ready().await;
    api.run(noop("q"), "completed").await;
    servers.redis.stop().await;
    let id = api.submit(noop("q")).await["id"].clone();
    // What had come by an open gate is found to be nowhere only by the next sweep, which needs Redis.
    let told = eventually("Redis is missed", async || {
        let told = explain(&api, &id).await;
        (codes(&told)[0] == "redis_down").then_some(told)
    })
    .await;
    assert!(told["summary"].as_str().unwrap().contains("Redis does not answer"), "{told}");
    servers.redis.start().await.unwrap();
    api.until(&id, "completed").await;
    servers.stop().await;
}

#[tokio::test]
async fn limited_and_foreign_and_unknown_types_say_so() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.file("[tasks.sleep]\nconcurrency = 1\n[tasks.dig]\npull = true\n[tasks.old]\ncommand = ['/only/there']\n");
    let api = builder.ready().await;
    let mut builder = world.daemon("api,worker");
    builder.file("[tasks.sleep]\nconcurrency = 1\n[tasks.dig]\npull = true\n");
    let worker = builder.ready().await;

    let sleep = json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}});
    let first = api.submit(sleep.clone()).await["id"].clone();
    api.until(&first, "running").await;
    let second = api.submit(sleep).await["id"].clone();
    let told = until(&api, &second, &["type_limited"]).await;
    let limit = &told["causes"][0];
    assert_eq!((&limit["limit"], &limit["in_flight"], &limit["name"]), (&json!(1), &json!(1), &json!("sleep")));

    let ids: Vec<Value> = vec![api.submit(json!({"name": "dig", "queue": "q"})).await["id"].clone(), {
        api.submit(json!({"name": "dig", "queue": "q"})).await["id"].clone()
    }];
    let told = explain(&api, &ids[1]).await;
    let wait = &told["causes"][0];
    assert_eq!((codes(&told), &wait["workers"], &wait["ahead"]), (vec!["waits_for_pull_worker"], &json!(0), &json!(1)));
    let (status, given) = api.post("/api/workers/claim", &json!({"queues": ["q"], "max": 1})).await;
    assert_eq!((status, &given["tasks"][0]["id"]), (200, &ids[0]), "{given}");
    let told = explain(&api, &ids[1]).await;
    assert_eq!((&told["causes"][0]["workers"], &told["causes"][0]["ahead"]), (&json!(1), &json!(0)), "{told}");
    // Its worker has not been heard of since.
    api.post(&format!("/api/tasks/{}/cancel", ids[0].as_str().unwrap()), &json!({})).await;
    let told = explain(&api, &ids[0]).await;
    assert_eq!((codes(&told), &told["status"]), (vec!["running", "cancel_requested"], &json!("running")));
    assert_eq!(told["causes"][0]["worker_id"], given["worker_id"]);

    // The worker lacks the type, and so does the process that is asked.
    let old = api.submit(json!({"name": "old", "queue": "q"})).await["id"].clone();
    until(&worker, &old, &["handed_back", "unknown_type"]).await;
    until(&api, &old, &["handed_back"]).await;
}
