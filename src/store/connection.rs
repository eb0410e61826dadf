//! The pool, and the one way in which work reaches a connection: [`Store::run`].
//!
//! Two facts of the driver shape it. Dropping a query's future leaves the connection out of
//! step, so work runs in a task of its own, and a connection whose work did not end well is
//! thrown away instead of going back to the pool. And a connection belongs to the runtime that
//! made it, so that task runs on the runtime that made the store, never on an HTTP worker's.

use super::error::StoreError;
use super::sql::select;
use crate::seam::{Fault, MaybeSeam, Seam, across};
use crate::task::Timestamp;
use crate::telemetry::Metrics;
use chrono::{DateTime, NaiveDateTime};
use deadpool::managed::QueueMode;
use diesel::sql_types::{Datetime, Text};
use diesel::{ConnectionError, QueryResult};
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncMysqlConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use mysql_async::{Conn, Opts, OptsBuilder};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Longest wait for one operation, connection included. After it the caller is answered and
/// the connection is closed; what was sent may still be done by the server.
pub const OPERATION_LIMIT: Duration = Duration::from_secs(10);
/// The same for a claim: shorter than the sweep's grace, so that what a claim gave up on is not
/// dispatched again while it may still commit.
const CLAIM_LIMIT: Duration = Duration::from_secs(4);
/// Connections at once, unless configured. More than a dozen writers only queue for InnoDB's locks.
pub const DEFAULT_POOL: usize = 16;
/// Tries of one operation that the server undid or whose connection broke.
const TRIES: u32 = 5;
/// Wait before the second try; doubled each time, with full jitter.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// The operation that has a limit of its own.
pub(super) const CLAIM: &str = "claim";
/// A connection whose server is silent for this long is probed, and given up if nothing answers.
const KEEPALIVE_MS: u32 = 10_000;

/// What each session is told. READ COMMITTED: guards are in the statements, and gap locks
/// would only make batches collide. Short lock waits: a batch is retried, not queued for ever.
const SESSION: [&str; 5] = [
    "SET time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION innodb_lock_wait_timeout = 3",
    "SET SESSION wait_timeout = 28800",
];

pub(super) type Connection = AsyncMysqlConnection;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool<Connection>,
    metrics: Metrics,
    runtime: Handle,
    seam: MaybeSeam,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Store {
    /// A pool for this URL (`mysql://user:password@host:port/database`, `?socket=/path` for a
    /// unix socket, `?require_ssl=true` for TLS). Connects at first use. Call it on the runtime
    /// that outlives every user of the store.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the URL cannot be understood.
    pub fn new(url: &str, pool_size: Option<usize>, metrics: Metrics) -> Result<Self, StoreError> {
        Opts::from_url(url).map_err(|e| StoreError::Refused(format!("database_url: {e}")))?;
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(|url| establish(url.to_owned()).boxed());
        let manager = AsyncDieselConnectionManager::new_with_config(url, config);
        let pool = Pool::builder(manager)
            .max_size(pool_size.unwrap_or(DEFAULT_POOL))
            // The connection used last: those beyond the need stay without prepared statements.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|e| StoreError::Unexpected(e.to_string()))?;
        Ok(Self { pool, metrics, runtime: Handle::current(), seam: None })
    }

    /// The same store with faults between it and the database: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_seam(self, seam: Arc<dyn Seam>) -> Self {
        Self { seam: Some(seam), ..self }
    }

    /// Does `work` on a connection, within [`OPERATION_LIMIT`], and again after a deadlock or
    /// a broken connection. `work` must be safe to repeat: by its guards, or by looking first
    /// where `tries` says that it is not the first.
    pub(super) async fn run<T, W>(&self, op: &'static str, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> Fn(&'c mut Connection, u32) -> BoxFuture<'c, QueryResult<T>> + Send + Sync + 'static,
    {
        let started = Instant::now();
        let pool = self.pool.clone();
        let limit = if op == CLAIM { CLAIM_LIMIT } else { OPERATION_LIMIT };
        let fault = self.seam.as_ref().and_then(|seam| seam.fault(op));
        // The limit is inside the task: it holds even when the caller has gone.
        let task = self.runtime.spawn(async move {
            tokio::time::timeout(limit, tries(&pool, work, fault)).await.unwrap_or(Err(StoreError::TimedOut))
        });
        let result = match fault {
            Some(Fault::Late(_)) => Err(StoreError::TimedOut),
            _ => task.await.unwrap_or_else(|join| Err(StoreError::Unexpected(join.to_string()))),
        };
        self.metrics.store_seconds.with_label_values(&[op]).observe(started.elapsed().as_secs_f64());
        if let Err(error) = &result {
            self.metrics.store_errors.with_label_values(&[error.kind()]).inc();
        }
        result
    }

    /// A connection of its own, outside the pool and its limits: for migrations.
    pub(super) async fn dedicated(&self) -> Result<Connection, StoreError> {
        let object = self.pool.get().await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(Object::take(object))
    }

    /// Counts a batch's rows.
    pub(super) fn saw_batch(&self, op: &'static str, rows: usize) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.metrics.store_batch_rows.with_label_values(&[op]).observe(f64::from(rows));
    }

    /// The database's clock.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.run("clock", |conn, _| now(conn).boxed()).await
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.now().await.map(|_| ())
    }

    /// The server's counters of a pooled connection whose names begin with `prefix`: for the
    /// tests that count what a pool of one connection has done.
    ///
    /// # Errors
    /// When the database cannot be reached.
    #[doc(hidden)]
    pub async fn session_counters(&self, prefix: &'static str) -> Result<BTreeMap<String, u64>, StoreError> {
        self.run("counters", move |conn, _| {
            async move {
                let text = format!("SHOW SESSION STATUS LIKE '{prefix}%'");
                let rows: Vec<(String, String)> = select::<(Text, Text)>(&text, vec![]).load(conn).await?;
                Ok(rows.into_iter().filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect())
            }
            .boxed()
        })
        .await
    }

    /// Closes idle connections and refuses new work.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// The database's clock, on a connection.
pub(super) async fn now(conn: &mut Connection) -> QueryResult<Timestamp> {
    let naive: NaiveDateTime = select::<Datetime>("SELECT NOW(6)", vec![]).get_result(conn).await?;
    Ok(utc(naive))
}

/// A row's time as the rest of the program sees it.
pub(super) fn utc(naive: NaiveDateTime) -> Timestamp {
    DateTime::from_naive_utc_and_offset(naive, chrono::Utc)
}

async fn establish(url: String) -> Result<Connection, ConnectionError> {
    let opts = Opts::from_url(&url).map_err(|e| ConnectionError::InvalidConnectionUrl(e.to_string()))?;
    let opts = OptsBuilder::from_opts(opts)
        .init(SESSION.to_vec())
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_MS))
        .stmt_cache_size(0) // diesel-async has its own, and the two must not both close a statement
        .client_found_rows(true); // an UPDATE reports the rows it matched: `affected == named` is a guard
    let conn = Conn::new(opts).await.map_err(|e| ConnectionError::BadConnection(e.to_string()))?;
    Connection::try_from(conn).await
}

async fn tries<T, W>(pool: &Pool<Connection>, work: W, mut fault: Option<Fault>) -> Result<T, StoreError>
where
    W: for<'c> Fn(&'c mut Connection, u32) -> BoxFuture<'c, QueryResult<T>> + Sync,
{
    let mut tried = 0;
    loop {
        let error = match once(pool, &work, tried, fault.take()).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        tried += 1;
        match error {
            StoreError::Contended(_) if tried < TRIES => {}
            StoreError::Lost(_) if tried < TRIES => {
                // One dead connection means that the server went away: its idle neighbours are dead too.
                pool.retain(|_, _| false);
            }
            final_error => return Err(final_error),
        }
        let ceiling = FIRST_WAIT.saturating_mul(1 << tried.min(8));
        tokio::time::sleep(ceiling.mul_f64(rand::random::<f64>())).await;
    }
}

async fn once<T, W>(pool: &Pool<Connection>, work: &W, tried: u32, fault: Option<Fault>) -> Result<T, StoreError>
where
    W: for<'c> Fn(&'c mut Connection, u32) -> BoxFuture<'c, QueryResult<T>> + Sync,
{
    let object = pool.get().await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
    let mut lent = Lent(Some(object));
    let Some(conn) = lent.0.as_mut() else {
        return Err(StoreError::Unexpected("no connection".to_owned()));
    };
    let result = across(fault, work(conn, tried).map_err(StoreError::from)).await;
    match &result {
        // In step: back to the pool.
        Ok(_) | Err(StoreError::Contended(_)) => drop(lent.0.take()),
        Err(StoreError::Refused(why)) if !super::error::closes(why) => drop(lent.0.take()),
        // Perhaps out of step: `lent` closes it.
        Err(_) => {}
    }
    result
}

/// A connection at work. Dropped with the connection still inside (an error, or the work was
/// given up), it takes the connection out of the pool and closes it.
struct Lent(Option<Object<Connection>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
