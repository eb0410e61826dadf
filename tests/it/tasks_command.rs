//! `taskrunnerx tasks`, as a person and as a script use it.

use crate::front::Front;
use crate::guards::Ground;
use crate::harness::{Daemon, DaemonBuilder, World, eventually};
use crate::journal::Talkers;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Its exit code, and both outputs.
async fn run(daemon: &Daemon, args: &[&str]) -> (i32, String, String) {
    let args = [&["tasks"], args, &["--url", &daemon.url]].concat();
    let builder = DaemonBuilder::new(&args);
    tokio::task::spawn_blocking(move || builder.output()).await.unwrap()
}

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn get_shows_a_task_and_says_what_is_wrong() {
    let world = World::new().await;
    let mut daemon = world.daemon("all").ready().await;
    let task =
        daemon.run(json!({"name": "fail", "payload": {"message": "no luck"}, "max_attempts": 1}), "failed").await;
    let (code, text, errors) = run(&daemon, &["get", id(&task)]).await;
    assert_eq!((code, &*errors), (0, ""), "{text}");
    for expected in [("status", "failed"), ("last_error", "no luck"), ("payload", "{\"message\":\"no luck\"}")] {
        let fields = text.lines().filter_map(|line| line.split_once("  "));
        assert!(fields.map(|(name, value)| (name, value.trim())).any(|found| found == expected), "{text}");
    }
    let (code, text, _) = run(&daemon, &["get", id(&task), "--json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()), (0, task.clone()));
    let unknown = uuid::Uuid::now_v7().to_string();
    for args in [["get", &unknown], ["logs", &unknown], ["watch", &unknown]] {
        let (code, text, errors) = run(&daemon, &args).await;
        assert_eq!((code, &*text), (1, ""), "{args:?}: {errors}");
        assert!(errors.contains("there is no task"), "{errors}");
    }
    assert_eq!(run(&daemon, &["get", "7"]).await.0, 2);
    daemon.kill();
    for args in [["get", id(&task)], ["logs", id(&task)], ["watch", id(&task)]] {
        let (code, _, errors) = run(&daemon, &args).await;
        assert_eq!(code, 3, "{args:?}: {errors}");
        assert!(errors.contains("--url"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_tells_a_life_in_lines_and_ends_with_the_tasks_fate() {
    let ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    let task = api.submit(json!({"name": "noop", "payload": {"lines": 3, "until": file}})).await;
    let (plain, as_json) = (["watch", id(&task)], ["watch", id(&task), "--json"]);
    let watched = async { tokio::join!(run(&api, &plain), run(&api, &as_json)) };
    let life = async {
        // Both have begun.
        eventually("both watch", async || (api.metric("taskrunnerx_event_streams").await == 2.0).then_some(())).await;
        let talkers = Talkers::hire(&ground).await;
        eventually("half", async || (api.task(&task["id"]).await["progress"] == 0.5).then_some(())).await;
        // Both have looked again since.
        let looks = async || api.metric("taskrunnerx_store_seconds_count{op=\"pulse\"}").await;
        let before = looks().await;
        eventually("they have looked", async || (looks().await >= before + 6.0).then_some(())).await;
        std::fs::write(&file, "").unwrap();
        api.until(&task["id"], "completed").await;
        talkers
    };
    let (((code, text, errors), (json_code, json, _)), _talkers) = tokio::join!(watched, life);
    assert_eq!((code, json_code), (0, 0), "{text}{errors}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"noop queued, attempt 0 of 5"), "{text}");
    assert_eq!(lines.last(), Some(&"noop completed, attempt 1 of 5"), "{text}");
    assert!(lines.contains(&"noop running, attempt 1 of 5, 50% half"), "{text}");
    let log: Vec<&&str> = lines.iter().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(log, [&"| line 1 of attempt 1", &"| line 2 of attempt 1", &"| line 3 of attempt 1", &"| the end"]);
    let events: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&events[0]["event"], &events[0]["data"]["status"]), (&json!("task"), &json!("queued")));
    assert_eq!(events.last().unwrap()["data"], api.task(&task["id"]).await);
    assert_eq!(events.iter().filter(|event| event["event"] == "log" && event["id"].is_string()).count(), 4);

    let body = json!({"name": "noop", "payload": {"lines": 0, "fail": "no luck"}, "max_attempts": 1});
    let failed = api.submit(body).await;
    let (code, text, errors) = run(&api, &["watch", id(&failed)]).await;
    assert_eq!((code, &*errors), (1, ""));
    assert_eq!(text.lines().last(), Some("noop failed, attempt 1 of 1, error: no luck"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_prints_what_was_said_of_all_attempts_or_of_one_and_follows_to_the_end() {
    let ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let _talkers = Talkers::hire(&ground).await;
    let body = json!({"name": "noop", "payload": {"lines": 700, "fail": "no"}, "max_attempts": 2, "backoff": "10ms"});
    let task = api.run(body, "failed").await;
    let of = |attempt: u32| {
        let line = move |n| if n == 701 { "the end".to_owned() } else { format!("line {n} of attempt {attempt}") };
        (1..=701).map(line)
    };
    let all: Vec<String> = of(1).chain(of(2)).collect();
    for args in [&["logs", id(&task)][..], &["logs", id(&task), "--follow"]] {
        let (code, text, errors) = run(&api, args).await;
        assert_eq!(code, 0, "{errors}");
        assert_eq!(text.lines().collect::<Vec<_>>(), all, "{args:?}");
    }
    let (_, text, _) = run(&api, &["logs", id(&task), "--attempt", "2"]).await;
    assert_eq!(text.lines().collect::<Vec<_>>(), of(2).collect::<Vec<_>>());
    let (_, text, _) = run(&api, &["logs", id(&task), "--json"]).await;
    let logs: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((logs.len(), &logs[700]["line"], &logs[701]["attempt"]), (1402, &json!("the end"), &json!(2)));
    assert!(logs.iter().all(|log| log["at"].is_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_outlives_the_process_that_it_is_connected_to_and_says_no_line_twice() {
    let ground = Ground::new().await;
    let mut first = ground.world.daemon("api").ready().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("go");
    let task = first.submit(json!({"name": "noop", "payload": {"lines": 3, "until": file}})).await;
    let _talkers = Talkers::hire(&ground).await;
    eventually("half", async || (first.task(&task["id"]).await["progress"] == 0.5).then_some(())).await;
    let front = Front::of(&first).await;
    let watched = DaemonBuilder::new(&["tasks", "watch", id(&task), "--url", &front.url]);
    let watched = tokio::task::spawn_blocking(move || watched.output());
    eventually("it watches", async || (first.metric("taskrunnerx_event_streams").await == 1.0).then_some(())).await;
    let looks = async |daemon: &Daemon| daemon.metric("taskrunnerx_store_seconds_count{op=\"tails\"}").await;
    eventually("it has looked", async || (looks(&first).await >= 2.0).then_some(())).await;
    first.kill();
    std::fs::write(&file, "").unwrap();
    let second = ground.world.daemon("api").ready().await;
    front.turn_to(&second);
    let (code, text, errors) = watched.await.unwrap();
    assert_eq!(code, 0, "{text}{errors}");
    let log: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(log, ["| line 1 of attempt 1", "| line 2 of attempt 1", "| line 3 of attempt 1", "| the end"], "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_ends_when_nobody_reads_them_any_more() {
    let ground = Ground::new().await;
    let api = ground.world.daemon("api").ready().await;
    let _talkers = Talkers::hire(&ground).await;
    // More than a pipe holds.
    let task = api.run(json!({"name": "noop", "payload": {"lines": 9000}}), "completed").await;
    for more in [&[][..], &["--follow"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
        command
            .args(["tasks", "logs", id(&task), "--url", &api.url])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "line 1 of attempt 1\n");
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        assert_eq!((ended.status.code(), &*String::from_utf8_lossy(&ended.stderr)), (Some(0), ""));
    }
}
