//! Workers outside: what they claim over REST, and what becomes of what they say and do not say.

mod examples;
mod silence;

use crate::harness::{Daemon, DaemonBuilder, World, eventually, noop};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A task type that workers outside run.
const TYPES: &str = "[tasks.dig]\npull = true\nbackoff = \"1ms\"\n";

fn daemon(world: &World, roles: &str, lease: &str) -> DaemonBuilder {
    let mut builder = world.daemon(roles);
    builder.file(TYPES).env("TASKRUNNERX_WORKER__LEASE", lease);
    builder
}

/// A process with everything that workers outside need.
async fn server(world: &World) -> Daemon {
    daemon(world, "api,worker", "15s").ready().await
}

/// One whose own worker is busy for the test, with a stream of the queue `q` that has no room for more.
async fn busy(world: &World, lease: &str) -> Daemon {
    let mut builder = daemon(world, "api,worker", lease);
    builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "1");
    let api = builder.ready().await;
    let busy = api.submit(json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}})).await;
    api.until(&busy["id"], "running").await;
    for _ in 0..20 {
        api.submit(noop("q")).await;
    }
    api
}

/// A claim of the queue `q`, with these fields besides.
async fn claim(api: &Daemon, more: Value) -> Value {
    let mut body = json!({"queues": ["q"], "max": 10});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, given) = api.post("/api/workers/claim", &body).await;
    assert_eq!(status, 200, "{given}");
    given
}

/// The one task that comes within the wait of one claim.
async fn claim_one(api: &Daemon) -> (Value, Value) {
    let given = claim(api, json!({"wait": "30s"})).await;
    let tasks = given["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{given}");
    (given["worker_id"].clone(), tasks[0].clone())
}

fn dig(more: Value) -> Value {
    let mut body = json!({"name": "dig", "queue": "q"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn heartbeat(api: &Daemon, worker: &Value, tasks: Value) -> (u16, Value) {
    api.post(&format!("/api/workers/{}/heartbeat", worker.as_str().unwrap()), &json!({"tasks": tasks})).await
}

/// Reports on the attempt of a task as it was claimed.
async fn report(api: &Daemon, verb: &str, worker: &Value, task: &Value, more: Value) -> (u16, Value) {
    let mut body = json!({"worker_id": worker, "attempt": task["attempt"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.post(&format!("/api/tasks/{}/{verb}", task["id"].as_str().unwrap()), &body).await
}

fn ids(tasks: &Value) -> Vec<String> {
    tasks.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_payload_reaches_the_worker_and_its_result_the_reader_byte_for_byte() {
    let world = World::new().await;
    let api = server(&world).await;
    let raw = async |path: &str, body: String| -> String {
        let request = api.client.post(format!("{}{path}", api.url)).header("content-type", "application/json");
        request.body(body).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    };
    let payload = r#"{ "b":1.50,  "a": 12345678901234567890123, "a2": "\u00e9" }"#;
    raw("/api/tasks", format!(r#"{{"name": "dig", "queue": "q", "timeout": "90s", "payload": {payload}}}"#)).await;
    let text = raw("/api/workers/claim", r#"{"queues": ["q"], "max": 1, "wait": 30}"#.to_owned()).await;
    assert!(text.contains(&format!(r#""payload":{payload}"#)), "{text}");
    let given: Value = serde_json::from_str(&text).unwrap();
    let task = &given["tasks"][0];
    assert_eq!(given["lease_duration"], "15s");
    assert_eq!(
        (&task["status"], &task["attempt"], &task["worker_id"]),
        (&json!("running"), &json!(1), &given["worker_id"])
    );
    let instant = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!(instant(&task["deadline"]) - instant(&task["started_at"]), chrono::TimeDelta::seconds(90));
    let stored = api.task(&task["id"]).await;
    assert_eq!((&stored["status"], &stored["worker_id"]), (&json!("running"), &given["worker_id"]));

    let result = r#"[1.0,  {"z":1e5, "a": "\u00e9"}, 98765432109876543210]"#;
    let path = format!("/api/tasks/{}/complete", task["id"].as_str().unwrap());
    let body = format!(r#"{{"worker_id": {}, "attempt": 1, "result": {result}}}"#, given["worker_id"]);
    for text in [raw(&path, body.clone()).await, raw(&path, body).await] {
        assert!(text.contains(&format!(r#""result":{result}"#)), "{text}");
        assert!(text.contains(r#""status":"completed""#), "{text}");
    }
    let series = r#"taskrunnerx_tasks_finished_total{name="dig",outcome="completed",queue="q"}"#;
    assert_eq!(api.metric(series).await, 1.0, "said twice, counted once");
}

#[tokio::test]
async fn a_failure_is_tried_again_and_a_permanent_one_is_not() {
    let world = World::new().await;
    let api = server(&world).await;
    api.submit(dig(json!({"max_attempts": 5}))).await;
    let (worker, first) = claim_one(&api).await;
    let error = json!({"error": "the spade broke"});
    let (status, task) = report(&api, "fail", &worker, &first, error.clone()).await;
    assert_eq!((status, &task["last_error"]), (200, &json!("the spade broke")));
    assert!(task["status"] == "scheduled" || task["status"] == "queued", "{task}");
    let (worker, second) = claim_one(&api).await;
    assert_eq!((&second["id"], &second["attempt"]), (&first["id"], &json!(2)));
    let (status, task) = report(&api, "fail", &worker, &second, json!({"error": "rock", "permanent": true})).await;
    assert_eq!((status, &task["status"], &task["reason"]), (200, &json!("failed"), &json!("permanent")));
    assert_eq!(task["last_error"], "rock");
    // The last attempt of a task that may have only so many.
    api.submit(dig(json!({"max_attempts": 1}))).await;
    let (worker, only) = claim_one(&api).await;
    let (status, task) = report(&api, "fail", &worker, &only, error).await;
    assert_eq!((status, &task["status"], &task["reason"]), (200, &json!("failed"), &json!("error")));
    for (outcome, count) in [("retried", 1.0), ("permanent", 1.0), ("error", 1.0)] {
        let series = format!(r#"taskrunnerx_tasks_finished_total{{name="dig",outcome="{outcome}",queue="q"}}"#);
        assert_eq!(api.metric(&series).await, count, "{outcome}");
    }
}

#[tokio::test]
async fn a_report_may_be_repeated_and_nobody_elses_counts() {
    let world = World::new().await;
    let api = server(&world).await;
    for body in [dig(json!({"backoff": "1h"})), dig(json!({"backoff": "1h", "priority": 9}))] {
        api.submit(body).await;
    }
    let given = claim(&api, json!({"wait": "30s"})).await;
    let worker = &given["worker_id"];
    let (fails, succeeds) = (&given["tasks"][0], &given["tasks"][1]);
    assert_eq!(fails["priority"], 9, "the urgent one first");
    let error = json!({"error": "rain"});
    // Not its worker, and not its attempt.
    let stranger = json!(uuid::Uuid::now_v7().to_string());
    for (worker, attempt) in [(&stranger, 1), (worker, 2)] {
        let task = json!({"id": succeeds["id"], "attempt": attempt});
        assert_eq!(report(&api, "complete", worker, &task, json!({})).await.0, 409);
        assert_eq!(report(&api, "fail", worker, &task, error.clone()).await.0, 409);
    }
    for _ in 0..3 {
        assert_eq!(report(&api, "complete", worker, succeeds, json!({})).await.0, 200);
        assert_eq!(report(&api, "fail", worker, fails, error.clone()).await.0, 200);
    }
    let (done, failed) = (api.task(&succeeds["id"]).await, api.task(&fails["id"]).await);
    assert_eq!((&done["status"], &done["result"], &done["attempt"]), (&json!("completed"), &Value::Null, &json!(1)));
    assert_eq!((&failed["status"], &failed["attempt"]), (&json!("scheduled"), &json!(1)));
    // Said otherwise afterwards.
    assert_eq!(report(&api, "fail", worker, succeeds, error.clone()).await.0, 409);
    assert_eq!(report(&api, "complete", worker, fails, json!({})).await.0, 409);
    assert_eq!((api.task(&succeeds["id"]).await, api.task(&fails["id"]).await), (done, failed));
    let attempts: Vec<(u32, String)> =
        world.sql().await.query("SELECT attempt, outcome FROM task_attempts").await.unwrap();
    assert_eq!(attempts, [(1, "error".to_owned())]);
    let nobody = json!({"id": stranger, "attempt": 1});
    assert_eq!(report(&api, "complete", worker, &nobody, json!({})).await.0, 404);
}

#[tokio::test]
async fn a_claim_waits_for_a_task_and_no_longer_than_it_was_asked_to() {
    let world = World::new().await;
    // The second process hears of nothing: it looks by itself.
    let (api, other) = (server(&world).await, daemon(&world, "api", "15s").ready().await);
    let began = Instant::now();
    assert_eq!(claim(&api, json!({"wait": "1s"})).await["tasks"], json!([]));
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
    let mut sql = world.sql().await;
    for asked in [&api, &other] {
        let query = "SELECT COUNT(*) FROM workers WHERE pid = 0";
        let before: u64 = sql.query_first(query).await.unwrap().unwrap();
        let waiting = claim(asked, json!({"wait": "1m", "max": 1}));
        let submitting = async {
            // When the claim waits: its worker has its row.
            eventually("the claim waits", async || {
                let now: u64 = sql.query_first(query).await.unwrap().unwrap();
                (now > before).then_some(())
            })
            .await;
            (api.submit(dig(json!({}))).await, Instant::now())
        };
        let ((task, submitted), given) = tokio::join!(submitting, waiting);
        assert_eq!(ids(&given["tasks"]), [task["id"].as_str().unwrap()]);
        assert!(submitted.elapsed() < Duration::from_secs(10), "{:?}", submitted.elapsed());
    }
}

#[tokio::test]
async fn of_several_workers_each_task_comes_to_one() {
    let world = World::new().await;
    let apis = [server(&world).await, daemon(&world, "api", "15s").ready().await];
    let batch: Vec<Value> = (0..100).map(|_| dig(json!({}))).collect();
    let (status, accepted) = apis[0].post("/api/tasks/bulk", &json!({"tasks": batch})).await;
    assert_eq!(status, 201, "{accepted}");
    let work = async |api: &Daemon| {
        let mut mine = Vec::new();
        let mut worker = json!({"max": 7});
        loop {
            let given = claim(api, worker.clone()).await;
            if given["tasks"] == json!([]) {
                return mine;
            }
            worker["worker_id"] = given["worker_id"].clone();
            for task in given["tasks"].as_array().unwrap() {
                assert_eq!(task["attempt"], 1, "{task}");
                assert_eq!(report(api, "complete", &given["worker_id"], task, json!({})).await.0, 200);
            }
            mine.extend(ids(&given["tasks"]));
        }
    };
    let shares = tokio::join!(work(&apis[0]), work(&apis[1]), work(&apis[0]), work(&apis[1]));
    let all = [shares.0, shares.1, shares.2, shares.3].concat();
    assert_eq!((all.len(), BTreeSet::from_iter(&all).len()), (100, 100));
    assert_eq!(BTreeSet::from_iter(all), BTreeSet::from_iter(ids(&accepted["tasks"])));
}

#[tokio::test]
async fn several_queues_are_shared_fairly() {
    let world = World::new().await;
    let api = server(&world).await;
    for queue in ["a", "b", "b", "b", "b", "b", "b", "b", "b"] {
        api.submit(dig(json!({"queue": queue}))).await;
    }
    let given = claim(&api, json!({"queues": ["b", "a", "none"], "max": 4, "wait": "10s"})).await;
    let queues: Vec<&str> = given["tasks"].as_array().unwrap().iter().map(|t| t["queue"].as_str().unwrap()).collect();
    assert_eq!((queues.len(), queues.iter().filter(|queue| **queue == "a").count()), (4, 1), "{queues:?}");
}

#[tokio::test]
async fn in_a_mixed_queue_everybody_gets_their_own_and_nothing_is_handed_back() {
    let world = World::new().await;
    let api = server(&world).await;
    let mut theirs = Vec::new();
    for _ in 0..30 {
        api.submit(noop("default")).await;
        theirs.push(api.submit(json!({"name": "dig"})).await["id"].as_str().unwrap().to_owned());
    }
    let mut got = Vec::new();
    while got.len() < theirs.len() {
        let given = claim(&api, json!({"queues": ["default"], "max": 8, "wait": "30s"})).await;
        for task in given["tasks"].as_array().unwrap() {
            // A third of them twice, by way of the backlog.
            let again = got.len() % 3 == 0 && task["attempt"] == 1;
            let (verb, more) = if again { ("fail", json!({"error": "once more"})) } else { ("complete", json!({})) };
            assert_eq!(report(&api, verb, &given["worker_id"], task, more).await.0, 200);
            if !again {
                got.push(task["id"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(BTreeSet::from_iter(got), BTreeSet::from_iter(theirs));
    let mut sql = world.sql().await;
    let open = "SELECT COUNT(*) FROM tasks WHERE status <> 'completed'";
    eventually("all are done", async || (sql.query_first(open).await.unwrap() == Some(0u64)).then_some(())).await;
    assert_eq!(api.metric("taskrunnerx_tasks_undispatched_total").await, 0.0);
    let wrong = "SELECT COUNT(*) FROM tasks WHERE (name = 'noop' AND attempt <> 1) OR (name = 'dig' AND dispatched_at IS NOT NULL)";
    assert_eq!(sql.query_first::<u64, _>(wrong).await.unwrap(), Some(0));
}

#[tokio::test]
async fn what_was_accepted_under_another_configuration_comes_to_whoever_runs_it_now() {
    let world = World::new().await;
    let api = daemon(&world, "api", "15s").ready().await;
    let (ours, theirs) = (api.submit(noop("q")).await, api.submit(dig(json!({}))).await);
    let mut sql = world.sql().await;
    // As if the one had been a type of workers outside, and the other one of ours.
    sql.query_drop("UPDATE tasks SET lane = IF(name = 'noop', 4, 2)").await.unwrap();
    assert_eq!(claim(&api, json!({"max": 1})).await["tasks"][0]["id"], ours["id"], "nobody has looked yet");
    sql.query_drop("UPDATE tasks SET lane = 4, status = 'queued', attempt = 0 WHERE name = 'noop'").await.unwrap();
    let worker = daemon(&world, "worker", "15s").ready().await;
    api.until(&ours["id"], "completed").await;
    let (_, task) = claim_one(&api).await;
    assert_eq!((&task["id"], &task["attempt"]), (&theirs["id"], &json!(1)));
    assert_eq!(worker.metric("taskrunnerx_tasks_undispatched_total").await, 0.0);
}

#[tokio::test]
async fn a_worker_outside_is_no_room_in_the_stream() {
    let world = World::new().await;
    let api = daemon(&world, "api", "1h").ready().await;
    // It would be two hundred entries' worth.
    claim(&api, json!({"max": 100})).await;
    let mut builder = daemon(&world, "worker", "15s");
    builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "1");
    let _worker = builder.ready().await;
    let busy = api.submit(json!({"name": "sleep", "queue": "q", "payload": {"ms": 600_000}})).await;
    api.until(&busy["id"], "running").await;
    let batch: Vec<Value> = (0..300).map(|_| noop("q")).collect();
    assert_eq!(api.post("/api/tasks/bulk", &json!({"tasks": batch})).await.0, 201);
    // Passes of the dispatcher, each of which would fill the window.
    for _ in 0..3 {
        let due = api.submit(json!({"name": "noop", "queue": "q", "delay": "100ms"})).await;
        api.until(&due["id"], "queued").await;
    }
    let length: u64 =
        redis::cmd("XLEN").arg(format!("{}:{{q}}", world.prefix)).query_async(&mut world.redis().await).await.unwrap();
    assert!((1..50).contains(&length), "{length} entries for one slot");
}

#[tokio::test]
async fn what_is_delayed_comes_when_it_is_due_also_past_a_worker_that_is_busy() {
    let world = World::new().await;
    let api = busy(&world, "15s").await;
    let task = api.submit(dig(json!({"delay": "300ms"}))).await;
    assert_eq!(task["status"], "scheduled");
    let (_, claimed) = claim_one(&api).await;
    assert_eq!(claimed["id"], task["id"]);
    let instant = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(instant(&claimed["started_at"]) >= instant(&task["run_at"]), "{claimed}");
}

#[tokio::test]
async fn a_paused_queue_gives_nothing_and_counts_what_waits() {
    let world = World::new().await;
    let api = server(&world).await;
    assert_eq!(api.post("/api/queues/q/pause", &json!({})).await.0, 200);
    let task = api.submit(dig(json!({}))).await;
    api.submit(dig(json!({"queue": "other"}))).await;
    let given = claim(&api, json!({"queues": ["q", "other"], "wait": "10s"})).await;
    assert_eq!(given["tasks"][0]["queue"], "other", "{given}");
    assert_eq!(claim(&api, json!({"wait": "600ms"})).await["tasks"], json!([]));
    // A count is believed for a second.
    eventually("it is counted", async || {
        let (_, queue) = api.get("/api/queues/q").await;
        let counted = queue["depths"] == json!({"scheduled": 0, "queued": 1, "running": 0});
        (counted && queue["oldest_age"].is_string()).then_some(())
    })
    .await;
    let waiting = claim_one(&api);
    let resuming = async { assert_eq!(api.post("/api/queues/q/resume", &json!({})).await.0, 200) };
    let ((_, claimed), ()) = tokio::join!(waiting, resuming);
    assert_eq!(claimed["id"], task["id"]);
}

#[tokio::test]
async fn a_cancel_ends_what_waits_and_is_told_to_who_runs() {
    let world = World::new().await;
    let api = server(&world).await;
    let cancel =
        async |task: &Value| api.post(&format!("/api/tasks/{}/cancel", task["id"].as_str().unwrap()), &json!({})).await;
    let waits = api.submit(dig(json!({}))).await;
    assert_eq!(cancel(&waits).await.0, 200);
    assert_eq!(claim(&api, json!({})).await["tasks"], json!([]));

    for verb in ["fail", "complete"] {
        api.submit(dig(json!({}))).await;
        let (worker, task) = claim_one(&api).await;
        let said =
            json!({"id": task["id"], "attempt": 1, "progress": 0.5, "progress_note": "half", "logs": ["a", "b"]});
        let named = json!([{"id": task["id"], "attempt": 1}]);
        assert_eq!(heartbeat(&api, &worker, json!([said])).await.0, 200);
        assert_eq!(heartbeat(&api, &worker, named.clone()).await, (200, json!({"cancel": [], "lost": []})));
        assert_eq!(cancel(&task).await.0, 202);
        assert_eq!(heartbeat(&api, &worker, named).await, (200, json!({"cancel": [task["id"]], "lost": []})));
        // Who has done it all the same has done it.
        let more = if verb == "fail" { json!({"error": "stopped"}) } else { json!({}) };
        let (status, ended) = report(&api, verb, &worker, &task, more).await;
        let expected = if verb == "fail" { "cancelled" } else { "completed" };
        assert_eq!((status, &ended["status"]), (200, &json!(expected)), "{ended}");
        let ended = api.task(&task["id"]).await;
        assert_eq!((&ended["progress"], &ended["progress_note"]), (&json!(0.5), &json!("half")));
        let (_, logs) = api.get(&format!("/api/tasks/{}/logs", task["id"].as_str().unwrap())).await;
        let lines: Vec<&Value> = logs["logs"].as_array().unwrap().iter().map(|log| &log["line"]).collect();
        assert_eq!(lines, ["a", "b"]);
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_all_at_once() {
    let world = World::new().await;
    let api = server(&world).await;
    let id = uuid::Uuid::now_v7().to_string();
    let (claim, beat) = ("/api/workers/claim".to_owned(), format!("/api/workers/{id}/heartbeat"));
    let (complete, fail) = (format!("/api/tasks/{id}/complete"), format!("/api/tasks/{id}/fail"));
    let many: Vec<Value> = (0..33).map(|n| json!(format!("q{n}"))).collect();
    let table = [
        (&claim, json!({}), vec!["#/queues"]),
        (&claim, json!({"queues": [], "max": 0, "wait": "61s"}), vec!["#/queues", "#/max", "#/wait"]),
        (&claim, json!({"queues": many, "max": 101, "worker_id": "me"}), vec!["#/worker_id", "#/queues", "#/max"]),
        (
            &claim,
            json!({"queues": ["ok", "a b", 7], "wait": -1, "colour": 1}),
            vec!["#/queues/1", "#/queues/2", "#/wait", "#/colour"],
        ),
        (&beat, json!({}), vec!["#/tasks"]),
        (&beat, json!({"tasks": 7}), vec!["#/tasks"]),
        (
            &beat,
            json!({"tasks": [{"id": id, "attempt": 1}, {"id": "x", "attempt": 0, "progress": 1.5, "logs": "x"}, 7, {"a": 1}]}),
            vec![
                "#/tasks/1/id",
                "#/tasks/1/attempt",
                "#/tasks/1/progress",
                "#/tasks/1/logs",
                "#/tasks/2",
                "#/tasks/3/id",
                "#/tasks/3/attempt",
                "#/tasks/3/a",
            ],
        ),
        (&complete, json!({}), vec!["#/worker_id", "#/attempt"]),
        (&complete, json!({"worker_id": 7, "attempt": "1", "resolt": 1}), vec!["#/worker_id", "#/attempt", "#/resolt"]),
        (&complete, json!({"worker_id": id, "attempt": 1, "result": "x".repeat(1 << 20)}), vec!["#/result"]),
        (&fail, json!({"worker_id": id, "attempt": 1}), vec!["#/error"]),
        (&fail, json!({"worker_id": id, "attempt": 1, "error": 7, "permanent": "yes"}), vec!["#/error", "#/permanent"]),
    ];
    for (path, body, pointers) in table {
        let (status, problem) = api.post(path, &body).await;
        let mut found: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
        let mut pointers = pointers;
        found.sort_unstable();
        pointers.sort_unstable();
        assert_eq!((status, found), (422, pointers), "{path} {problem}");
    }
    let whole = json!({"worker_id": id, "attempt": 1, "error": "x"});
    assert_eq!(api.post("/api/tasks/x/fail", &whole).await.0, 422);
    assert_eq!(api.post(&fail, &whole).await.0, 404);
    assert_eq!(api.post("/api/workers/x/heartbeat", &json!({"tasks": []})).await.0, 422);
    assert_eq!(
        api.post(&complete, &json!({"worker_id": id, "attempt": 1, "result": "x".repeat(2 << 20)})).await.0,
        413
    );
    for path in [&claim, &beat, &complete, &fail] {
        assert_eq!(api.get(path).await.0, 405, "{path}");
    }
}

#[tokio::test]
async fn who_submits_for_workers_outside_hears_that_none_claims_from_the_queue() {
    let world = World::new().await;
    let api = server(&world).await;
    eventually("the worker process is there", async || {
        let task = api.submit(noop("q")).await;
        task["warnings"].is_null().then_some(())
    })
    .await;
    // It serves every queue, and no task of this type.
    let task = api.submit(dig(json!({}))).await;
    let warning = task["warnings"][0].as_str().unwrap_or_else(|| panic!("{task}"));
    assert!(warning.contains("no live worker claims from the queue q") && warning.contains("dig"), "{warning}");
    let (_, many) = api.post("/api/tasks/bulk", &json!({"tasks": [dig(json!({})), noop("q")]})).await;
    assert_eq!(
        (many["tasks"][0]["warnings"].is_array(), many["tasks"][1]["warnings"].is_null()),
        (true, true),
        "{many}"
    );
    claim(&api, json!({})).await;
    eventually("the worker outside is there", async || {
        let task = api.submit(dig(json!({}))).await;
        task["warnings"].is_null().then_some(())
    })
    .await;
}
