//! `serve`: the daemon on servers that are there.

use super::{Failure, daemon, load};
use crate::config::{Environment, Flags};
use crate::executor::Registry;
use std::path::PathBuf;

/// Run the API, the worker, the scheduler, or any combination.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  DATABASE_URL=mysql://trx:secret@db/trx REDIS_URL=redis://cache taskrunnerx serve
  taskrunnerx serve --role api,scheduler --config /etc/taskrunnerx.toml
  taskrunnerx serve --role worker --bind 0.0.0.0:8000

Exit codes: 0 stopped by a signal, 1 failed, 2 usage or configuration.")]
pub(super) struct Args {
    /// What this process does: api, worker, scheduler or all; repeatable, or a comma list [default: all]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Where it listens; every role has the open endpoints [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
}

pub(super) async fn run(args: Args, config: Option<PathBuf>, registry: Registry) -> Result<(), Failure> {
    let roles = (!args.roles.is_empty()).then(|| args.roles.join(","));
    let flags = Flags { roles, bind: args.bind, config };
    let (config, warnings) = load(&flags, &Environment::of_process())?;
    daemon::start_logging(&config.log).map_err(Failure::new)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let stop = daemon::stop_on_signals();
    let reload = move || load(&flags, &Environment::of_process()).map(|(config, _)| config);
    daemon::run(config, registry, Some(Box::new(reload)), stop, |_| {})
        .await
        .map_err(|error| Failure::with_code(error.exit_code(), error))
}
