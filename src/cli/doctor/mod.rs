//! `doctor`: looks at everything that an operator can get wrong, and says what to do about it.
//!
//! ```text
//!  facts            asks the servers, each question with its time limit; changes nothing
//!    ▼
//!  configuration, database, redis_server, system   judge what was found: pure, facts to checks
//!    ▼
//!  check, show      what it adds up to, and how people read it
//! ```

mod check;
mod configuration;
mod database;
mod facts;
mod grants;
mod redis_server;
mod show;
mod system;
#[cfg(test)]
mod tests;
mod words;

use super::terminal::{Style, say};
use super::{Failure, load};
use crate::config::{Config, Environment, Flags, Secret};
use crate::executor::Registry;
use crate::store::Store;
use crate::stream::Stream;
use crate::telemetry::Metrics;
use check::{Check, Report, Section};
use std::path::PathBuf;

/// Connections to the database while looking.
const POOL: usize = 4;

/// Check everything that can be set up wrongly, and say what to do about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx doctor                        what is wrong, at risk or late, with advice
  taskrunnerx doctor --json | jq '.checks[] | select(.status != \"ok\")'

It changes nothing: no migration is applied, no stream is made.

Exit codes: 0 no error (there may be warnings), 1 errors, 2 the configuration is wrong,
3 the database or Redis cannot be reached.")]
pub(super) struct Args {
    /// One JSON object: {status, checks: [{group, name, status, detail, advice}]}
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, config: Option<PathBuf>, registry: Registry) -> Result<(), Failure> {
    let flags = Flags { config, ..Flags::default() };
    let report = match load(&flags, &Environment::of_process()) {
        Err(error) => Report { checks: configuration::faults(&error).checks, unreachable: false },
        Ok((config, warnings)) => examine(&config, configuration::judge(&config, &warnings, registry)).await?,
    };
    if args.json {
        say(&report.to_json().map_err(Failure::new)?);
    } else {
        say(show::table(&report, Style::detect()).trim_end());
    }
    match report.exit_code() {
        0 => Ok(()),
        // The report has said why.
        code => Err(Failure::with_code(code, "")),
    }
}

/// Looks at what can be reached.
async fn examine(config: &Config, configuration: Section) -> Result<Report, Failure> {
    let metrics = Metrics::new().map_err(Failure::new)?;
    let mut sections = vec![configuration];
    let store = usable(config.database_url.as_ref(), "database_url", &mut sections, |url| {
        Store::new(url, Some(POOL), metrics.clone())
    });
    let stream = usable(config.redis_url.as_ref(), "redis_url", &mut sections, |url| {
        Stream::new(url, &config.redis_prefix, metrics.clone())
    });
    let database = async {
        match &store {
            Some((url, store)) => Some(facts::database(config, url.masked_url(), url.expose(), store).await),
            None => None,
        }
    };
    let redis = async {
        match &stream {
            Some((url, stream)) => Some(facts::redis(url.masked_url(), stream).await),
            None => None,
        }
    };
    let (database, redis) = tokio::join!(database, redis);
    let stream = stream.as_ref().map(|(_, stream)| stream).filter(|_| redis.as_ref().is_some_and(|r| r.server.is_ok()));
    let store = store.as_ref().map(|(_, store)| store);
    let system = system(config, store, stream, database.as_ref()).await;
    let unreachable = database.as_ref().is_some_and(|facts| facts.reached.is_err())
        || redis.as_ref().is_some_and(|facts| facts.server.is_err());
    let roster = system.as_ref().ok().and_then(|system| system.workers.as_ref().ok());
    let processes = roster.map_or(0, |roster| roster.processes().count());
    sections.extend(database.map(|facts| database::judge(&facts, processes)));
    sections.extend(redis.map(|facts| redis_server::judge(&facts)));
    sections.extend(match &system {
        Ok(system) => system::judge(system),
        Err(why) => system::unknown(why),
    });
    let checks: Vec<Check> = sections.into_iter().flat_map(|section| section.checks).collect();
    Ok(Report { checks, unreachable })
}

/// What a URL leads to, with the URL. One that its driver does not take is a configuration error.
fn usable<'a, T, E: std::fmt::Display>(
    url: Option<&'a Secret>,
    key: &str,
    sections: &mut [Section],
    make: impl FnOnce(&str) -> Result<T, E>,
) -> Option<(&'a Secret, T)> {
    let url = url?;
    match make(url.expose()) {
        Ok(made) => Some((url, made)),
        Err(error) => {
            if let Some(configuration) = sections.first_mut() {
                let detail = error.to_string();
                configuration.error(key, detail, "`taskrunnerx config` shows its value and where it came from");
            }
            None
        }
    }
}

/// Err: why there is nothing to look at.
async fn system(
    config: &Config,
    store: Option<&Store>,
    stream: Option<&Stream>,
    database: Option<&facts::Database>,
) -> Result<facts::System, String> {
    let (Some(store), Some(database)) = (store, database) else {
        return Err("not looked at: there is no database to ask".to_owned());
    };
    if database.reached.is_err() {
        return Err("not looked at: the database cannot be reached".to_owned());
    }
    let clock = database.clock.as_ref().map_err(|why| format!("not looked at: {why}"))?;
    let migrations = database.migrations.as_ref().map_err(|why| format!("not looked at: {why}"))?;
    if !migrations.iter().any(|migration| migration.applied) {
        return Err("not looked at: the database has no tables yet".to_owned());
    }
    Ok(facts::system(clock.now, config.worker.lease, store, stream).await)
}
