//! Keys that are restricted to queues and task types.

use super::{BOOTSTRAP, ask, asked, make, send};
use crate::harness::{Daemon, World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use taskrunnerx::lifecycle::access::NewKey;
use taskrunnerx::task::Scope;

const TYPES: &str = "[tasks.dig]\npull = true\n[tasks.bury]\npull = true\n";

async fn daemon(world: &World) -> Daemon {
    let mut builder = world.daemon("api,worker");
    builder.env("TASKRUNNERX_API_KEY", BOOTSTRAP).file(TYPES);
    builder.ready().await
}

/// Everything but the making of keys, on queue `a` and the types `noop` and `dig`.
async fn key(world: &World) -> String {
    let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
    let scopes = [Scope::Operate, Scope::Work];
    let key = NewKey { queues: list(&["a"]), names: list(&["noop", "dig"]), ..asked("restricted", &scopes) };
    make(&world.store().await, key).await.1
}

/// Submits as one who may; gives the id.
async fn submit(daemon: &Daemon, name: &str, queue: &str) -> String {
    let body =
        json!({"name": name, "queue": queue, "delay": if ["dig", "bury"].contains(&name) { "0s" } else { "1h" }});
    let (status, task) = ask(daemon, "POST", "/api/tasks", Some(BOOTSTRAP), Some(&body)).await;
    assert_eq!(status, 201, "{task}");
    task["id"].as_str().unwrap().to_owned()
}

fn field(list: &Value, name: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
}

fn pointers(problem: &Value) -> Vec<String> {
    field(&problem["errors"], "pointer")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_is_not_there_for_readers() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    let inside = submit(&daemon, "noop", "a").await;
    let (other_queue, other_name) = (submit(&daemon, "noop", "b").await, submit(&daemon, "echo", "a").await);
    let missing = "0190163d-8694-739b-aea5-966c26f8ad91";
    let get = async |path: &str| ask(&daemon, "GET", path, Some(&key), None).await;
    for rest in ["", "/attempts", "/logs", "/events", "/explain"] {
        let at = |id: &str| format!("/api/tasks/{id}{rest}");
        assert_eq!(send(&daemon, "GET", &at(&inside), Some(&key), None).await.status().as_u16(), 200, "{rest}");
        let (_, none) = get(&at(missing)).await;
        for outside in [&other_queue, &other_name] {
            let (status, problem) = get(&at(outside)).await;
            assert_eq!(status, 404, "{rest}: {problem}");
            // Nothing tells it from one that is not there.
            assert_eq!(problem.to_string().replace(outside.as_str(), missing), none.to_string());
        }
    }
    let listed = async |query: &str| {
        let (status, page) = get(&format!("/api/tasks{query}")).await;
        assert_eq!(status, 200, "{page}");
        field(&page["tasks"], "id")
    };
    assert_eq!(listed("").await, std::slice::from_ref(&inside));
    assert_eq!(listed("?queue=a,b&name=noop,echo").await, std::slice::from_ref(&inside));
    assert_eq!(listed(&format!("?id={inside},{other_queue},{other_name}")).await, std::slice::from_ref(&inside));
    for nothing in ["?queue=b", "?name=echo", "?queue=b&name=echo"] {
        assert_eq!(listed(nothing).await, Vec::<String>::new(), "{nothing}");
    }
    assert_eq!(field(&get("/api/queues").await.1["queues"], "name"), ["a"]);
    assert_eq!((get("/api/queues/a").await.0, get("/api/queues/b").await.0), (200, 404));
    assert_eq!(field(&get("/api/task-types").await.1["task_types"], "name"), ["dig", "noop"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_is_refused_to_who_changes_something() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    let post = async |path: &str, body: Value| ask(&daemon, "POST", path, Some(&key), Some(&body)).await;
    assert_eq!(post("/api/tasks", json!({"name": "noop", "queue": "a"})).await.0, 201);
    let (status, problem) = post("/api/tasks", json!({"name": "echo", "queue": "b"})).await;
    assert_eq!((status, pointers(&problem)), (403, vec!["#/name".to_owned(), "#/queue".to_owned()]), "{problem}");
    // The queue that nobody named.
    let (status, problem) = post("/api/tasks", json!({"name": "noop"})).await;
    assert_eq!((status, pointers(&problem)), (403, vec!["#/queue".to_owned()]), "{problem}");
    let tasks: Vec<Value> = ["a", "a", "a", "b", "a"].map(|queue| json!({"name": "noop", "queue": queue})).to_vec();
    let (status, problem) = post("/api/tasks/bulk", json!({"tasks": tasks})).await;
    assert_eq!((status, pointers(&problem)), (403, vec!["#/tasks/3/queue".to_owned()]), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("may use a"), "{problem}");
    let (_, page) = ask(&daemon, "GET", "/api/tasks", Some(BOOTSTRAP), None).await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 1, "nothing of what was refused is there");

    let (inside, outside) = (submit(&daemon, "noop", "a").await, submit(&daemon, "echo", "a").await);
    for (method, rest) in [("POST", "/cancel"), ("POST", "/retry"), ("POST", "/run"), ("DELETE", "")] {
        let (status, problem) = ask(&daemon, method, &format!("/api/tasks/{outside}{rest}"), Some(&key), None).await;
        assert_eq!(status, 404, "{method} {rest}: {problem}");
    }
    assert_eq!(
        ask(&daemon, "GET", &format!("/api/tasks/{outside}"), Some(BOOTSTRAP), None).await.1["status"],
        "scheduled"
    );
    assert_eq!(post(&format!("/api/tasks/{inside}/cancel"), json!({})).await.0, 200);
    // A queue is for all types.
    for path in ["/api/queues/a/pause", "/api/queues/b/pause", "/api/queues/a/resume", "/api/queues/b/resume"] {
        assert_eq!(post(path, json!({})).await.0, 403, "{path}");
    }
    let queue = NewKey { queues: Some(vec!["a".to_owned()]), ..asked("queue", &[Scope::Operate]) };
    let queue = make(&world.store().await, queue).await.1;
    let pause = async |path: &str| ask(&daemon, "POST", path, Some(&queue), None).await.0;
    assert_eq!((pause("/api/queues/a/pause").await, pause("/api/queues/b/pause").await), (200, 403));
    assert_eq!(daemon.metric("taskrunnerx_http_refused_total{kind=\"restricted\"}").await, 8.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_unique_key_elsewhere_is_not_named_and_depths_of_all_types_are_not_told() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    let keyed = |queue: &str| json!({"name": "noop", "queue": queue, "delay": "1h", "unique_key": "one"});
    let (status, inside) = ask(&daemon, "POST", "/api/tasks", Some(BOOTSTRAP), Some(&keyed("a"))).await;
    assert_eq!(status, 201, "{inside}");
    let at = |rest: &str| format!("/api/tasks/{}{rest}", inside["id"].as_str().unwrap());
    assert_eq!(ask(&daemon, "POST", &at("/cancel"), Some(BOOTSTRAP), Some(&json!({}))).await.0, 200);
    // The key is free again, and goes to a task of a queue that is not there for the restricted key.
    let (status, holder) = ask(&daemon, "POST", "/api/tasks", Some(BOOTSTRAP), Some(&keyed("b"))).await;
    assert_eq!(status, 201, "{holder}");
    let holder = holder["id"].as_str().unwrap();
    for (method, rest, expected) in [("GET", "/explain", 200), ("POST", "/retry", 409)] {
        let (status, told) = ask(&daemon, method, &at(rest), Some(BOOTSTRAP), None).await;
        assert_eq!((status, told.to_string().contains(holder)), (expected, true), "{rest}: {told}");
        let (status, told) = ask(&daemon, method, &at(rest), Some(&key), None).await;
        assert_eq!((status, told.to_string().contains(holder)), (expected, false), "{rest}: {told}");
        assert!(told.to_string().contains("another task"), "{rest}: {told}");
    }
    eventually("they are counted", async || {
        let (_, all) = ask(&daemon, "GET", "/api/queues/a", Some(BOOTSTRAP), None).await;
        (all["depths"].is_object() && all["rates"].is_object()).then_some(())
    })
    .await;
    let (_, queue) = ask(&daemon, "GET", "/api/queues/a", Some(&key), None).await;
    assert_eq!((&queue["depths"], &queue["oldest_age"], &queue["rates"]), (&Value::Null, &Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outside_claims_and_reports_only_on_what_its_key_allows() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    let post = async |key: &str, path: &str, body: Value| ask(&daemon, "POST", path, Some(key), Some(&body)).await;
    let (status, problem) = post(&key, "/api/workers/claim", json!({"queues": ["a", "b"]})).await;
    assert_eq!((status, pointers(&problem)), (403, vec!["#/queues/1".to_owned()]), "{problem}");
    // Of another type, and before the others.
    let buried = submit(&daemon, "bury", "a").await;
    let dug = submit(&daemon, "dig", "a").await;
    let (status, given) = post(&key, "/api/workers/claim", json!({"queues": ["a"], "max": 10, "wait": "30s"})).await;
    assert_eq!((status, field(&given["tasks"], "id")), (200, vec![dug.clone()]), "{given}");
    let worker = given["worker_id"].clone();
    let (_, given) = post(BOOTSTRAP, "/api/workers/claim", json!({"queues": ["a"], "max": 10, "wait": "30s"})).await;
    assert_eq!(field(&given["tasks"], "id"), std::slice::from_ref(&buried));
    let other = given["worker_id"].clone();
    let (_, heard) = post(
        &key,
        &format!("/api/workers/{}/heartbeat", other.as_str().unwrap()),
        json!({"tasks": [{"id": buried, "attempt": 1, "progress": 0.5}]}),
    )
    .await;
    assert_eq!(heard["lost"], json!([buried]), "{heard}");
    for verb in ["complete", "fail"] {
        let body = json!({"worker_id": other, "attempt": 1, "error": "no"});
        let body = if verb == "complete" { json!({"worker_id": other, "attempt": 1}) } else { body };
        assert_eq!(post(&key, &format!("/api/tasks/{buried}/{verb}"), body).await.0, 404, "{verb}");
    }
    let (status, done) =
        post(&key, &format!("/api/tasks/{dug}/complete"), json!({"worker_id": worker, "attempt": 1})).await;
    assert_eq!((status, &done["status"]), (200, &json!("completed")), "{done}");
    let (status, _) =
        post(BOOTSTRAP, &format!("/api/tasks/{buried}/complete"), json!({"worker_id": other, "attempt": 1})).await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_releases_nothing_that_its_key_must_not_see() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    // Of a queue and of a type that the key may not use, and one that it may.
    let all =
        [submit(&daemon, "dig", "b").await, submit(&daemon, "bury", "a").await, submit(&daemon, "dig", "a").await];
    let asked = json!({"queues": ["a", "b"], "max": 10, "wait": "30s"});
    let (status, given) = ask(&daemon, "POST", "/api/workers/claim", Some(BOOTSTRAP), Some(&asked)).await;
    assert_eq!((status, given["tasks"].as_array().unwrap().len()), (200, 3), "{given}");
    // The worker has had a lease's time to name them.
    world.sql().await.query_drop("UPDATE tasks SET started_at = NOW(6) - INTERVAL 1 MINUTE").await.unwrap();
    let path = format!("/api/workers/{}/heartbeat", given["worker_id"].as_str().unwrap());
    let after = async |by: &str| {
        let (status, heard) = ask(&daemon, "POST", &path, Some(by), Some(&json!({"tasks": []}))).await;
        assert_eq!(status, 200, "{heard}");
        let mut attempts = Vec::new();
        for id in &all {
            let (_, task) = ask(&daemon, "GET", &format!("/api/tasks/{id}"), Some(BOOTSTRAP), None).await;
            attempts.push(task["status"].as_str().unwrap().to_owned());
        }
        attempts
    };
    assert_eq!(after(&key).await, ["running", "running", "queued"]);
    assert_eq!(after(BOOTSTRAP).await, ["queued", "queued", "queued"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_only_of_what_is_allowed() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    let mut all = send(&daemon, "GET", "/api/events", Some(BOOTSTRAP), None).await;
    let mut some = send(&daemon, "GET", "/api/events", Some(&key), None).await;
    let mut none = send(&daemon, "GET", "/api/events?queue=b", Some(&key), None).await;
    let read = async |stream: &mut reqwest::Response, text: &mut String| {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    };
    let (mut of_all, mut of_some, mut of_none) = (String::new(), String::new(), String::new());
    read(&mut none, &mut of_none).await;
    // It hears from a moment after it began to listen.
    let (outside, inside) = eventually("both hear", async || {
        let outside = [submit(&daemon, "noop", "b").await, submit(&daemon, "echo", "a").await];
        let inside = submit(&daemon, "noop", "a").await;
        let heard = async {
            while !of_all.contains(&inside) {
                read(&mut all, &mut of_all).await;
            }
            while !of_some.contains(&inside) {
                read(&mut some, &mut of_some).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(2), heard).await.ok()?;
        Some((outside, inside))
    })
    .await;
    assert!(of_some.contains(&inside));
    for one in &outside {
        assert!(of_all.contains(one) && !of_some.contains(one), "{of_some}");
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(100), none.chunk()).await;
    assert!(more.is_err() && !of_none.contains("move"), "{of_none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_belongs_to_who_may_use_its_tasks_queue_and_type() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let key = key(&world).await;
    let put = async |by: &str, name: &str, task: Value| {
        let body = json!({"cron": "@yearly", "task": task});
        ask(&daemon, "PUT", &format!("/api/schedules/{name}"), Some(by), Some(&body)).await
    };
    for (name, task) in [
        ("inside", json!({"name": "noop", "queue": "a"})),
        ("queue", json!({"name": "noop", "queue": "b"})),
        ("type", json!({"name": "echo", "queue": "a"})),
        // Nobody named its queue.
        ("unnamed", json!({"name": "noop"})),
    ] {
        assert_eq!(put(BOOTSTRAP, name, task).await.0, 201, "{name}");
    }
    let (status, problem) = put(&key, "new", json!({"name": "echo", "queue": "b"})).await;
    assert_eq!(
        (status, pointers(&problem)),
        (403, vec!["#/task/name".to_owned(), "#/task/queue".to_owned()]),
        "{problem}"
    );
    assert_eq!(put(&key, "new", json!({"name": "dig", "queue": "a"})).await.0, 201);
    assert_eq!(put(&key, "inside", json!({"name": "dig", "queue": "a"})).await.0, 200);
    let range = json!({"from": "2025-01-01T00:00:00Z", "to": "2025-01-02T00:00:00Z"});
    for outside in ["queue", "type", "unnamed"] {
        // Nobody takes over what is another's.
        assert_eq!(put(&key, outside, json!({"name": "noop", "queue": "a"})).await.0, 403, "{outside}");
        let at = |rest: &str| format!("/api/schedules/{outside}{rest}");
        for (method, rest, body) in [
            ("POST", "/pause", None),
            ("POST", "/resume", None),
            ("POST", "/run", None),
            ("POST", "/backfill", Some(&range)),
            ("DELETE", "", None),
        ] {
            let (status, problem) = ask(&daemon, method, &at(rest), Some(&key), body).await;
            assert_eq!(status, 403, "{method} {outside}{rest}: {problem}");
        }
        assert_eq!(ask(&daemon, "POST", &at("/run"), Some(BOOTSTRAP), None).await.0, 201);
        for rest in ["", "/fires", "/next"] {
            let (status, problem) = ask(&daemon, "GET", &at(rest), Some(&key), None).await;
            assert_eq!(status, 404, "{outside}{rest}: {problem}");
            let none = ask(&daemon, "GET", &format!("/api/schedules/missing{rest}"), Some(&key), None).await.1;
            assert_eq!(
                problem
                    .to_string()
                    .replace(&format!("/{outside}"), "/missing")
                    .replace(&format!(" {outside};"), " missing;"),
                none.to_string()
            );
            assert_eq!(ask(&daemon, "GET", &at(rest), Some(BOOTSTRAP), None).await.0, 200, "{outside}{rest}");
        }
    }
    let listed = async |by: &str, query: &str| {
        let page = ask(&daemon, "GET", &format!("/api/schedules{query}"), Some(by), None).await.1;
        (field(&page["schedules"], "name"), page["next_cursor"].clone())
    };
    assert_eq!(listed(BOOTSTRAP, "").await.0, ["inside", "new", "queue", "type", "unnamed"]);
    assert_eq!(listed(&key, "").await, (vec!["inside".to_owned(), "new".to_owned()], Value::Null));
    let (first, cursor) = listed(&key, "?limit=1").await;
    assert_eq!(first, ["inside"]);
    assert_eq!(listed(&key, &format!("?limit=1&cursor={}", cursor.as_str().unwrap())).await.0, ["new"]);
    for (method, rest, body) in [
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/backfill", Some(&range)),
        ("GET", "/fires", None),
        ("DELETE", "", None),
    ] {
        let (status, answer) = ask(&daemon, method, &format!("/api/schedules/inside{rest}"), Some(&key), body).await;
        assert!([200, 204].contains(&status), "{method} {rest}: {status} {answer}");
    }
    assert_eq!(
        ask(&daemon, "GET", "/api/schedules/inside/fires", Some(&key), None).await.0,
        404,
        "whose it was nobody knows"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn which_task_types_there_are_is_not_told_to_who_may_use_some() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    let names = Some(vec!["noop".to_owned(), "planned".to_owned()]);
    let key = NewKey { names, ..asked("some", &[Scope::Operate]) };
    let key = make(&world.store().await, key).await.1;
    let submission = |name: &str| json!({"name": name, "delay": "1h"});
    let cases = |name: &str| {
        [
            ("POST", "/api/tasks", submission(name)),
            ("POST", "/api/tasks/bulk", json!({"tasks": [submission("noop"), submission(name)]})),
            ("PUT", "/api/schedules/s", json!({"cron": "@yearly", "task": {"name": name}})),
        ]
    };
    // Whether there is such a type or not is one answer.
    for name in ["nosuch", "echo"] {
        for (method, path, body) in cases(name) {
            let (status, problem) = ask(&daemon, method, path, Some(&key), Some(&body)).await;
            assert_eq!(status, 403, "{path}: {problem}");
            let text = problem.to_string();
            assert!(text.contains("may use noop, planned") && !text.contains("heartbeat"), "{path}: {text}");
        }
    }
    for (method, path, body) in cases("planned") {
        let (status, problem) = ask(&daemon, method, path, Some(&key), Some(&body)).await;
        let text = problem.to_string();
        assert_eq!(status, 422, "{path}: {problem}");
        assert!(text.contains("known: noop\"") && !text.contains("echo"), "{path}: {text}");
    }
    let (_, problem) = ask(&daemon, "POST", "/api/tasks", Some(BOOTSTRAP), Some(&submission("nosuch"))).await;
    assert!(problem["detail"].as_str().unwrap().contains("known: bury, dig, echo"), "{problem}");
}
