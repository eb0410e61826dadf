//! Private servers, daemons in the roles that a measurement needs, and what each process costs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use taskrunnerx::cli::dev::servers::{Durability, Options, Servers};

/// The servers of one run: Redis always a private one, the database too unless it is given.
pub(crate) struct Rig {
    pub(crate) servers: Servers,
    pub(crate) database_url: String,
}

impl Rig {
    /// As durable as in production. `TASKRUNNERX_TEST_DATABASE_URL` names another database server;
    /// a fresh database is made there.
    pub(crate) async fn start() -> Self {
        let data_dir = std::env::temp_dir().join(format!("trx-bench-{}", std::process::id()));
        let servers =
            Servers::start(&Options { data_dir, ephemeral: true, durability: Durability::Full }).await.unwrap();
        let mut database_url = servers.database_url.clone();
        if let Ok(given) = std::env::var("TASKRUNNERX_TEST_DATABASE_URL") {
            let name = format!("bench{}", uuid::Uuid::now_v7().simple());
            let mut sql = mysql_async::Conn::from_url(&given).await.unwrap();
            mysql_async::prelude::Queryable::query_drop(&mut sql, format!("CREATE DATABASE {name}")).await.unwrap();
            let (before, query) = given.split_once('?').map_or((given.as_str(), None), |(b, q)| (b, Some(q)));
            let query = query.map_or(String::new(), |q| format!("?{q}"));
            database_url = format!("{}/{name}{query}", &before[..before.rfind('/').unwrap()]);
        }
        Self { servers, database_url }
    }

    pub(crate) async fn sql(&self) -> mysql_async::Conn {
        mysql_async::Conn::from_url(&self.database_url).await.unwrap()
    }

    /// A daemon with these roles, ready.
    pub(crate) fn daemon(&self, roles: &str) -> Daemon {
        self.daemon_with(roles, &[])
    }

    /// The same with so many slots.
    pub(crate) fn with_slots(&self, roles: &str, slots: usize) -> Daemon {
        self.daemon_with(roles, &[("TASKRUNNERX_WORKER__CONCURRENCY", &slots.to_string())])
    }

    /// The same with settings of its own.
    pub(crate) fn daemon_with(&self, roles: &str, settings: &[(&str, &str)]) -> Daemon {
        Daemon::start(&self.database_url, &self.servers.redis_url, roles, settings)
    }
}

/// A daemon process. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
    /// From the start of the process to `ready`.
    pub(crate) start: Duration,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(database_url: &str, redis_url: &str, roles: &str, settings: &[(&str, &str)]) -> Self {
        let began = Instant::now();
        let mut child = Command::new(binary())
            .args(["serve", "--role", roles, "--bind", "127.0.0.1:0"])
            .env("DATABASE_URL", database_url)
            .env("REDIS_URL", redis_url)
            .env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "")
            .envs(settings.iter().copied())
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
        let start = began.elapsed();
        // Its pipe must not fill up; what it says beyond the start is worth seeing.
        std::thread::spawn(move || {
            lines.filter(|line| !line.contains("\"INFO\"")).for_each(|line| eprintln!("{line}"))
        });
        Self { child, address: address.unwrap(), start }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn resident_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let kib = status.lines().find_map(|line| {
            line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<f64>().ok()
        });
        kib.unwrap_or(f64::NAN) / 1024.0
    }
}

fn binary() -> std::ffi::OsString {
    // Another build of the daemon, to compare two of them.
    std::env::var_os("TASKRUNNERX_BENCH_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_taskrunnerx").into())
}

/// Processor time of the processes whose name begins with this, in seconds.
fn seconds(of: impl Fn(&str, u32) -> bool) -> f64 {
    let mut total = 0.0;
    for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
        if of(name, pid) {
            let fields: Vec<&str> = rest.split(' ').collect();
            // utime and stime, in the hundredths that Linux gives to every program.
            total += (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0;
        }
    }
    total
}

/// Processor time that each process has used.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    database: f64,
    redis: f64,
    daemon: f64,
    client: f64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let own = std::process::id();
        Self {
            database: seconds(|name, _| name == "mariadbd" || name == "mysqld"),
            redis: seconds(|name, _| name.starts_with("redis-server") || name.starts_with("valkey-server")),
            daemon: seconds(|name, pid| name == "taskrunnerx" && pid != own),
            client: seconds(|_, pid| pid == own),
        }
    }

    /// Microseconds of processor time for each of so many tasks since then.
    pub(crate) fn each(self, tasks: usize) -> String {
        let now = Self::now();
        let us = |now: f64, then: f64| (now - then) * 1e6 / tasks as f64;
        format!(
            "database {:.1}, redis {:.1}, daemon {:.1}, client {:.1}",
            us(now.database, self.database),
            us(now.redis, self.redis),
            us(now.daemon, self.daemon),
            us(now.client, self.client)
        )
    }
}
