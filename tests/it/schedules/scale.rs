//! Many schedules. The large form is run by hand, with its figures:
//! `cargo test --release --test it schedules::scale -- --ignored --nocapture --test-threads 1`.

use super::put;
use crate::harness::{World, eventually};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::json;
use std::time::{Duration, Instant};

/// Makes so many like `first`, due at this SQL expression.
async fn multiply(sql: &mut Conn, count: usize, due: &str) {
    let due: String = sql.query_first(format!("SELECT CAST({due} AS CHAR)")).await.unwrap().unwrap();
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let numbers: Vec<String> = chunk.iter().map(|n| format!("SELECT {n} n")).collect();
        sql.query_drop(format!(
            "INSERT INTO schedules (name, definition, managed_by, version, next_fire_at, created_at, updated_at) \
             SELECT CONCAT('many-', n), definition, managed_by, version, '{due}', NOW(6), NOW(6) \
             FROM schedules, ({}) numbers WHERE name = 'first'",
            numbers.join(" UNION ALL ")
        ))
        .await
        .unwrap();
    }
}

/// What a process has had, in seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name in parentheses, the 12th and the 13th: ticks of a hundredth of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_thousand_that_are_due_in_the_same_second() {
    let world = World::new().await;
    let daemon = world.daemon("all").ready().await;
    put(&daemon, "first", json!({"cron": "@yearly", "task": {"name": "noop"}})).await;
    let mut sql = world.sql().await;
    let query = "SELECT COUNT(*), \
         CAST(COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, fire_at, recorded_at)), 0) AS UNSIGNED) \
         FROM schedule_fires WHERE schedule LIKE 'many-%' AND outcome = 'fired'";
    multiply(&mut sql, 1000, "DATE_FORMAT(NOW() + INTERVAL 5 SECOND, '%Y-%m-%d %H:%i:%s')").await;
    let late: u64 = eventually("all of them", async || {
        let (count, late): (u64, u64) = sql.query_first(query).await.unwrap().unwrap();
        (count == 1000).then_some(late)
    })
    .await;
    eprintln!("1,000 schedules due in the same second: the last one {late} us after its instant");
    assert!(late < 1_000_000, "{late} us");
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_hundred_thousand_that_wait() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    put(&api, "first", json!({"cron": "@yearly", "task": {"name": "noop"}})).await;
    let mut sql = world.sql().await;
    multiply(&mut sql, 100_000, "NOW() + INTERVAL 1 DAY").await;
    let began = Instant::now();
    let scheduler = world.daemon("scheduler").ready().await;
    let start = began.elapsed();
    let before = processor_time(scheduler.pid());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let cpu = processor_time(scheduler.pid()) - before;
    eprintln!("100,000 schedules: ready after {start:?}, {cpu:.2} s of processor time in a minute");
    assert!(start < Duration::from_secs(1) && cpu < 3.0, "{start:?}, {cpu} s");
    let began = Instant::now();
    assert_eq!(api.get("/api/schedules?limit=500").await.0, 200);
    eprintln!("a page of 500: {:?}", began.elapsed());
}
