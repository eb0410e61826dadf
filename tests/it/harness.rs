//! What every test stands on: servers, a database of its own, daemons as real processes, and
//! waiting for a condition instead of for a time.

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Instant;
use taskrunnerx::cli::dev::servers::{Durability, Options, Servers};
use taskrunnerx::store::Store;
use taskrunnerx::telemetry::Metrics;

pub(crate) use crate::waiting::{LIMIT, eventually};

/// A table of ten rows, for statements that make many of them out of it.
pub(crate) const DIGITS: &str = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
                                  UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";

/// The servers of this test process. They die with it.
struct Shared {
    database: String,
    redis: String,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (ready, started) = mpsc::channel();
        // A runtime of their own: it outlives every test's.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let data_dir = std::env::temp_dir().join(format!("trx-it-{}", std::process::id()));
                let options = Options { data_dir, ephemeral: true, durability: Durability::Relaxed };
                let servers = Servers::start(&options).await.unwrap();
                let database = std::env::var("TASKRUNNERX_TEST_DATABASE_URL").unwrap_or(servers.database_url.clone());
                ready.send(Shared { database, redis: servers.redis_url.clone() }).unwrap();
                std::future::pending::<()>().await;
            });
        });
        started.recv().unwrap()
    })
}

/// One test's world.
pub(crate) struct World {
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
    pub(crate) prefix: String,
    pub(crate) metrics: Metrics,
}

impl World {
    /// A fresh, empty database and a Redis prefix that nobody else has.
    pub(crate) async fn new() -> Self {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let base = &shared().database;
        let mut conn = connect(base).await;
        conn.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
        conn.disconnect().await.unwrap();
        let (before, query) = base.split_once('?').map_or((base.as_str(), None), |(b, q)| (b, Some(q)));
        let server = &before[..before.rfind('/').unwrap()];
        let query = query.map_or(String::new(), |q| format!("?{q}"));
        Self {
            database_url: format!("{server}/{name}{query}"),
            redis_url: shared().redis.clone(),
            prefix: name.trim_start_matches('t').to_owned(),
            metrics: Metrics::new().unwrap(),
        }
    }

    /// A raw connection to this test's database: the operator's view.
    pub(crate) async fn sql(&self) -> mysql_async::Conn {
        connect(&self.database_url).await
    }

    /// A raw connection to Redis.
    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(&*self.redis_url).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// The store on this test's database, migrated.
    pub(crate) async fn store(&self) -> Store {
        let store = Store::new(&self.database_url, Some(8), self.metrics.clone()).unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// A daemon with these roles.
    pub(crate) fn daemon(&self, roles: &str) -> DaemonBuilder {
        let mut builder = DaemonBuilder::new(&["serve", "--role", roles, "--bind", "127.0.0.1:0"]);
        builder.env("DATABASE_URL", &self.database_url);
        builder.env("REDIS_URL", &self.redis_url);
        builder.env("TASKRUNNERX_REDIS_PREFIX", &self.prefix);
        // Its tasks would stand among the test's own.
        builder.env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "");
        builder
    }
}

/// Servers of a test's own, which it may stop or set up otherwise. As durable as in production.
pub(crate) async fn private_servers() -> (Servers, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("d");
    let servers = Servers::start(&Options { data_dir, ephemeral: false, durability: Durability::Full }).await.unwrap();
    (servers, directory)
}

/// A daemon with these roles on servers of a test's own.
pub(crate) fn on(servers: &Servers, roles: &str) -> DaemonBuilder {
    let mut builder = DaemonBuilder::new(&["serve", "--role", roles, "--bind", "127.0.0.1:0"]);
    builder.env("DATABASE_URL", &servers.database_url);
    builder.env("REDIS_URL", &servers.redis_url);
    builder.env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "");
    builder
}

async fn connect(url: &str) -> mysql_async::Conn {
    mysql_async::Conn::from_url(url).await.unwrap()
}

/// A daemon that is about to be started.
pub(crate) struct DaemonBuilder {
    command: Command,
    directory: tempfile::TempDir,
}

impl DaemonBuilder {
    pub(crate) fn new(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
        command
            .args(args)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars() {
            if name.starts_with("TASKRUNNERX_") || name == "DATABASE_URL" || name == "REDIS_URL" || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        Self { command, directory }
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn arg(&mut self, arg: &str) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// The daemon's `taskrunnerx.toml`.
    pub(crate) fn file(&mut self, text: &str) -> &mut Self {
        self.beside("taskrunnerx.toml", text)
    }

    /// A file in the daemon's working directory.
    pub(crate) fn beside(&mut self, name: &str, text: &str) -> &mut Self {
        std::fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    /// Starts it and waits for its listener.
    pub(crate) fn start(mut self) -> Daemon {
        let mut child = self.command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line.clone());
                let _ = sender.send(line);
            }
        });
        let address = listening(&lines).unwrap_or_else(|| panic!("it did not listen: {:#?}", log.lock().unwrap()));
        Daemon { child, url: format!("http://{address}"), log, client: client(), directory: self.directory }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn ready(self) -> Daemon {
        let daemon = self.start();
        daemon.until_ready().await;
        daemon
    }

    /// Runs a command that ends by itself; gives its exit code and both outputs.
    pub(crate) fn output(mut self) -> (i32, String, String) {
        let output = self.command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

fn listening(lines: &Receiver<String>) -> Option<String> {
    let until = Instant::now() + LIMIT;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["message"] == "listening" {
            return event["address"].as_str().map(str::to_owned);
        }
    }
    None
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap()
}

/// A daemon as a real process; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) client: reqwest::Client,
    directory: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {}", self.url);
            self.log.lock().unwrap().iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Daemon {
    pub(crate) async fn until_ready(&self) {
        eventually("ready", async || {
            let answer = self.client.get(format!("{}/readyz", self.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Its `taskrunnerx.toml` anew.
    pub(crate) fn file(&self, text: &str) {
        std::fs::write(self.directory.path().join("taskrunnerx.toml"), text).unwrap();
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The log lines whose message contains this text.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; gives the exit code.
    pub(crate) async fn ended(&mut self) -> i32 {
        eventually("the end of the process", async || self.child.try_wait().unwrap()).await.code().unwrap_or(-1)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Submits a task that must be accepted; gives it.
    pub(crate) async fn submit(&self, body: Value) -> Value {
        let (status, task) = self.post("/api/tasks", &body).await;
        assert_eq!(status, 201, "{body} -> {task}");
        task
    }

    pub(crate) async fn task(&self, id: &Value) -> Value {
        let (status, task) = self.get(&format!("/api/tasks/{}", id.as_str().unwrap())).await;
        assert_eq!(status, 200, "{task}");
        task
    }

    /// Waits until a task is in this state; gives it.
    pub(crate) async fn until(&self, id: &Value, status: &str) -> Value {
        eventually(&format!("task {id} {status}"), async || {
            let task = self.task(id).await;
            (task["status"] == status).then_some(task)
        })
        .await
    }

    /// Submits a task and waits until it is in this state; gives it.
    pub(crate) async fn run(&self, body: Value, status: &str) -> Value {
        let task = self.submit(body).await;
        self.until(&task["id"], status).await
    }

    /// The value of one series of `/metrics`, 0 if it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let text = text.as_str().unwrap_or_default().to_owned();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0.0)
    }
}

/// A `noop` in a queue.
pub(crate) fn noop(queue: &str) -> Value {
    json!({"name": "noop", "queue": queue})
}

/// The repository's root.
pub(crate) fn root() -> std::path::PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}
