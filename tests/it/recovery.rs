//! What dies, what is lost, what comes twice. Each of these fails when the guard it is about
//! is taken out.

use crate::harness::{Daemon, World, eventually, noop};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

const LEASE: &str = "2s";

async fn worker(world: &World, slots: &str) -> Daemon {
    let mut builder = world.daemon("worker");
    builder.env("TASKRUNNERX_WORKER__LEASE", LEASE).env("TASKRUNNERX_WORKER__CONCURRENCY", slots);
    builder.ready().await
}

/// The rescuer holds off for a lease after its own start: tests that measure wait for that.
async fn past_hold_off(world: &World) {
    let mut sql = world.sql().await;
    eventually("every worker is older than a lease", async || {
        let young: u64 = sql
            .query_first("SELECT COUNT(*) FROM workers WHERE started_at > NOW(6) - INTERVAL 2500000 MICROSECOND AND dead_at IS NULL")
            .await
            .unwrap()
            .unwrap();
        (young == 0).then_some(())
    })
    .await;
}

async fn outcomes(world: &World, id: &Value) -> Vec<(u32, String)> {
    let id = id.as_str().unwrap().replace('-', "");
    let query = format!("SELECT attempt, outcome FROM task_attempts WHERE task_id = UNHEX('{id}') ORDER BY attempt");
    world.sql().await.query(query).await.unwrap()
}

#[tokio::test]
async fn a_dead_workers_task_starts_again_within_the_lease_and_a_pass() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let doomed = worker(&world, "1").await;
    let task = api.submit(json!({"name": "sleep", "payload": {"ms": 1500}})).await;
    let first = api.until(&task["id"], "running").await;
    let survivor = worker(&world, "1").await;
    past_hold_off(&world).await;
    // It may have ended meanwhile: then another one runs on one of the two.
    let _ = first;
    let long = api.submit(json!({"name": "sleep", "payload": {"ms": 4000}})).await;
    let holder = api.until(&long["id"], "running").await["worker_id"].clone();
    let doomed_id = id_in_log(&doomed);
    let (mut dying, living) = if holder == json!(doomed_id) { (doomed, survivor) } else { (survivor, doomed) };
    dying.kill();
    let mut sql = world.sql().await;
    let held = holder.as_str().unwrap().replace('-', "");
    let held = format!("SELECT COUNT(*) FROM workers WHERE id = UNHEX('{held}') AND lease_until >= NOW(6)");
    eventually("its lease is over", async || {
        (sql.query_first::<u64, _>(&*held).await.unwrap() == Some(0)).then_some(())
    })
    .await;
    // Two statements a pass: who is dead now, and who is.
    let statements = async || living.metric("taskrunnerx_store_seconds_count{op=\"rescue\"}").await;
    let before = statements().await;
    let since = eventually("it is lost", async || {
        let so_far = statements().await;
        (!outcomes(&world, &long["id"]).await.is_empty()).then_some(so_far - before)
    })
    .await;
    assert!(since <= 5.0, "the end of one pass, the next, and one more where that was seen late: {since}");
    let again = eventually("running on the other", async || {
        let task = api.task(&long["id"]).await;
        (task["attempt"] == 2).then_some(task)
    })
    .await;
    assert_ne!(again["worker_id"], holder);
    api.until(&long["id"], "completed").await;
    assert_eq!(outcomes(&world, &long["id"]).await, [(1, "lost".to_owned())]);
    eventually("the dead worker's row is gone", async || {
        let rows: u64 = sql.query_first("SELECT COUNT(*) FROM workers").await.unwrap().unwrap();
        (rows == 1).then_some(())
    })
    .await;
}

fn id_in_log(daemon: &Daemon) -> String {
    let registered = |line: &String| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["message"] == "worker registered").then(|| event["worker.id"].as_str().map(str::to_owned))?
    };
    daemon.log().iter().find_map(registered).unwrap()
}

#[tokio::test]
async fn a_paused_worker_is_fenced_and_what_it_says_afterwards_is_discarded() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let paused = worker(&world, "4").await;
    let other = worker(&world, "4").await;
    past_hold_off(&world).await;
    // Tasks on both; those on the paused one move.
    let mut tasks = Vec::new();
    for _ in 0..8 {
        tasks.push(api.submit(json!({"name": "sleep", "payload": {"ms": 1000}})).await);
    }
    let paused_id = id_in_log(&paused);
    eventually("both run some", async || {
        let mut here = 0;
        for task in &tasks {
            here += usize::from(api.task(&task["id"]).await["worker_id"] == json!(paused_id));
        }
        (here > 0).then_some(())
    })
    .await;
    paused.signal("-STOP");
    for task in &tasks {
        let task = api.until(&task["id"], "completed").await;
        if task["attempt"] == 2 {
            assert_eq!(task["worker_id"], json!(id_in_log(&other)));
        }
    }
    let before: Vec<Value> = all(&api).await;
    paused.signal("-CONT");
    eventually("it noticed and began again", async || (paused.logged("begins again under a new id") > 0).then_some(()))
        .await;
    assert_eq!(all(&api).await, before, "nothing that it did afterwards shows");
    // It works on under its new id.
    drop(other);
    api.run(noop("default"), "completed").await;
}

async fn all(api: &Daemon) -> Vec<Value> {
    api.get("/api/tasks").await.1["tasks"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_the_stream_has_lost_is_dispatched_again() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let worker = worker(&world, "1").await;
    api.run(noop("default"), "completed").await;
    let blocker = api.submit(json!({"name": "sleep", "payload": {"ms": 4000}})).await;
    api.until(&blocker["id"], "running").await;
    // One by way of the dispatcher, whose memory alone says that it is in the stream; one through the gate.
    let waits = insert(&world, "status, lane", "'queued', 2").await;
    let mut redis = world.redis().await;
    let key = format!("{}:{{default}}", world.prefix);
    eventually("an entry that nobody reads", async || {
        let length: u64 = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
        (length == 2).then_some(())
    })
    .await;
    let flies = insert(&world, "status, lane, dispatched_at", "'queued', 3, NOW(6)").await;
    let _: () = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
    for id in [waits, flies] {
        let task = api.until(&id, "completed").await;
        assert_eq!(task["attempt"], 1);
    }
    // The dispatcher sees that its stream is new: the other one alone had to be swept.
    assert!((worker.metric("taskrunnerx_tasks_undispatched_total").await - 1.0).abs() < 0.1);
}

/// What is in the stream is so by the dispatcher's memory alone, and that is gone.
#[tokio::test]
async fn a_worker_that_dies_with_a_full_stream_costs_entries_that_come_twice_and_nothing_else() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let tasks = vec![json!({"name": "sleep", "payload": {"ms": 10}, "max_attempts": 5}); 400];
    assert_eq!(api.post("/api/tasks/bulk", &json!({ "tasks": tasks })).await.0, 201);
    let mut first = worker(&world, "2").await;
    let mut redis = world.redis().await;
    let key = format!("{}:{{default}}", world.prefix);
    eventually("the stream is filled ahead of the workers", async || {
        let length: u64 = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
        (length > 10).then_some(())
    })
    .await;
    first.kill();
    let second = worker(&world, "8").await;
    let mut sql = world.sql().await;
    eventually("everything has completed", async || {
        let query = "SELECT COUNT(*) FROM tasks WHERE status = 'completed'";
        (sql.query_first::<u64, _>(query).await.unwrap() == Some(400)).then_some(())
    })
    .await;
    // What had been claimed when it died was claimed once more, and what a slot did not come free for in
    // time; all the others once.
    let attempts: u64 = sql.query_first("SELECT CAST(SUM(attempt) AS UNSIGNED) FROM tasks").await.unwrap().unwrap();
    let outcomes: Vec<String> = sql.query("SELECT outcome FROM task_attempts").await.unwrap();
    assert_eq!(attempts, 400 + u64::try_from(outcomes.len()).unwrap(), "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| ["lost", "interrupted"].contains(&&**outcome)), "{outcomes:?}");
    // Two slots: what ran in them, and one claim, which is never larger.
    assert!(outcomes.iter().filter(|outcome| **outcome == "lost").count() <= 4, "{outcomes:?}");
    eventually("an empty stream", async || {
        let length: u64 = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
        (length == 0).then_some(())
    })
    .await;
    assert_eq!(second.metric("taskrunnerx_tasks_fenced_total").await, 0.0);
}

/// Inserts a task straight into the table, as a crash would have left it.
async fn insert(world: &World, columns: &str, values: &str) -> Value {
    let id = uuid::Uuid::now_v7();
    let hex = id.simple();
    let query = format!(
        "INSERT INTO tasks (id, name, queue, priority, position, max_attempts, timeout_ms, backoff, run_at, created_at, payload, {columns}) \
         VALUES (UNHEX('{hex}'), 'noop', 'default', 0, 9 * 9007199254740992, 5, 60000, '{{}}', NOW(6), NOW(6), 'null', {values})"
    );
    world.sql().await.query_drop(query).await.unwrap();
    json!(id.to_string())
}

#[tokio::test]
async fn a_crash_between_the_commit_and_the_entry_costs_the_grace_and_nothing_else() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let id = insert(&world, "status, lane, dispatched_at", "'queued', 3, NOW(6)").await;
    let _worker = worker(&world, "1").await;
    let task = api.until(&id, "completed").await;
    assert_eq!(task["attempt"], 1);
}

#[tokio::test]
async fn a_task_that_says_running_under_a_worker_that_is_gone_is_rescued() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let id = insert(&world, "status, lane, attempt, worker_id", "'running', 3, 1, UNHEX(REPEAT('ab', 16))").await;
    let _worker = worker(&world, "1").await;
    let task = api.until(&id, "completed").await;
    assert_eq!(task["attempt"], 2);
    assert_eq!(outcomes(&world, &id).await, [(1, "lost".to_owned())]);
}

#[tokio::test]
async fn a_task_that_three_workers_died_of_is_poisoned() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let columns = "status, lane, attempt, crash_count, worker_id";
    let id = insert(&world, columns, "'running', 3, 3, 2, UNHEX(REPEAT('ab', 16))").await;
    let _worker = worker(&world, "1").await;
    let task = api.until(&id, "failed").await;
    assert_eq!(task["reason"], "poisoned");
}

/// A death would be the third. The rescuer holds off for a lease after the pause, so that what
/// comes before is the worker's own doing.
#[tokio::test]
async fn a_worker_that_comes_back_hands_its_tasks_over_and_has_not_died() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut builder = world.daemon("worker");
    builder.env("TASKRUNNERX_WORKER__LEASE", "6s");
    let worker = builder.ready().await;
    let task = api.submit(json!({"name": "sleep", "payload": {"ms": 600_000}, "max_attempts": 50})).await;
    api.until(&task["id"], "running").await;
    let mut sql = world.sql().await;
    sql.query_drop("UPDATE tasks SET crash_count = 2").await.unwrap();
    worker.signal("-STOP");
    eventually("the lease has run out", async || {
        sql.query_first::<u8, _>("SELECT 1 FROM workers WHERE lease_until < NOW(6)").await.unwrap()
    })
    .await;
    worker.signal("-CONT");
    let again = eventually("it runs again", async || {
        let task = api.task(&task["id"]).await;
        (task["attempt"] == 2 && task["status"] == "running").then_some(task)
    })
    .await;
    assert_eq!(again["last_error"], json!(format!("worker {} lost its lease", id_in_log(&worker))));
    assert_eq!(outcomes(&world, &task["id"]).await, [(1, "lost".to_owned())]);
    let crashes: u32 = sql.query_first("SELECT crash_count FROM tasks").await.unwrap().unwrap();
    assert_eq!(crashes, 2);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_released_by_the_heartbeat() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let worker = worker(&world, "4").await;
    let own = id_in_log(&worker).replace('-', "");
    let values = format!("'running', 3, 1, UNHEX('{own}')");
    let id = insert(&world, "status, lane, attempt, worker_id", &values).await;
    let task = api.until(&id, "completed").await;
    assert_eq!(task["attempt"], 2);
    assert_eq!(outcomes(&world, &id).await, [(1, "interrupted".to_owned())], "forgiven: it never ran");
}

#[tokio::test]
async fn entries_that_come_twice_or_are_not_ours_do_no_harm() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let first = api.submit(json!({"name": "sleep", "payload": {"ms": 300}})).await;
    let mut redis = world.redis().await;
    let key = format!("{}:{{default}}", world.prefix);
    // As the dispatcher would write them, three times over.
    for _ in 0..3 {
        let mut add = redis::cmd("XADD");
        add.arg(&key).arg("*").arg("id").arg(first["id"].as_str().unwrap()).arg("name").arg("sleep");
        add.arg("attempt").arg(0).arg("dispatched_at").arg(0).arg("plan").arg("5 60000 0");
        add.arg("payload").arg("{\"ms\": 300}");
        let _: String = add.query_async(&mut redis).await.unwrap();
    }
    let _: String =
        redis::cmd("XADD").arg(&key).arg("*").arg("hello").arg("world").query_async(&mut redis).await.unwrap();
    let worker = worker(&world, "8").await;
    let task = api.until(&first["id"], "completed").await;
    assert_eq!(task["attempt"], 1);
    eventually("an empty stream", async || {
        let length: u64 = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
        (length == 0).then_some(())
    })
    .await;
    let runs = "taskrunnerx_tasks_finished_total{name=\"sleep\",outcome=\"completed\",queue=\"default\"}";
    assert_eq!(worker.metric(runs).await, 1.0);
    assert_eq!(worker.metric("taskrunnerx_tasks_fenced_total").await, 0.0, "no second run was there to be fenced");
}

#[tokio::test]
async fn a_type_that_the_worker_lacks_is_handed_back_without_an_attempt() {
    let world = World::new().await;
    let _api = world.daemon("api").ready().await;
    let id = insert(&world, "status, lane", "'queued', 2").await;
    let mut sql = world.sql().await;
    sql.query_drop("UPDATE tasks SET name = 'from-a-newer-version'").await.unwrap();
    let worker = worker(&world, "1").await;
    eventually("handed back", async || (worker.logged("this worker lacks the task type") > 0).then_some(())).await;
    let row: (String, u32) = eventually("waiting for another try", async || {
        let query = "SELECT status, attempt FROM tasks WHERE lane = 1 AND dispatched_at IS NULL";
        sql.query_first(query).await.unwrap()
    })
    .await;
    assert_eq!(row, ("queued".to_owned(), 0));
    // A worker that has it comes along.
    sql.query_drop("UPDATE tasks SET name = 'noop'").await.unwrap();
    let hex = id.as_str().unwrap().replace('-', "");
    eventually("completed", async || {
        let query = format!("SELECT 1 FROM tasks WHERE id = UNHEX('{hex}') AND status = 'completed'");
        sql.query_first::<u8, _>(query).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_was_asked_for_wins_over_a_retry() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let slow = json!({"name": "sleep", "payload": {"ms": 60000}, "timeout": "1s", "max_attempts": 5, "backoff": "1ms"});
    let task = daemon.submit(slow).await;
    daemon.until(&task["id"], "running").await;
    world.sql().await.query_drop("UPDATE tasks SET cancel_requested_at = NOW(6)").await.unwrap();
    let task = daemon.until(&task["id"], "cancelled").await;
    assert_eq!((&task["attempt"], &task["reason"]), (&json!(1), &json!("cancelled")));
}
