//! Instants that came while no scheduler was there: every one of them is in the ledger, by the schedule's rule.

use super::{ledger, outcomes, put, schedule, time};
use crate::harness::{World, eventually};
use chrono::TimeDelta;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

#[tokio::test]
async fn what_came_during_an_outage_is_in_the_ledger_by_each_schedules_rule() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let mut sql = world.sql().await;
    // Its instants are five minutes before and after now.
    let anchor = "SELECT DATE_FORMAT(UTC_TIMESTAMP() - INTERVAL 605 MINUTE, '%Y-%m-%dT%H:%i:%sZ')";
    let anchor: String = sql.query_first(anchor).await.unwrap().unwrap();
    let body = |more: Value| {
        let mut body = json!({"every": "10m", "starts_at": anchor, "task": {"name": "noop"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (name, more) in [
        ("skip", json!({"misfire": "skip"})),
        ("once", json!({})),
        ("all", json!({"misfire": "all"})),
        ("window", json!({"misfire": "all", "catch_up": "30m"})),
        ("paused", json!({"misfire": "all"})),
        ("ends", json!({"misfire": "all", "max_fires": 2})),
        ("overlap", json!({"misfire": "all", "overlap": "skip"})),
    ] {
        put(&api, name, body(more)).await;
    }
    assert_eq!(api.post("/api/schedules/paused/pause", &json!({})).await.0, 200);
    // An hour in which nobody was there: six instants.
    let back = "UPDATE schedules SET next_fire_at = next_fire_at - INTERVAL 1 HOUR";
    sql.query_drop(back).await.unwrap();
    let _scheduler = world.daemon("scheduler").ready().await;
    for (name, expected) in [
        ("skip", vec!["skipped_misfire"; 6]),
        ("once", [vec!["skipped_misfire"; 5], vec!["caught_up"]].concat()),
        ("all", vec!["caught_up"; 6]),
        ("window", [vec!["skipped_misfire"], vec!["caught_up"; 3]].concat()),
        ("paused", vec!["skipped_paused"; 6]),
        ("ends", [vec!["caught_up"; 2], vec!["skipped_ended"; 4]].concat()),
        ("overlap", [vec!["caught_up"], vec!["skipped_overlap"; 5]].concat()),
    ] {
        let rows = eventually(name, async || Some(ledger(&api, name).await).filter(|rows| !rows.is_empty())).await;
        assert_eq!(outcomes(&rows), expected, "{name}: {rows:#?}");
        // No hole: each row begins where the one before ended.
        let mut next = time(&json!(anchor)) + TimeDelta::minutes(550);
        for row in &rows {
            let instants = i32::try_from(row["instants"].as_u64().unwrap()).unwrap();
            let (first, last) = match row["since"].is_null() {
                true => (time(&row["fire_at"]), time(&row["fire_at"])),
                false => (time(&row["since"]), time(&row["fire_at"]) - TimeDelta::microseconds(1)),
            };
            assert_eq!(first, next, "{name}: {row}");
            assert_eq!(last - first, TimeDelta::minutes(10) * (instants - 1), "{name}: {row}");
            next = last + TimeDelta::minutes(10);
            let submits = row["outcome"] == "caught_up";
            assert_eq!(row["task_id"].is_string(), submits, "{name}: {row}");
        }
        let after = schedule(&api, name).await;
        let found = Some(&after["next_fire_at"]).filter(|at| !at.is_null()).map(time);
        assert_eq!(found, (name != "ends").then_some(next), "{name}: {after}");
    }
    let window = ledger(&api, "window").await;
    assert_eq!((&window[0]["instants"], window[0]["since"].is_string()), (&json!(3), true), "{window:#?}");
}

#[tokio::test]
async fn what_came_before_a_pause_is_caught_up_as_if_there_were_none() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    put(&api, "late", json!({"every": "10m", "misfire": "all", "task": {"name": "noop"}})).await;
    let mut sql = world.sql().await;
    sql.query_drop("UPDATE schedules SET next_fire_at = next_fire_at - INTERVAL 1 HOUR").await.unwrap();
    assert_eq!(api.post("/api/schedules/late/pause", &json!({})).await.0, 200);
    let rows = ledger(&api, "late").await;
    assert_eq!(outcomes(&rows), ["caught_up"; 6], "{rows:#?}");
    assert!(schedule(&api, "late").await["pause"].is_object());
}

#[tokio::test]
async fn an_outage_of_a_year_of_seconds_is_a_bounded_number_of_rows() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    put(&api, "tick", json!({"every": "1s", "misfire": "all", "catch_up": "1h", "task": {"name": "noop"}})).await;
    let mut sql = world.sql().await;
    sql.query_drop("UPDATE schedules SET next_fire_at = next_fire_at - INTERVAL 365 DAY").await.unwrap();
    let _scheduler = world.daemon("scheduler").ready().await;
    let (rows, instants): (u64, u64) = eventually("it is in the ledger", async || {
        let query = "SELECT COUNT(*), CAST(SUM(instants) AS UNSIGNED) FROM schedule_fires HAVING COUNT(*) > 0";
        sql.query_first(query).await.unwrap()
    })
    .await;
    assert!((1_001..1_100).contains(&rows) && instants >= 100_000, "{rows} rows for {instants} instants");
    // It goes on with what came while it was looking at all that.
    eventually("it is not behind", async || {
        let query = "SELECT next_fire_at > (SELECT MIN(recorded_at) FROM schedule_fires) FROM schedules";
        (sql.query_first::<u64, _>(query).await.unwrap() == Some(1)).then_some(())
    })
    .await;
}
