//! Many submissions in one request: `POST /api/tasks/bulk`.

use crate::harness::{Daemon, World, eventually, noop};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

const PATH: &str = "/api/tasks/bulk";

async fn bulk(daemon: &Daemon, tasks: Vec<Value>) -> (u16, Value) {
    daemon.post(PATH, &json!({ "tasks": tasks })).await
}

/// It was accepted; gives the tasks.
async fn accepted(daemon: &Daemon, tasks: Vec<Value>) -> Vec<Value> {
    let (status, mut answer) = bulk(daemon, tasks).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    let Value::Array(tasks) = answer["tasks"].take() else { panic!("{answer}") };
    tasks
}

async fn send(daemon: &Daemon, media_type: &str, body: String) -> (u16, Value) {
    let request = daemon.client.post(format!("{}{PATH}", daemon.url)).header("content-type", media_type);
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// It was refused with faults at exactly these places.
fn faults(answer: &(u16, Value), pointers: &[&str]) {
    let errors = answer.1["errors"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    let at: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!((answer.0, at.as_slice()), (422, pointers), "{answer:?}");
    assert!(errors.iter().all(|error| !error["detail"].as_str().unwrap().is_empty()), "{answer:?}");
}

async fn rows(world: &World) -> u64 {
    world.sql().await.query_first("SELECT COUNT(*) FROM tasks").await.unwrap().unwrap()
}

#[tokio::test]
async fn many_are_accepted_in_their_order_each_with_what_it_says_and_what_was_left_out() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let one = daemon.submit(noop("a")).await;
    let sent: Vec<Value> = (0..300)
        .map(|i| match i % 4 {
            0 => json!({"name": "echo", "payload": {"n": i}, "queue": "a"}),
            1 => json!({"name": "noop", "queue": "b", "priority": i % 10, "tags": ["t"]}),
            2 => json!({"name": "sleep", "payload": {"ms": i}, "delay": "1h", "backoff": "3s"}),
            _ => json!({"name": "noop", "metadata": {"n": i}, "expires_in": "2h", "max_attempts": 2}),
        })
        .collect();
    let tasks = accepted(&daemon, sent.clone()).await;
    assert_eq!(tasks.len(), sent.len());
    for (task, sent) in tasks.iter().zip(&sent) {
        for (field, value) in sent.as_object().unwrap() {
            match &**field {
                "delay" => assert_eq!(task["status"], "scheduled"),
                "backoff" => assert_eq!(task["backoff"]["base"], *value),
                "expires_in" => assert!(task["expires_at"].is_string()),
                _ => assert_eq!(task[field], *value, "{task}"),
            }
        }
        // As one that is submitted alone.
        let keys = |task: &Value| task.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(task), keys(&one));
        let again = daemon.task(&task["id"]).await;
        assert_eq!((&again["payload"], &again["created_at"]), (&task["payload"], &task["created_at"]));
    }
    let ids: Vec<&str> = tasks.iter().map(|task| task["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted(), "ids sort by the order of acceptance");
    assert_eq!(rows(&world).await, 301);
    let metric = |queue| format!("taskrunnerx_tasks_submitted_total{{name=\"noop\",queue=\"{queue}\"}}");
    assert_eq!((daemon.metric(&metric("b")).await, daemon.metric(&metric("default")).await), (75.0, 75.0));
}

#[tokio::test]
async fn each_of_many_completes_once_and_each_says_whether_its_queue_is_served() {
    let world = World::new().await;
    let mut builder = world.daemon("api,worker");
    builder.env("TASKRUNNERX_WORKER__QUEUES", "a,b").env("TASKRUNNERX_WORKER__CONCURRENCY", "16");
    let daemon = builder.ready().await;
    for round in 0..3 {
        let tasks = (0..200).map(|i| noop(["a", "b", "nobodys"][i % 3])).collect();
        let tasks = accepted(&daemon, tasks).await;
        for task in &tasks {
            let warnings = task["warnings"].as_array().map_or(0, Vec::len);
            assert_eq!(warnings, usize::from(task["queue"] == "nobodys"), "round {round}: {task}");
        }
    }
    let mut sql = world.sql().await;
    let query = "SELECT COUNT(*) FROM tasks WHERE status = 'completed' AND attempt = 1";
    eventually("all have completed", async || {
        (sql.query_first::<u64, _>(query).await.unwrap() == Some(3 * 134)).then_some(())
    })
    .await;
    let others = "SELECT COUNT(*) FROM tasks WHERE status = 'queued' AND queue = 'nobodys'";
    assert_eq!(sql.query_first::<u64, _>(others).await.unwrap(), Some(3 * 66));
}

#[tokio::test]
async fn one_bad_one_among_many_and_none_is_accepted() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let good = || noop("default");
    let many = |bad: Value| bulk(&daemon, vec![good(), good(), good(), bad, good()]);
    faults(&many(json!({"name": "nope"})).await, &["#/tasks/3/name"]);
    faults(&many(json!({})).await, &["#/tasks/3/name"]);
    faults(&many(json!({"name": "noop", "queue": "a b", "colour": 1})).await, &["#/tasks/3/queue", "#/tasks/3/colour"]);
    faults(&many(json!({"name": "noop", "tags": ["a", 1]})).await, &["#/tasks/3/tags/1"]);
    faults(&many(json!({"name": "noop", "backoff": {"kind": "x"}})).await, &["#/tasks/3/backoff/kind"]);
    for no_submission in [json!(null), json!(7), json!("noop"), json!([good()])] {
        faults(&many(no_submission).await, &["#/tasks/3"]);
    }
    // Every fault of every one.
    let two = bulk(&daemon, vec![json!({"name": "nope", "priority": 99}), good(), json!({"name": 5})]).await;
    faults(&two, &["#/tasks/0/name", "#/tasks/0/priority", "#/tasks/2/name"]);
    assert_eq!(rows(&world).await, 0);
    // None of it stays behind.
    assert_eq!(accepted(&daemon, vec![good()]).await.len(), 1);
    assert_eq!(rows(&world).await, 1);
}

#[tokio::test]
async fn what_is_no_list_of_submissions_is_refused_and_says_what_it_takes() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    for body in [json!({}), json!({"tasks": null}), json!({"tasks": 5}), json!({"tasks": {}}), json!({"tasks": []})] {
        let answer = send(&daemon, "application/json", body.to_string()).await;
        faults(&answer, &["#/tasks"]);
        assert!(answer.1["errors"][0]["detail"].as_str().unwrap().contains("1 to 1000"), "{answer:?}");
    }
    faults(&send(&daemon, "application/json", json!([noop("a")]).to_string()).await, &["#"]);
    faults(&send(&daemon, "application/json", "null".to_owned()).await, &["#"]);
    let more = json!({"tasks": [noop("a"), {"name": "nope"}], "task": 1});
    faults(&send(&daemon, "application/json", more.to_string()).await, &["#/task", "#/tasks/1/name"]);
    for malformed in ["", "{", "{\"tasks\": [{\"name\": \"noop\"}", "{\"tasks\": [{\"name\": \"noop\",}]}"] {
        assert_eq!(send(&daemon, "application/json", malformed.to_owned()).await.0, 400, "{malformed}");
    }
    assert_eq!(send(&daemon, "text/plain", json!({"tasks": [noop("a")]}).to_string()).await.0, 415);
    let (status, _) = daemon.get(PATH).await;
    assert_eq!(status, 405);
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test]
async fn a_request_holds_so_many_tasks_and_so_many_bytes() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__PAYLOAD", "2KiB").env("TASKRUNNERX_LIMITS__BULK_BODY", "256KiB");
    let daemon = builder.ready().await;
    let many = |count| vec![noop("default"); count];
    let too_many = bulk(&daemon, many(1001)).await;
    faults(&too_many, &["#/tasks"]);
    assert!(too_many.1["errors"][0]["detail"].as_str().unwrap().contains("1001"), "{too_many:?}");
    assert_eq!(rows(&world).await, 0);
    assert_eq!(accepted(&daemon, many(1000)).await.len(), 1000);
    // Each payload has its own limit, the whole body another.
    let large = |bytes: usize| json!({"name": "echo", "payload": "x".repeat(bytes - 2)});
    faults(&bulk(&daemon, vec![large(2048), large(2049)]).await, &["#/tasks/1/payload"]);
    assert_eq!(bulk(&daemon, vec![large(2048); 130]).await.0, 413);
    assert_eq!(accepted(&daemon, vec![large(2048); 120]).await.len(), 120);
    assert_eq!(rows(&world).await, 1120);
    // Nothing of what is too much is looked at, whatever else is wrong.
    let ones = format!("{{\"x\": 1, \"tasks\": [{}1]}}", "1,".repeat(100_000));
    faults(&send(&daemon, "application/json", ones).await, &["#/tasks", "#/x"]);
    // So many mistakes are one, made many times.
    let answer = bulk(&daemon, vec![json!({"name": "nope", "a": 1, "b": 2}); 1000]).await;
    assert_eq!((answer.0, answer.1["errors"].as_array().unwrap().len()), (422, 102));
    drop(daemon);

    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__BULK", "2");
    let daemon = builder.ready().await;
    faults(&bulk(&daemon, many(3)).await, &["#/tasks"]);
    assert_eq!(accepted(&daemon, many(2)).await.len(), 2);
}

#[tokio::test]
async fn one_queue_too_many_is_refused_with_its_place() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.env("TASKRUNNERX_LIMITS__QUEUES", "3");
    let daemon = builder.ready().await;
    // `default` is there from the start.
    let queues = ["default", "a", "a", "b", "c", "d"];
    faults(&bulk(&daemon, queues.map(noop).to_vec()).await, &["#/tasks/4/queue"]);
    assert_eq!(rows(&world).await, 0);
    assert_eq!(accepted(&daemon, queues[..4].iter().map(|queue| noop(queue)).collect()).await.len(), 4);
}

#[tokio::test]
async fn where_the_database_refuses_one_none_is_in_and_the_log_says_why_under_the_requests_id() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    // As a table would that somebody has changed.
    world.sql().await.query_drop("ALTER TABLE tasks MODIFY metadata VARCHAR(20) NULL").await.unwrap();
    let mut tasks = vec![noop("default"); 300];
    tasks[150] = json!({"name": "noop", "metadata": {"a": "longer than twenty characters"}});
    let others = tokio::spawn({
        let (client, url) = (daemon.client.clone(), format!("{}/api/tasks", daemon.url));
        async move {
            for _ in 0..20 {
                let answer = client.post(&url).json(&noop("other")).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 201, "who shares the batch is none the worse");
            }
        }
    });
    let request = daemon.client.post(format!("{}{PATH}", daemon.url)).header("x-request-id", "the-bad-one");
    let answer = request.json(&json!({ "tasks": tasks })).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()), (500, "the-bad-one"));
    let problem: Value = answer.json().await.unwrap();
    assert!(!problem.to_string().contains("metadata"), "{problem}");
    others.await.unwrap();
    let query = "SELECT COUNT(*) FROM tasks WHERE queue = 'default'";
    assert_eq!(world.sql().await.query_first::<u64, _>(query).await.unwrap(), Some(0));
    assert_eq!(rows(&world).await, 20);
    let said: Vec<Value> = eventually("it is in the log", async || {
        let lines = daemon.log();
        let said: Vec<Value> = lines
            .iter()
            .filter(|line| line.contains("a request failed"))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (!said.is_empty()).then_some(said)
    })
    .await;
    assert_eq!(said.len(), 1, "{said:#?}");
    assert_eq!((&said[0]["request.id"], &said[0]["level"]), (&json!("the-bad-one"), &json!("ERROR")), "{said:#?}");
    assert!(said[0]["error"].as_str().unwrap().contains("Data too long"), "{said:#?}");
}
