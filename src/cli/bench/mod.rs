//! `bench`: measures a running server over REST.
//!
//! ```text
//!  plan        the options, checked; request bodies, made once
//!    ▼
//!  phases      submit, drain, sustained: which step follows which
//!    ├─ schedule, submit   who sends which request when; closed and open loop
//!    └─ watch              waits for ends at next to no cost, then reads the rows
//!    ▼
//!  clocks, latency         rows carry the database's clock; HDR histograms
//!    ▼
//!  report      one JSON object, or a table
//! ```
//!
//! The client shares its machine with the server more often than not, so what it costs is what it
//! measures wrongly: one thread, no task beside each connection's, nothing parsed that is not used.

mod clocks;
mod errors;
mod latency;
mod phases;
mod plan;
mod progress;
mod report;
mod schedule;
mod submit;
mod watch;

use super::connection::Connection;
use super::terminal::{say, say_aside};
use super::{EXIT_USAGE, Failure, daemon};
use phases::Run;
use plan::{Asked, Phase, Plan};
use progress::Progress;
use std::sync::Arc;

/// Measure a running server: throughput, and latencies as p50, p90, p99, p999 and max.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx bench                                          no-op tasks, end to end
  taskrunnerx bench --phase submit --tasks 100000            how fast tasks are accepted
  taskrunnerx bench --phase submit --bulk 100                the same, 100 tasks a request
  taskrunnerx bench --phase drain --tasks 50000              how fast a backlog is worked off
  taskrunnerx bench --rate 20 --tasks 400                    latency at 20 tasks/s, open loop
  taskrunnerx bench --name sleep --payload '{\"ms\": 50}'      tasks that take 50 ms
  taskrunnerx bench --json | jq .latency_ms.start.p99

Latencies are per task, in milliseconds: response (sent to answered), start (sent to the row's
started_at), finish (sent to the row's finished_at); in a drain the last two count from the resume.

Without --rate each connection sends its next request when the last is answered (closed loop): a
server that stands still is then not asked, and the figures name only what it gave. With --rate
requests are due at fixed instants, and latencies count from those, whatever the server does.

The server keeps the tasks, in a queue of their own. `sustained` and `drain` send one task ahead,
which is not counted, to see that a worker serves the queue. `drain` pauses the queue and resumes it,
also when it is interrupted.

Exit codes: 0 without errors, 1 with errors, 2 usage, 3 the server cannot be reached, 130 interrupted.")]
pub(super) struct Args {
    /// What is measured
    #[arg(long, value_enum, default_value = "sustained")]
    phase: Phase,
    /// Tasks in all, at most 10000000 [default: 20000, with --rate what 10 seconds take]
    #[arg(long, value_name = "N")]
    tasks: Option<u32>,
    /// Connections at once, at most 4096 [default: 256, or 16 where several tasks go in a request]
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Tasks a second: send at fixed instants instead of when the last answer has come
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Tasks a request, at most 1000; 1 is a single submission [default: 1, in a drain 100]
    #[arg(long, value_name = "N")]
    bulk: Option<u32>,
    /// The task type
    #[arg(long, default_value = "noop")]
    name: String,
    /// The queue
    #[arg(long, value_name = "NAME", default_value = "bench")]
    queue: String,
    /// Each task's payload [default: none]
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "payload_bytes")]
    payload: Option<String>,
    /// A payload that is a string of so many bytes, at most 1048576
    #[arg(long, value_name = "N")]
    payload_bytes: Option<u32>,
    /// One JSON object: {phase, tasks, concurrency, seconds, submit_per_s, end_to_end_per_s, errors, latency_ms}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { phase, tasks, concurrency, rate, bulk, name, queue, payload, payload_bytes, json, connection } = args;
    let usage = |fault: String| Failure::with_code(EXIT_USAGE, fault);
    let payload = payload.map(read_payload).transpose().map_err(usage)?;
    let asked = Asked { phase, tasks, concurrency, rate, bulk, name, queue, payload, payload_bytes };
    let plan = Plan::new(asked).map_err(usage)?;
    let client = Arc::new(connection.client()?);
    let run = Run { plan: &plan, client, progress: Progress::new(!json), stop: daemon::stop_on_signals() };
    let measured = run.measure().await;
    // The bar goes before anything else is said.
    drop(run);
    let measured = measured?;
    if json {
        say(&measured.to_json(&plan).map_err(Failure::new)?);
    } else {
        say(measured.table(&plan).trim_end());
    }
    for remark in measured.remarks(&plan) {
        say_aside(&remark);
    }
    if measured.errors.tasks == 0 {
        return Ok(());
    }
    Err(Failure::new(format!("{} of {} failed", measured.errors.tasks, errors::tasks(plan.tasks))))
}

/// JSON text as it stands, or a file's.
fn read_payload(given: String) -> Result<String, String> {
    match given.strip_prefix('@') {
        None => Ok(given),
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("--payload: cannot read {path}: {error}")),
    }
}
