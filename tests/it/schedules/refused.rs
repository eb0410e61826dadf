//! Schedules that the database will not take, and some that are too much at once: they hold up no other.

use super::{call, ledger, outcomes, put, schedule, time};
use crate::harness::{Daemon, World, eventually};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

/// From now on the database takes no task of this schedule.
async fn refuse(sql: &mut mysql_async::Conn, name: &str) {
    let trigger = format!(
        "CREATE TRIGGER no_{name} BEFORE INSERT ON tasks FOR EACH ROW BEGIN \
         IF NEW.schedule = '{name}' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF; END"
    );
    sql.query_drop(trigger).await.unwrap();
}

async fn until(daemon: &Daemon, name: &str, outcome: &str, least: usize) -> Vec<Value> {
    eventually(&format!("{name} has {least} {outcome}"), async || {
        let rows = ledger(daemon, name).await;
        let found = outcomes(&rows).iter().filter(|one| **one == outcome).count();
        (found >= least).then_some(rows)
    })
    .await
}

#[tokio::test]
async fn one_that_the_database_will_not_take_holds_up_no_other_and_can_be_paused() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let mut sql = world.sql().await;
    refuse(&mut sql, "bad").await;
    for name in ["bad", "good"] {
        put(&daemon, name, json!({"every": "1s", "task": {"name": "noop"}})).await;
    }
    until(&daemon, "bad", "failed", 2).await;
    let rows = until(&daemon, "good", "fired", 2).await;
    assert!(rows.iter().all(|row| row["outcome"] != "failed"), "{rows:#?}");
    assert_eq!(daemon.post("/api/schedules/bad/pause", &json!({})).await.0, 200);
    until(&daemon, "bad", "skipped_paused", 1).await;
}

#[tokio::test]
async fn an_instant_that_waited_and_that_the_database_will_not_take_holds_up_no_other() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    let mut sql = world.sql().await;
    let task = json!({"name": "sleep", "payload": {"ms": 600_000}});
    for name in ["bad", "good"] {
        put(&daemon, name, json!({"every": "1s", "overlap": "queue_one", "task": task})).await;
        until(&daemon, name, "waiting", 1).await;
    }
    refuse(&mut sql, "bad").await;
    let mut waited = Vec::new();
    for name in ["bad", "good"] {
        let before = schedule(&daemon, name).await;
        waited.push(before["waiting_fire_at"].clone());
        let first = before["last_task"]["id"].as_str().unwrap();
        let status = call(&daemon, "POST", &format!("/api/tasks/{first}/cancel"), None).await.0;
        assert!([200, 202].contains(&status), "{status}");
    }
    for (name, at, outcome) in [("good", &waited[1], "fired"), ("bad", &waited[0], "failed")] {
        let row = eventually(&format!("{name} is settled"), async || {
            let rows = ledger(&daemon, name).await;
            rows.into_iter().find(|row| row["fire_at"] == *at && row["outcome"] != "waiting")
        })
        .await;
        assert_eq!((&row["outcome"], row["task_id"].is_string()), (&json!(outcome), name == "good"), "{row}");
    }
}

#[tokio::test]
async fn what_was_missed_of_a_large_task_is_caught_up_whole_in_several_transactions() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    let payload = "x".repeat(999_998);
    let body = json!({"every": "1m", "misfire": "all", "catch_up": "2h", "task": {"name": "noop", "payload": payload}});
    put(&api, "large", body).await;
    // The latest of them may be on time.
    sql.query_drop("UPDATE schedules SET next_fire_at = next_fire_at - INTERVAL 45 MINUTE").await.unwrap();
    let _scheduler = world.daemon("scheduler").ready().await;
    let rows = until(&api, "large", "caught_up", 40).await;
    let minutes: Vec<i64> = rows.iter().map(|row| time(&row["fire_at"]).timestamp() / 60).collect();
    assert!(minutes.windows(2).all(|pair| pair[1] == pair[0] + 1), "{minutes:?}");
    let (tasks, at_once): (u64, u64) = sql
        .query_first(
            "SELECT CAST(SUM(many) AS UNSIGNED), MAX(many) FROM \
             (SELECT COUNT(*) many FROM schedule_fires WHERE outcome = 'caught_up' GROUP BY recorded_at) rounds",
        )
        .await
        .unwrap()
        .unwrap();
    assert!(tasks >= 40 && at_once <= 5, "{tasks} tasks of a megabyte, {at_once} in one transaction");
}
