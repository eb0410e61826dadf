//! A table that has been in use for long: 10 million finished rows and a backlog of 1 million, and what is then
//! left of the speed of an empty one.

use crate::http::{Client, closed_loop, request};
use crate::phases::{self, Rate, statements};
use crate::rig::{Daemon, Rig, Usage};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// Rows of one INSERT while the table is filled.
const CHUNK: u64 = 250_000;
/// Finished rows older than any retention, for the purge.
const OLD: u64 = 500_000;

/// The rates of one table.
pub(crate) struct Rates {
    pub(crate) submit: Rate,
    pub(crate) bulk: Rate,
    pub(crate) drain: Rate,
    /// Milliseconds, the median of a first page of 50.
    pub(crate) list_ms: f64,
}

/// Fills the table: finished rows of the last days, then a backlog. Ids rise as the program's do.
pub(crate) async fn fill(sql: &mut Conn, finished: u64, backlog: u64) {
    sql.query_drop("CREATE TABLE IF NOT EXISTS digits (d INT PRIMARY KEY)").await.unwrap();
    sql.query_drop("REPLACE INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)").await.unwrap();
    let began = Instant::now();
    let mut done = 0;
    while done < finished + backlog {
        let rows = CHUNK.min(finished + backlog - done);
        // The first ones are nine days old, the others a day; the backlog came last.
        let age_ms: u64 = if done < OLD { 9 * 86_400_000 } else { 86_400_000 };
        let (status, lane) = if done < finished { ("completed", 0) } else { ("queued", 2) };
        let at = format!("FROM_UNIXTIME((UNIX_TIMESTAMP() * 1000 - {age_ms} + n DIV 100) / 1000)");
        let finished_at = if lane == 0 { at.clone() } else { "'1970-01-01 00:00:00'".to_owned() };
        let text = format!(
            "INSERT INTO tasks (id, name, queue, priority, status, lane, position, attempt, max_attempts, timeout_ms, run_at, \
               created_at, started_at, finished_at, payload) \
             SELECT UNHEX(CONCAT(LPAD(HEX(CAST(UNIX_TIMESTAMP() * 1000 - {age_ms} + n DIV 100 AS UNSIGNED)), 12, '0'), '7000', \
               'A', LPAD(HEX(n), 15, '0'))), 'noop', 'default', 0, '{status}', {lane}, \
               9 * 9007199254740992 + CAST(UNIX_TIMESTAMP() * 1000000 - {age_ms} * 1000 + n * 10 AS UNSIGNED), 0, 5, 600000, \
               {at}, {at}, {finished_at}, {finished_at}, '{{\"n\":1}}' \
             FROM (SELECT {done} + a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d + 100000*g.d AS n \
               FROM digits a, digits b, digits c, digits e, digits f, digits g LIMIT {rows}) numbers ORDER BY n"
        );
        sql.query_drop(text).await.unwrap();
        done += rows;
    }
    println!("filled with {finished} finished and {backlog} waiting rows in {:.0} s", began.elapsed().as_secs_f64());
}

/// Measures submission, then the first `tasks` of the backlog, then a page of the list.
pub(crate) async fn measure(rig: &Rig, sql: &mut Conn, tasks: usize) -> Rates {
    let api = rig.daemon("api");
    phases::submit(&api, tasks / 20).await;
    let submit = phases::submit(&api, tasks).await;
    let bulk = phases::submit_bulk(&api, tasks).await;
    let list_ms = list(&api).await;
    let drain = drain(rig, sql, tasks).await;
    Rates { submit, bulk, drain, list_ms }
}

/// The time in which so many tasks of the backlog are completed.
async fn drain(rig: &Rig, sql: &mut Conn, tasks: usize) -> Rate {
    let waiting = "SELECT COUNT(*) FROM tasks WHERE queue = 'default' AND lane > 0";
    let before: usize = sql.query_first(waiting).await.unwrap().unwrap();
    let worker = rig.daemon("worker");
    let (usage, began) = (Usage::now(), Instant::now());
    let done = async || -> usize {
        let text = metrics(&worker).await;
        let series = "taskrunnerx_tasks_finished_total{name=\"noop\",outcome=\"completed\",queue=\"default\"} ";
        text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0)
    };
    while done().await < tasks.min(before) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (time, tasks) = (began.elapsed(), done().await);
    println!("    statements: {}", statements(&worker).await);
    Rate { tasks, time, cost: usage.each(tasks) }
}

async fn metrics(daemon: &Daemon) -> String {
    Client::connect(&daemon.address).await.call(&request("GET", "/metrics", "")).await.to_owned()
}

async fn list(api: &Daemon) -> f64 {
    let page = request("GET", "/api/tasks?limit=50", "");
    closed_loop(&api.address, 1, 200, move |_| page.clone()).await.as_secs_f64() * 1e3 / 200.0
}

/// Rows purged a second while the scheduler walks over the oldest.
pub(crate) async fn purge(rig: &Rig, sql: &mut Conn) {
    let oldest = "SELECT COUNT(*) FROM (SELECT id FROM tasks WHERE id < UNHEX(CONCAT(LPAD(HEX(CAST(\
                  UNIX_TIMESTAMP() * 1000 - 8 * 86400000 AS UNSIGNED)), 12, '0'), '00000000000000000000'))) old";
    let before: u64 = sql.query_first(oldest).await.unwrap().unwrap();
    // Passes begin a hundredth of the shortest retention apart.
    let scheduler = rig.daemon_with("scheduler", &[("TASKRUNNERX_RETENTION__FAILED", "100s")]);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after: u64 = sql.query_first(oldest).await.unwrap().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "purge: {} of {before} old rows in {seconds:.0} s, {:.0}/s",
        before - after,
        (before - after) as f64 / seconds
    );
    drop(scheduler);
}
