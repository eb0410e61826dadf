//! What becomes of instants, and what people do with schedules: each with real tasks.

use super::{assert_whole, call, ledger, outcomes, put, schedule, time};
use crate::harness::{Daemon, World, eventually};
use chrono::TimeDelta;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

const LONG: u64 = 600_000;

fn every_second(more: Value) -> Value {
    let mut body = json!({"every": "1s", "task": {"name": "noop"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Waits until the ledger has such rows; gives it.
async fn until(daemon: &Daemon, name: &str, what: &str, holds: impl Fn(&[&str]) -> bool) -> Vec<Value> {
    eventually(what, async || {
        let rows = ledger(daemon, name).await;
        holds(&outcomes(&rows)).then_some(rows)
    })
    .await
}

fn count(rows: &[&str], outcome: &str) -> usize {
    rows.iter().filter(|one| **one == outcome).count()
}

/// The rows of what fired. On a machine that stood still some are late, and others lie before and between.
fn fired(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["outcome"] == "fired" || row["outcome"] == "caught_up").collect()
}

fn fires(rows: &[&str]) -> usize {
    count(rows, "fired") + count(rows, "caught_up")
}

#[tokio::test]
async fn what_comes_while_it_is_paused_is_in_the_ledger_and_it_resumes_by_itself() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    put(&daemon, "tick", every_second(json!({}))).await;
    until(&daemon, "tick", "a fire", |rows| count(rows, "fired") >= 1).await;
    let (status, paused) =
        daemon.post("/api/schedules/tick/pause", &json!({"reason": "repairs", "resume_in": "5s"})).await;
    assert_eq!((status, &paused["pause"]["reason"]), (200, &json!("repairs")), "{paused}");
    let whole = until(&daemon, "tick", "it fires again", |rows| {
        rows.last() == Some(&"fired") && count(rows, "skipped_paused") >= 1
    })
    .await;
    assert_whole(&whole);
    assert_eq!(schedule(&daemon, "tick").await["pause"], Value::Null);
    for row in whole.iter().filter(|row| row["outcome"] == "skipped_paused") {
        assert_eq!(row["task_id"], Value::Null, "{row}");
    }
    daemon.post("/api/schedules/tick/pause", &json!({})).await;
    let paused = until(&daemon, "tick", "paused", |rows| rows.last() == Some(&"skipped_paused")).await;
    assert_eq!(schedule(&daemon, "tick").await["last_outcome"], "skipped_paused");
    let (status, resumed) = daemon.post("/api/schedules/tick/resume", &json!({})).await;
    assert_eq!((status, &resumed["pause"]), (200, &Value::Null));
    until(&daemon, "tick", "resumed", |rows| rows.len() > paused.len() && rows.last() == Some(&"fired")).await;
    let page = daemon.get("/api/schedules/tick/fires?limit=2").await.1;
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = daemon.get(&format!("/api/schedules/tick/fires?limit=2&cursor={cursor}")).await.1;
    assert_eq!(
        time(&page["fires"][1]["fire_at"]) - time(&next["fires"][0]["fire_at"]),
        TimeDelta::seconds(1),
        "{page} {next}"
    );
    for bad in ["?limit=0", "?cursor=t1.x", "?cursor=n1.a", "?x=1"] {
        assert_eq!(daemon.get(&format!("/api/schedules/tick/fires{bad}")).await.0, 422, "{bad}");
    }
    let series = |outcome: &str| format!("taskrunnerx_schedule_fires_total{{outcome=\"{outcome}\",schedule=\"tick\"}}");
    // What is counted is so after the commit, which was seen.
    for outcome in ["skipped_paused", "fired"] {
        let counted = async || (daemon.metric(&series(outcome)).await >= 2.0).then_some(());
        eventually(outcome, counted).await;
    }
    let lag = async || (daemon.metric("taskrunnerx_schedule_lag_seconds").await < 5.0).then_some(());
    eventually("it is not behind", lag).await;
}

#[tokio::test]
async fn what_came_during_a_pause_is_in_the_ledger_before_the_pause_ends() {
    let world = World::new().await;
    // Nobody fires anything by itself.
    let api = world.daemon("api").ready().await;
    put(&api, "tick", every_second(json!({"misfire": "all"}))).await;
    assert_eq!(api.post("/api/schedules/tick/pause", &json!({})).await.0, 200);
    let mut sql = world.sql().await;
    eventually("instants have come", async || {
        let query = "SELECT next_fire_at < NOW(6) - INTERVAL 1 SECOND FROM schedules";
        (sql.query_first::<u64, _>(query).await.unwrap() == Some(1)).then_some(())
    })
    .await;
    assert_eq!(api.post("/api/schedules/tick/resume", &json!({})).await.0, 200);
    let held = ledger(&api, "tick").await;
    assert!(held.len() >= 2 && outcomes(&held).iter().all(|outcome| *outcome == "skipped_paused"), "{held:#?}");
    let _scheduler = world.daemon("scheduler").ready().await;
    let after = until(&api, "tick", "it fires again", |rows| fires(rows) > 0).await;
    assert_whole(&after);
    assert_eq!(after[..held.len()], held[..]);
}

#[tokio::test]
async fn a_schedule_is_run_by_hand_and_its_tasks_result_is_told() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    put(
        &daemon,
        "yearly",
        json!({"cron": "@yearly", "jitter": "1h", "max_fires": 1, "task": {"name": "echo", "payload": {"n": 7}}}),
    )
    .await;
    daemon.post("/api/schedules/yearly/pause", &json!({})).await;
    let (status, task) = daemon.post("/api/schedules/yearly/run", &json!({})).await;
    assert_eq!((status, &task["schedule"], &task["status"]), (201, &json!("yearly"), &json!("queued")), "{task}");
    daemon.until(&task["id"], "completed").await;
    let after = schedule(&daemon, "yearly").await;
    assert_eq!(
        (&after["last_task"]["id"], &after["last_task"]["status"], &after["last_task"]["result"]),
        (&task["id"], &json!("completed"), &json!({"n": 7})),
        "{after}"
    );
    assert_eq!((&after["last_outcome"], &after["fires"]), (&json!("manual"), &json!(0)));
    let rows = ledger(&daemon, "yearly").await;
    assert_eq!((outcomes(&rows), &rows[0]["task_id"]), (vec!["manual"], &task["id"]));
    let listed = daemon.get("/api/schedules").await.1;
    assert_eq!(listed["schedules"][0]["last_task"].get("result"), None, "a list is without results: {listed}");
    assert_eq!(daemon.post("/api/schedules/yearly/run", &json!({"x": 1})).await.0, 422);
}

#[tokio::test]
async fn a_backfill_submits_what_is_missing_within_a_range_of_a_thousand() {
    let world = World::new().await;
    let daemon = world.daemon("api,worker").ready().await;
    put(&daemon, "hourly", json!({"cron": "@hourly", "max_fires": 1, "task": {"name": "noop"}})).await;
    let path = "/api/schedules/hourly/backfill";
    let range = json!({"from": "2025-01-01T00:00:00Z", "to": "2025-01-01T05:00:00Z", "dry_run": true});
    let (status, dry) = daemon.post(path, &range).await;
    assert_eq!((status, dry["instants"].as_array().unwrap().len(), &dry["tasks"]), (200, 5, &json!([])), "{dry}");
    assert!(ledger(&daemon, "hourly").await.is_empty());
    let part = json!({"from": "2025-01-01T01:00:00Z", "to": "2025-01-01T01:00:01Z"});
    assert_eq!(daemon.post(path, &part).await.1["tasks"].as_array().unwrap().len(), 1);
    let range = json!({"from": "2025-01-01T00:00:00Z", "to": "2025-01-01T05:00:00Z"});
    let done = daemon.post(path, &range).await.1;
    assert_eq!((done["instants"].as_array().unwrap().len(), done["tasks"].as_array().unwrap().len()), (5, 4), "{done}");
    assert_eq!(daemon.post(path, &range).await.1["tasks"], json!([]), "each has its task");
    let rows = ledger(&daemon, "hourly").await;
    assert_eq!(outcomes(&rows), ["backfill"; 5]);
    for row in &rows {
        daemon.until(&row["task_id"], "completed").await;
    }
    let after = schedule(&daemon, "hourly").await;
    assert_eq!((&after["fires"], after["next_fire_at"].is_string()), (&json!(0), true), "it does not count: {after}");
    put(&daemon, "tick", every_second(json!({}))).await;
    let seconds = async |to: &str| {
        let range = json!({"from": "2025-01-01T00:00:00Z", "to": to, "dry_run": true});
        daemon.post("/api/schedules/tick/backfill", &range).await
    };
    let (status, whole) = seconds("2025-01-01T00:16:40Z").await;
    assert_eq!((status, whole["instants"].as_array().unwrap().len()), (200, 1000));
    let (status, problem) = seconds("2025-01-01T00:16:41Z").await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("#/to")), "{problem}");
    // With a payload of a million bytes: as many as are 16 MiB.
    let large = json!({"cron": "@hourly", "task": {"name": "noop", "payload": "x".repeat(999_998)}});
    put(&daemon, "large", large).await;
    for (to, expected) in [("2025-01-01T16:00:00Z", 200), ("2025-01-01T17:00:00Z", 422)] {
        let range = json!({"from": "2025-01-01T00:00:00Z", "to": to, "dry_run": true});
        let (status, answer) = daemon.post("/api/schedules/large/backfill", &range).await;
        assert_eq!(status, expected, "{to}: {answer}");
    }
    let (status, problem) = daemon.post(path, &json!({"to": 3, "dry_run": "yes"})).await;
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].clone()).collect();
    assert_eq!((status, places.len()), (422, 3), "{problem}");
}

#[tokio::test]
async fn jitter_moves_the_tasks_start_and_never_its_instant() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    put(&daemon, "tick", every_second(json!({"jitter": "1h"}))).await;
    let rows = until(&daemon, "tick", "three fires", |rows| fires(rows) >= 3).await;
    assert_whole(&rows);
    let mut delays = Vec::new();
    for row in fired(&rows) {
        let task = daemon.task(&row["task_id"]).await;
        let delay = time(&task["run_at"]) - time(&row["fire_at"]);
        assert!(delay >= TimeDelta::zero() && delay <= TimeDelta::hours(1), "{task}");
        delays.push(delay);
    }
    delays.dedup();
    assert!(delays.len() > 1, "they are spread: {delays:?}");
}

#[tokio::test]
async fn it_ends_after_its_last_fire() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    put(&daemon, "twice", every_second(json!({"max_fires": 2}))).await;
    put(&daemon, "beside", every_second(json!({}))).await;
    until(&daemon, "twice", "its last fire", |rows| fires(rows) == 2).await;
    let ended = ledger(&daemon, "twice").await.len();
    let beside = ledger(&daemon, "beside").await.len();
    until(&daemon, "beside", "three instants more of another", |rows| rows.len() >= beside + 3).await;
    assert_eq!(ledger(&daemon, "twice").await.len(), ended);
    let after = schedule(&daemon, "twice").await;
    assert_eq!((&after["next_fire_at"], &after["fires"]), (&Value::Null, &json!(2)), "{after}");
    assert_eq!(daemon.get("/api/schedules/twice/next").await.1["next"], json!([]));
}

#[tokio::test]
async fn a_task_that_has_not_ended_makes_the_next_instant_skip_or_wait() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let sleeps = json!({"name": "sleep", "payload": {"ms": LONG}});
    put(&daemon, "skip", every_second(json!({"overlap": "skip", "task": sleeps}))).await;
    put(&daemon, "queue", every_second(json!({"overlap": "queue_one", "task": sleeps}))).await;
    let skipped = until(&daemon, "skip", "skipped twice", |rows| count(rows, "skipped_overlap") >= 2).await;
    assert_eq!(fired(&skipped).len(), 1, "{skipped:#?}");
    let queued = until(&daemon, "queue", "one waits", |rows| count(rows, "skipped_overlap") >= 2).await;
    let order: Vec<&str> = outcomes(&queued).into_iter().filter(|outcome| *outcome != "skipped_misfire").collect();
    assert!(matches!(order[..3], ["fired" | "caught_up", "waiting", "skipped_overlap"]), "{queued:#?}");
    let waits = queued.iter().find(|row| row["outcome"] == "waiting").unwrap();
    assert_eq!(schedule(&daemon, "queue").await["waiting_fire_at"], waits["fire_at"]);
    for (name, rows) in [("skip", &skipped), ("queue", &queued)] {
        let first = fired(rows)[0]["task_id"].as_str().unwrap();
        let status = call(&daemon, "POST", &format!("/api/tasks/{first}/cancel"), None).await.0;
        assert!([200, 202].contains(&status), "{status}");
        let after = until(&daemon, name, "it fires again", |rows| fires(rows) == 2).await;
        assert_whole(&after);
    }
    let after = ledger(&daemon, "queue").await;
    let waited = after.iter().find(|row| row["fire_at"] == waits["fire_at"]).unwrap();
    assert_eq!((&waited["outcome"], waited["task_id"].is_string()), (&json!("fired"), true), "{after:#?}");
}

#[tokio::test]
async fn a_task_that_has_not_ended_is_cancelled_for_the_next_one() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let body = json!({"overlap": "cancel_running", "max_fires": 3, "task": {"name": "sleep", "payload": {"ms": LONG}}});
    put(&daemon, "cancel", every_second(body)).await;
    let rows = until(&daemon, "cancel", "three fires", |rows| fires(rows) == 3).await;
    let (last, before) = fired(&rows).split_last().map(|(last, before)| (*last, before.to_vec())).unwrap();
    for row in before {
        daemon.until(&row["task_id"], "cancelled").await;
    }
    daemon.until(&last["task_id"], "running").await;
}

#[tokio::test]
async fn it_pauses_when_its_tasks_fail_again_and_again() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let fails = json!({"name": "fail", "payload": {"permanent": true}});
    put(&daemon, "fails", every_second(json!({"pause_after_failures": 2, "task": fails}))).await;
    until(&daemon, "fails", "it has paused", |rows| count(rows, "skipped_paused") >= 1).await;
    let after = schedule(&daemon, "fails").await;
    assert_eq!(after["pause"]["by"], "scheduler", "{after}");
    assert!(after["pause"]["reason"].as_str().unwrap().contains("latest 2 tasks failed"), "{after}");
    assert_eq!(after["pause"]["resume_at"], Value::Null);
    let fired = count(&outcomes(&ledger(&daemon, "fails").await), "fired");
    daemon.post("/api/schedules/fails/resume", &json!({})).await;
    // It is not paused again at once for what is past.
    until(&daemon, "fails", "it goes on", |rows| count(rows, "fired") > fired).await;
}
