//! What is done to tasks.

use super::{at, done, fields, id, json, run};
use crate::harness::{World, noop};
use crate::terminal::Terminal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn cancel_takes_several_and_one_that_cannot_be_does_not_keep_the_others() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let later = json!({"name": "noop", "delay": "1h"});
    let (a, b) = (all.submit(later.clone()).await, all.submit(later.clone()).await);
    let over = all.run(json!({"name": "noop"}), "completed").await;
    let (code, text, errors) = run(&all, &["tasks", "cancel", id(&a), id(&over), id(&b)]).await;
    assert_eq!(code, 1, "{errors}");
    assert_eq!(text, format!("{} cancelled\n{} cancelled\n", id(&a), id(&b)));
    assert!(errors.contains(id(&over)) && errors.contains("is completed"), "{errors}");
    assert!(errors.ends_with("1 of 3 tasks refused\n"), "{errors}");
    // Again: it is so already.
    assert_eq!(done(&all, &["tasks", "cancel", id(&a)]).await, format!("{} cancelled\n", id(&a)));
    let task = json(&all, &["tasks", "cancel", id(&all.submit(later).await)]).await;
    assert_eq!(task["status"], "cancelled");
    let running = all.run(json!({"name": "sleep", "payload": {"ms": 60_000}}), "running").await;
    let text = done(&all, &["tasks", "cancel", id(&running)]).await;
    assert_eq!(text, format!("{} runs, and has been asked to stop\n", id(&running)));
    all.until(&running["id"], "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_to_many_by_mistake() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(json!({"name": "noop"})).await;
    for verb in ["cancel", "retry"] {
        let wrong: [&[&str]; 4] = [&[], &["--all", "--queue", "a"], &["--queue", "default"], &[id(&task), "--all"]];
        for args in wrong {
            let (code, text, errors) = run(&api, &[&["tasks", verb], args].concat()).await;
            assert_eq!((code, &*text), (2, ""), "{args:?}: {errors}");
        }
        let (_, _, errors) = run(&api, &["tasks", verb, "--queue", "default"]).await;
        assert!(errors.contains("--yes") && errors.contains("--dry-run"), "{errors}");
    }
    assert_eq!(api.task(&task["id"]).await["status"], "queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_run_now_retried_and_deleted() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let task = all.submit(json!({"name": "noop", "delay": "1h"})).await;
    let (code, _, errors) = run(&all, &["tasks", "delete", id(&task)]).await;
    assert_eq!(code, 1, "it has not ended: {errors}");
    assert_eq!(done(&all, &["tasks", "run", id(&task)]).await, format!("{} queued\n", id(&task)));
    all.until(&task["id"], "completed").await;
    assert_eq!(run(&all, &["tasks", "run", id(&task)]).await.0, 1, "it is not scheduled");
    assert_eq!(run(&all, &["tasks", "retry", id(&task)]).await.0, 1, "it has completed");
    assert_eq!(done(&all, &["tasks", "delete", id(&task)]).await, format!("{} deleted\n", id(&task)));
    let other = all.run(json!({"name": "noop"}), "completed").await;
    let deleted = json(&all, &["tasks", "delete", id(&other)]).await;
    assert_eq!(deleted, json!({"id": id(&other), "deleted": true}));
    assert_eq!(run(&all, &["tasks", "get", id(&task)]).await.0, 1);

    done(&all, &["queues", "pause", "q"]).await;
    let failed = all.run(json!({"name": "fail", "max_attempts": 1}), "failed").await;
    assert_eq!(done(&all, &["tasks", "retry", id(&failed)]).await, format!("{} queued again\n", id(&failed)));
    let again = all.until(&failed["id"], "failed").await;
    assert_eq!(json(&all, &["tasks", "retry", id(&again)]).await["id"], failed["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_all_it_says_in_as_many_steps_as_it_takes() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    for _ in 0..3 {
        let tasks: Vec<Value> = (0..1000).map(|_| noop("many")).collect();
        assert_eq!(api.post("/api/tasks/bulk", &json!({ "tasks": tasks })).await.0, 201);
    }
    let other = api.submit(noop("other")).await;
    let text = done(&api, &["tasks", "cancel", "--queue", "many", "--dry-run"]).await;
    assert_eq!(text, "3000 tasks would be cancelled\n");
    let counted = json(&api, &["tasks", "cancel", "--queue", "many", "--yes"]).await;
    assert_eq!(counted, json!({"matched": 3000, "changed": 3000, "held": 0, "complete": true}));
    let none = done(&api, &["tasks", "cancel", "--queue", "many", "--yes"]).await;
    assert_eq!(none, "0 tasks cancelled\n");
    assert_eq!(api.task(&other["id"]).await["status"], "queued");
    // Only what has failed is retried, unless told.
    assert_eq!(
        done(&api, &["tasks", "retry", "--queue", "many", "--dry-run"]).await,
        "0 tasks would be queued again\n"
    );
    let text = done(&api, &["tasks", "retry", "--queue", "many", "--status", "cancelled", "--yes"]).await;
    assert_eq!(text, "3000 tasks queued again\n");
    let text = done(&api, &["tasks", "cancel", "--all", "--yes"]).await;
    assert!(text.starts_with("3001 tasks cancelled"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_grouped_and_a_group_is_retried() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let body = |message: &str| json!({"name": "fail", "payload": {"message": message}, "max_attempts": 1});
    for message in ["no luck", "no luck", "no money"] {
        all.run(body(message), "failed").await;
    }
    let text = done(&all, &["failures"]).await;
    let titles = ["FINGERPRINT", "COUNT", "NAME", "FIRST", "SEEN", "LAST", "SEEN", "ERROR"];
    assert_eq!(fields(text.lines().next().unwrap()), titles);
    let line = text.lines().find(|line| line.ends_with("no luck")).unwrap();
    assert_eq!(fields(line)[1..3], ["2", "fail"], "{text}");
    let groups = json(&all, &["failures"]).await;
    assert_eq!(groups["failures"].as_array().unwrap().len(), 2, "{groups}");
    assert_eq!(json(&all, &["failures", "--limit", "1"]).await["failures"].as_array().unwrap().len(), 1);
    assert_eq!(json(&all, &["failures", "--queue", "other"]).await["failures"], json!([]));
    let text = done(&all, &["tasks", "retry", "--fingerprint", fields(line)[0], "--yes"]).await;
    assert_eq!(text, "2 tasks queued again\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_asks_on_a_terminal_and_only_yes_is_yes() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(noop("q")).await;
    let args = ["tasks", "cancel", "--queue", "q", "--url", &api.url];
    let answered = async |keys: &str| {
        let mut terminal = Terminal::run(&args, 100, &[]);
        terminal.until_shown("Cancel 1 task? [y/N] ").await;
        terminal.press(keys);
        terminal.ended().await
    };
    let (code, text) = answered("n\n").await;
    assert!(code == 1 && text.contains("nothing was changed"), "{text}");
    assert_eq!(answered("\u{3}").await.0, 130);
    assert_eq!(api.task(&task["id"]).await["status"], "queued");
    let (code, text) = answered("y\n").await;
    assert!(code == 0 && text.contains("1 task cancelled"), "{text}");
    assert_eq!(api.task(&task["id"]).await["status"], "cancelled");
}

/// A server that gives these answers, one a connection; and what it was sent.
fn scripted(answers: Vec<Value>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let mut length = 0;
            for line in reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            asked.push(String::from_utf8(body).unwrap());
            let text = answer.to_string();
            let head = format!("HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
            socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(text.as_bytes())).unwrap();
        }
        asked
    });
    (url, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_not_all_is_followed_by_the_next_one_from_its_cursor() {
    let step = |matched, changed, next: Value| json!({"matched": matched, "changed": changed, "dry_run": false, "complete": next.is_null(), "next_cursor": next});
    let (url, server) = scripted(vec![step(5, 5, json!("s1.x")), step(4, 3, json!("s1.y")), step(0, 0, Value::Null)]);
    let (code, text, errors) = at(&url, &["tasks", "cancel", "--queue", "q", "--yes"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(text.starts_with("8 tasks cancelled; 1 more had moved on meanwhile"), "{text}");
    let asked: Vec<Value> = server.join().unwrap().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(asked[0], json!({"filter": {"queue": ["q"]}, "all": false, "dry_run": false}));
    let cursors: Vec<&Value> = asked.iter().map(|body| &body["cursor"]).collect();
    assert_eq!(cursors, [&Value::Null, &json!("s1.x"), &json!("s1.y")]);
    // Cut short, it says how far it was.
    let (url, server) = scripted(vec![step(5, 5, json!("s1.x"))]);
    let (code, _, errors) = at(&url, &["tasks", "cancel", "--queue", "q", "--yes"]).await;
    assert_eq!(code, 3, "{errors}");
    assert!(errors.contains("5 tasks had been cancelled; repeat it to go on"), "{errors}");
    server.join().unwrap();
}
