//! `tasks list`, its pages, and tasks as they move; and the other things that are only looked at.

use super::{at, done, fields, id, json, run};
use crate::front::Front;
use crate::harness::{Daemon, DaemonBuilder, World, eventually, noop};
use crate::waiting::within;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_as_long_as_it_is_asked_to_be_over_all_pages() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let tasks: Vec<Value> = (0..1000).map(|_| noop("many")).collect();
    let (status, bulk) = api.post("/api/tasks/bulk", &json!({ "tasks": tasks })).await;
    assert_eq!(status, 201);
    let newest_first: Vec<&str> = bulk["tasks"].as_array().unwrap().iter().rev().map(id).collect();

    let text = done(&api, &["tasks", "list", "--limit", "730"]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(fields(lines[0]), ["ID", "STATUS", "NAME", "QUEUE", "ATTEMPT", "CREATED", "NOTE"]);
    assert!(!text.contains('\u{1b}'), "no colour in a pipe");
    let listed: Vec<&str> = lines[1..].iter().map(|line| fields(line)[0]).collect();
    assert_eq!(listed, newest_first[..730]);
    let first = api.task(&json!(newest_first[0])).await;
    let created = format!("{}Z", first["created_at"].as_str().unwrap().split_once('.').unwrap().0);
    assert_eq!(fields(lines[1])[1..], ["queued", "noop", "many", "0/5", &created, "-"]);

    let page = json(&api, &["tasks", "list", "--limit", "730"]).await;
    let ids: Vec<&str> = page["tasks"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(ids, newest_first[..730]);
    assert_eq!(page["tasks"][0], first, "as the server has it");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = json(&api, &["tasks", "list", "--limit", "2000", "--cursor", cursor]).await;
    let ids: Vec<&str> = rest["tasks"].as_array().unwrap().iter().map(id).collect();
    assert_eq!((ids.as_slice(), &rest["next_cursor"]), (&newest_first[730..], &Value::Null));
    assert_eq!(done(&api, &["tasks", "list"]).await.lines().count(), 51, "50 unless told");

    // Nobody reads it to its end.
    let mut head = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"))
        .args(["tasks", "list", "--limit", "1000", "--json", "--url", &api.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(head.stdout.take());
    let ended = tokio::task::spawn_blocking(move || head.wait_with_output().unwrap()).await.unwrap();
    assert_eq!((ended.status.code(), &*String::from_utf8_lossy(&ended.stderr)), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_those_of_the_api() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let a = api.submit(json!({"name": "noop", "queue": "a", "tags": ["x"]})).await;
    let b = api.submit(json!({"name": "echo", "queue": "b", "tags": ["y"], "delay": "1h"})).await;
    let c = api.submit(json!({"name": "echo", "queue": "a"})).await;
    let listed = async |args: &[&str]| {
        let page = json(&api, &[&["tasks", "list"], args].concat()).await;
        page["tasks"].as_array().unwrap().iter().map(|task| id(task).to_owned()).collect::<Vec<_>>()
    };
    let between = b["created_at"].as_str().unwrap();
    let cases: [(&[&str], &[&Value]); 10] = [
        (&[], &[&c, &b, &a]),
        (&["--status", "scheduled"], &[&b]),
        (&["--status", "scheduled,queued"], &[&c, &b, &a]),
        (&["--queue", "a", "--queue", "b"], &[&c, &b, &a]),
        (&["--queue", "a", "--name", "echo"], &[&c]),
        (&["--tag", "x,y"], &[&b, &a]),
        (&["--since", between], &[&c, &b]),
        (&["--until", between], &[&a]),
        (&["--since", "1h"], &[&c, &b, &a]),
        (&["--until", "1h"], &[]),
    ];
    for (args, expected) in cases {
        assert_eq!(listed(args).await, expected.iter().map(|task| id(task)).collect::<Vec<_>>(), "{args:?}");
    }
    let text = done(&api, &["tasks", "list", "--status", "scheduled"]).await;
    assert!(text.lines().nth(1).unwrap().contains(&format!("at {}", &b["run_at"].as_str().unwrap()[..19])), "{text}");
    // Nothing to list is a table without rows.
    assert_eq!(done(&api, &["tasks", "list", "--status", "failed"]).await.lines().count(), 1);
    for args in [["--status", "done"], ["--since", "yesterday"], ["--limit", "0"], ["--cursor", "x"]] {
        assert_eq!(run(&api, &[&["tasks", "list"], &args[..]].concat()).await.0, 2, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_shows_tasks_as_they_move_also_after_the_server_was_away() {
    let world = World::new().await;
    let mut first = world.daemon("all").ready().await;
    let front = Front::of(&first).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"))
        .args(["tasks", "list", "--follow", "--queue", "q", "--json", "--url", &front.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, moves) = std::sync::mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    // What moves before it listens is told to nobody: it is submitted again until it is heard of.
    let heard = async |daemon: &Daemon| {
        let (mut submitted, mut seen) = (Vec::new(), Vec::new());
        eventually("it hears of a task", async || {
            daemon.run(noop("other"), "completed").await;
            submitted.push(daemon.run(noop("q"), "completed").await["id"].clone());
            within(Duration::from_secs(1), async || {
                while let Ok(moved) = moves.try_recv() {
                    assert_eq!(moved["queue"], "q", "{moved}");
                    seen.push(moved);
                }
                let of_these = |moved: &&Value| submitted.contains(&moved["id"]) && moved["status"] == "completed";
                seen.iter().find(of_these).cloned()
            })
            .await
        })
        .await
    };
    let moved = heard(&first).await;
    assert_eq!((&moved["name"], &moved["attempt"]), (&json!("noop"), &json!(1)));

    first.kill();
    let second = world.daemon("all").ready().await;
    front.turn_to(&second);
    heard(&second).await;

    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{errors}");
    assert!(errors.contains("connecting again\n") && errors.ends_with("connected again\n"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_looked_at_is_a_table_or_the_servers_json() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let task = all.run(json!({"name": "fail", "payload": {"message": "no luck"}, "max_attempts": 1}), "failed").await;
    for (args, path, titles) in [
        (&["queues", "list"][..], "/api/queues", "QUEUE STATE QUEUED RUNNING SCHEDULED OLDEST PAUSE"),
        (&["task-types"], "/api/task-types", "NAME EXECUTOR QUEUE PRIORITY TIMEOUT ATTEMPTS AT ONCE"),
        (
            &["tasks", "attempts", id(&task)],
            &format!("/api/tasks/{}/attempts", id(&task)),
            "ATTEMPT OUTCOME STARTED TOOK WORKER ERROR",
        ),
    ] {
        let text = done(&all, args).await;
        assert_eq!(fields(text.lines().next().unwrap()).join(" "), titles, "{text}");
        assert!(text.lines().count() > 1, "{text}");
        // What is counted may have changed between.
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json(&all, args).await), keys(&all.get(path).await.1), "{args:?}");
    }
    let text = done(&all, &["tasks", "attempts", id(&task)]).await;
    let line = text.lines().nth(1).unwrap();
    assert!(line.contains("error") && line.ends_with("no luck"), "{text}");
    assert_eq!(json(&all, &["task-types"]).await, all.get("/api/task-types").await.1);
    let text = done(&all, &["task-types"]).await;
    assert!(text.lines().any(|line| fields(line) == ["noop", "rust", "default", "0", "10m", "5", "-"]), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_an_exit_code_and_a_report() {
    let world = World::new().await;
    let mut up = world.daemon("api").ready().await;
    // The servers of the tests are set up for speed, and may lose tasks: it works, and is degraded.
    let report = json(&up, &["health"]).await;
    let status = report["status"].as_str().unwrap();
    assert!(["ok", "degraded"].contains(&status), "{report}");
    let text = done(&up, &["health"]).await;
    assert!(text.starts_with(&format!("status   {status}\n")) && text.contains("\ndatabase  ok"), "{text}");
    assert_eq!(done(&up, &["health", "--ready"]).await, "ready\n");

    let mut down = world.daemon("api");
    down.env("DATABASE_URL", "mysql://nobody@127.0.0.1:1/nothing");
    let down = down.start();
    let (code, text, _) = run(&down, &["health"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("status   down\n"), "{text}");
    let (code, text, _) = run(&down, &["health", "--json"]).await;
    assert_eq!((code, &serde_json::from_str::<Value>(&text).unwrap()["status"]), (1, &json!("down")));
    let (code, text, errors) = run(&down, &["health", "--ready"]).await;
    assert_eq!((code, &*text), (1, ""), "{errors}");

    // What answers there is something else.
    let elsewhere = format!("{}/x", up.url);
    for more in [&[][..], &["--json"]] {
        let (code, text, errors) = at(&elsewhere, &[&["health"], more].concat()).await;
        assert_eq!((code, &*text), (1, ""), "{errors}");
        assert!(errors.contains("404 Not Found"), "{errors}");
    }

    up.kill();
    for more in [&[][..], &["--ready"], &["--json"]] {
        assert_eq!(at(&up.url, &[&["health"], more].concat()).await.0, 3, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_where_its_own_configuration_has_the_listener_unless_it_is_told_where() {
    let world = World::new().await;
    let up = world.daemon("api").ready().await;
    let port = up.url.rsplit_once(':').unwrap().1;
    let ready = async |builder: &dyn Fn(&mut DaemonBuilder)| {
        let mut health = DaemonBuilder::new(&["health", "--ready"]);
        builder(&mut health);
        tokio::task::spawn_blocking(move || health.output()).await.unwrap()
    };
    // As an image is started with another port than its own.
    let everywhere = format!("0.0.0.0:{port}");
    let (code, said, errors) = ready(&|health| _ = health.env("TASKRUNNERX_BIND", &everywhere)).await;
    assert_eq!((code, &*said), (0, "ready\n"), "{errors}");
    // What else is wrong in the file does not make a daemon ill that began before it.
    let text = format!("bind = \"127.0.0.1:{port}\"\n[worker]\nlaese = 1\n");
    let (code, _, errors) = ready(&|health| _ = health.file(&text)).await;
    assert_eq!(code, 0, "{errors}");
    let (code, _, errors) =
        ready(&|health| _ = health.beside("other.toml", &text).arg("--config").arg("other.toml")).await;
    assert_eq!(code, 0, "{errors}");
    // Nobody is there.
    let (code, _, errors) = ready(&|health| _ = health.env("TASKRUNNERX_BIND", "[::]:1")).await;
    assert!(code == 3 && errors.contains("http://[::1]:1"), "{code}: {errors}");
    let told = |health: &mut DaemonBuilder| _ = health.file(&text).env("TASKRUNNERX_URL", "http://127.0.0.1:1");
    let (code, _, errors) = ready(&told).await;
    assert!(code == 3 && errors.contains("http://127.0.0.1:1"), "{code}: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_and_how_much_there_is() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    let text = done(&all, &["workers"]).await;
    let titles = "ID STATUS KIND HOST PID RUNNING SLOTS QUEUES STARTED LEASE UNTIL";
    assert_eq!(fields(text.lines().next().unwrap()).join(" "), titles);
    let line = fields(text.lines().nth(1).unwrap());
    assert_eq!((line[1], line[2], line[5], line[6], line[7]), ("live", "process", "0", "64", "*"), "{text}");
    let workers = json(&all, &["workers"]).await;
    assert_eq!((&workers["workers"][0]["id"], &workers["next_cursor"]), (&json!(line[0]), &Value::Null));

    all.submit(json!({"name": "noop", "delay": "1h"})).await;
    // What is counted is so at most every few seconds.
    let text = eventually("it is counted", async || {
        let text = done(&all, &["stats"]).await;
        let counted = text.lines().any(|line| fields(line) == ["tasks.scheduled", "1"]);
        counted.then_some(text)
    })
    .await;
    assert!(text.lines().any(|line| fields(line) == ["workers.slots", "64"]), "{text}");
    assert!(text.lines().any(|line| fields(line) == ["process.roles", "api,worker,scheduler"]), "{text}");
    assert_eq!(json(&all, &["stats"]).await["queues"]["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_why_a_task_does_not_run_and_what_became_of_one() {
    let world = World::new().await;
    let all = world.daemon("all").ready().await;
    done(&all, &["queues", "pause", "q", "--reason", "no luck"]).await;
    let task = all.submit(noop("q")).await;
    let given = json(&all, &["tasks", "explain", id(&task)]).await;
    assert_eq!((&given["status"], &given["causes"][0]["code"]), (&json!("queued"), &json!("queue_paused")), "{given}");
    let text = done(&all, &["tasks", "explain", id(&task)]).await;
    assert!(text.starts_with("queued: The task waits to start: "), "{text}");
    assert!(text.contains("\n\nqueue_paused: queue q was paused by local "), "{text}");
    assert!(text.contains("no luck"), "{text}");
    let failed = all.run(json!({"name": "fail", "max_attempts": 1}), "failed").await;
    assert!(done(&all, &["tasks", "explain", id(&failed)]).await.starts_with("failed: "));
    let unknown = uuid::Uuid::now_v7().to_string();
    assert_eq!(run(&all, &["tasks", "explain", &unknown]).await.0, 1);
}
