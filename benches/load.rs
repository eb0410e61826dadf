//! A first load: a daemon with all roles on private servers, driven over REST with keep-alive
//! connections. `cargo bench --bench load -- [--tasks N] [--connections N]`.
//!
//! Prints submissions a second, tasks a second end to end, the latency from submission to
//! finish at 20 tasks a second, and the daemon's resident memory while idle. Client, daemon,
//! database and Redis share the machine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    missing_debug_implementations,
    reason = "a benchmark that meets what it does not expect should stop there"
)]

use mysql_async::prelude::Queryable;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use taskrunnerx::cli::dev::servers::{Durability, Options, Servers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Pace of the latency measurement.
const PACE: Duration = Duration::from_millis(50);
const PACED_TASKS: usize = 200;

struct Daemon {
    child: Child,
    address: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(servers: &Servers) -> Daemon {
    let mut child = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"))
        .args(["serve", "--bind", "127.0.0.1:0"])
        .env("DATABASE_URL", &servers.database_url)
        .env("REDIS_URL", &servers.redis_url)
        .env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut address = None;
    for line in lines.by_ref() {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if event["message"] == "listening" {
            address = event["address"].as_str().map(str::to_owned);
        }
        if event["message"] == "ready" {
            break;
        }
    }
    // Its pipe must not fill up.
    std::thread::spawn(move || lines.for_each(drop));
    Daemon { child, address: address.unwrap() }
}

/// One keep-alive connection that submits no-ops.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = r#"{"name":"noop","payload":{"n":1}}"#;
        let request = format!(
            "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { stream, request: request.into_bytes(), buffer: vec![0; 8192] }
    }

    /// Submits one task and reads the whole answer.
    async fn submit(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
        let mut read = 0;
        loop {
            let n = self.stream.read(&mut self.buffer[read..]).await.unwrap();
            assert!(n > 0, "the connection was closed");
            read += n;
            let text = std::str::from_utf8(&self.buffer[..read]).unwrap();
            if let Some(head) = text.find("\r\n\r\n") {
                assert!(text.starts_with("HTTP/1.1 201"), "{text}");
                let length = text.split("content-length: ").nth(1).and_then(|t| t.split("\r\n").next()).unwrap();
                if read >= head + 4 + length.parse::<usize>().unwrap() {
                    return;
                }
            }
        }
    }
}

fn option(name: &str, default: usize) -> usize {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|arg| arg == name);
    at.map_or(default, |at| args[at + 1].parse().unwrap())
}

async fn completed(sql: &mut mysql_async::Conn) -> usize {
    sql.query_first("SELECT COUNT(*) FROM tasks WHERE status = 'completed'").await.unwrap().unwrap()
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

async fn load(address: &str, tasks: usize, connections: usize, sql: &mut mysql_async::Conn) {
    let before = completed(sql).await;
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let address = address.to_owned();
        clients.spawn(async move {
            let mut client = Client::connect(&address).await;
            for _ in 0..tasks / connections {
                client.submit().await;
            }
        });
    }
    while clients.join_next().await.is_some() {}
    let submitted = began.elapsed();
    let total = tasks / connections * connections;
    while completed(sql).await < before + total {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let finished = began.elapsed();
    println!("{total} no-op tasks, {connections} connections");
    println!("  submissions         {:>8.0}/s", total as f64 / submitted.as_secs_f64());
    println!("  end to end          {:>8.0}/s", total as f64 / finished.as_secs_f64());
}

async fn latency(address: &str, sql: &mut mysql_async::Conn) {
    let mut client = Client::connect(address).await;
    let since: String = sql.query_first("SELECT CAST(NOW(6) AS CHAR)").await.unwrap().unwrap();
    let mut tick = tokio::time::interval(PACE);
    let mut responses = Vec::new();
    for _ in 0..PACED_TASKS {
        tick.tick().await;
        let sent = Instant::now();
        client.submit().await;
        responses.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    let query = format!("SELECT COUNT(*) FROM tasks WHERE created_at >= '{since}' AND status = 'completed'");
    while sql.query_first::<usize, _>(&query).await.unwrap() != Some(PACED_TASKS) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let query = format!(
        "SELECT TIMESTAMPDIFF(MICROSECOND, created_at, started_at) / 1000, TIMESTAMPDIFF(MICROSECOND, created_at, finished_at) / 1000 \
         FROM tasks WHERE created_at >= '{since}'"
    );
    let rows: Vec<(f64, f64)> = sql.query(query).await.unwrap();
    println!("{PACED_TASKS} tasks at 20/s, milliseconds          p50     p99");
    let (starts, ends) = rows.into_iter().unzip();
    for (what, mut values) in [
        ("POST to its answer", responses),
        ("accepted to started (rows)", starts),
        ("accepted to finished (rows)", ends),
    ] {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values[((values.len() - 1) as f64 * part) as usize];
        println!("  {what:<30} {:>7.2} {:>7.2}", at(0.5), at(0.99));
    }
}

#[tokio::main]
async fn main() {
    let directory = std::env::temp_dir().join(format!("trx-bench-{}", std::process::id()));
    let options = Options { data_dir: directory, ephemeral: true, durability: Durability::Full };
    let servers = Servers::start(&options).await.unwrap();
    let daemon = start(&servers);
    let mut sql = mysql_async::Conn::from_url(&servers.database_url).await.unwrap();
    let (tasks, connections) = (option("--tasks", 50_000), option("--connections", 256));
    // Warm: the queue is known, statements are prepared.
    load(&daemon.address, 2_000, 64, &mut sql).await;
    latency(&daemon.address, &mut sql).await;
    println!("resident memory, idle   {:>6.1} MiB", resident_mib(daemon.child.id()));
    load(&daemon.address, tasks, connections, &mut sql).await;
    println!("resident memory, after  {:>6.1} MiB", resident_mib(daemon.child.id()));
    drop(daemon);
    servers.stop().await;
}
