//! The cron ticker, the ledger, and the purge.

mod definition;
mod outage;
mod outcomes;
mod refused;
mod scale;
#[path = "../chaos/skew.rs"]
pub(crate) mod skew;

use crate::harness::{Daemon, World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use skew::{AHEAD, BEHIND, Skew};

async fn call(daemon: &Daemon, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = daemon.client.request(method, format!("{}{path}", daemon.url));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// Puts a schedule that is new, and must be accepted; gives it.
async fn put(daemon: &Daemon, name: &str, body: Value) -> Value {
    let (status, schedule) = call(daemon, "PUT", &format!("/api/schedules/{name}"), Some(&body)).await;
    assert_eq!(status, 201, "{body} -> {schedule}");
    schedule
}

async fn schedule(daemon: &Daemon, name: &str) -> Value {
    let (status, schedule) = daemon.get(&format!("/api/schedules/{name}")).await;
    assert_eq!(status, 200, "{schedule}");
    schedule
}

/// The newest rows of a ledger, the oldest of them first.
async fn ledger(daemon: &Daemon, name: &str) -> Vec<Value> {
    let (status, page) = daemon.get(&format!("/api/schedules/{name}/fires?limit=500")).await;
    assert_eq!(status, 200, "{page}");
    let mut fires = page["fires"].as_array().unwrap().clone();
    fires.reverse();
    fires
}

fn outcomes(ledger: &[Value]) -> Vec<&str> {
    ledger.iter().map(|row| row["outcome"].as_str().unwrap()).collect()
}

fn time(value: &Value) -> chrono::DateTime<chrono::Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

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

/// A ledger has every second between its first and its last row, each once.
fn assert_whole(ledger: &[Value]) {
    let at: Vec<i64> = ledger.iter().map(|row| time(&row["fire_at"]).timestamp()).collect();
    let first = at.first().copied().unwrap_or_default();
    let expected: Vec<i64> = (first..).take(at.len()).collect();
    assert_eq!(at, expected, "{ledger:#?}");
}

#[tokio::test]
async fn a_scheduler_whose_clock_is_an_hour_ahead_fires_nothing_early_and_nothing_twice() {
    fires_by_the_databases_clock(AHEAD).await;
}

#[tokio::test]
async fn a_scheduler_whose_clock_is_an_hour_behind_fires_nothing_late_and_nothing_twice() {
    fires_by_the_databases_clock(BEHIND).await;
}

/// One scheduler with this clock beside one whose clock is right; then it alone, and then the other alone.
async fn fires_by_the_databases_clock(skew: Skew) {
    let world = World::new().await;
    let api = world.daemon("api,worker").ready().await;
    put(&api, "tick", json!({"every": "1s", "task": {"name": "noop"}})).await;
    let mut straight = world.daemon("scheduler").ready().await;
    let mut skewed = world.daemon("scheduler");
    for (name, value) in skew.environment() {
        skewed.env(&name, &value);
    }
    let mut skewed = skewed.ready().await;
    skew.assert_shown(&skewed.log()[0]);
    let fired = async |more: usize| {
        eventually("some seconds more", async || {
            let rows = ledger(&api, "tick").await;
            (rows.len() >= more).then_some(rows)
        })
        .await
    };
    let rows = fired(5).await;
    straight.kill();
    let rows = fired(rows.len() + 3).await;
    skewed.kill();
    let _another = world.daemon("scheduler").ready().await;
    let rows = fired(rows.len() + 3).await;
    assert_whole(&rows);
    assert!(outcomes(&rows).iter().all(|outcome| *outcome == "fired"), "{rows:#?}");
    for row in &rows {
        let late = time(&row["recorded_at"]) - time(&row["fire_at"]);
        assert!(late >= chrono::TimeDelta::zero(), "{row}");
        let task = api.task(&row["task_id"]).await;
        assert!(time(&task["created_at"]) - time(&row["fire_at"]) < chrono::TimeDelta::minutes(10), "{task}");
    }
    let mut sql = world.sql().await;
    let (tasks, fires): (u64, u64) = sql
        .query_first("SELECT COUNT(*), (SELECT COUNT(*) FROM schedule_fires) FROM tasks WHERE schedule = 'tick'")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tasks, fires);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_has_its_ledger_row_is_not_fired_again() {
    let world = World::new().await;
    world.store().await;
    let mut sql = world.sql().await;
    // Somebody fired the next seconds already, more than a start takes, and the schedule's row does not know.
    let rows: Vec<String> =
        (0..120).map(|n| format!("('tick', @now + INTERVAL {n} SECOND, 'fired', NOW(6))")).collect();
    sql.query_drop("SET @now = CAST(NOW(0) AS DATETIME)").await.unwrap();
    let fires = "INSERT INTO schedule_fires (schedule, fire_at, outcome, recorded_at) VALUES";
    sql.query_drop(format!("{fires} {}", rows.join(", "))).await.unwrap();
    let mut scheduler = world.daemon("scheduler");
    scheduler.file(EVERY_SECOND);
    let _scheduler = scheduler.ready().await;
    eventually("three of them lay ahead of it, and are behind it", async || {
        let query = "SELECT COUNT(*) FROM schedule_fires f JOIN schedules s ON s.name = f.schedule \
                     WHERE f.fire_at > s.created_at AND f.fire_at < s.next_fire_at";
        (sql.query_first::<u64, _>(query).await.unwrap() >= Some(3)).then_some(())
    })
    .await;
    let (tasks, fires): (u64, u64) = sql
        .query_first("SELECT (SELECT COUNT(*) FROM tasks), (SELECT fires FROM schedules WHERE name = 'tick')")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((tasks, fires), (0, 0));
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
    eventually("it is counted", async || (daemon.metric(series).await >= 1.0).then_some(())).await;
    let last = "taskrunnerx_schedule_last_success_timestamp_seconds{schedule=\"heartbeat\"}";
    eventually("its time is told", async || (daemon.metric(last).await > 1.7e9).then_some(())).await;
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

#[tokio::test]
async fn a_ledger_is_kept_for_its_retention_also_that_of_a_schedule_that_is_gone() {
    let world = World::new().await;
    let mut daemon = world.daemon("all");
    daemon.env("TASKRUNNERX_RETENTION__FIRES", "1s");
    let daemon = daemon.ready().await;
    put(&daemon, "tick", json!({"every": "1s", "max_fires": 1, "task": {"name": "noop"}})).await;
    eventually("it has ended", async || schedule(&daemon, "tick").await["next_fire_at"].is_null().then_some(())).await;
    assert_eq!(call(&daemon, "DELETE", "/api/schedules/tick", None).await.0, 204);
    let mut sql = world.sql().await;
    eventually("the ledger is purged", async || {
        let left: Option<u64> = sql.query_first("SELECT COUNT(*) FROM schedule_fires").await.unwrap();
        (left == Some(0)).then_some(())
    })
    .await;
    assert_eq!(daemon.get("/api/schedules/tick/fires").await.0, 404);
}
