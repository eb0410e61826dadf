//! The command line: one file a command family.
//!
//! `serve` and `dev` go to [`daemon`]; client commands go to a server by [`crate::client`]; the rest is done here.

mod again;
mod apikey;
mod bench;
mod confirm;
mod connection;
pub mod daemon;
mod database;
pub mod dev;
mod doctor;
mod each;
mod failures;
mod fields;
mod health;
mod input;
mod manual;
mod migrate;
mod openapi;
mod ops;
mod paging;
mod queues;
mod schedules;
mod serve;
mod show_config;
mod stats;
mod submit;
mod table;
mod task_types;
mod tasks;
mod terminal;
mod values;
mod words;
mod workers;

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
/// What was waited for goes on.
const EXIT_STILL_RUNNING: u8 = 4;
/// Ctrl-C, as a shell counts it.
const EXIT_INTERRUPTED: u8 = 130;

/// The job server you can curl: REST in, MySQL for the truth, Redis Streams for delivery,
/// workers and cron in one binary.
#[derive(Debug, Parser)]
#[command(name = "taskrunnerx", version, about, max_term_width = 100)]
#[command(after_help = "Examples:
  taskrunnerx dev                                    try it: private servers, everything in one process
  taskrunnerx serve --role all                       one host
  taskrunnerx serve --role api --bind 10.0.0.5:8000  one role of several
  taskrunnerx apikey create ops --scope admin        the first key, before the server listens to others
  taskrunnerx doctor                                 what is wrong, and what to do about it
  taskrunnerx submit echo '{\"hello\": \"world\"}' --wait  run a task and print its result
  taskrunnerx tasks list --status failed             what has failed
  taskrunnerx tasks explain ID                       why a task does not run
  taskrunnerx queues pause mail --reason 'bounces'   keep a queue's tasks from being started
  taskrunnerx schedules apply -f s.toml --dry-run    what a file of schedules would change
  taskrunnerx bench                                  how fast a running server is

Configuration: flags, then DATABASE_URL, REDIS_URL and TASKRUNNERX_*, then taskrunnerx.toml.
Commands that talk to a server find it with --url or TASKRUNNERX_URL; --json gives what it answers.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not reachable, 4 still running, 130 interrupted.")]
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
    /// Make, list, rotate and revoke API keys, directly on the database
    Apikey(apikey::Args),
    /// Submit a task to a running server, and wait for its result if asked
    Submit(Box<submit::Args>),
    /// Look at tasks of a running server, and cancel, retry, run or delete them
    Tasks(tasks::Args),
    /// Look at queues, pause and resume them
    Queues(queues::Args),
    /// Look at schedules and their ledger, apply them from files, run, pause and backfill them
    Schedules(Box<schedules::Args>),
    /// Show who works
    Workers(workers::Args),
    /// Show failed tasks, grouped by their errors
    Failures(failures::Args),
    /// Show totals
    Stats(stats::Args),
    /// Show what can be submitted
    TaskTypes(task_types::Args),
    /// Ask a server how it is; for health checks of containers too
    Health(health::Args),
    /// Print the specification of the REST API
    Openapi(openapi::Args),
    /// Print a dashboard for Grafana, or alert rules for Prometheus
    Ops(ops::Args),
    /// Print a script that completes commands in a shell
    Completions(manual::CompletionsArgs),
    /// Print a command's manual page, or write all of them
    Man(manual::ManArgs),
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
        // Migrations block one of its threads.
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime could not start: {error}"), 1),
    };
    let result = runtime.block_on(async {
        if command.ends_by_itself() {
            return route(command, config, registry).await;
        }
        let interrupted = Failure::with_code(EXIT_INTERRUPTED, command.when_interrupted());
        tokio::select! {
            result = route(command, config, registry) => result,
            // What it was at is dropped, and its bar with it.
            _ = tokio::signal::ctrl_c() => Err(interrupted),
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

async fn route(command: Command, config: Option<PathBuf>, registry: Registry) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args, config, registry).await,
        Command::Dev(args) => dev::run(args, config, registry).await,
        Command::Migrate(args) => migrate::run(args, config).await,
        Command::Config(args) => show_config::run(&args, config, registry),
        Command::Doctor(args) => doctor::run(&args, config, registry).await,
        Command::Apikey(args) => apikey::run(args, config).await,
        Command::Submit(args) => submit::run(*args).await,
        Command::Tasks(args) => tasks::run(args).await,
        Command::Queues(args) => queues::run(args).await,
        Command::Schedules(args) => schedules::run(*args).await,
        Command::Workers(args) => workers::run(args).await,
        Command::Failures(args) => failures::run(args).await,
        Command::Stats(args) => stats::run(args).await,
        Command::TaskTypes(args) => task_types::run(args).await,
        Command::Health(args) => health::run(args, config).await,
        Command::Openapi(args) => openapi::run(args).await,
        Command::Ops(args) => ops::run(args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::Bench(args) => bench::run(args).await,
    }
}

impl Command {
    /// Whether it has something to finish when it is interrupted, and hears of that itself.
    const fn ends_by_itself(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Dev(_) | Self::Bench(_))
    }

    /// What is to be known of what it was at.
    const fn when_interrupted(&self) -> &'static str {
        match self {
            Self::Migrate(_) => "interrupted; what was applied stays, and taskrunnerx migrate goes on with the rest",
            Self::Apikey(_) => {
                "interrupted; taskrunnerx apikey list shows the keys that there are, and a key whose secret was not \
                 shown gets another one by taskrunnerx apikey rotate"
            }
            _ => "",
        }
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

fn failed(message: &str, code: u8) -> ExitCode {
    terminal::say_aside(&format!("taskrunnerx: {message}"));
    ExitCode::from(code)
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

    /// Every command that does something, with the words that lead to it.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        if command.get_subcommands().next().is_none() {
            found.push((path.to_owned(), command.clone()));
        }
        for sub in command.get_subcommands() {
            leaves(sub, &format!("{path} {}", sub.get_name()), found);
        }
    }

    #[test]
    fn every_command_says_how_it_is_used_and_how_it_ends() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "taskrunnerx", &mut found);
        assert!(found.len() > 25, "{}", found.len());
        for (path, command) in found {
            let help = command.get_after_help().unwrap_or_else(|| panic!("{path} has no examples")).to_string();
            assert!(help.starts_with("Examples:\n"), "{path}: {help}");
            assert!(help.contains(&format!("  {path}")), "{path} is in no example of its own: {help}");
            assert!(help.contains("\n\nExit codes: 0 "), "{path} does not say its exit codes: {help}");
            assert!(help.lines().all(|line| line.chars().count() <= 112), "{path} has lines that fold: {help}");
            assert!(command.get_about().is_some(), "{path} says nothing of itself");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
        }
    }

    /// Those that stand before others.
    fn groups() -> Vec<clap::Command> {
        Cli::command().get_subcommands().filter(|command| command.has_subcommands()).cloned().collect()
    }

    #[test]
    fn every_group_of_commands_shows_some_of_them() {
        let groups = groups();
        assert!(groups.len() >= 5, "{}", groups.len());
        for group in groups {
            let name = group.get_name().to_owned();
            let help = group.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            assert!(help.starts_with(&format!("Examples:\n  taskrunnerx {name} ")), "{name}: {help}");
        }
    }

    #[test]
    fn the_examples_are_commands_that_there_are() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "taskrunnerx", &mut found);
        let commands = found.into_iter().map(|(_, command)| command).chain(groups()).chain([Cli::command()]);
        for text in commands.filter_map(|command| command.get_after_help().map(ToString::to_string)) {
            for line in text.lines().filter(|line| line.starts_with("  taskrunnerx ")) {
                let words = example(line);
                if let Err(error) = Cli::try_parse_from(&words)
                    && !matches!(error.kind(), clap::error::ErrorKind::DisplayHelp)
                {
                    panic!("{words:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn the_advice_to_make_a_key_is_a_command_that_there_is() {
        let texts =
            [include_str!("daemon/mod.rs"), include_str!("doctor/configuration.rs"), include_str!("../api/access.rs")];
        for text in texts {
            let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
            let advice: Vec<&str> = quoted.filter(|part| part.starts_with("taskrunnerx apikey create")).collect();
            assert!(!advice.is_empty());
            for line in advice {
                let parsed = Cli::try_parse_from(example(line));
                assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
            }
        }
    }

    /// The words of an example, as a shell would see them: up to what is done with its output, and to the remark that
    /// stands behind it.
    fn example(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quoted = false;
        let mut spaces = 0;
        for c in line.trim().chars() {
            spaces = if c == ' ' { spaces + 1 } else { 0 };
            match c {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                '|' | '&' | '>' | '<' | ';' if !quoted => break,
                c => word.get_or_insert_default().push(c),
            }
            if spaces > 1 && !quoted {
                break;
            }
        }
        words.extend(word);
        let id = "0190163d-8694-739b-aea5-966c26f8ad91".to_owned();
        words.into_iter().map(|word| if word == "ID" { id.clone() } else { word }).collect()
    }
}
