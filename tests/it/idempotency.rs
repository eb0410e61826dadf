//! Submissions that count once: `Idempotency-Key`, `unique_key` and `unique_for`.

use crate::guards::sessions;
use crate::harness::{Daemon, World, eventually, noop};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

const BULK: &str = "/api/tasks/bulk";

/// An answer: its status, whether it says that it is a repeated one, and its body.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    replayed: bool,
    body: Value,
}

impl Answer {
    /// It is a problem of this status, and its detail says this.
    fn says(&self, status: u16, part: &str) {
        let detail = self.body["detail"].as_str().unwrap_or_default();
        assert!(self.status == status && !self.replayed && detail.contains(part), "{self:?}");
    }

    /// It is the first answer to its request; gives its body.
    fn first(&self, status: u16) -> &Value {
        assert_eq!((self.status, self.replayed), (status, false), "{self:?}");
        &self.body
    }

    /// It repeats an earlier one; gives its body.
    fn again(&self) -> &Value {
        assert_eq!((self.status, self.replayed), (200, true), "{self:?}");
        &self.body
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let replayed = answer.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    Answer { status: answer.status().as_u16(), replayed, body: answer.json().await.unwrap() }
}

fn request(daemon: &Daemon, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    daemon.client.post(format!("{}{path}", daemon.url)).header("idempotency-key", key).json(body)
}

/// One submission with an `Idempotency-Key`.
async fn one(daemon: &Daemon, key: &str, body: &Value) -> Answer {
    answer(request(daemon, "/api/tasks", key, body)).await
}

/// A bulk submission with one.
async fn many(daemon: &Daemon, key: &str, body: &Value) -> Answer {
    answer(request(daemon, BULK, key, body)).await
}

fn unique(key: &str) -> Value {
    json!({"name": "noop", "unique_key": key})
}

async fn rows(world: &World) -> u64 {
    world.sql().await.query_first("SELECT COUNT(*) FROM tasks").await.unwrap().unwrap()
}

fn ids(tasks: &Value) -> Vec<&str> {
    tasks["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_its_first_task_as_it_is_now() {
    let world = World::new().await;
    let daemon = world.daemon("api,worker").ready().await;
    let body = json!({"name": "echo", "payload": {"n": 1}});
    let first = one(&daemon, "k", &body).await.first(201).clone();
    daemon.until(&first["id"], "completed").await;
    let mut again = one(&daemon, "k", &body).await.again().clone();
    assert_eq!(
        (&again["id"], &again["status"], &again["result"]),
        (&first["id"], &json!("completed"), &json!({"n": 1}))
    );
    again["warnings"].take();
    let mut read = daemon.task(&first["id"]).await;
    read["warnings"].take();
    assert_eq!(again, read);
    let response = request(&daemon, "/api/tasks", "k", &body).send().await.unwrap();
    assert_eq!(response.headers()["location"], format!("/api/tasks/{}", first["id"].as_str().unwrap()));
    // Bare or in quotes, it is the same key; and to the byte it is the same request or another one.
    assert_eq!(one(&daemon, "\"k\"", &body).await.again()["id"], first["id"]);
    one(&daemon, "k", &json!({"name": "echo", "payload": {"n": 2}})).await.says(422, "another body");
    let blanks = request(&daemon, "/api/tasks", "k", &body).body(r#"{"name": "echo",  "payload": {"n": 1}}"#);
    answer(blanks).await.says(422, "another body");
    many(&daemon, "k", &json!({"tasks": [body]})).await.says(422, "another body");
    one(&daemon, "K", &body).await.first(201);
    assert_eq!(rows(&world).await, 2);
    let metric = "taskrunnerx_tasks_submitted_total{name=\"echo\",queue=\"default\"}";
    assert_eq!(daemon.metric(metric).await, 2.0);
}

#[tokio::test]
async fn a_request_is_the_same_after_a_restart_and_in_another_process() {
    let world = World::new().await;
    let mut daemon = world.daemon("api").ready().await;
    let first = one(&daemon, "k", &noop("default")).await.first(201)["id"].clone();
    daemon.kill();
    let (one_process, another) = (world.daemon("api").ready().await, world.daemon("api").ready().await);
    assert_eq!(one(&one_process, "k", &noop("default")).await.again()["id"], first);
    for round in 0..10 {
        let (key, body) = (format!("k{round}"), noop("default"));
        let calls = [&one_process, &another].map(|daemon| one(daemon, &key, &body));
        let [a, b] = <[Answer; 2]>::try_from(futures_util::future::join_all(calls).await).unwrap();
        assert_eq!(a.body["id"], b.body["id"]);
        let mut how = [(a.status, a.replayed), (b.status, b.replayed)];
        how.sort_unstable();
        assert_eq!(how, [(200, true), (201, false)]);
    }
    assert_eq!(rows(&world).await, 11);
}

/// Sends a request until nobody with its key is in the way.
async fn until_taken(request: reqwest::RequestBuilder) -> reqwest::Response {
    loop {
        let answer = request.try_clone().unwrap().send().await.unwrap();
        if answer.status() != 409 {
            return answer;
        }
    }
}

#[tokio::test]
async fn while_the_first_request_is_under_way_its_repetition_is_told_so_and_a_client_that_goes_ends_it() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    daemon.submit(noop("default")).await;
    let (mut operator, mut sql) = (world.sql().await, world.sql().await);
    operator.query_drop("LOCK TABLES task_keys WRITE").await.unwrap();
    let sessions = sessions(&mut sql).await;
    let query = format!(
        "SELECT COUNT(*) FROM {sessions} WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%'"
    );
    let mut waiting = async |count: u64| {
        eventually("they are in the database", async || {
            (sql.query_first::<u64, _>(&*query).await.unwrap() == Some(count)).then_some(())
        })
        .await;
    };
    let body = noop("default");
    let first = tokio::spawn(request(&daemon, "/api/tasks", "k", &body).send());
    waiting(1).await;
    let busy = request(&daemon, "/api/tasks", "k", &body).send().await.unwrap();
    assert_eq!(busy.headers()["retry-after"], "1");
    Answer { status: busy.status().as_u16(), replayed: false, body: busy.json().await.unwrap() }.says(409, "under way");
    one(&daemon, "another", &json!({"name": "nope"})).await.says(422, "nope");
    // Its client goes: another one may ask, and waits for the database.
    first.abort();
    let second = tokio::spawn(until_taken(request(&daemon, "/api/tasks", "k", &body)));
    waiting(2).await;
    operator.query_drop("UNLOCK TABLES").await.unwrap();
    let second = second.await.unwrap();
    assert!(second.status().is_success());
    let id = second.json::<Value>().await.unwrap()["id"].clone();
    assert_eq!(one(&daemon, "k", &body).await.again()["id"], id);
    assert_eq!(rows(&world).await, 2);
}

#[tokio::test]
async fn a_key_that_another_process_is_about_to_take_is_said_to_be_under_way() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let id = one(&daemon, "k", &noop("default")).await.first(201)["id"].clone();
    // As a process would that has stopped in the middle of it.
    let mut operator = world.sql().await;
    operator.query_drop("CREATE TABLE kept AS SELECT * FROM task_keys").await.unwrap();
    operator.query_drop("DELETE FROM task_keys").await.unwrap();
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop("INSERT INTO task_keys SELECT * FROM kept").await.unwrap();
    one(&daemon, "k", &noop("default")).await.says(409, "under way");
    operator.query_drop("COMMIT").await.unwrap();
    assert_eq!(one(&daemon, "k", &noop("default")).await.again()["id"], id);
    assert_eq!(rows(&world).await, 1);
}

#[tokio::test]
async fn what_was_refused_has_taken_no_key() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__QUEUES", "1");
    let daemon = builder.ready().await;
    assert_eq!(one(&daemon, "k", &json!({"name": "nope", "unique_key": "u"})).await.status, 422);
    assert_eq!(one(&daemon, "k", &json!({"name": "noop", "queue": "one-too-many"})).await.status, 422);
    assert_eq!(many(&daemon, "k", &json!({"tasks": [unique("u"), {"name": "nope"}]})).await.status, 422);
    one(&daemon, "k", &unique("u")).await.first(201);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    for key in ["", "a b", "\"k", "\"k\";a", "\"\"", &"k".repeat(256)] {
        one(&daemon, key, &noop("default")).await.says(422, "Idempotency-Key");
        many(&daemon, key, &json!({"tasks": [noop("default")]})).await.says(422, "Idempotency-Key");
    }
    let twice = request(&daemon, "/api/tasks", "a", &noop("default")).header("idempotency-key", "b");
    answer(twice).await.says(422, "stands twice");
    assert_eq!(rows(&world).await, 0);
    one(&daemon, &"k".repeat(255), &noop("default")).await.first(201);
}

#[tokio::test]
async fn a_request_whose_task_is_gone_does_not_run_again() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    let body = json!({"tasks": [noop("a"), noop("b")]});
    let first = many(&daemon, "k", &body).await;
    let lost = ids(first.first(201))[1];
    let delete = format!("DELETE FROM tasks WHERE id = UNHEX('{}')", lost.replace('-', ""));
    sql.query_drop(delete).await.unwrap();
    many(&daemon, "k", &body).await.says(410, lost);
    assert_eq!(rows(&world).await, 1);
}

#[tokio::test]
async fn a_key_is_known_for_as_long_as_it_is_configured_and_purged_then() {
    let world = World::new().await;
    let mut builder = world.daemon("api,scheduler");
    builder.env("TASKRUNNERX_RETENTION__IDEMPOTENCY", "1s").env("TASKRUNNERX_RETENTION__FIRES", "1s");
    let daemon = builder.ready().await;
    let first = one(&daemon, "k", &noop("default")).await.first(201)["id"].clone();
    let mut sql = world.sql().await;
    eventually("it is purged", async || {
        let keys: Option<u64> = sql.query_first("SELECT COUNT(*) FROM task_keys").await.unwrap();
        (keys == Some(0)).then_some(())
    })
    .await;
    assert_ne!(one(&daemon, "k", &noop("default")).await.first(201)["id"], first);
}

#[tokio::test]
async fn a_unique_key_is_held_through_its_tasks_life() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let long = json!({"name": "sleep", "payload": {"ms": 60_000}, "delay": "1s", "unique_key": "nightly report ☾"});
    let first = api.submit(long.clone()).await;
    assert_eq!(first["unique_key"], "nightly report ☾");
    let held = async |status: &str| {
        let (code, task) = api.post("/api/tasks", &long).await;
        assert_eq!((code, &task["id"], &task["status"]), (200, &first["id"], &json!(status)), "{task}");
        assert_eq!(task["unique_key"], first["unique_key"]);
    };
    held("scheduled").await;
    let _worker = world.daemon("worker").ready().await;
    api.until(&first["id"], "running").await;
    held("running").await;
    api.post(&format!("/api/tasks/{}/cancel", first["id"].as_str().unwrap()), &json!({})).await;
    api.until(&first["id"], "cancelled").await;
    let second = api.submit(long.clone()).await;
    assert_ne!(second["id"], first["id"], "it is free");
    let (code, answer) = api.post(&format!("/api/tasks/{}/retry", first["id"].as_str().unwrap()), &json!({})).await;
    let held = format!("is held by task {}", second["id"].as_str().unwrap());
    assert!(code == 409 && answer["detail"].as_str().unwrap().contains(&held), "{answer}");
    // Another type's key is another one.
    api.run(unique("nightly report ☾"), "completed").await;
    let metric = "taskrunnerx_tasks_submitted_total{name=\"sleep\",queue=\"default\"}";
    assert_eq!(api.metric(metric).await, 2.0);
}

#[tokio::test]
async fn a_unique_key_is_held_for_its_time_also_when_its_task_has_ended_or_is_gone() {
    let world = World::new().await;
    let daemon = world.daemon("api,worker").ready().await;
    let body = json!({"name": "noop", "unique_key": "k", "unique_for": "1h"});
    let first = daemon.run(body.clone(), "completed").await;
    let (code, task) = daemon.post("/api/tasks", &body).await;
    assert_eq!((code, &task["id"], &task["status"]), (200, &first["id"], &json!("completed")));
    let mut sql = world.sql().await;
    sql.query_drop("DELETE FROM tasks").await.unwrap();
    for (path, body, pointer) in [
        ("/api/tasks", body.clone(), "#/unique_key is held until 2"),
        (BULK, json!({"tasks": [noop("default"), body]}), "#/tasks/1/unique_key is held until 2"),
    ] {
        let (status, body) = daemon.post(path, &body).await;
        let answer = Answer { status, replayed: false, body };
        answer.says(410, pointer);
        answer.says(410, first["id"].as_str().unwrap());
    }
    assert_eq!(rows(&world).await, 0);
    sql.query_drop("UPDATE task_keys SET expires_at = NOW(6)").await.unwrap();
    daemon.submit(body).await;
}

#[tokio::test]
async fn of_many_with_one_unique_key_the_first_is_made_and_stands_in_every_place() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let holder = daemon.submit(unique("held")).await["id"].as_str().unwrap().to_owned();
    let body = json!({"tasks": [noop("a"), unique("held"), unique("new"), noop("b"), unique("new"), unique("held")]});
    let first = many(&daemon, "k", &body).await;
    let places = ids(first.first(201));
    assert_eq!((places[1], places[5], places[4]), (&*holder, &*holder, places[2]));
    assert_eq!(rows(&world).await, 4);
    assert_eq!(ids(many(&daemon, "k", &body).await.again()), places);
    // Nothing new at all.
    let (status, answer) = daemon.post(BULK, &json!({"tasks": [unique("new"), unique("held")]})).await;
    assert_eq!((status, ids(&answer)), (200, vec![places[2], &*holder]));
    assert_eq!(rows(&world).await, 4);
    let metric = "taskrunnerx_tasks_submitted_total{name=\"noop\",queue=\"default\"}";
    assert_eq!(daemon.metric(metric).await, 2.0);
}

#[tokio::test]
async fn what_is_no_unique_key_or_no_time_for_one_is_refused_in_its_place() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    for (fields, pointer) in [
        (json!({"unique_key": ""}), "#/unique_key"),
        (json!({"unique_key": 7}), "#/unique_key"),
        (json!({"unique_key": "a\nb"}), "#/unique_key"),
        (json!({"unique_key": "é".repeat(256)}), "#/unique_key"),
        (json!({"unique_key": "k", "unique_for": "soon"}), "#/unique_for"),
        (json!({"unique_for": "1h"}), "#/unique_for"),
    ] {
        let mut body = noop("default");
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, answer) = daemon.post("/api/tasks", &body).await;
        assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}");
    }
    let task = daemon.submit(unique(&"é".repeat(255))).await;
    assert_eq!(task["unique_key"], "é".repeat(255));
}
