//! The cron ticker, the ledger, and the purge.

use crate::harness::{World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::json;

const EVERY_SECOND: &str = r#"
[schedules.tick]
cron = "* * * * * *"
timezone = "Europe/Berlin"
[schedules.tick.task]
name = "echo"
payload = { from = "tick" }
priority = 3
"#;

#[tokio::test]
async fn two_schedulers_fire_each_instant_once() {
    let world = World::new().await;
    let worker = world.daemon("api,worker").ready().await;
    let mut schedulers = Vec::new();
    for _ in 0..2 {
        let mut scheduler = world.daemon("scheduler");
        scheduler.file(EVERY_SECOND);
        schedulers.push(scheduler.ready().await);
    }
    let mut sql = world.sql().await;
    eventually("five fires have run", async || {
        let query = "SELECT COUNT(*) FROM tasks WHERE schedule = 'tick' AND status = 'completed'";
        let done: u64 = sql.query_first(query).await.unwrap().unwrap();
        (done >= 5).then_some(())
    })
    .await;
    // One statement, one view: every ledger row has its task, every task its row.
    let (fires, instants, tasks): (u64, u64, u64) = sql
        .query_first(
            "SELECT COUNT(*), COUNT(DISTINCT f.fire_at), COUNT(DISTINCT t.id) FROM schedule_fires f \
             LEFT JOIN tasks t ON t.id = f.task_id AND t.schedule = f.schedule WHERE f.outcome = 'fired'",
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!((fires, fires), (instants, tasks));
    let strays: u64 = sql
        .query_first(
            "SELECT COUNT(*) FROM tasks t LEFT JOIN schedule_fires f ON f.task_id = t.id WHERE f.task_id IS NULL",
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(strays, 0);
    let early: u64 =
        sql.query_first("SELECT COUNT(*) FROM schedule_fires WHERE recorded_at < fire_at").await.unwrap().unwrap();
    assert_eq!(early, 0, "nothing fires before its instant");
    let page = worker.get("/api/tasks?name=echo&limit=1").await.1;
    let task = &page["tasks"][0];
    assert_eq!(
        (&task["schedule"], &task["priority"], &task["payload"]),
        (&json!("tick"), &json!(3), &json!({"from": "tick"}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_has_its_ledger_row_is_not_fired_again() {
    let world = World::new().await;
    world.store().await;
    let mut sql = world.sql().await;
    // Somebody fired the next five seconds already, and the schedule's row does not know.
    for second in 0..5 {
        sql.query_drop(format!(
            "INSERT INTO schedule_fires (schedule, fire_at, outcome, recorded_at) \
             VALUES ('tick', DATE_ADD(DATE_FORMAT(NOW(), '%Y-%m-%d %H:%i:%s'), INTERVAL {second} SECOND), 'fired', NOW(6))"
        ))
        .await
        .unwrap();
    }
    let mut scheduler = world.daemon("scheduler");
    scheduler.file(EVERY_SECOND);
    let _scheduler = scheduler.ready().await;
    let first: String = eventually("the first fire of its own", async || {
        let query =
            "SELECT CAST(MIN(fire_at) AS CHAR) FROM schedule_fires WHERE task_id IS NOT NULL HAVING COUNT(*) > 0";
        sql.query_first(query).await.unwrap()
    })
    .await;
    let last: String = sql
        .query_first("SELECT CAST(MAX(fire_at) AS CHAR) FROM schedule_fires WHERE task_id IS NULL")
        .await
        .unwrap()
        .unwrap();
    assert!(first > last, "{first} is after {last}");
}

#[tokio::test]
async fn the_configuration_adds_changes_and_removes_its_schedules() {
    let world = World::new().await;
    let mut sql = world.sql().await;
    let text = |cron: &str| format!("[schedules.a]\ncron = \"{cron}\"\ntask = {{ name = \"noop\" }}\n");
    let mut versions = Vec::new();
    for cron in ["0 3 * * *", "0 3 * * *", "@hourly"] {
        let mut scheduler = world.daemon("scheduler");
        scheduler.file(&text(cron));
        let mut scheduler = scheduler.ready().await;
        let query = "SELECT version, JSON_UNQUOTE(JSON_EXTRACT(definition, '$.cron')), managed_by FROM schedules WHERE name = 'a'";
        let row: (u32, String, String) = sql.query_first(query).await.unwrap().unwrap();
        assert_eq!((row.1.as_str(), row.2.as_str()), (cron, "config"));
        versions.push(row.0);
        scheduler.signal("-TERM");
        assert_eq!(scheduler.ended().await, 0);
    }
    assert_eq!(versions, [1, 1, 2], "unchanged keeps its version");
    let _without = world.daemon("scheduler").ready().await;
    let left: u64 = sql.query_first("SELECT COUNT(*) FROM schedules").await.unwrap().unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_heartbeat_is_built_in() {
    let world = World::new().await;
    let mut daemon = world.daemon("all");
    daemon.env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "* * * * * *");
    let daemon = daemon.ready().await;
    let task = eventually("a heartbeat", async || {
        let page = daemon.get("/api/tasks?name=heartbeat&status=completed").await.1;
        page["tasks"].get(0).cloned()
    })
    .await;
    assert_eq!(task["schedule"], "heartbeat");
    let series = "taskrunnerx_schedule_fires_total{outcome=\"fired\",schedule=\"heartbeat\"}";
    assert!(daemon.metric(series).await >= 1.0);
    assert!(daemon.metric("taskrunnerx_schedule_last_success_timestamp_seconds{schedule=\"heartbeat\"}").await > 1.7e9);
}

#[tokio::test]
async fn what_is_older_than_its_retention_is_purged_with_its_history() {
    let world = World::new().await;
    let mut daemon = world.daemon("all");
    daemon.env("TASKRUNNERX_RETENTION__COMPLETED", "1s").env("TASKRUNNERX_RETENTION__FAILED", "1h");
    let daemon = daemon.ready().await;
    let failed = daemon.run(json!({"name": "fail", "payload": {"permanent": true}}), "failed").await;
    let retried = json!({"name": "fail", "max_attempts": 2, "backoff": "1ms"});
    let kept = daemon.run(retried, "failed").await;
    let done = daemon.submit(json!({"name": "noop"})).await;
    let path = format!("/api/tasks/{}", done["id"].as_str().unwrap());
    eventually("purged", async || (daemon.get(&path).await.0 == 404).then_some(())).await;
    daemon.task(&failed["id"]).await;
    daemon.task(&kept["id"]).await;
    // The failed ones' turn.
    let mut sql = world.sql().await;
    sql.query_drop("UPDATE tasks SET finished_at = finished_at - INTERVAL 2 HOUR").await.unwrap();
    eventually("all gone, and their attempts", async || {
        let query = "SELECT (SELECT COUNT(*) FROM tasks) + (SELECT COUNT(*) FROM task_attempts)";
        (sql.query_first::<u64, _>(query).await.unwrap() == Some(0)).then_some(())
    })
    .await;
}
