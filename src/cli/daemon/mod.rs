//! A process's life, read from top to bottom: configuration (already checked) -> listener ->
//! database and migrations -> Redis -> the roles' services -> ready -> stop, drain, close.

mod assemble;
mod notify;
mod signals;

use crate::api::{self, Access, Certificate, Health, Rules, State, TlsError};
use crate::config::{Config, ConfigError, Log, LogFormat};
use crate::executor::Registry;
use crate::store::migrations::MigrateError;
use crate::store::{Store, StoreError};
use crate::stream::{Stream, StreamError};
use crate::telemetry::logging::{self, Format, LoggingError};
use crate::telemetry::{Episode, Metrics};
use assemble::Running;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use signals::Hangups;
pub use signals::stop_on_signals;

/// Wait between tries to reach the database at start.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Why the process ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("the configuration is wrong:\n{0}")]
    Config(#[from] ConfigError),
    /// A line for each fault.
    #[error("the configuration is wrong:\n{0}")]
    SetUp(String),
    #[error("the configuration is wrong:\n{0}")]
    Tls(#[from] TlsError),
    #[error(
        "listening on {0} beyond this machine needs API keys, and there are none; set TASKRUNNERX_API_KEY to a secret of your choice, make a key with `taskrunnerx apikey create ops --scope admin`, or bind to 127.0.0.1"
    )]
    Open(SocketAddr),
    #[error("{0} cannot be bound: {1}; choose another address with --bind or TASKRUNNERX_BIND")]
    Bind(SocketAddr, std::io::Error),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("database_url: {0}")]
    Store(#[from] StoreError),
    #[error("redis_url: {0}")]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    #[error("the {0} ended by itself{1}")]
    ServiceEnded(&'static str, String),
}

impl DaemonError {
    /// 2 for what the operator must change in the configuration, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            DaemonError::Config(_)
            | DaemonError::SetUp(_)
            | DaemonError::Tls(_)
            | DaemonError::Open(_)
            | DaemonError::Stream(_) => super::EXIT_USAGE,
            // An address that is taken, or not there yet, may be free the next time.
            DaemonError::Bind(..)
            | DaemonError::Migrate(_)
            | DaemonError::Store(_)
            | DaemonError::Metrics(_)
            | DaemonError::ServiceEnded(..) => 1,
        }
    }
}

/// Sends logs where the configuration says.
///
/// # Errors
/// When `log.level` is no filter.
pub fn start_logging(log: &Log) -> Result<(), LoggingError> {
    let format = match log.format {
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        None => Format::detect(),
    };
    logging::start(format, &log.level)
}

/// Checks what of the configuration needs the task types.
///
/// # Errors
/// [`DaemonError::SetUp`], with every fault.
pub fn check(mut registry: Registry, config: &Config) -> Result<(), DaemonError> {
    assemble::set_up(&mut registry, config).map(|_| ())
}

/// Reads the configuration again, as it was read at the start.
pub type Reload = Box<dyn Fn() -> Result<Config, ConfigError>>;

/// Runs the process's roles until stopped, then drains. `ready` is called with the bound
/// address when every service is up; `reload` at each SIGHUP, for the task types. None: SIGHUP ends the process.
///
/// # Errors
/// When the start fails for a reason that waiting does not mend, or a service ends by itself.
pub async fn run(
    config: Config,
    mut registry: Registry,
    reload: Option<Reload>,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), DaemonError> {
    let (database_url, redis_url) = config.require_servers()?;
    let own_types = registry.clone();
    // From here on: one that comes early must not end the process.
    let mut hangups = reload.as_ref().map(|_| Hangups::listen());
    let schedules = assemble::set_up(&mut registry, &config)?;
    let certificate = config.tls.as_ref().map(Certificate::load).transpose()?.map(Arc::new);
    if let Some(warning) = certificate.as_ref().and_then(|certificate| certificate.warning()) {
        tracing::warn!("{warning}");
    }
    let registry = Arc::new(registry);
    let metrics = Metrics::new()?;
    let store = Store::new(database_url.expose(), config.database.pool.map(usize::from), metrics.clone())?;
    let stream = Stream::new(redis_url.expose(), &config.redis_prefix, metrics.clone())?;

    // The listener first: `/livez` answers while the servers are still waited for.
    let health = Arc::new(Health::new(assemble::role_names(&config.roles)));
    let access = Access::new(rules(&config), &metrics);
    let state = Arc::new(State::new(metrics.clone(), Arc::clone(&health), access, config.roles.api));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (server, addresses) = api::server(config.bind, threads, Arc::clone(&state), certificate.as_ref())
        .map_err(|error| DaemonError::Bind(config.bind, error))?;
    let address = addresses.first().copied().unwrap_or(config.bind);
    tracing::info!(%address, tls = certificate.is_some(), roles = assemble::role_names(&config.roles).join(","), version = env!("CARGO_PKG_VERSION"), "listening");
    for role in assemble::role_names(&config.roles) {
        metrics.roles.with_label_values(&[role]).set(1);
    }
    let _watchdog = notify::Watchdog::start();
    notify::waiting();
    let mut running = Running::new(server);
    if let Some(certificate) = certificate {
        running.watch_certificate(certificate, metrics.clone(), stop.clone());
    }

    let started = tokio::select! {
        // First: services end once this is so.
        biased;
        () = stop.cancelled() => None,
        migrated = wait_for_database(&store, &health, needs_keys(&config)) => Some(migrated),
        ended = running.ended() => Some(Err(ended)),
    };
    let result = match started {
        // Stopped before it had begun.
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(())) => {
            state.access.open(store.clone());
            let parts = assemble::Parts {
                config: &config,
                registry: Arc::clone(&registry),
                store: &store,
                stream: &stream,
                metrics: &metrics,
                schedules,
            };
            running.start_services(parts, &state, &stop);
            let up = tokio::select! {
                // First: services end once this is so.
                biased;
                () = stop.cancelled() => Ok(()),
                up = running.up() => up,
            };
            match up {
                Err(error) => Err(error),
                Ok(()) => {
                    health.running();
                    if !stop.is_cancelled() {
                        tracing::info!(%address, "ready");
                        notify::ready(address);
                        ready(address);
                    }
                    tokio::select! {
                        // First: services end once this is so.
                        biased;
                        () = stop.cancelled() => Ok(()),
                        ended = running.ended() => Err(ended),
                        never = reload_types(&registry, &own_types, &config, reload, &mut hangups) => never,
                    }
                }
            }
        }
    };
    tracing::info!("stopping");
    let requests = Duration::from_secs(api::STOP_SECONDS);
    notify::stopping(if config.roles.worker { requests.max(config.worker.drain_timeout) } else { requests });
    health.stopping();
    stop.cancel();
    running.drain().await;
    store.close();
    tracing::info!("stopped");
    result
}

fn rules(config: &Config) -> Rules<'_> {
    Rules {
        key: config.api_key.as_ref().map(|key| key.expose()),
        metrics_need_key: config.metrics.require_key,
        loopback: config.bind.ip().is_loopback(),
        rate: config.limits.rate.and_then(NonZeroU32::new),
    }
}

/// The address where it must not serve without any key.
fn needs_keys(config: &Config) -> Option<SocketAddr> {
    let open = config.roles.api && config.api_key.is_none() && !config.bind.ip().is_loopback();
    open.then_some(config.bind)
}

/// At each SIGHUP the task types become those of the configuration as it is then; a wrong one changes nothing.
/// Attempts that run keep what they began with. Every other key waits for the next start.
async fn reload_types<T>(
    registry: &Registry,
    own_types: &Registry,
    config: &Config,
    reload: Option<Reload>,
    hangups: &mut Option<Hangups>,
) -> T {
    let (Some(reload), Some(hangups)) = (reload, hangups) else { return std::future::pending().await };
    loop {
        hangups.next().await;
        let read = reload().map_err(DaemonError::from).and_then(|fresh| {
            // What only a start can change stays as it is.
            let mut now = config.clone();
            now.tasks = fresh.tasks;
            let mut types = own_types.clone();
            assemble::set_up(&mut types, &now)?;
            Ok(types)
        });
        match read {
            Ok(types) => {
                registry.replace(&types);
                tracing::info!(task_types = types.known(), "read the task types again");
            }
            Err(error) => tracing::error!(%error, "the task types stay as they are"),
        }
    }
}

/// Migrates, and looks for a key where one is needed (at this address); while the database is away, waits for it with
/// one log line. Until this has ended, nobody is let in.
async fn wait_for_database(store: &Store, health: &Health, needs_keys: Option<SocketAddr>) -> Result<(), DaemonError> {
    let trouble = Episode::new("database at start");
    loop {
        match prepare(store, needs_keys).await {
            Ok(()) => {
                trouble.succeeded();
                health.database(Ok(()));
                return Ok(());
            }
            Err(DaemonError::Migrate(MigrateError::Store(error)) | DaemonError::Store(error)) if may_pass(&error) => {
                trouble.failed(&error);
                health.database(Err(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

async fn prepare(store: &Store, needs_keys: Option<SocketAddr>) -> Result<(), DaemonError> {
    for name in store.migrate().await? {
        tracing::info!(migration = name, "migration applied");
    }
    match needs_keys {
        Some(address) if store.live_api_keys().await?.is_none_or(|keys| keys.is_empty()) => {
            Err(DaemonError::Open(address))
        }
        _ => Ok(()),
    }
}

/// Whether waiting may mend it: a wrong password or a missing database will not.
fn may_pass(error: &StoreError) -> bool {
    let text = error.to_string();
    error.is_transient() && !text.contains("Access denied") && !text.contains("Unknown database")
}
