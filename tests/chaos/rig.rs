//! What a trial stands on: servers whose commits survive a kill, a proxy before each, a journal,
//! and the operator's own way in, past the proxies.

use crate::form::LEASE;
use crate::handler::JOURNAL;
use crate::journal::Execution;
use crate::processes::{Plan, Process};
use crate::proxy::Proxy;
use crate::waiting::{LIMIT, within};
use mysql_async::prelude::{FromRow, Queryable};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use taskrunnerx::cli::dev::servers::{DATABASE, Durability, Options, Servers};
use tokio::sync::Mutex;

/// Begins every key in Redis.
pub(crate) const PREFIX: &str = "chaos";
/// How long a request may take before its sender gives up.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// Slots of a worker.
const SLOTS: u32 = 32;

pub(crate) struct Rig {
    directory: tempfile::TempDir,
    pub(crate) servers: Arc<Mutex<Servers>>,
    pub(crate) database: Proxy,
    pub(crate) redis: Proxy,
    database_url: String,
    redis_url: String,
    /// Beside the data, for whoever fills the disk.
    pub(crate) data_directory: PathBuf,
    pub(crate) client: reqwest::Client,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("CHAOS_KEEP").is_some() {
            self.directory.disable_cleanup(true);
            eprintln!("logs and journals are in {}", self.directory.path().display());
        }
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_on(None).await
    }

    /// With the servers' data below `disk`, which outlives the rig.
    pub(crate) async fn start_on(disk: Option<&Path>) -> Self {
        let directory = tempfile::Builder::new().prefix("trx-chaos-").tempdir().unwrap();
        let data_dir = disk.unwrap_or(directory.path()).join("servers");
        let options = Options { data_dir, ephemeral: true, durability: Durability::Full };
        let servers = Servers::start(&options).await.unwrap();
        let database = Proxy::before(servers.database.socket()).await;
        let redis = Proxy::before(servers.redis.socket()).await;
        Self {
            directory,
            database,
            redis,
            database_url: servers.database_url.clone(),
            redis_url: servers.redis_url.clone(),
            data_directory: servers.data_dir().to_owned(),
            servers: Arc::new(Mutex::new(servers)),
            client: reqwest::Client::builder().no_proxy().timeout(REQUEST_LIMIT).build().unwrap(),
        }
    }

    /// Ends the servers; the daemons should have ended before.
    pub(crate) async fn stop(self) {
        let servers = Arc::clone(&self.servers);
        drop(self);
        if let Ok(servers) = Arc::try_unwrap(servers) {
            servers.into_inner().stop().await;
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn execution(&self) -> Execution {
        Execution::new(self.path("journal"))
    }

    /// A process that reaches both servers through the proxies.
    pub(crate) fn plan(&self, name: &str, roles: &'static str) -> Plan {
        let plan = Plan { name: name.to_owned(), roles, environment: Vec::new(), file: None };
        let (database, redis) = (self.database.port, self.redis.port);
        // Unless told, the driver goes on to the socket that the server names.
        plan.env("DATABASE_URL", format!("mysql://root@127.0.0.1:{database}/{DATABASE}?prefer_socket=false"))
            .env("REDIS_URL", format!("redis://127.0.0.1:{redis}"))
            .env("TASKRUNNERX_REDIS_PREFIX", PREFIX)
            .env("TASKRUNNERX_SCHEDULER__HEARTBEAT", "")
            .env("TASKRUNNERX_WORKER__LEASE", format!("{}ms", LEASE.as_millis()))
            .env("TASKRUNNERX_WORKER__CONCURRENCY", SLOTS)
            .env("TASKRUNNERX_WORKER__DRAIN_TIMEOUT", "2s")
            .env("TASKRUNNERX_LOG__FORMAT", "json")
            .env(JOURNAL, self.path("journal").display())
    }

    pub(crate) async fn process(&self, plan: Plan) -> Process {
        Process::start(plan, self.directory.path()).await
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn ready(&self, plan: Plan) -> Process {
        let process = self.process(plan).await;
        process.until_ready(&self.client).await;
        process
    }

    /// The operator's way to the database.
    pub(crate) async fn sql(&self) -> mysql_async::Conn {
        let url = self.database_url.clone();
        reach("the database", move || mysql_async::Conn::from_url(url.clone())).await
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    pub(crate) async fn rows<T: FromRow + Send + 'static>(&self, query: &str) -> Vec<T> {
        let mut sql = self.sql().await;
        let rows = sql.query(query).await.unwrap();
        let _ = sql.disconnect().await;
        rows
    }

    pub(crate) async fn number(&self, query: &str) -> u64 {
        self.rows(query).await[0]
    }

    /// The operator's way to Redis.
    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(&*self.redis_url).unwrap();
        let connect = || {
            let client = client.clone();
            async move { client.get_multiplexed_async_connection().await }
        };
        reach("Redis", connect).await
    }

    /// The stream of a queue.
    pub(crate) fn stream(queue: &str) -> String {
        format!("{PREFIX}:{{{queue}}}")
    }

    /// Waits until a query gives 0.
    pub(crate) async fn until_none(&self, limit: Duration, query: &str) -> Result<(), String> {
        let mut sql = self.sql().await;
        let mut left = 0_u64;
        let none = within(limit, async || {
            left = match sql.query_first(query).await {
                Ok(count) => count.unwrap(),
                Err(_) => {
                    sql = self.sql().await;
                    return None;
                }
            };
            (left == 0).then_some(())
        });
        none.await.ok_or_else(|| format!("{left} are left after {limit:?}: {query}"))
    }
}

/// Tries until a server can be reached.
async fn reach<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut connect: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        match connect().await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < until, "{what} cannot be reached: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
