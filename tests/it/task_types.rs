//! Task types of the configuration: their schemas, their list, and reading them again.

use crate::harness::{World, eventually};
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
