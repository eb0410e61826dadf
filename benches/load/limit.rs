//! The limit: the bare parts of a task's life on the same servers, in the same run. The program's own
//! statements over four connections in batches of 256, pipelined Redis commands, and an HTTP
//! server that echoes JSON; nothing between them. What they cost a task, added up, no job
//! server of this design on this machine can undercut.

use crate::http::{closed_loop, request};
use crate::phases::CONNECTIONS;
use crate::rig::Rig;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use std::time::{Duration, Instant};
use taskrunnerx::store::statements::statements;

/// Rows in a statement, connections that send them.
const BATCH: usize = 256;
const LANES: usize = 4;

/// Microseconds of machine time a task.
pub(crate) struct Limit {
    pub(crate) parts: Vec<(&'static str, f64)>,
    /// Median of a lone commit of one row, and of a round trip to Redis, in milliseconds.
    pub(crate) commit_ms: f64,
    pub(crate) redis_ms: f64,
}

impl Limit {
    fn us(&self, names: &[&str]) -> f64 {
        self.parts.iter().filter(|(name, _)| names.contains(name)).map(|(_, us)| us).sum()
    }

    /// Tasks a second that these parts alone allow.
    pub(crate) fn per_second(&self, names: &[&str]) -> f64 {
        1e6 / self.us(names)
    }
}

pub(crate) async fn measure(rig: &Rig, tasks: usize) -> Limit {
    let mut parts = Vec::new();
    let batches = ids(tasks / BATCH);
    for (part, statement) in [("insert", "insert::INSERT"), ("claim", "claim::CLAIM"), ("finish", "finish::COMPLETE")] {
        parts.push((part, run(rig, statement, &batches).await));
    }
    parts.extend(redis(rig, tasks).await);
    parts.push(("http", echo(tasks).await));
    let commit_ms = lone_commits(rig, &batches).await;
    let redis_ms = round_trips(rig).await;
    rig.sql().await.query_drop("TRUNCATE TABLE tasks").await.unwrap();
    Limit { parts, commit_ms, redis_ms }
}

type Id = [u8; 16];

/// Batches whose ids rise, as those of the program do.
fn ids(batches: usize) -> Vec<Vec<Id>> {
    (0..batches).map(|_| (0..BATCH).map(|_| *uuid::Uuid::now_v7().as_bytes()).collect()).collect()
}

fn text(name: &str, rows: usize) -> String {
    statements(rows).into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// The values of a statement of the program, for these ids.
fn values(statement: &str, sql: &str, ids: &[Id]) -> Vec<Value> {
    const WORKER: &[u8] = &[7; 16];
    let list = ids.iter().map(|id| Value::from(&id[..]));
    match statement {
        "claim::CLAIM" => [Value::from(WORKER)].into_iter().chain(list).chain([Value::from(0)]).collect(),
        "finish::COMPLETE" => list.chain([Value::from(1), Value::from(WORKER)]).collect(),
        _ => {
            let columns: Vec<&str> =
                sql.split_once('(').unwrap().1.split_once(')').unwrap().0.split(',').map(str::trim).collect();
            let now = chrono::Utc::now().naive_utc();
            ids.iter().flat_map(|id| columns.iter().map(move |column| value(column, id, now))).collect()
        }
    }
}

/// What a no-op of the default queue has in this column.
fn value(column: &str, id: &Id, now: chrono::NaiveDateTime) -> Value {
    match column {
        "id" => Value::from(&id[..]),
        "name" => "noop".into(),
        "queue" => "default".into(),
        "status" => "queued".into(),
        "priority" => 0.into(),
        "lane" => 3.into(),
        "position" => (9 * (1u64 << 53) + u64::try_from(now.and_utc().timestamp_micros()).unwrap()).into(),
        "max_attempts" => 5.into(),
        "timeout_ms" => 600_000.into(),
        "run_at" | "created_at" | "dispatched_at" => date(now),
        "payload" => r#"{"n":1}"#.into(),
        "backoff" => r#"{"kind":"exponential","base":"1s","factor":2,"max":"1h","jitter":"full"}"#.into(),
        "expires_at" | "schedule" | "tags" | "metadata" => Value::NULL,
        other => panic!("what does a no-op have in {other}?"),
    }
}

fn date(at: chrono::NaiveDateTime) -> Value {
    use chrono::{Datelike, Timelike};
    Value::Date(
        at.year().try_into().unwrap(),
        at.month() as u8,
        at.day() as u8,
        at.hour() as u8,
        at.minute() as u8,
        at.second() as u8,
        at.nanosecond() / 1000,
    )
}

async fn session(rig: &Rig) -> Conn {
    let mut conn = rig.sql().await;
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
    conn
}

/// One statement over all ids; microseconds a row.
async fn run(rig: &Rig, statement: &'static str, batches: &[Vec<Id>]) -> f64 {
    let sql = text(statement, BATCH);
    let mut lanes = tokio::task::JoinSet::new();
    let mut ready = Vec::new();
    for _ in 0..LANES {
        let mut conn = session(rig).await;
        let prepared = conn.prep(&sql).await.unwrap();
        ready.push((conn, prepared));
    }
    let began = Instant::now();
    for (lane, (mut conn, prepared)) in ready.into_iter().enumerate() {
        let mine: Vec<Vec<Id>> = batches.iter().skip(lane).step_by(LANES).cloned().collect();
        let sql = sql.clone();
        lanes.spawn(async move {
            for ids in mine {
                conn.exec_drop(&prepared, Params::Positional(values(statement, &sql, &ids))).await.unwrap();
                assert_eq!(conn.affected_rows(), BATCH as u64, "{statement}");
            }
        });
    }
    while let Some(done) = lanes.join_next().await {
        done.unwrap();
    }
    us(began.elapsed(), batches.len() * BATCH)
}

fn us(time: Duration, tasks: usize) -> f64 {
    time.as_secs_f64() * 1e6 / tasks as f64
}

/// Entries as they are, added and taken in pipelines over several connections.
async fn redis(rig: &Rig, tasks: usize) -> [(&'static str, f64); 2] {
    let client = redis::Client::open(&*rig.servers.redis_url).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let make = redis::cmd("XGROUP").arg("CREATE").arg("limit").arg("g").arg("0").arg("MKSTREAM").to_owned();
    make.query_async::<()>(&mut conn).await.unwrap();
    let rounds = tasks / BATCH / LANES;
    let mut times = Vec::new();
    for taking in [false, true] {
        let began = Instant::now();
        let mut lanes = tokio::task::JoinSet::new();
        for _ in 0..LANES {
            let client = client.clone();
            lanes.spawn(async move {
                let mut conn = client.get_multiplexed_async_connection().await.unwrap();
                for _ in 0..rounds {
                    if taking { take(&mut conn).await } else { add(&mut conn).await }
                }
            });
        }
        while let Some(done) = lanes.join_next().await {
            done.unwrap();
        }
        times.push(us(began.elapsed(), rounds * LANES * BATCH));
    }
    redis::cmd("DEL").arg("limit").query_async::<()>(&mut conn).await.unwrap();
    [("xadd", times[0]), ("xreadgroup + xack + xdel", times[1])]
}

async fn add(conn: &mut redis::aio::MultiplexedConnection) {
    let mut pipe = redis::pipe();
    for _ in 0..BATCH {
        let cmd = pipe.cmd("XADD").arg("limit").arg("*");
        cmd.arg("id").arg("0190163d-8694-739b-aea5-966c26f8ad91").arg("name").arg("noop").arg("attempt").arg(0);
        cmd.arg("dispatched_at").arg(1_780_000_000_000_000u64);
        cmd.arg("plan").arg("5 600000 1780000000000000").arg("payload").arg(r#"{"n":1}"#).ignore();
    }
    pipe.query_async::<()>(conn).await.unwrap();
}

async fn take(conn: &mut redis::aio::MultiplexedConnection) {
    let mut cmd = redis::cmd("XREADGROUP");
    cmd.arg("GROUP").arg("g").arg("c").arg("COUNT").arg(BATCH).arg("STREAMS").arg("limit").arg(">");
    let read: redis::streams::StreamReadReply = cmd.query_async(conn).await.unwrap();
    let ids: Vec<&str> = read.keys[0].ids.iter().map(|entry| &*entry.id).collect();
    assert_eq!(ids.len(), BATCH);
    let mut pipe = redis::pipe();
    pipe.cmd("XACK").arg("limit").arg("g").arg(&ids).ignore().cmd("XDEL").arg("limit").arg(&ids).ignore();
    pipe.query_async::<()>(conn).await.unwrap();
}

/// A submission's body read as JSON and sent back.
async fn echo(requests: usize) -> f64 {
    use actix_web::{App, HttpResponse, HttpServer, web};
    async fn answer(body: web::Json<serde_json::Value>) -> HttpResponse {
        HttpResponse::Created().json(&*body)
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(|| App::new().route("/", web::post().to(answer)))
                .workers(2)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
            let address = server.addrs()[0];
            let server = server.run();
            sender.send((address, server.handle())).unwrap();
            server.await.unwrap();
        });
    });
    let (address, handle) = receiver.recv().unwrap();
    let one = request("POST", "/", r#"{"name":"noop","payload":{"n":1}}"#);
    let time = closed_loop(&address.to_string(), CONNECTIONS, requests, move |_| one.clone()).await;
    handle.stop(false).await;
    us(time, requests)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median of a commit of one row, nobody else at work, in milliseconds.
async fn lone_commits(rig: &Rig, batches: &[Vec<Id>]) -> f64 {
    let mut conn = session(rig).await;
    let mut times = Vec::new();
    for id in batches.iter().flatten().take(200) {
        // As at 20 tasks a second: processor and disk are at rest in between.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let began = Instant::now();
        conn.exec_drop("UPDATE tasks SET priority = 9 - priority WHERE id = ?", (&id[..],)).await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    median(times)
}

async fn round_trips(rig: &Rig) -> f64 {
    let client = redis::Client::open(&*rig.servers.redis_url).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let began = Instant::now();
        redis::cmd("PING").query_async::<()>(&mut conn).await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    median(times)
}
