//! `submit`.

use super::{at, done, fed, id, json, run};
use crate::harness::World;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_the_id_and_nothing_else_and_sends_what_was_given() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let payload = r#"{"b": 12345678901234567890123, "a": 1.50}"#;
    let (code, text, errors) = run(&api, &["submit", "echo", payload]).await;
    assert_eq!(code, 0, "{errors}");
    assert_eq!(errors, "warning: no live worker serves the queue default; the task waits until one does\n");
    let task = json(&api, &["tasks", "get", text.trim()]).await;
    assert_eq!((&task["name"], &task["queue"], &task["status"]), (&json!("echo"), &json!("default"), &json!("queued")));
    let raw = done(&api, &["tasks", "get", text.trim(), "--json"]).await;
    assert!(raw.contains(payload), "byte for byte: {raw}");

    let args = ["submit", "noop", "--queue", "mail", "--priority", "7", "--delay", "1h", "--timeout", "90s"];
    let more = ["--max-attempts", "3", "--expires-in", "2h", "--tag", "a", "--tag", "b", "--metadata", r#"{"k": [1]}"#];
    let task = json(&api, &[&args[..], &more].concat()).await;
    let expected = json!({"queue": "mail", "priority": 7, "status": "scheduled", "timeout": "1m30s", "max_attempts": 3,
        "tags": ["a", "b"], "metadata": {"k": [1]}, "payload": null});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&task[field], value, "{field}");
    }
    assert!(task["expires_at"].is_string());
    for (given, expected) in [
        ("5s", json!({"kind": "fixed", "base": "5s", "factor": 1, "max": "5s", "jitter": "none"})),
        (
            r#"{"base": "2s", "max": "1m"}"#,
            json!({"kind": "exponential", "base": "2s", "factor": 2, "max": "1m", "jitter": "full"}),
        ),
    ] {
        assert_eq!(json(&api, &["submit", "noop", "--backoff", given]).await["backoff"], expected, "{given}");
    }
    let task = json(&api, &["submit", "noop", "--run-at", "2040-01-31T12:00:00+01:00"]).await;
    assert_eq!(task["run_at"], "2040-01-31T11:00:00.000000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_may_come_from_a_file_or_from_standard_input() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("payload.json");
    std::fs::write(&file, "{\"from\": \"a file\"}\n").unwrap();
    let task = json(&api, &["submit", "echo", &format!("@{}", file.display())]).await;
    assert_eq!(task["payload"], json!({"from": "a file"}));
    let (code, text, errors) = fed(&api, &["submit", "echo", "-", "--json"], "[\"from a pipe\"]\n").await;
    assert_eq!(code, 0, "{errors}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["payload"], json!(["from a pipe"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_what_to_do() {
    let world = World::new().await;
    let mut api = world.daemon("api").ready().await;
    let usage: [&[&str]; 4] = [&["echo", "hello"], &["echo", "@/no/such/file"], &["a b"], &["echo", "--delay", "90"]];
    for args in usage {
        let (code, text, errors) = run(&api, &[&["submit"], args].concat()).await;
        assert_eq!((code, &*text), (2, ""), "{args:?}: {errors}");
    }
    let (_, _, errors) = run(&api, &["submit", "echo", "{key: value}"]).await;
    assert!(errors.contains(r#"'{"key": "value"}'"#), "{errors}");
    // What only the server knows.
    let (code, text, errors) = run(&api, &["submit", "nope"]).await;
    assert_eq!((code, &*text), (1, ""), "{errors}");
    assert!(errors.contains("nope") && errors.contains("echo"), "{errors}");
    api.kill();
    let (code, _, errors) = at(&api.url, &["submit", "echo"]).await;
    assert_eq!(code, 3, "{errors}");
    assert!(errors.contains("--url"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_prints_the_result_and_ends_as_the_task_did() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let (code, text, errors) = run(&all, &["submit", "echo", r#"{"big": 12345678901234567890123}"#, "--wait"]).await;
    assert_eq!((code, &*text), (0, "{\"big\": 12345678901234567890123}\n"), "{errors}");
    // The result is alone on standard output; who wants the task finds its id aside.
    assert!(errors.starts_with("task ") && errors.contains("echo"), "{errors}");
    let task = json(&all, &["submit", "echo", "7", "--wait=1m"]).await;
    assert_eq!((&task["status"], &task["result"]), (&json!("completed"), &json!(7)));

    let args = ["submit", "fail", r#"{"message": "no luck"}"#, "--max-attempts", "1", "--wait"];
    let (code, text, errors) = run(&all, &args).await;
    assert_eq!((code, &*text), (1, ""), "{errors}");
    assert!(errors.contains("is failed, attempt 1 of 1: no luck"), "{errors}");
    let (code, text, _) = run(&all, &[&args[..], &["--json"]].concat()).await;
    assert_eq!((code, &serde_json::from_str::<Value>(&text).unwrap()["status"]), (1, &json!("failed")));

    // It waits for its time, and so does whoever submitted it, for a while.
    let (code, text, errors) = run(&all, &["submit", "noop", "--delay", "1h", "--wait=200ms"]).await;
    assert_eq!((code, &*text), (4, ""), "{errors}");
    let scheduled = all.get("/api/tasks?status=scheduled").await.1["tasks"][0].clone();
    assert!(errors.contains(&format!("taskrunnerx tasks watch {}", id(&scheduled))), "{errors}");
    let (code, text, _) = run(&all, &["submit", "noop", "--delay", "1h", "--wait=200ms", "--json"]).await;
    assert_eq!((code, &serde_json::from_str::<Value>(&text).unwrap()["status"]), (4, &json!("scheduled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_is_a_wait_that_failed() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let waiting = run(&api, &["submit", "noop", "--wait"]);
    let cancelling = async {
        let tasks = crate::harness::eventually("it is there", async || {
            let (_, page) = api.get("/api/tasks").await;
            page["tasks"].get(0).cloned()
        });
        let task = tasks.await;
        done(&api, &["tasks", "cancel", id(&task)]).await;
    };
    let ((code, text, errors), ()) = tokio::join!(waiting, cancelling);
    assert_eq!((code, &*text), (1, ""), "{errors}");
    assert!(errors.contains("is cancelled"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_make_a_submission_count_once() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    for args in [["--idempotency-key", "order-17"], ["--unique-key", "the report"]] {
        let submission = [&["submit", "echo", "7"][..], &args].concat();
        let (code, first, errors) = run(&api, &submission).await;
        assert_eq!(code, 0, "{errors}");
        let (code, second, errors) = run(&api, &submission).await;
        assert_eq!((code, &second), (0, &first), "{errors}");
        assert!(
            errors.starts_with(&format!("an earlier submission counts: task {} is queued", first.trim())),
            "{errors}"
        );
        let other = [&["submit", "echo", "8"][..], &args].concat();
        let (code, text, errors) = run(&api, &other).await;
        match args[0] {
            // The key is of a request, and this is another one.
            "--idempotency-key" => assert_eq!((code, &*text), (1, ""), "{errors}"),
            _ => assert_eq!((code, &text), (0, &first), "{errors}"),
        }
    }
    assert_eq!(api.get("/api/tasks").await.1["tasks"].as_array().unwrap().len(), 2);
}
