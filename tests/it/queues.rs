//! Queues over REST: what is said of them, and pausing them. The process that is asked is never
//! the one that dispatches.

use crate::harness::{Daemon, World, eventually, noop};
use chrono::{DateTime, Utc};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::time::Instant;

async fn pause(api: &Daemon, queue: &str, body: Value) -> Value {
    let (status, paused) = api.post(&format!("/api/queues/{queue}/pause"), &body).await;
    assert_eq!(status, 200, "{paused}");
    assert!(paused["pause"].is_object(), "{paused}");
    paused
}

async fn resume(api: &Daemon, queue: &str) -> Value {
    let (status, resumed) = api.post(&format!("/api/queues/{queue}/resume"), &json!({})).await;
    assert_eq!((status, &resumed["pause"]), (200, &Value::Null), "{resumed}");
    resumed
}

async fn queue(api: &Daemon, queue: &str) -> Value {
    let (status, found) = api.get(&format!("/api/queues/{queue}")).await;
    assert_eq!(status, 200, "{found}");
    found
}

fn instant(text: &Value) -> DateTime<Utc> {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text} is no time"))
}

fn key(id: &Value) -> String {
    format!("UNHEX('{}')", id.as_str().unwrap().replace('-', ""))
}

async fn number(sql: &mut Conn, query: &str) -> u64 {
    sql.query_first(query).await.unwrap().unwrap()
}

/// Makes a task that waits for an instant due, and waits until its dispatcher has moved it into
/// the backlog.
async fn make_due(api: &Daemon, sql: &mut Conn, id: &Value) {
    sql.query_drop(format!("UPDATE tasks SET position = 1 WHERE id = {} AND lane = 1", key(id))).await.unwrap();
    api.until(id, "queued").await;
}

/// When this returns, the queue's dispatcher has begun and ended a pass since: a task that was made
/// due after a pass had taken up another one was taken up by the next. Adds two tasks.
async fn two_passes(api: &Daemon, sql: &mut Conn, queue: &str) -> Vec<Value> {
    let mut made = Vec::new();
    for _ in 0..2 {
        let id = api.submit(json!({"name": "noop", "queue": queue, "delay": "1h"})).await["id"].clone();
        make_due(api, sql, &id).await;
        made.push(id);
    }
    made
}

/// Entries in a queue's stream, and whether its gate is open.
async fn in_redis(world: &World, queue: &str) -> (u64, bool) {
    let mut redis = world.redis().await;
    let key = format!("{}:{{{queue}}}", world.prefix);
    let length = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
    let open = redis::cmd("EXISTS").arg(format!("{key}:gate")).query_async(&mut redis).await.unwrap();
    (length, open)
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_that_is_new_due_or_to_be_retried_and_a_resumed_one_everything() {
    let world = World::new().await;
    let (first, second) = (world.daemon("api").ready().await, world.daemon("api").ready().await);
    let _worker = world.daemon("worker").ready().await;
    let mut sql = world.sql().await;
    let retry = json!({"name": "fail", "queue": "q", "max_attempts": 2, "backoff": "1h"});
    let retry = first.run(retry, "scheduled").await["id"].clone();
    let delayed = first.submit(json!({"name": "noop", "queue": "q", "delay": "1h"})).await["id"].clone();

    // Asked here, and seen by the other one.
    let paused = pause(&first, "q", json!({"reason": "a check"})).await;
    let passes = two_passes(&second, &mut sql, "q").await;
    assert_eq!(queue(&second, "q").await["pause"], paused["pause"]);
    make_due(&second, &mut sql, &retry).await;
    make_due(&second, &mut sql, &delayed).await;
    let mut all = [passes, vec![delayed]].concat();
    // The second has never seen this queue's gate, which is shut: these go to the backlog.
    for _ in 0..20 {
        all.push(second.submit(noop("q")).await["id"].clone());
    }
    all.extend(two_passes(&second, &mut sql, "q").await);
    // Other queues go on.
    second.run(noop("another"), "completed").await;

    let started = "SELECT COUNT(*) FROM tasks WHERE queue = 'q' AND (lane <> 2 OR status <> 'queued' OR dispatched_at IS NOT NULL)";
    assert_eq!(number(&mut sql, started).await, 0);
    assert_eq!(in_redis(&world, "q").await, (0, false));
    assert_eq!(second.task(&retry).await["attempt"], 1);

    resume(&second, "q").await;
    for id in &all {
        let task = second.until(id, "completed").await;
        assert_eq!(task["attempt"], 1);
    }
    assert_eq!(second.until(&retry, "failed").await["attempt"], 2);
    assert_eq!(queue(&first, "q").await["pause"], Value::Null);
}

#[tokio::test]
async fn a_pause_shuts_the_gates_of_every_process() {
    let world = World::new().await;
    let apis = [world.daemon("api").ready().await, world.daemon("api").ready().await];
    let _worker = world.daemon("worker").ready().await;
    let mut sql = world.sql().await;
    // Behind an open gate a task is in the stream from the start.
    let direct = async |sql: &mut Conn, api: &Daemon| {
        let id = api.submit(noop("q")).await["id"].clone();
        let query = format!("SELECT dispatched_at = created_at FROM tasks WHERE id = {}", key(&id));
        sql.query_first::<Option<bool>, _>(query).await.unwrap().unwrap() == Some(true)
    };
    for api in &apis {
        eventually("the gate is open", async || direct(&mut sql, api).await.then_some(())).await;
    }
    pause(&apis[0], "q", json!({})).await;
    eventually("the gate is shut", async || (!in_redis(&world, "q").await.1).then_some(())).await;
    for api in &apis {
        eventually("it is shut here", async || (!direct(&mut sql, api).await).then_some(())).await;
    }
    // And stays so, though nothing may be waiting: the pass that shut it was not the last.
    let waiting = two_passes(&apis[0], &mut sql, "q").await;
    assert!(!in_redis(&world, "q").await.1);
    for api in &apis {
        assert!(!direct(&mut sql, api).await);
    }
    resume(&apis[1], "q").await;
    apis[0].until(&waiting[1], "completed").await;
    for api in &apis {
        eventually("the gate is open again", async || direct(&mut sql, api).await.then_some(())).await;
    }
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself_and_not_before() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let _worker = world.daemon("worker").ready().await;
    let paused = pause(&api, "q", json!({"resume_in": "1s500ms"})).await;
    let (since, resume_at) = (instant(&paused["pause"]["since"]), instant(&paused["pause"]["resume_at"]));
    assert_eq!(resume_at - since, chrono::TimeDelta::milliseconds(1500));
    for _ in 0..5 {
        let task = api.run(noop("q"), "completed").await;
        assert!(instant(&task["started_at"]) >= resume_at, "{task}");
    }
    assert_eq!(queue(&api, "q").await["pause"], Value::Null);
}

#[tokio::test]
async fn a_pause_outlives_every_process() {
    let world = World::new().await;
    let mut sql = world.sql().await;
    let mut before = world.daemon("api").ready().await;
    // Of a queue that is not there yet, before any worker has been.
    let paused = pause(&before, "q", json!({"reason": "building up a backlog"})).await["pause"].clone();
    let early = before.submit(noop("q")).await["id"].clone();
    before.kill();
    let api = world.daemon("api").ready().await;
    let mut all = vec![early];
    for _ in 0..2 {
        let mut worker = world.daemon("worker").ready().await;
        all.extend(two_passes(&api, &mut sql, "q").await);
        worker.kill();
        // Its dispatcher's lease would keep the next one waiting.
        sql.query_drop("UPDATE queues SET dispatcher_id = NULL, dispatcher_until = NULL").await.unwrap();
    }
    assert_eq!(number(&mut sql, "SELECT COUNT(*) FROM tasks WHERE lane <> 2 OR status <> 'queued'").await, 0);
    assert_eq!(queue(&api, "q").await["pause"], paused);
    let _worker = world.daemon("worker").ready().await;
    resume(&api, "q").await;
    for id in &all {
        api.until(id, "completed").await;
    }
}

#[tokio::test]
async fn a_queue_says_how_deep_it_is_who_serves_it_and_how_it_is_paused() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    assert_eq!(api.get("/api/queues").await.1["queues"][0]["name"], "default");
    api.submit(json!({"name": "noop", "queue": "q", "delay": "1h"})).await;
    for _ in 0..2 {
        api.submit(noop("q")).await;
    }
    let deep = json!({"scheduled": 1, "queued": 2, "running": 0});
    let found = eventually("it is counted", async || {
        let found = queue(&api, "q").await;
        (found["depths"] == deep).then_some(found)
    })
    .await;
    assert!(found["oldest_age"].as_str().unwrap().ends_with('s'), "{found}");
    assert_eq!((&found["served"], &found["dispatcher"], &found["pause"]), (&json!(false), &Value::Null, &Value::Null));
    assert!(instant(&found["created_at"]) <= Utc::now() + chrono::TimeDelta::minutes(1));

    // Paused, and paused again: the last one counts. Without a reason and an end both are null.
    pause(&api, "q", json!({"reason": "first", "resume_in": 3600})).await;
    let (status, listed) = api.get("/api/queues").await;
    let names: Vec<&str> =
        listed["queues"].as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect();
    assert_eq!((status, names), (200, vec!["default", "q"]));
    assert_eq!(listed["queues"][1]["pause"]["reason"], "first");
    let long = "ü".repeat(500);
    let again = pause(&api, "q", json!({"reason": long, "resume_in": null})).await;
    let shown = &again["pause"];
    assert_eq!((&shown["reason"], &shown["by"], &shown["resume_at"]), (&json!(long), &json!("local"), &Value::Null));
    assert_eq!(again["name"], "q");
    // Without a body, as with an empty one.
    for verb in ["pause", "pause", "resume", "resume"] {
        let answer = api.client.post(format!("{}/api/queues/q/{verb}", api.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let found: Value = answer.json().await.unwrap();
        assert_eq!(found["pause"].is_object(), verb == "pause", "{found}");
        assert_eq!(found["pause"]["reason"], Value::Null);
    }

    let worker = world.daemon("worker").ready().await;
    let found = eventually("it is dispatched and served", async || {
        let found = queue(&api, "q").await;
        (found["dispatcher"].is_string() && found["served"] == true).then_some(found)
    })
    .await;
    assert_eq!(worker.get("/api/queues").await.0, 404, "{found}");
}

#[tokio::test]
async fn however_often_it_is_asked_a_queue_is_counted_once_a_second() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let counts = async || api.metric(r#"taskrunnerx_store_seconds_count{op="depth"}"#).await;
    // For its own metrics, since nobody dispatches the queue: not again for ten seconds.
    let before = eventually("the census", async || Some(counts().await).filter(|count| *count > 0.0)).await;
    let began = Instant::now();
    let looks = (0..100).map(async |i| match i % 2 {
        0 => queue(&api, "default").await,
        _ => api.get("/api/queues").await.1,
    });
    futures_util::future::join_all(looks).await;
    let counted = counts().await - before;
    let most = 1.0 + began.elapsed().as_secs_f64();
    assert!((1.0..=most).contains(&counted), "{counted} times in {:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_wrong_with_a_pause_or_a_resume_is_said_all_at_once() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__QUEUES", "2");
    let api = builder.ready().await;
    let wrong = json!({"reason": "x".repeat(501), "resume_in": "0s", "until": 1});
    let table = [
        ("default/pause", wrong, vec!["#/reason", "#/resume_in", "#/until"]),
        ("default/pause", json!({"reason": 1, "resume_in": "soon"}), vec!["#/reason", "#/resume_in"]),
        ("default/pause", json!({"resume_in": "3651d"}), vec!["#/resume_in"]),
        ("default/pause", json!([]), vec!["#"]),
        ("default/resume", json!({"reason": "x"}), vec!["#/reason"]),
        ("default/resume", Value::Null, vec!["#"]),
    ];
    for (path, body, pointers) in table {
        let (status, problem) = api.post(&format!("/api/queues/{path}"), &body).await;
        let found: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!((status, found), (422, pointers), "{path} {body} -> {problem}");
    }
    let send = async |path: &str, media_type: &str, body: &'static str| {
        let request = api.client.post(format!("{}/api/queues/{path}", api.url)).header("content-type", media_type);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("default/pause", "application/json", "{").await, 400);
    assert_eq!(send("default/pause", "text/plain", "{}").await, 415);
    assert_eq!(send("default/pause", "text/plain", "").await, 200);
    resume(&api, "default").await;

    // None of these names is a queue's, nor does any of them become one but by a pause, within the limit.
    for verb in ["", "/pause", "/resume"] {
        let path = format!("/api/queues/a%20b{verb}");
        let status = if verb.is_empty() { api.get(&path).await.0 } else { api.post(&path, &json!({})).await.0 };
        assert_eq!(status, 422);
    }
    assert_eq!(api.get("/api/queues/q").await.0, 404);
    let (status, problem) = api.post("/api/queues/q/resume", &json!({})).await;
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("there is no queue q")), (404, true));
    pause(&api, "q", json!({})).await;
    let (status, problem) = api.post("/api/queues/one-more/pause", &json!({})).await;
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("limits.queues")), (422, true), "{problem}");
    assert_eq!(api.get("/api/queues/one-more").await.0, 404);

    for (method, path, allowed) in [
        ("POST", "/api/queues", "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/queues/default", "GET, HEAD, OPTIONS"),
        ("GET", "/api/queues/default/pause", "POST, OPTIONS"),
        ("PUT", "/api/queues/default/resume", "POST, OPTIONS"),
    ] {
        let method = method.parse().unwrap();
        let answer = api.client.request(method, format!("{}{path}", api.url)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, allowed), "{path}");
    }
}

#[tokio::test]
async fn with_a_key_it_is_the_key_that_paused() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_API_KEY", "trx_0123456789abcdef");
    let api = builder.ready().await;
    let asked = api.client.post(format!("{}/api/queues/q/pause", api.url)).bearer_auth("trx_0123456789abcdef");
    let paused: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(paused["pause"]["by"], "key", "{paused}");
    assert_eq!(api.get("/api/queues").await.0, 401);
}

#[tokio::test]
async fn a_deep_queue_is_resumed_before_it_is_counted() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    pause(&api, "q", json!({})).await;
    // The count waits for the table; what only needs the queue's row does not.
    sql.query_drop("LOCK TABLES tasks WRITE").await.unwrap();
    // Once its first count is no longer believed.
    let answer = eventually("an answer without a count", async || {
        let answer = resume(&api, "q").await;
        answer["depths"].is_null().then_some(answer)
    })
    .await;
    assert_eq!((&answer["oldest_age"], &answer["name"]), (&Value::Null, &json!("q")));
    sql.query_drop("UNLOCK TABLES").await.unwrap();
    let deep = json!({"scheduled": 0, "queued": 0, "running": 0});
    eventually("it is counted", async || (queue(&api, "q").await["depths"] == deep).then_some(())).await;
}

#[tokio::test]
async fn a_queue_says_how_many_of_it_are_started_a_second() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    api.submit(noop("q")).await;
    assert_eq!(queue(&api, "q").await["rates"], Value::Null, "nobody has measured");
    let _worker = world.daemon("worker").ready().await;
    eventually("its rate rises", async || {
        api.submit(noop("q")).await;
        (queue(&api, "q").await["rates"]["started"].as_f64()? > 0.5).then_some(())
    })
    .await;
    eventually("and falls", async || (queue(&api, "q").await["rates"]["started"].as_f64()? < 0.1).then_some(())).await;
}
