//! Task types of the configuration: their schemas, their list, and reading them again.

use crate::harness::{World, eventually, noop};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

#[tokio::test]
async fn a_payload_that_does_not_fit_its_schema_is_refused_with_every_fault_at_its_place() {
    let world = World::new().await;
    let mut builder = world.daemon("all");
    builder.file(
        "[tasks.mail]\ncommand = ['cat']\n\
         [tasks.mail.schema]\ntype = 'object'\nrequired = ['to']\nadditionalProperties = false\n\
         [tasks.mail.schema.properties]\nto = { type = 'string' }\ncopies = { type = 'integer', minimum = 1 }\n\
         [tasks.echo]\nschema = 'echo.json'\n",
    );
    builder.beside("echo.json", r#"{"type": ["integer", "null"]}"#);
    let daemon = builder.ready().await;
    let pointers = |answer: &Value| -> Vec<String> {
        let errors = answer["errors"].as_array().unwrap();
        let mut pointers: Vec<String> =
            errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
        pointers.sort();
        pointers
    };
    let wrong = json!({"name": "mail", "payload": {"copies": 0}, "priority": 12});
    let (status, answer) = daemon.post("/api/tasks", &wrong).await;
    assert_eq!(
        (status, pointers(&answer)),
        (422, vec!["#/payload".into(), "#/payload/copies".into(), "#/priority".into()])
    );
    let good = json!({"name": "mail", "payload": {"to": "ann", "copies": 2}});
    let (status, answer) =
        daemon.post("/api/tasks/bulk", &json!({"tasks": [good, {"name": "echo", "payload": "x"}]})).await;
    assert_eq!((status, pointers(&answer)), (422, vec!["#/tasks/1/payload".into()]), "{answer}");
    // None sent is null.
    for good in [good, json!({"name": "echo"}), json!({"name": "echo", "payload": 7})] {
        daemon.run(good, "completed").await;
    }
}

#[tokio::test]
async fn the_list_says_what_a_submission_that_says_little_gets() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.file(
        "[tasks.mail]\ncommand = ['/only/on/the/workers']\nqueue = 'mail'\ntimeout = '30s'\nmax_attempts = 12\n\
         backoff = '1m'\npriority = 3\nschema = { type = 'object' }\n[tasks.sleep]\nmax_attempts = 2\n",
    );
    let daemon = builder.ready().await;
    let (status, answer) = daemon.get("/api/task-types").await;
    assert_eq!(status, 200);
    let types = answer["task_types"].as_array().unwrap();
    let names: Vec<&str> = types.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "fail", "heartbeat", "mail", "noop", "sleep"]);
    let mail = &types[3];
    assert_eq!(
        (&mail["executor"], &mail["queue"], &mail["timeout"]),
        (&json!("command"), &json!("mail"), &json!("30s"))
    );
    assert_eq!((&mail["max_attempts"], &mail["priority"]), (&json!(12), &json!(3)));
    assert_eq!((&mail["schema"], &mail["backoff"]["kind"]), (&json!({"type": "object"}), &json!("fixed")), "{mail}");
    let sleep = &types[5];
    assert_eq!(
        (&sleep["executor"], &sleep["max_attempts"], &sleep["queue"]),
        (&json!("rust"), &json!(2), &json!("default"))
    );
    assert_eq!((&sleep["timeout"], &sleep["schema"]), (&json!("10m"), &Value::Null));
}

#[tokio::test]
async fn a_hangup_reads_the_types_again_loses_no_task_and_a_wrong_file_changes_nothing() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let old = format!("[tasks.old]\ncommand = ['sh', '-c', 'until [ -e {path}/go ]; do sleep 0.01; done; echo old']\n");
    let mut builder = world.daemon("all");
    builder.file(&old);
    let daemon = builder.ready().await;
    let running = daemon.submit(json!({"name": "old"})).await;
    daemon.until(&running["id"], "running").await;
    // Wrong in three places: each is said, and nothing changes.
    daemon.file(
        "[tasks.new]\ncommand = ['/not/there']\n[tasks.other]\nschema = 'missing.json'\n[tasks.third]\npull = 1\n",
    );
    daemon.signal("-HUP");
    eventually("it refuses", async || (daemon.logged("the task types stay as they are") == 1).then_some(())).await;
    for fault in ["tasks.other.schema", "tasks.third.pull"] {
        assert_eq!(daemon.logged(fault), 1, "{fault}");
    }
    daemon.file("[tasks.new]\ncommand = ['/not/there']\n");
    daemon.signal("-HUP");
    eventually("it refuses", async || (daemon.logged("the task types stay as they are") == 2).then_some(())).await;
    assert_eq!(daemon.logged("tasks.new.command: /not/there"), 1);
    let (status, _) = daemon.post("/api/tasks", &json!({"name": "new"})).await;
    assert_eq!(status, 422);
    let waiting = daemon.submit(json!({"name": "old", "delay": "1h"})).await;

    daemon.file("[tasks.new]\ncommand = ['echo', 'new']\n");
    daemon.signal("-HUP");
    eventually("it reads", async || (daemon.logged("read the task types again") == 1).then_some(())).await;
    assert_eq!(daemon.run(json!({"name": "new"}), "completed").await["result"], "new");
    let (status, _) = daemon.post("/api/tasks", &json!({"name": "old"})).await;
    assert_eq!(status, 422);
    // What runs goes on as it began; what waits is there still.
    std::fs::write(directory.path().join("go"), "").unwrap();
    assert_eq!(daemon.until(&running["id"], "completed").await["result"], "old");
    assert_eq!(daemon.task(&waiting["id"]).await["status"], "scheduled");
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_at_the_start() {
    let world = World::new().await;
    let mut builder = world.daemon("api");
    builder.file(
        "[tasks.noop]\nschema = { type = 'strnig' }\n[tasks.sleep]\nschema = { '$ref' = 'https://example.com/s' }\n",
    );
    let (code, _, said) = builder.output();
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("tasks.noop.schema: is no JSON Schema") && said.contains("tasks.sleep.schema: is no"),
        "{said}"
    );
}

/// The most attempts of a type that ran at once, by its rows.
async fn most_at_once(world: &World, name: &str) -> i64 {
    let micros = |column: &str| format!("TIMESTAMPDIFF(MICROSECOND, '2026-01-01', {column})");
    let (start, end) = (micros("started_at"), micros("finished_at"));
    let query = format!("SELECT {start}, {end} FROM tasks WHERE name = '{name}' AND status = 'completed'");
    let rows: Vec<(i64, i64)> = world.sql().await.query(query).await.unwrap();
    let mut moments: Vec<_> = rows.iter().flat_map(|(start, end)| [(*start, 1), (*end, -1)]).collect();
    moments.sort();
    let mut running = 0;
    moments
        .iter()
        .map(|(_, step)| {
            running += step;
            running
        })
        .max()
        .unwrap()
}

#[tokio::test]
async fn of_a_type_with_a_limit_no_more_run_at_once_over_all_workers_and_queues_and_nobody_waits_behind_them() {
    let world = World::new().await;
    let limited = "[tasks.sleep]\nconcurrency = 3\n";
    let mut builder = world.daemon("all");
    builder.file(limited);
    let one = builder.ready().await;
    let mut builder = world.daemon("worker");
    builder.file(limited);
    let _two = builder.ready().await;
    let sleep = |n: u64, ms: u64| json!({"name": "sleep", "payload": {"ms": ms}, "queue": if n.is_multiple_of(2) { "default" } else { "other" }});
    // Three run for as long as they are let, and the others are held behind them.
    let mut blocking = Vec::new();
    for n in 0..3 {
        blocking.push(one.submit(sleep(n, 600_000)).await);
    }
    for task in &blocking {
        one.until(&task["id"], "running").await;
    }
    let mut sleeps = Vec::new();
    for n in 0..21 {
        sleeps.push(one.submit(sleep(n, 50)).await);
    }
    for _ in 0..20 {
        one.run(noop("default"), "completed").await;
    }
    for task in &sleeps {
        assert_eq!(one.task(&task["id"]).await["status"], "queued", "it is held");
    }
    for task in &blocking {
        let path = format!("/api/tasks/{}/cancel", task["id"].as_str().unwrap());
        assert_eq!(one.post(&path, &json!({})).await.0, 202);
    }
    for task in &sleeps {
        let task = one.until(&task["id"], "completed").await;
        assert_eq!(task["attempt"], 1, "{task}");
    }
    assert_eq!(most_at_once(&world, "sleep").await, 3);
}

#[tokio::test]
async fn what_is_held_can_be_cancelled_and_goes_when_its_limit_does() {
    let world = World::new().await;
    let mut builder = world.daemon("all");
    builder.file("[tasks.sleep]\nconcurrency = 1\n");
    let daemon = builder.ready().await;
    let long = daemon.submit(json!({"name": "sleep", "payload": {"ms": 600_000}})).await;
    daemon.until(&long["id"], "running").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(daemon.submit(json!({"name": "sleep", "payload": {"ms": 1}})).await);
    }
    // A retry comes from the backlog, and is held too.
    let delayed = daemon.submit(json!({"name": "sleep", "payload": {"ms": 1}, "delay": "100ms"})).await;
    daemon.until(&delayed["id"], "queued").await;
    let (status, _) = daemon.post(&format!("/api/tasks/{}/cancel", held[0]["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(daemon.task(&held[1]["id"]).await["status"], "queued");
    daemon.file("");
    daemon.signal("-HUP");
    for task in [&held[1], &held[2], &delayed] {
        daemon.until(&task["id"], "completed").await;
    }
    assert_eq!(daemon.task(&held[0]["id"]).await["status"], "cancelled");
    assert_eq!(daemon.task(&long["id"]).await["status"], "running");
}
