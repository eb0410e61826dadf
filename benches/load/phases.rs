//! The daemon under load: what each phase gives a second, and where the processors' time goes.

use crate::http::{Client, closed_loop, request};
use crate::rig::{Daemon, Rig, Usage};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Connections of a closed loop.
pub(crate) const CONNECTIONS: usize = 256;
/// Tasks in a bulk request, and connections that send them.
const BULK: usize = 100;
const BULK_CONNECTIONS: usize = 32;
/// Pace of the latency measurement.
const PACE: Duration = Duration::from_millis(50);
const PACED_TASKS: usize = 400;

const NOOP: &str = r#"{"name":"noop","payload":{"n":1}}"#;

/// What a phase gave.
pub(crate) struct Rate {
    pub(crate) tasks: usize,
    pub(crate) time: Duration,
    pub(crate) cost: String,
}

impl Rate {
    pub(crate) fn per_second(&self) -> f64 {
        self.tasks as f64 / self.time.as_secs_f64()
    }
}

/// Measures one closed loop, with the processor time of everybody.
async fn load<F>(address: &str, connections: usize, requests: usize, tasks: usize, make: F) -> Rate
where
    F: Fn(usize) -> Vec<u8> + Send + Sync + Clone + 'static,
{
    let usage = Usage::now();
    let time = closed_loop(address, connections, requests, make).await;
    Rate { tasks, time, cost: usage.each(tasks) }
}

/// Single submissions, to a process with the api role alone.
pub(crate) async fn submit(api: &Daemon, tasks: usize) -> Rate {
    let one = request("POST", "/api/tasks", NOOP);
    load(&api.address, CONNECTIONS, tasks, tasks, move |_| one.clone()).await
}

/// Submissions of 100 tasks in a request.
pub(crate) async fn submit_bulk(api: &Daemon, tasks: usize) -> Rate {
    submit_bulk_of(api, tasks, NOOP).await
}

/// The same of this task.
pub(crate) async fn submit_bulk_of(api: &Daemon, tasks: usize, task: &str) -> Rate {
    let body = format!(r#"{{"tasks":[{}]}}"#, vec![task; BULK].join(","));
    let hundred = request("POST", "/api/tasks/bulk", &body);
    load(&api.address, BULK_CONNECTIONS, tasks / BULK, tasks, move |_| hundred.clone()).await
}

/// Reads of single tasks.
pub(crate) async fn read(api: &Daemon, reads: usize) -> Rate {
    let mut client = Client::connect(&api.address).await;
    let page: Value = serde_json::from_str(client.call(&request("GET", "/api/tasks?limit=500", "")).await).unwrap();
    let requests: Vec<Vec<u8>> = page["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| request("GET", &format!("/api/tasks/{}", task["id"].as_str().unwrap()), ""))
        .collect();
    load(&api.address, CONNECTIONS, reads, reads, move |n| requests[n % requests.len()].clone()).await
}

/// Resolves when no task waits or runs. One look at an index.
async fn at_rest(sql: &mut Conn) {
    let live = "SELECT EXISTS(SELECT 1 FROM tasks WHERE queue = 'default' AND lane > 0)";
    while sql.query_first::<u8, _>(live).await.unwrap() != Some(0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The backlog that is there, from the moment that a worker with so many slots is ready. Gives the worker too.
pub(crate) async fn drain(rig: &Rig, sql: &mut Conn, slots: usize) -> (Rate, Daemon) {
    drain_with(rig, sql, &[("TASKRUNNERX_WORKER__CONCURRENCY", &slots.to_string())]).await
}

/// The same, by a worker with settings of its own.
pub(crate) async fn drain_with(rig: &Rig, sql: &mut Conn, settings: &[(&str, &str)]) -> (Rate, Daemon) {
    let waiting = "SELECT COUNT(*) FROM tasks WHERE queue = 'default' AND lane > 0";
    let tasks: usize = sql.query_first(waiting).await.unwrap().unwrap();
    let usage = Usage::now();
    let worker = rig.daemon_with("worker", settings);
    let began = Instant::now();
    at_rest(sql).await;
    (Rate { tasks, time: began.elapsed(), cost: usage.each(tasks) }, worker)
}

/// Single submissions while they are worked off, until the last one is done.
pub(crate) async fn sustained(all: &Daemon, sql: &mut Conn, tasks: usize) -> (Rate, Duration) {
    let one = request("POST", "/api/tasks", NOOP);
    let usage = Usage::now();
    let submitting = closed_loop(&all.address, CONNECTIONS, tasks, move |_| one.clone()).await;
    let began = Instant::now();
    at_rest(sql).await;
    (Rate { tasks, time: submitting + began.elapsed(), cost: usage.each(tasks) }, submitting)
}

/// Milliseconds at 20 tasks a second on a quiet host: (what, p50, p99).
pub(crate) async fn latency(all: &Daemon, sql: &mut Conn) -> Vec<(&'static str, f64, f64)> {
    let one = request("POST", "/api/tasks", NOOP);
    let mut client = Client::connect(&all.address).await;
    let mut sent = Vec::with_capacity(PACED_TASKS);
    let mut tick = tokio::time::interval(PACE);
    for _ in 0..PACED_TASKS {
        tick.tick().await;
        let (at, began) = (chrono::Utc::now(), Instant::now());
        let answer: Value = serde_json::from_str(client.call(&one).await).unwrap();
        sent.push((answer["id"].as_str().unwrap().to_owned(), at, began.elapsed()));
    }
    at_rest(sql).await;
    let [mut responses, mut starts, mut ends] = [const { Vec::new() }; 3];
    for (id, at, response) in sent {
        let row = client.call(&request("GET", &format!("/api/tasks/{id}"), "")).await;
        let task: Value = serde_json::from_str(row).unwrap();
        // One host, one clock: the database's is the client's.
        let after = |field: &str| {
            let then: chrono::DateTime<chrono::Utc> = task[field].as_str().unwrap().parse().unwrap();
            (then - at).num_microseconds().unwrap() as f64 / 1e3
        };
        responses.push(response.as_secs_f64() * 1e3);
        starts.push(after("started_at"));
        ends.push(after("finished_at"));
    }
    [("POST to its answer", responses), ("POST to started", starts), ("POST to finished", ends)]
        .map(|(what, mut values)| {
            values.sort_by(f64::total_cmp);
            let at = |part: f64| values[((values.len() - 1) as f64 * part) as usize];
            (what, at(0.5), at(0.99))
        })
        .into()
}

/// How often each kind of statement ran so far, how long it took and how many rows it had in the mean, from the
/// daemon's own metrics.
pub(crate) async fn statements(daemon: &Daemon) -> String {
    let mut client = Client::connect(&daemon.address).await;
    let text = client.call(&request("GET", "/metrics", "")).await;
    let value = |name: &str, op: &str| -> Option<f64> {
        let series = format!("taskrunnerx_store_{name}{{op=\"{op}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    };
    let ops = ["insert", "outlook", "dispatch", "claim", "finish"];
    let shown = ops.iter().filter_map(|op| {
        let calls = value("seconds_count", op)?;
        let ms = value("seconds_sum", op)? * 1e3 / calls;
        let rows = value("batch_rows_count", op).map_or(String::new(), |batches| {
            format!(" {:.0} rows", value("batch_rows_sum", op).unwrap_or(f64::NAN) / batches)
        });
        Some(format!("{op} {calls:.0} x {ms:.1} ms{rows}"))
    });
    shown.collect::<Vec<_>>().join(", ")
}
