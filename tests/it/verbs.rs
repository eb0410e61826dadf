//! Retry, run and delete over REST, and cancel and retry of many, with processes that run the tasks.

use crate::harness::{Daemon, World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn post(api: &Daemon, id: &Value, verb: &str) -> (u16, Value) {
    api.post(&format!("/api/tasks/{}/{verb}", id.as_str().unwrap()), &json!({})).await
}

async fn delete(api: &Daemon, id: &Value) -> (u16, String) {
    let url = format!("{}/api/tasks/{}", api.url, id.as_str().unwrap());
    let answer = api.client.delete(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn fail(message: &str) -> Value {
    json!({"name": "fail", "payload": {"message": message, "permanent": true}})
}

fn outcomes(answer: &Value) -> Vec<(u64, &str)> {
    let attempts = answer["attempts"].as_array().unwrap();
    attempts.iter().map(|one| (one["attempt"].as_u64().unwrap(), one["outcome"].as_str().unwrap_or("runs"))).collect()
}

#[tokio::test]
async fn a_retried_task_runs_again_with_all_of_its_attempts_and_its_history_stays_whole() {
    let world = World::new().await;
    let api = world.daemon("all").ready().await;
    let body = json!({"name": "fail", "payload": {"message": "no luck"}, "max_attempts": 2, "backoff": "1ms"});
    let task = api.run(body, "failed").await;
    let path = format!("/api/tasks/{}/attempts", task["id"].as_str().unwrap());
    let (_, before) = api.get(&path).await;
    assert_eq!(outcomes(&before), [(1, "error"), (2, "error")]);
    let (status, again) = post(&api, &task["id"], "retry").await;
    assert_eq!(status, 200, "{again}");
    assert_eq!((&again["status"], &again["attempt"], &again["reason"]), (&json!("queued"), &json!(2), &Value::Null));
    assert_eq!((&again["finished_at"], &again["last_error"]), (&Value::Null, &task["last_error"]));
    // Two attempts more, and no third.
    let ended = eventually("it has failed again", async || {
        let task = api.task(&task["id"]).await;
        (task["status"] == "failed").then_some(task)
    })
    .await;
    assert_eq!((&ended["attempt"], &ended["reason"]), (&json!(4), &json!("error")));
    let (_, after) = api.get(&path).await;
    assert_eq!(outcomes(&after), [(1, "error"), (2, "error"), (3, "error"), (4, "error")]);
    assert_eq!(after["attempts"].as_array().unwrap()[..2], before["attempts"].as_array().unwrap()[..]);
}

#[tokio::test]
async fn what_was_cancelled_or_has_expired_runs_when_it_is_retried() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let cancelled = api.submit(json!({"name": "noop"})).await;
    assert_eq!(post(&api, &cancelled["id"], "cancel").await.0, 200);
    let expired = api.submit(json!({"name": "noop", "expires_in": "1ms"})).await;
    {
        let _worker = world.daemon("worker").ready().await;
        assert_eq!(api.until(&expired["id"], "cancelled").await["reason"], "expired");
    }
    for task in [&cancelled, &expired] {
        let (status, again) = post(&api, &task["id"], "retry").await;
        assert_eq!((status, &again["status"], &again["attempt"]), (200, &json!("queued"), &json!(0)), "{again}");
        assert_eq!((&again["cancel_requested_at"], &again["expires_at"]), (&Value::Null, &Value::Null));
    }
    let _worker = world.daemon("worker").ready().await;
    for task in [cancelled, expired] {
        assert_eq!(api.until(&task["id"], "completed").await["attempt"], 1);
    }
}

#[tokio::test]
async fn what_waits_for_an_hour_runs_at_once_when_it_is_asked_for() {
    let world = World::new().await;
    let api = world.daemon("all").ready().await;
    let delayed = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    let body = json!({"name": "fail", "payload": {"message": "no"}, "max_attempts": 2, "backoff": "1h"});
    let failing = api.submit(body).await;
    let backing_off = eventually("it backs off", async || {
        let task = api.task(&failing["id"]).await;
        (task["attempt"] == 1 && task["status"] == "scheduled").then_some(task)
    })
    .await;
    assert_eq!(backing_off["last_error"], "no");
    for (task, end) in [(&delayed, "completed"), (&failing, "failed")] {
        let asked = Instant::now();
        let (status, due) = post(&api, &task["id"], "run").await;
        assert_eq!((status, &due["status"]), (200, &json!("queued")), "{due}");
        api.until(&task["id"], end).await;
        assert!(asked.elapsed() < Duration::from_secs(30));
        let (status, problem) = post(&api, &task["id"], "run").await;
        assert!(status == 409 && problem["detail"].as_str().unwrap().contains(end), "{problem}");
    }
}

#[tokio::test]
async fn tasks_of_workers_outside_and_of_limited_types_come_back_to_whoever_runs_them() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    let types = "[tasks.dig]\npull = true\n[tasks.fail]\nconcurrency = 1\n";
    builder.file(types);
    let api = builder.ready().await;
    let task = api.submit(json!({"name": "dig", "queue": "q"})).await;
    let claim = async || {
        let (status, given) = api.post("/api/workers/claim", &json!({"queues": ["q"], "max": 5, "wait": "30s"})).await;
        assert_eq!(status, 200, "{given}");
        given
    };
    let given = claim().await;
    let id = task["id"].as_str().unwrap();
    let report = json!({"worker_id": given["worker_id"], "attempt": 1, "error": "rock", "permanent": true});
    assert_eq!(api.post(&format!("/api/tasks/{id}/fail"), &report).await.0, 200);
    assert_eq!(api.task(&task["id"]).await["status"], "failed");
    // Whoever waits is woken.
    let (given, retried) = tokio::join!(claim(), async {
        tokio::task::yield_now().await;
        post(&api, &task["id"], "retry").await
    });
    assert_eq!(retried.0, 200);
    assert_eq!((&given["tasks"][0]["id"], &given["tasks"][0]["attempt"]), (&task["id"], &json!(2)), "{given}");
    let delayed = api.submit(json!({"name": "dig", "queue": "q", "delay": "1h"})).await;
    assert_eq!(post(&api, &delayed["id"], "run").await.0, 200);
    assert_eq!(claim().await["tasks"][0]["id"], delayed["id"], "and no dispatcher in sight");
    // A type with a limit: three at once, one after another.
    let mut builder = world.daemon("worker");
    builder.file(types);
    let _worker = builder.ready().await;
    let mut failed = Vec::new();
    for n in 0..3 {
        failed.push(api.run(fail(&format!("no {n}")), "failed").await);
    }
    let (status, done) = api.post("/api/tasks/retry", &json!({"filter": {"name": "fail"}})).await;
    assert_eq!((status, &done["changed"]), (202, &json!(3)), "{done}");
    for task in failed {
        eventually("it has failed again", async || {
            let task = api.task(&task["id"]).await;
            (task["status"] == "failed" && task["attempt"] == 2).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_deleted_task_is_gone_with_its_attempts_and_its_log() {
    let world = World::new().await;
    let mut builder = world.daemon("all");
    builder.file("[tasks.talk]\ncommand = ['sh', '-c', 'echo said >&2; exit 64']\n");
    let api = builder.ready().await;
    let task = api.run(json!({"name": "talk"}), "failed").await;
    let id = task["id"].as_str().unwrap().to_owned();
    let (_, logs) = api.get(&format!("/api/tasks/{id}/logs")).await;
    assert!(!logs["logs"].as_array().unwrap().is_empty(), "{logs}");
    assert_eq!(delete(&api, &task["id"]).await, (204, String::new()));
    for path in ["", "/attempts", "/logs"] {
        assert_eq!(api.get(&format!("/api/tasks/{id}{path}")).await.0, 404);
    }
    assert_eq!(delete(&api, &task["id"]).await.0, 404);
    let mut sql = world.sql().await;
    for table in ["tasks", "task_attempts", "task_logs", "task_failures"] {
        let left: u64 = sql.query_first(format!("SELECT COUNT(*) FROM {table}")).await.unwrap().unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn what_a_verb_cannot_do_is_refused_with_the_reason() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let waits = api.task(&api.submit(json!({"name": "noop"})).await["id"]).await;
    for verb in ["retry", "run"] {
        let (status, problem) = post(&api, &waits["id"], verb).await;
        assert!(status == 409 && problem["detail"].as_str().unwrap().contains("is queued"), "{verb}: {problem}");
        assert_eq!(post(&api, &json!(uuid::Uuid::now_v7().to_string()), verb).await.0, 404);
        assert_eq!(post(&api, &json!("17"), verb).await.0, 422);
    }
    let (status, problem) = delete(&api, &waits["id"]).await;
    assert!(status == 409 && problem.contains("is queued") && problem.contains("cancel it first"), "{problem}");
    assert_eq!(delete(&api, &json!("17")).await.0, 422);
    assert_eq!(api.task(&waits["id"]).await, waits);
    for path in ["/api/tasks/cancel", "/api/tasks/retry"] {
        for (body, pointer) in [
            (json!({}), "#"),
            (json!({"filter": {}}), "#/filter"),
            (json!({"filter": {"queue": "a b"}}), "#/filter/queue"),
            (json!({"filter": {"status": "completed"}}), "#/filter/status"),
            (json!({"all": true, "dryrun": true}), "#/dryrun"),
        ] {
            let (status, problem) = api.post(path, &body).await;
            assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
        }
        assert_eq!(api.get(path).await.0, 405);
    }
    assert_eq!(api.task(&waits["id"]).await, waits);
}

#[tokio::test]
async fn a_cancel_of_many_ends_what_waits_and_stops_what_runs_in_another_process() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut builder = world.daemon("worker");
    // It beats every 200 seconds: what stops its tasks is a notice.
    builder.env("TASKRUNNERX_WORKER__LEASE", "10m").env("TASKRUNNERX_WORKER__CONCURRENCY", "3");
    let worker = builder.ready().await;
    let sleep = json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}, "tags": ["old"]});
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(api.submit(sleep.clone()).await);
    }
    for task in &running {
        api.until(&task["id"], "running").await;
    }
    let (status, _) = api.post("/api/tasks/bulk", &json!({"tasks": vec![sleep.clone(); 600]})).await;
    assert_eq!(status, 201);
    let kept = api.submit(json!({"name": "noop", "queue": "other", "delay": "1h", "tags": ["old"]})).await;
    let mut body = json!({"filter": {"queue": ["q"], "tag": "old"}, "dry_run": true});
    let (status, done) = api.post("/api/tasks/cancel", &body).await;
    let said = json!({"matched": 603, "changed": 0, "held": 0, "dry_run": true, "complete": true, "next_cursor": null});
    assert_eq!((status, done), (202, said));
    body["dry_run"] = json!(false);
    body["limit"] = json!(500);
    let (status, done) = api.post("/api/tasks/cancel", &body).await;
    assert_eq!((status, &done["changed"], &done["complete"]), (202, &json!(500), &json!(false)), "{done}");
    body["cursor"] = done["next_cursor"].clone();
    let (_, done) = api.post("/api/tasks/cancel", &body).await;
    let said =
        json!({"matched": 103, "changed": 103, "held": 0, "dry_run": false, "complete": true, "next_cursor": null});
    assert_eq!(done, said);
    for task in &running {
        let ended = api.until(&task["id"], "cancelled").await;
        assert_eq!((&ended["attempt"], &ended["last_error"]), (&json!(1), &json!("cancelled while running")));
    }
    // Between the two requests others may have come to run, in the slots that were free by then: they end likewise.
    eventually("nothing of it lives", async || {
        let (_, rest) = api.get("/api/tasks?queue=q&status=scheduled,queued,running").await;
        (rest["tasks"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(api.task(&kept["id"]).await["status"], "scheduled");
    // Each is counted once: those that ran where they ran.
    let series = r#"taskrunnerx_tasks_finished_total{name="sleep",outcome="cancelled",queue="q"}"#;
    let (waited, ran) = (api.metric(series).await, worker.metric(series).await);
    assert!(ran >= 3.0 && waited + ran == 603.0, "{waited} and {ran}");
}

#[tokio::test]
async fn a_verb_on_one_task_or_thing_takes_nothing_that_it_does_not_know() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    let id = task["id"].as_str().unwrap();
    let (put, _) = api.post("/api/queues/q/pause", &json!({})).await;
    assert_eq!(put, 200);
    let schedule = format!("{}/api/schedules/s", api.url);
    let body = json!({"cron": "@yearly", "task": {"name": "noop"}});
    assert_eq!(api.client.put(&schedule).json(&body).send().await.unwrap().status(), 201);
    let call = async |method: &str, path: &str, media_type: &str, body: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = api.client.request(method, format!("{}{path}", api.url)).header("content-type", media_type);
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    };
    let key = format!("/api/keys/{id}");
    let verbs = ["cancel", "retry", "run"].map(|verb| ("POST", format!("/api/tasks/{id}/{verb}")));
    let others = ["/api/queues/q/resume", "/api/schedules/s/resume", "/api/schedules/s/run"];
    let things = [format!("/api/tasks/{id}"), "/api/schedules/s".to_owned(), key];
    let others = others.map(|path| ("POST", path.to_owned()));
    for (method, path) in verbs.into_iter().chain(others).chain(things.map(|path| ("DELETE", path))) {
        for (media_type, body, status) in [
            ("application/json", r#"{"dry_run": true}"#, 422),
            ("application/json", "[]", 422),
            ("application/json", "{{{", 400),
            ("text/plain", "{}", 415),
        ] {
            assert_eq!(call(method, &path, media_type, body).await, status, "{method} {path} {body}");
        }
        assert_eq!(call(method, &format!("{path}?dry_run=true"), "application/json", "").await, 422, "{method} {path}");
    }
    for (path, body) in [
        ("/api/queues/q/pause?resume_in=5s", "{}"),
        ("/api/tasks/retry?dry_run=true", r#"{"all": true}"#),
        ("/api/tasks/cancel?dry_run=true", r#"{"all": true}"#),
        ("/api/tasks?dry_run=true", r#"{"name": "noop"}"#),
        ("/api/tasks/bulk?wait=5", r#"{"tasks": [{"name": "noop"}]}"#),
    ] {
        assert_eq!(call("POST", path, "application/json", body).await, 422, "{path}");
    }
    // Nothing of it was done.
    assert_eq!(api.task(&task["id"]).await["status"], "scheduled");
    assert_eq!(api.get("/api/schedules/s").await.0, 200);
    assert_eq!(api.get("/api/tasks").await.1["tasks"].as_array().unwrap().len(), 1);
    assert!(api.get("/api/queues/q").await.1["pause"].is_object());
    // No body, of whatever media type, and an empty object say nothing.
    assert_eq!(call("POST", &format!("/api/tasks/{id}/run"), "application/x-www-form-urlencoded", "").await, 200);
    assert_eq!(call("POST", &format!("/api/tasks/{id}/cancel"), "application/json", "{}").await, 200);
}
