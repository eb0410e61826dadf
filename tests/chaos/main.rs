//! Real processes, real faults, and a journal as the oracle.
//!
//! This binary is both sides. Run as a test it starts servers, puts a proxy before each, starts
//! daemons, and breaks things; run with `serve` it *is* such a daemon, whose handlers write down
//! what they do ([`handler`]). What was promised (every 201), what was done (the handlers'
//! journal) and what the database says in the end must agree ([`oracle`]).
//!
//! Two forms: the short one is part of `make test`; `make chaos` (`CHAOS=long`) is one storm of
//! hundreds of faults and the named scenarios with their full numbers. The faults come from a
//! seed, which is printed; `CHAOS_SEED=…` repeats their order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_debug_implementations,
    reason = "a test that meets what it does not expect should stop there"
)]

mod disk;
mod faults;
mod form;
mod handler;
mod journal;
mod load;
mod oracle;
mod processes;
mod proxy;
mod report;
mod rig;
mod scenarios;
mod skew;
mod storm;
mod tally;
#[path = "../it/waiting.rs"]
mod waiting;

use form::Form;
use libtest_mimic::{Arguments, Trial};
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

type Run = fn(Form) -> Pin<Box<dyn Future<Output = ()>>>;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "serve") && std::env::var_os(handler::JOURNAL).is_some() {
        return handler::daemon();
    }
    let mut arguments = Arguments::from_args();
    // Load tests: two at once would measure each other.
    arguments.test_threads = Some(1);
    let form = Form::from_environment();
    let trials: [(&str, Run); 7] = [
        ("storm", |form| Box::pin(storm::run(form))),
        ("killed_worker", |form| Box::pin(scenarios::killed_worker::run(form))),
        ("flushall", |form| Box::pin(scenarios::flushall::run(form))),
        ("redis_down", |form| Box::pin(scenarios::redis_down::run(form))),
        ("mysql_killed", |form| Box::pin(scenarios::mysql_killed::run(form))),
        ("backlog", |form| Box::pin(scenarios::backlog::run(form))),
        ("schedulers", |form| Box::pin(scenarios::schedulers::run(form))),
    ];
    let trial = |(name, run): (&str, Run)| Trial::test(name, move || alone(run, form));
    libtest_mimic::run(&arguments, trials.into_iter().map(trial).collect()).exit_code()
}

/// Runs one trial, also when a runner has started one process for each at the same time.
fn alone(run: Run, form: Form) -> Result<(), libtest_mimic::Failed> {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos.lock");
    let lock = std::fs::File::create(path)?;
    lock.lock()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // What strikes and what judges stay on this thread; clients and proxies have their own.
    tokio::task::LocalSet::new().block_on(&runtime, run(form));
    Ok(())
}
