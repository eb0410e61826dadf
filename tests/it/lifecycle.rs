//! The main job over REST, in one process and in several.

use crate::harness::{World, eventually, noop};
use serde_json::json;

#[tokio::test]
async fn a_task_runs_and_its_result_comes_back_byte_for_byte() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let payload = r#"{ "z": 1.50, "a": 12345678901234567890123, "é": "\u00e9", "list": [1,  2] }"#;
    let body = format!(r#"{{"name": "echo", "payload": {payload}}}"#);
    let answer =
        daemon.client.post(format!("{}/api/tasks", daemon.url)).header("content-type", "application/json").body(body);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let text = answer.text().await.unwrap();
    assert!(text.contains(&format!("\"payload\":{payload},")), "{text}");
    let done = eventually("completed", async || {
        let text = daemon.client.get(format!("{}{location}", daemon.url)).send().await.unwrap().text().await.unwrap();
        text.contains("\"status\":\"completed\"").then_some(text)
    })
    .await;
    assert!(done.contains(&format!("\"result\":{payload},")), "{done}");
    assert!(done.contains(&format!("\"payload\":{payload},")), "{done}");
    assert!(done.contains("\"attempt\":1,"), "{done}");
}

#[tokio::test]
async fn a_failing_task_is_retried_and_then_failed_with_its_history() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let body = json!({"name": "fail", "payload": {"message": "no luck"}, "max_attempts": 3, "backoff": "20ms"});
    let task = daemon.run(body, "failed").await;
    assert_eq!(
        (&task["attempt"], &task["reason"], &task["last_error"]),
        (&json!(3), &json!("error"), &json!("no luck"))
    );
    let mut sql = world.sql().await;
    use mysql_async::prelude::Queryable;
    let rows: Vec<(u32, String, String)> =
        sql.query("SELECT attempt, outcome, error FROM task_attempts ORDER BY attempt").await.unwrap();
    let expected = |n| (n, "error".to_owned(), "no luck".to_owned());
    assert_eq!(rows, [expected(1), expected(2), expected(3)]);

    let permanent = json!({"name": "fail", "payload": {"message": "never", "permanent": true}, "max_attempts": 3});
    let task = daemon.run(permanent, "failed").await;
    assert_eq!((&task["attempt"], &task["reason"]), (&json!(1), &json!("permanent")));

    let slow = json!({"name": "sleep", "payload": {"ms": 60000}, "timeout": "50ms", "max_attempts": 1});
    let task = daemon.run(slow, "failed").await;
    assert_eq!(task["reason"], "timeout");
    assert_eq!(task["last_error"], "the attempt exceeded its timeout of 50ms");
}

#[tokio::test]
async fn exponential_backoff_waits_longer_each_time() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let backoff = json!({"kind": "exponential", "base": "200ms", "factor": 2, "jitter": "none"});
    daemon.run(json!({"name": "fail", "max_attempts": 4, "backoff": backoff}), "failed").await;
    let mut sql = world.sql().await;
    use mysql_async::prelude::Queryable;
    let waits: Vec<i64> = sql
        .query(
            "SELECT TIMESTAMPDIFF(MICROSECOND, a.finished_at, b.started_at) FROM task_attempts a \
             JOIN task_attempts b ON b.attempt = a.attempt + 1 ORDER BY a.attempt",
        )
        .await
        .unwrap();
    // Never earlier than asked; how much later depends on the machine.
    assert_eq!(waits.len(), 3);
    for (wait, least) in waits.iter().zip([200_000, 400_000, 800_000]) {
        assert!(*wait >= least, "{waits:?}");
    }
}

#[tokio::test]
async fn api_and_worker_alone_run_immediate_delayed_and_retried_tasks() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let before = api.submit(noop("default")).await;
    assert!(before["warnings"][0].as_str().unwrap().contains("no live worker serves the queue default"));
    let worker = world.daemon("worker").ready().await;
    api.until(&before["id"], "completed").await;
    let delayed = api.run(json!({"name": "noop", "delay": "300ms"}), "completed").await;
    assert!(delayed["started_at"].as_str().unwrap() >= delayed["run_at"].as_str().unwrap());
    let failed = api.run(json!({"name": "fail", "backoff": "10ms", "max_attempts": 2}), "failed").await;
    assert_eq!(failed["attempt"], 2);
    let (status, problem) = worker.get("/api/tasks").await;
    assert_eq!(status, 404, "{problem}");
    // A queue that nobody has named before is served within a moment.
    let fresh = api.run(noop("brand-new"), "completed").await;
    assert_eq!(fresh["queue"], "brand-new");
}

#[tokio::test]
async fn what_is_due_starts_within_a_tenth_of_a_second() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    daemon.run(noop("default"), "completed").await;
    let mut lates = Vec::new();
    for _ in 0..5 {
        let task = daemon.run(json!({"name": "noop", "delay": "400ms"}), "completed").await;
        let at = |field: &str| chrono::DateTime::parse_from_rfc3339(task[field].as_str().unwrap()).unwrap();
        lates.push((at("started_at") - at("run_at")).num_milliseconds());
    }
    lates.sort_unstable();
    // The median: one of five may meet a machine that does something else.
    assert!(lates[2] < 100, "{lates:?}");
}

#[tokio::test]
async fn a_high_priority_overtakes_a_backlog() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    // Straight into the table: 100,000 rows over REST would take the test's time.
    let mut sql = world.sql().await;
    use mysql_async::prelude::Queryable;
    let template = api.submit(json!({"name": "sleep", "payload": {"ms": 5}})).await;
    let id = template["id"].as_str().unwrap().replace('-', "");
    let mut rows = 1;
    while rows < 100_000 {
        sql.query_drop(format!(
            "INSERT INTO tasks (id, name, queue, priority, status, lane, position, max_attempts, timeout_ms, backoff, run_at, created_at, payload) \
             SELECT RANDOM_BYTES(16), name, queue, priority, status, lane, position, max_attempts, timeout_ms, backoff, run_at, created_at, payload \
             FROM tasks WHERE name = 'sleep' LIMIT {rows}"
        ).replace("RANDOM_BYTES(16)", "UNHEX(REPLACE(UUID(), '-', ''))"))
        .await
        .unwrap();
        rows *= 2;
    }
    assert!(!id.is_empty());
    let mut worker = world.daemon("worker");
    worker.env("TASKRUNNERX_WORKER__CONCURRENCY", "16");
    let worker = worker.ready().await;
    eventually("the backlog moves", async || {
        (worker.metric("taskrunnerx_store_batch_rows_count{op=\"finish\"}").await > 0.0).then_some(())
    })
    .await;
    let urgent = api.run(json!({"name": "noop", "priority": 9}), "completed").await;
    let left: u64 = sql.query_first("SELECT COUNT(*) FROM tasks WHERE status = 'queued'").await.unwrap().unwrap();
    assert!(left > 50_000, "the backlog was gone: {left}");
    // What is in the stream already goes before it, and no more.
    let before = "SELECT COUNT(*) FROM tasks other JOIN tasks urgent ON urgent.priority = 9 \
                  WHERE other.started_at BETWEEN urgent.created_at AND urgent.started_at AND other.id <> urgent.id";
    let before: u64 = sql.query_first(before).await.unwrap().unwrap();
    assert!(before < left / 20, "{before} of {left} went before {urgent}");
}

#[tokio::test]
async fn several_processes_share_the_work_and_each_task_runs_once() {
    let world = World::new().await;
    let first = world.daemon("all").ready().await;
    let second = world.daemon("all").ready().await;
    let mut submissions = tokio::task::JoinSet::new();
    for i in 0..400 {
        let daemon = if i % 2 == 0 { &first } else { &second };
        let request = daemon.client.post(format!("{}/api/tasks", daemon.url)).json(&noop("default"));
        submissions.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    while let Some(status) = submissions.join_next().await {
        assert_eq!(status.unwrap(), 201);
    }
    let mut sql = world.sql().await;
    use mysql_async::prelude::Queryable;
    eventually("all completed", async || {
        let done: u64 = sql
            .query_first("SELECT COUNT(*) FROM tasks WHERE status = 'completed' AND attempt = 1")
            .await
            .unwrap()
            .unwrap();
        (done == 400).then_some(())
    })
    .await;
    let finished = "taskrunnerx_tasks_finished_total{name=\"noop\",outcome=\"completed\",queue=\"default\"}";
    let (one, two) = (first.metric(finished).await, second.metric(finished).await);
    assert_eq!(one + two, 400.0, "{one} + {two}");
    // Redis holds nothing of what has ended.
    let mut redis = world.redis().await;
    eventually("an empty stream", async || {
        let length: u64 =
            redis::cmd("XLEN").arg(format!("{}:{{default}}", world.prefix)).query_async(&mut redis).await.unwrap();
        (length == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_whose_slots_are_taken_leaves_the_rest_to_others() {
    let world = World::new().await;
    let mut builder = world.daemon("all");
    builder.env("TASKRUNNERX_WORKER__CONCURRENCY", "1");
    let daemon = builder.ready().await;
    let mut tasks = Vec::new();
    for _ in 0..6 {
        // Longer than a claimed task waits for a slot: it would go back as an attempt that was interrupted.
        tasks.push(daemon.submit(json!({"name": "sleep", "payload": {"ms": 600}})).await);
    }
    for task in tasks {
        let task = daemon.until(&task["id"], "completed").await;
        assert_eq!(task["attempt"], 1, "{task}");
    }
}

#[tokio::test]
async fn a_worker_that_names_its_queues_serves_only_those() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut worker = world.daemon("worker");
    worker.env("TASKRUNNERX_WORKER__QUEUES", "mail,reports");
    let _worker = worker.ready().await;
    let other = api.submit(noop("other")).await;
    assert!(other["warnings"][0].as_str().unwrap().contains("queue other"), "{other}");
    for queue in ["mail", "reports"] {
        let task = api.submit(noop(queue)).await;
        assert_eq!(task["warnings"], json!(null), "{queue} is served");
        api.until(&task["id"], "completed").await;
    }
    assert_eq!(api.task(&other["id"]).await["status"], "queued");
    // Who serves it may come later.
    let _all = world.daemon("worker").ready().await;
    api.until(&other["id"], "completed").await;
}

#[tokio::test]
async fn more_queues_than_slots_are_all_served() {
    let world = World::new().await;
    let mut daemon = world.daemon("all");
    daemon.env("TASKRUNNERX_WORKER__CONCURRENCY", "2");
    let daemon = daemon.ready().await;
    let mut tasks = Vec::new();
    for i in 0..60 {
        let body = json!({"name": "sleep", "payload": {"ms": 5}, "queue": format!("q{}", i % 6)});
        tasks.push(daemon.submit(body).await);
    }
    for task in tasks {
        let task = daemon.until(&task["id"], "completed").await;
        assert_eq!(task["attempt"], 1);
    }
}
