//! What becomes of workers outside that say nothing, or not all of it.

use super::{busy, claim, claim_one, daemon, dig, heartbeat, report, server};
use crate::guards::sessions;
use crate::harness::{World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn the_tasks_of_a_silent_worker_are_taken_over_and_what_it_says_then_changes_nothing() {
    let world = World::new().await;
    // What was taken over does not wait for it.
    let api = busy(&world, "2s").await;
    api.submit(dig(json!({"max_attempts": 5}))).await;
    let (silent, task) = claim_one(&api).await;
    // Waits for longer than a lease, and lives by that.
    let (other, again) = claim_one(&api).await;
    assert_eq!((&again["id"], &again["attempt"]), (&task["id"], &json!(2)));
    assert_ne!(other, silent);
    let named = json!([{"id": again["id"], "attempt": 2}]);
    assert_eq!(heartbeat(&api, &other, named.clone()).await, (200, json!({"cancel": [], "lost": []})));
    let before = api.task(&task["id"]).await;
    let fenced = api.metric("taskrunnerx_tasks_fenced_total").await;
    let (complete, fail) = (json!({"result": "late"}), json!({"error": "late"}));
    assert_eq!(report(&api, "complete", &silent, &task, complete).await.0, 409);
    assert_eq!(report(&api, "fail", &silent, &task, fail).await.0, 409);
    assert_eq!(api.metric("taskrunnerx_tasks_fenced_total").await, fenced + 2.0);
    assert_eq!(heartbeat(&api, &silent, json!([])).await.0, 409);
    let again = api.post("/api/workers/claim", &json!({"worker_id": silent, "queues": ["q"], "max": 1})).await;
    assert_eq!(again.0, 409, "{}", again.1);
    assert_eq!(api.task(&task["id"]).await, before);
    // A name that is not its own is lost to whoever names it.
    let (status, heard) = heartbeat(&api, &other, json!([{"id": task["id"], "attempt": 1}])).await;
    assert_eq!((status, heard), (200, json!({"cancel": [], "lost": [task["id"]]})));
}

#[tokio::test]
async fn what_was_taken_over_and_waits_is_no_longer_its_workers_either() {
    let world = World::new().await;
    let api = daemon(&world, "api,worker", "2s").ready().await;
    api.submit(dig(json!({"max_attempts": 5}))).await;
    let (silent, task) = claim_one(&api).await;
    // Its row still has the attempt's number and worker.
    let before = api.until(&task["id"], "queued").await;
    assert_eq!((&before["attempt"], &before["worker_id"]), (&json!(1), &silent));
    assert_eq!(report(&api, "fail", &silent, &task, json!({"error": "late"})).await.0, 409);
    assert_eq!(report(&api, "complete", &silent, &task, json!({})).await.0, 409);
    assert_eq!(api.task(&task["id"]).await, before);
}

#[tokio::test]
async fn a_task_that_its_worker_does_not_name_is_released_and_the_attempt_forgiven() {
    let world = World::new().await;
    let api = daemon(&world, "api,worker", "2s").ready().await;
    let kept = api.submit(dig(json!({"max_attempts": 1}))).await;
    let (worker, kept) = {
        assert_eq!(kept["status"], "queued");
        claim_one(&api).await
    };
    let named = json!([{"id": kept["id"], "attempt": 1}]);
    let unnamed = api.submit(dig(json!({"max_attempts": 1}))).await;
    // As if the answer to this claim had not come.
    claim(&api, json!({"worker_id": worker, "wait": "30s"})).await;
    let waiting = async || {
        assert_eq!(heartbeat(&api, &worker, named.clone()).await, (200, json!({"cancel": [], "lost": []})));
        let task = api.task(&unnamed["id"]).await;
        (task["status"] == "queued").then_some(task)
    };
    let released = eventually("the task is released", waiting).await;
    assert_eq!((&released["attempt"], &released["last_error"]), (&json!(1), &Value::Null));
    assert_eq!(api.task(&kept["id"]).await["status"], "running");
    // Its only attempt is still to come.
    let (worker, task) = claim_one(&api).await;
    assert_eq!((&task["id"], &task["attempt"]), (&unnamed["id"], &json!(2)));
    let (status, task) = report(&api, "complete", &worker, &task, json!({})).await;
    assert_eq!((status, &task["status"]), (200, &json!("completed")));
}

#[tokio::test]
async fn an_attempt_that_exceeds_its_timeout_is_lost_at_the_next_heartbeat() {
    let world = World::new().await;
    // The rescuer would not end it for as long.
    let api = daemon(&world, "api,worker", "10m").ready().await;
    api.submit(dig(json!({"timeout": "300ms", "max_attempts": 1}))).await;
    let (worker, task) = claim_one(&api).await;
    let named = json!([{"id": task["id"], "attempt": 1}]);
    eventually("its time is over", async || {
        let (status, heard) = heartbeat(&api, &worker, named.clone()).await;
        assert_eq!(status, 200);
        (heard == json!({"cancel": [], "lost": [task["id"]]})).then_some(())
    })
    .await;
    let ended = api.task(&task["id"]).await;
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("failed"), &json!("timeout")));
    assert_eq!(ended["last_error"], "the attempt exceeded its timeout of 300ms");
    assert_eq!(report(&api, "complete", &worker, &task, json!({})).await.0, 409);
    assert_eq!(api.task(&task["id"]).await, ended);
}

#[tokio::test]
async fn an_attempt_of_which_its_worker_never_speaks_again_is_timed_out() {
    let world = World::new().await;
    let api = daemon(&world, "api,worker", "2s").ready().await;
    let task = api.submit(dig(json!({"timeout": "100ms", "max_attempts": 1}))).await;
    let (worker, _) = claim_one(&api).await;
    // It lives by its claims alone, which name nothing.
    eventually("it is timed out", async || {
        claim(&api, json!({"worker_id": worker, "queues": ["none"]})).await;
        let task = api.task(&task["id"]).await;
        (task["status"] == "failed" && task["reason"] == "timeout").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_claimed_for_a_client_that_has_gone() {
    let world = World::new().await;
    let api = server(&world).await;
    let mut sql = world.sql().await;
    let count = "SELECT COUNT(*) FROM workers WHERE pid = 0";
    let request = api.client.post(format!("{}/api/workers/claim", api.url));
    let claiming = tokio::spawn(request.json(&json!({"queues": ["q"], "max": 1, "wait": "1m"})).send());
    eventually("the claim waits", async || (sql.query_first(count).await.unwrap() == Some(1u64)).then_some(())).await;
    claiming.abort();
    // Long before its lease is over: nobody knows of that worker.
    let gone = Instant::now();
    eventually("its worker goes", async || (sql.query_first(count).await.unwrap() == Some(0u64)).then_some(())).await;
    assert!(gone.elapsed() < Duration::from_secs(10), "{:?}", gone.elapsed());
    let task = api.submit(dig(json!({}))).await;
    let (_, claimed) = claim_one(&api).await;
    assert_eq!((&claimed["id"], &claimed["attempt"]), (&task["id"], &json!(1)));
}

#[tokio::test]
async fn what_was_claimed_for_a_client_that_has_gone_is_given_back() {
    let world = World::new().await;
    // Nobody's lease is over before the test is.
    let api = daemon(&world, "api,worker", "10m").ready().await;
    let task = api.submit(dig(json!({"max_attempts": 1}))).await;
    let (mut sql, mut operator) = (world.sql().await, world.sql().await);
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop("SELECT id FROM tasks FOR UPDATE").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(api.url.trim_start_matches("http://")).await.unwrap();
    let body = r#"{"queues": ["q"], "wait": "1m"}"#;
    let head = "POST /api/workers/claim HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    client.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let sessions = sessions(&mut sql).await;
    let claims = format!(
        "SELECT COUNT(*) FROM {sessions} WHERE db = DATABASE() AND info LIKE 'UPDATE tasks SET status = ''running''%'"
    );
    eventually("the claim was sent", async || (sql.query_first(&claims).await.unwrap() == Some(1u64)).then_some(()))
        .await;
    // It hangs up, and the server has noticed once it does too. Then the claim goes through.
    client.shutdown().await.unwrap();
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    operator.query_drop("COMMIT").await.unwrap();
    let released = eventually("the task is given back", async || {
        let task = api.task(&task["id"]).await;
        (task["status"] == "queued" && task["attempt"] == 1).then_some(task)
    })
    .await;
    assert_eq!(released["last_error"], Value::Null);
    let count = "SELECT COUNT(*) FROM workers WHERE pid = 0";
    eventually("its worker goes", async || (sql.query_first(count).await.unwrap() == Some(0u64)).then_some(())).await;
    assert_eq!(claim_one(&api).await.1["attempt"], 2);
}

#[tokio::test]
async fn a_process_that_stops_answers_the_claims_that_wait() {
    let world = World::new().await;
    let mut api = server(&world).await;
    let mut sql = world.sql().await;
    let url = format!("{}/api/workers/claim", api.url);
    let request = api.client.post(url).json(&json!({"queues": ["q"], "max": 1, "wait": "1m"}));
    let claiming = tokio::spawn(request.send());
    let count = "SELECT COUNT(*) FROM workers WHERE pid = 0";
    eventually("the claim waits", async || (sql.query_first(count).await.unwrap() == Some(1u64)).then_some(())).await;
    api.signal("-TERM");
    let answer = claiming.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["tasks"], json!([]));
    assert_eq!(api.ended().await, 0);
}

#[tokio::test]
async fn a_process_of_ours_is_nobody_to_speak_for() {
    let world = World::new().await;
    let api = server(&world).await;
    let task = api.submit(json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}})).await;
    let running = api.until(&task["id"], "running").await;
    let ours = &running["worker_id"];
    assert_eq!(heartbeat(&api, ours, json!([])).await.0, 409);
    let (status, _) = api.post("/api/workers/claim", &json!({"worker_id": ours, "queues": ["q"], "max": 1})).await;
    assert_eq!(status, 409);
    let queues: Option<String> = world.sql().await.query_first("SELECT queues FROM workers").await.unwrap();
    assert_eq!(queues.as_deref(), Some("[\"*\"]"));
}
