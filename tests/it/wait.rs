//! Waiting for a task's end: `Prefer: wait=N` and `?wait=`. The process that is asked runs nothing itself.

use crate::harness::{Daemon, World, eventually, noop, on, private_servers};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn submit(api: &Daemon, prefer: &str, body: Value) -> Response {
    let request = api.client.post(format!("{}/api/tasks", api.url)).header("prefer", prefer);
    request.json(&body).send().await.unwrap()
}

fn applied(answer: &Response) -> Option<String> {
    answer.headers().get("preference-applied").map(|value| value.to_str().unwrap().to_owned())
}

/// Reads a task with a wait beside the test; gives the answer and how long it took.
fn reader(api: &Daemon, id: &Value, wait: &str) -> tokio::task::JoinHandle<(Value, Duration)> {
    let request = api.client.get(format!("{}/api/tasks/{}?wait={wait}", api.url, id.as_str().unwrap()));
    tokio::spawn(async move {
        let began = Instant::now();
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        (answer.json().await.unwrap(), began.elapsed())
    })
}

async fn waiting(api: &Daemon, count: f64) {
    eventually(&format!("{count} requests wait"), async || {
        (api.metric("taskrunnerx_waiting_requests").await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_submission_that_waits_is_answered_with_the_task_as_it_ended() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let _worker = world.daemon("worker").ready().await;
    let mut took = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let answer = submit(&api, "respond-async, wait=30", json!({"name": "echo", "payload": 7})).await;
        assert_eq!((answer.status().as_u16(), applied(&answer)), (201, Some("wait=30".to_owned())));
        assert!(answer.headers()["location"].to_str().unwrap().starts_with("/api/tasks/"));
        let task: Value = answer.json().await.unwrap();
        assert_eq!((&task["status"], &task["result"]), (&json!("completed"), &json!(7)));
        took.push(began.elapsed());
    }
    took.sort();
    eprintln!("submitted, run and answered: half within {:?}, all within {:?}", took[10], took[19]);
    // It ends as it ends.
    let answer = submit(&api, "wait=30", json!({"name": "fail", "payload": {"permanent": true}})).await;
    let task: Value = answer.json().await.unwrap();
    assert_eq!((&task["status"], &task["reason"]), (&json!("failed"), &json!("permanent")));
    // Another attempt is no end.
    let answer = submit(&api, "wait=30", json!({"name": "fail", "max_attempts": 3, "backoff": "50ms"})).await;
    let task: Value = answer.json().await.unwrap();
    assert_eq!((&task["status"], &task["attempt"]), (&json!("failed"), &json!(3)));
    waiting(&api, 0.0).await;
}

#[tokio::test]
async fn a_wait_that_is_over_before_the_task_gives_it_as_it_is() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let began = Instant::now();
    let answer = submit(&api, "wait=1", noop("q")).await;
    assert_eq!((answer.status().as_u16(), applied(&answer)), (201, Some("wait=1".to_owned())));
    let task: Value = answer.json().await.unwrap();
    assert_eq!(task["status"], "queued");
    assert!(task["warnings"][0].as_str().unwrap().contains("no live worker"), "{task}");
    assert!(began.elapsed() >= Duration::from_secs(1));
    let (task, took) = reader(&api, &task["id"], "1500ms").await.unwrap();
    assert_eq!(task["status"], "queued");
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    // What is no preference of ours, or cannot be read, is passed over: nobody waits.
    for prefer in ["return=minimal", "wait=soon", "wait=-1", "wait"] {
        let answer = submit(&api, prefer, noop("q")).await;
        assert_eq!((answer.status().as_u16(), applied(&answer)), (201, None), "{prefer}");
    }
    for wrong in ["wait=61", "wait=61s", "wait=soon", "wait=", "colour=red"] {
        let (status, problem) = api.get(&format!("/api/tasks/{}?{wrong}", task["id"].as_str().unwrap())).await;
        let pointer = format!("?{}", wrong.split('=').next().unwrap());
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{wrong}");
    }
    // Nothing is waited for that is not there, or has ended.
    assert_eq!(api.get(&format!("/api/tasks/{}?wait=60", uuid::Uuid::now_v7())).await.0, 404);
}

#[tokio::test]
async fn readers_hear_of_an_end_that_another_process_or_a_person_makes() {
    let world = World::new().await;
    let (api, other) = (world.daemon("api").ready().await, world.daemon("api").ready().await);
    let task = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    let path = format!("/api/tasks/{}/cancel", task["id"].as_str().unwrap());
    let readers: Vec<_> = (0..5).map(|_| reader(&api, &task["id"], "60s")).collect();
    waiting(&api, 5.0).await;
    assert_eq!(other.post(&path, &json!({})).await.0, 200);
    for answer in join_all(readers).await {
        assert_eq!(answer.unwrap().0["status"], "cancelled");
    }
    waiting(&api, 0.0).await;
    // At once where it has ended.
    assert_eq!(reader(&api, &task["id"], "60").await.unwrap().0["status"], "cancelled");
}

#[tokio::test]
async fn a_client_that_has_gone_is_not_waited_for() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    let gone = reader(&api, &task["id"], "60s");
    let stays = reader(&api, &task["id"], "2s");
    waiting(&api, 2.0).await;
    gone.abort();
    waiting(&api, 1.0).await;
    // The other one waits on.
    assert_eq!(stays.await.unwrap().0["status"], "scheduled");
}

#[tokio::test]
async fn a_process_that_stops_answers_those_who_wait_at_once() {
    let world = World::new().await;
    let mut api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop", "delay": "1h"})).await;
    let read = reader(&api, &task["id"], "60s");
    let request = api.client.post(format!("{}/api/tasks", api.url)).header("prefer", "wait=60");
    let submitted = tokio::spawn(request.json(&noop("q")).send());
    waiting(&api, 2.0).await;
    api.signal("-TERM");
    assert_eq!(read.await.unwrap().0["status"], "scheduled");
    let submitted = submitted.await.unwrap().unwrap();
    assert_eq!(submitted.status(), 201);
    assert_eq!(submitted.json::<Value>().await.unwrap()["status"], "queued");
    assert_eq!(api.ended().await, 0);
}

#[tokio::test]
async fn without_redis_an_end_is_found_by_looking() {
    let (mut servers, _directory) = private_servers().await;
    let mut builder = on(&servers, "api");
    builder.file("[tasks.dig]\npull = true\n");
    let api = builder.ready().await;
    servers.redis.stop().await;
    let task = api.submit(json!({"name": "dig", "queue": "q"})).await;
    let (status, given) = api.post("/api/workers/claim", &json!({"queues": ["q"], "max": 1, "wait": "10s"})).await;
    assert_eq!((status, &given["tasks"][0]["id"]), (200, &task["id"]), "{given}");
    let read = reader(&api, &task["id"], "60s");
    waiting(&api, 1.0).await;
    let report = json!({"worker_id": given["worker_id"], "attempt": 1, "result": "gold"});
    let done = api.post(&format!("/api/tasks/{}/complete", task["id"].as_str().unwrap()), &report).await;
    assert_eq!(done.0, 200, "{done:?}");
    let (task, took) = read.await.unwrap();
    assert_eq!((&task["status"], &task["result"]), (&json!("completed"), &json!("gold")));
    assert!(took < Duration::from_secs(60), "{took:?}");
    servers.stop().await;
}

#[tokio::test]
async fn many_who_wait_share_their_looks_at_the_database() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let many: Vec<Value> = (0..300).map(|_| json!({"name": "noop", "delay": "1h"})).collect();
    let (status, tasks) = api.post("/api/tasks/bulk", &json!({"tasks": many})).await;
    assert_eq!(status, 201);
    let began = Instant::now();
    let readers = tasks["tasks"].as_array().unwrap().iter().map(|task| reader(&api, &task["id"], "4s"));
    for answer in join_all(readers).await {
        assert_eq!(answer.unwrap().0["status"], "scheduled");
    }
    let looks = api.metric(r#"taskrunnerx_store_seconds_count{op="pulse"}"#).await;
    // One statement serves 256; each alone would look ten times and more.
    let most = began.elapsed().as_secs_f64() * 60.0;
    assert!((10.0..most).contains(&looks), "{looks} looks in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_submission_is_asked_to_wait_in_its_address_too() {
    let world = World::new().await;
    let api = world.daemon("api,worker").ready().await;
    let submit = async |query: &str| {
        let request = api.client.post(format!("{}/api/tasks{query}", api.url)).header("prefer", "wait=0");
        request.json(&json!({"name": "echo", "payload": 7})).send().await.unwrap()
    };
    for query in ["?wait=30", "?wait=30s"] {
        let answer = submit(query).await;
        // It was no preference.
        assert_eq!((answer.status().as_u16(), applied(&answer)), (201, None), "{query}");
        let task: Value = answer.json().await.unwrap();
        assert_eq!((&task["status"], &task["result"]), (&json!("completed"), &json!(7)), "{query}");
    }
    for query in ["?wait=61", "?wait=soon", "?wait=1&wait=2", "?wait=1&colour=red"] {
        assert_eq!(submit(query).await.status(), 422, "{query}");
    }
    assert_eq!(api.get("/api/tasks").await.1["tasks"].as_array().unwrap().len(), 2, "what was refused is not there");
}
