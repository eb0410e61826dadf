//! The configuration: layered, checked once, and from then on plain values.
//!
//! ```text
//!   flags ─┐
//!   environment ─┼─> layers ─> forms ─> sections ─> Config
//!   file ─┘            │         │
//!                      └─────────┴─> every fault there is, at once
//! ```
//!
//! The order is flag, environment, file, default. Nothing outside of [`Flags`] and [`Environment`] is looked at.
//! Each section has its file, which names its keys, ranges and defaults; `form` has the kinds of values, `layers` finds
//! them, `entries` reads the tables that have names of their own.
//!
//! A wrong value anywhere is a fault, even one that a higher layer hides. An unknown key is a fault in the file, and a
//! warning in the environment, where others may put what they like.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

mod access;
mod defaults;
mod entries;
mod environment;
mod error;
mod executors;
mod file;
mod form;
mod http;
pub(crate) mod json;
mod layers;
mod limits;
mod observe;
mod process;
mod reach;
mod reference;
mod retention;
mod scheduler;
mod schedules;
mod schema;
mod secret;
mod servers;
mod tasks;
#[cfg(test)]
mod tests;
mod tls;
mod unknown;
mod worker;

pub use defaults::Defaults;
pub use environment::Environment;
pub use error::{ConfigError, Effective, Fault, Warning};
pub use executors::{Command, Executor};
pub use http::{Endpoint, HttpCall, SigningKey};
pub use limits::{Limits, MAX_BULK};
pub use observe::{Log, LogFormat, Metrics};
pub use process::Roles;
pub use reach::{AllowPrivate, Http, Refused};
pub use reference::{Described, reference};
pub use retention::Retention;
pub use scheduler::Scheduler;
pub use schedules::ScheduleConfig;
pub use schema::SchemaConfig;
pub use secret::Secret;
pub use servers::Database;
pub use tasks::{TaskConfig, TaskDefaults};
pub use tls::Tls;
pub use worker::{Queues, Worker};

use file::File;
use layers::Layers;

/// Checks a cron expression in a time zone, and says all that is wrong with the two.
///
/// A parameter, because cron has its own module and this one only keeps the text.
pub type CheckCron = fn(&str, &str) -> Result<(), Vec<String>>;

/// What the command line gave.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--role`, several of them joined by commas.
    pub roles: Option<String>,
    /// `--bind`
    pub bind: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
}

/// Every value in force, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What this process does.
    pub roles: Roles,
    /// Where it listens.
    pub bind: SocketAddr,
    /// MySQL or MariaDB, always as `mysql://`; see [`require_database`](Self::require_database).
    pub database_url: Option<Secret>,
    /// Redis; see [`require_redis`](Self::require_redis).
    pub redis_url: Option<Secret>,
    /// `[database]`
    pub database: Database,
    /// What every Redis key starts with: 1 to 32 characters of `A-Z a-z 0-9 . _ -`.
    pub redis_prefix: String,
    /// The bootstrap administrator's key, at least 16 visible ASCII characters.
    pub api_key: Option<Secret>,
    /// `[worker]`
    pub worker: Worker,
    /// `[scheduler]`
    pub scheduler: Scheduler,
    /// `[defaults]`
    pub defaults: Defaults,
    /// `[retention]`
    pub retention: Retention,
    /// `[limits]`
    pub limits: Limits,
    /// `[tls]`; `None`: the listener speaks HTTP.
    pub tls: Option<Tls>,
    /// `[http]`
    pub http: Http,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
    /// `[tasks.NAME]` by name.
    pub tasks: BTreeMap<String, TaskConfig>,
    /// `[schedules.NAME]` in the order of their names.
    pub schedules: Vec<ScheduleConfig>,
    effective: Vec<Effective>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All faults at once; even where the file cannot be read, those of the flags and the environment.
    pub fn load(
        flags: &Flags,
        environment: &Environment,
        check_cron: CheckCron,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let (file, unreadable) = match File::load(flags, environment) {
            Ok(file) => (file, None),
            Err(fault) => (None, Some(fault)),
        };
        let mut layers = Layers::new(environment, file.as_ref());
        layers.faults.extend(unreadable);
        let mut config = Self::read(&mut layers, flags, check_cron);
        if let Some(file) = &file {
            let unknown = unknown::in_file(file, layers.known());
            layers.faults.extend(unknown);
        }
        let warnings = unknown::in_environment(environment, layers.known());
        let Layers { faults, effective, .. } = layers;
        if !faults.is_empty() {
            return Err(ConfigError { faults });
        }
        config.effective = effective;
        Ok((config, warnings))
    }

    /// Where a daemon with this configuration listens, and whether it speaks HTTPS there, for who asks it how it is. What
    /// else is wrong by now is no matter: the daemon may have begun before it was.
    #[must_use]
    pub fn listener(flags: &Flags, environment: &Environment) -> (SocketAddr, bool) {
        let file = File::load(flags, environment).ok().flatten();
        let mut layers = Layers::new(environment, file.as_ref());
        (process::bind(&mut layers, flags), tls::tls(&mut layers).is_some())
    }

    /// In the order of the documented table, which is the order of the effective values.
    fn read(layers: &mut Layers, flags: &Flags, check_cron: CheckCron) -> Self {
        let roles = process::roles(layers, flags);
        let bind = process::bind(layers, flags);
        let database_url = servers::database_url(layers);
        let redis_url = servers::redis_url(layers);
        let database = servers::database(layers);
        let redis_prefix = servers::redis_prefix(layers);
        let api_key = access::read(layers);
        let worker = worker::read(layers);
        let scheduler = scheduler::read(layers, check_cron);
        let defaults = defaults::read(layers);
        let retention = retention::read(layers);
        let limits = limits::read(layers);
        let tls = tls::tls(layers);
        let http = reach::read(layers);
        let metrics = observe::metrics(layers);
        let log = observe::log(layers);
        let tasks = tasks::read(layers, &http.allow_private);
        let schedules = schedules::read(layers, limits.payload);
        Self {
            roles,
            bind,
            database_url,
            redis_url,
            database,
            redis_prefix,
            api_key,
            worker,
            scheduler,
            defaults,
            retention,
            limits,
            tls,
            http,
            metrics,
            log,
            tasks,
            schedules,
            effective: Vec::new(),
        }
    }

    /// Every key with its value, where it came from, and its default, secrets hidden, in the order of the documented
    /// table; then what `[tasks.NAME]` and `[schedules.NAME]` set.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        self.effective.clone()
    }

    /// The database's URL, for a command that cannot do without.
    ///
    /// # Errors
    /// It is not set; the fault says how to.
    pub fn require_database(&self) -> Result<&Secret, ConfigError> {
        required(self.database_url.as_ref(), "database_url", servers::DATABASE_TAKES)
    }

    /// Redis's URL, for a command that cannot do without.
    ///
    /// # Errors
    /// It is not set; the fault says how to.
    pub fn require_redis(&self) -> Result<&Secret, ConfigError> {
        required(self.redis_url.as_ref(), "redis_url", servers::REDIS_TAKES)
    }

    /// Both URLs, the database's first.
    ///
    /// # Errors
    /// One or both are not set, each with its fault.
    pub fn require_servers(&self) -> Result<(&Secret, &Secret), ConfigError> {
        match (self.require_database(), self.require_redis()) {
            (Ok(database), Ok(redis)) => Ok((database, redis)),
            (Err(mut database), redis) => {
                database.faults.extend(redis.err().into_iter().flat_map(|redis| redis.faults));
                Err(database)
            }
            (Ok(_), Err(redis)) => Err(redis),
        }
    }
}

fn required<'a>(url: Option<&'a Secret>, key: &str, takes: &str) -> Result<&'a Secret, ConfigError> {
    url.ok_or_else(|| {
        let problem = format!("is needed; set {} or, in the file, {key}: {takes}", environment::variable_of(key));
        ConfigError { faults: vec![Fault::new(key, "not set", problem)] }
    })
}
