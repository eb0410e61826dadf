//! The command line: one file a command family.
//!
//! `serve` and `dev` go to [`daemon`]; client commands go to a server by [`crate::client`]; the rest is done here.

mod bench;
mod connection;
pub mod daemon;
pub mod dev;
mod doctor;
mod migrate;
mod serve;
mod show_config;
mod tasks;

use crate::config::{Config, ConfigError, Environment, Flags, Warning};
use crate::executor::{Registry, command};
use crate::task::cron::Cron;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Wrong usage or a wrong configuration; clap's own faults have the same code.
const EXIT_USAGE: u8 = 2;
/// The database, or a client command's server, cannot be reached.
const EXIT_UNREACHABLE: u8 = 3;

/// The job server you can curl: REST in, MySQL for the truth, Redis Streams for delivery,
/// workers and cron in one binary.
#[derive(Debug, Parser)]
#[command(name = "taskrunnerx", version, about, max_term_width = 100)]
#[command(after_help = "Examples:
  taskrunnerx dev                                    try it: private servers, everything in one process
  taskrunnerx serve --role all                       one host
  taskrunnerx serve --role api --bind 10.0.0.5:8000  one role of several
  taskrunnerx migrate --status                       what the database has
  taskrunnerx doctor                                 what is wrong, and what to do about it
  taskrunnerx tasks watch ID                         follow a task to its end
  taskrunnerx bench                                  how fast a running server is

Configuration: flags, then DATABASE_URL, REDIS_URL and TASKRUNNERX_*, then taskrunnerx.toml.
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not reachable.")]
struct Cli {
    /// The configuration file [default: taskrunnerx.toml in the working directory, if there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the API, the worker, the scheduler, or any combination
    Serve(serve::Args),
    /// Try it out: start a private database and Redis and run everything on them
    Dev(dev::Args),
    /// Bring the database's schema up to date
    Migrate(migrate::Args),
    /// Show the configuration in force and where each value came from
    Config(show_config::Args),
    /// Check everything that can be set up wrongly, and say what to do about it
    Doctor(doctor::Args),
    /// Look at tasks of a running server: as they are, what they said, and live
    Tasks(tasks::Args),
    /// Measure a running server: throughput and latencies
    Bench(bench::Args),
}

/// Runs the command line with these task types; returns the process's exit code.
///
/// A program with Rust handlers of its own is this call and a [`Registry`]:
///
/// ```no_run
/// use taskrunnerx::{Context, Registry, TaskError};
///
/// async fn greet(_context: Context, name: String) -> Result<String, TaskError> {
///     Ok(format!("hello, {name}"))
/// }
///
/// fn main() -> std::process::ExitCode {
///     let mut registry = Registry::new();
///     registry.register("greet", greet);
///     taskrunnerx::cli::main(registry)
/// }
/// ```
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some(command::LEASH) => return command::run_leash(),
        Some(command::STAGE) => return command::run_stage(arguments),
        _ => {}
    }
    let Cli { config, command } = Cli::parse();
    let mut runtime = match &command {
        // It leaves the rest of the machine to the server that it measures, and wakes no other thread.
        Command::Bench(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime could not start: {error}"), 1),
    };
    let result = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args, config, registry).await,
            Command::Dev(args) => dev::run(args, config, registry).await,
            Command::Migrate(args) => migrate::run(args, config).await,
            Command::Config(args) => show_config::run(&args, config, registry),
            Command::Doctor(args) => doctor::run(&args, config, registry).await,
            Command::Tasks(args) => tasks::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    });
    // What still blocks (a handler's thread) must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) if message.is_empty() => ExitCode::from(code),
        Err(Failure { code, message }) => failed(&message, code),
    }
}

/// Why a command failed, for people.
#[derive(Debug)]
struct Failure {
    code: u8,
    /// Empty: the command has said it all.
    message: String,
}

impl Failure {
    fn new(message: impl ToString) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    fn with_code(code: u8, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::with_code(EXIT_USAGE, format!("the configuration is wrong:\n{error}"))
    }
}

#[expect(clippy::print_stderr, reason = "the command line's own words")]
fn failed(message: &str, code: u8) -> ExitCode {
    eprintln!("taskrunnerx: {message}");
    ExitCode::from(code)
}

#[expect(clippy::print_stdout, reason = "the command line's own words")]
fn say(text: &str) {
    println!("{text}");
}

/// On standard error, where it is in no program's way.
#[expect(clippy::print_stderr, reason = "the command line's own words")]
fn say_aside(text: &str) {
    eprintln!("{text}");
}

/// Loads the configuration for a command.
fn load(flags: &Flags, environment: &Environment) -> Result<(Config, Vec<Warning>), ConfigError> {
    Config::load(flags, environment, |expression, zone| {
        Cron::parse(expression, zone).map(|_| ()).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
