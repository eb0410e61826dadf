//! The whole picture in one run, on private servers: the limit that the bare parts set on this machine,
//! then the daemon against it. `make bench`, or
//! `cargo bench --bench load -- [--tasks N] [--only limit,submit,bulk,read,drain,calls,sustained,latency]`. With
//! `--scale` instead: the speed of an empty table against that of 10 million finished and 1 million waiting rows.
//!
//! Client, daemon, database and Redis share the machine, so figures are to be compared with the limit
//! of the same run, not with another machine's. The database is a private MariaDB or MySQL, or
//! the one at `TASKRUNNERX_TEST_DATABASE_URL`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "a benchmark that meets what it does not expect should stop there"
)]

mod calls;
mod http;
mod limit;
mod phases;
mod rig;
mod scale;

use limit::Limit;
use mysql_async::prelude::Queryable;
use phases::Rate;
use rig::{Daemon, Rig};

/// A worker as it is unless it is told otherwise, and one for short tasks: a claim takes at most as many tasks as
/// there are slots.
const SLOTS: [usize; 2] = [64, 256];
/// Not counted: statements are prepared, the queue is known.
const WARM_UP: usize = 5_000;

struct Options {
    tasks: usize,
    only: Option<String>,
    scale: bool,
}

impl Options {
    fn read() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
        Self {
            tasks: value("--tasks").map_or(100_000, |n| n.parse().unwrap()),
            only: value("--only"),
            scale: args.iter().any(|arg| arg == "--scale"),
        }
    }

    fn wants(&self, phase: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|one| one == phase))
    }
}

fn line(what: &str, rate: &Rate, limit: Option<f64>) {
    let ratio = limit.map_or(String::new(), |limit| format!("{:>5.2} of {limit:.0}", rate.per_second() / limit));
    println!("{what:<28} {:>8.0}/s   {ratio:<18} us of processor time each: {}", rate.per_second(), rate.cost);
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    let rig = Rig::start().await;
    let mut sql = rig.sql().await;
    let version: String = sql.query_first("SELECT VERSION()").await.unwrap().unwrap();
    println!("{version}, {} tasks a phase", options.tasks);
    // Makes the schema.
    rig.daemon("api").stop();
    if options.scale {
        scale(&rig, &mut sql, options.tasks).await;
        return rig.servers.stop().await;
    }
    let limit = if options.wants("limit") { Some(limit::measure(&rig, options.tasks).await) } else { None };
    if let Some(limit) = &limit {
        let parts: Vec<String> = limit.parts.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
        println!("limit, us of the machine a task: {}", parts.join(", "));
    }
    let of = |parts: &[&str]| limit.as_ref().map(|limit| limit.per_second(parts));

    let api = rig.daemon("api");
    phases::submit(&api, WARM_UP).await;
    if options.wants("submit") {
        line("submit, one a request", &phases::submit(&api, options.tasks).await, of(&["http", "insert"]));
    }
    if options.wants("bulk") {
        line("submit, 100 a request", &phases::submit_bulk(&api, options.tasks * 2).await, of(&["insert"]));
    }
    if options.wants("read") {
        line("reads", &phases::read(&api, options.tasks).await, of(&["http"]));
    }
    println!("  resident memory, api: {:.1} MiB, at most {:.1}", api.resident_mib("VmRSS"), api.resident_mib("VmHWM"));
    if options.wants("drain") {
        for slots in SLOTS {
            phases::submit_bulk(&api, options.tasks).await;
            let (rate, worker) = phases::drain(&rig, &mut sql, slots).await;
            let parts = ["claim", "finish", "xadd", "xreadgroup + xack + xdel"];
            line(&format!("drain of {}, {slots} slots", rate.tasks), &rate, of(&parts));
            println!("  statements: {}", phases::statements(&worker).await);
            println!(
                "  resident memory, worker: {:.1} MiB, at most {:.1}",
                worker.resident_mib("VmRSS"),
                worker.resident_mib("VmHWM")
            );
            worker.stop();
        }
    }
    drop(api);
    sql.query_drop("TRUNCATE TABLE tasks").await.unwrap();
    if options.wants("calls") {
        let measured = calls::measure(&rig, &mut sql, options.tasks).await;
        let noops = measured.noops.per_second();
        line("drain of no-ops", &measured.noops, None);
        line("drain of http tasks", &measured.calls, Some(noops));
        println!("  over {} connections", measured.connections);
        line("the calls alone", &measured.bare, None);
        line("drain of commands", &measured.commands, Some(noops));
        line("their program alone", &measured.programs, None);
        sql.query_drop("TRUNCATE TABLE tasks").await.unwrap();
    }
    for (n, slots) in SLOTS.into_iter().enumerate() {
        sql.query_drop("TRUNCATE TABLE tasks").await.unwrap();
        if options.wants("sustained") || options.wants("latency") && n == 0 {
            let all = rig.with_slots("all", slots);
            if n == 0 {
                at_rest(&all, &mut sql, &options, limit.as_ref()).await;
            }
            if options.wants("sustained") {
                sustained(&all, &mut sql, options.tasks, slots, limit.as_ref()).await;
            }
            all.stop();
        }
    }
    rig.servers.stop().await;
}

async fn scale(rig: &Rig, sql: &mut mysql_async::Conn, tasks: usize) {
    println!("  an empty table");
    let empty = scale::measure(rig, sql, tasks).await;
    sql.query_drop("TRUNCATE TABLE tasks").await.unwrap();
    scale::fill(sql, 10_000_000, 1_000_000).await;
    println!("  a full one");
    let full = scale::measure(rig, sql, tasks).await;
    println!("{:<28} {:>10} {:>10}  ratio", "", "empty", "full");
    for (what, empty, full) in [
        ("submit, one a request /s", empty.submit.per_second(), full.submit.per_second()),
        ("submit, 100 a request /s", empty.bulk.per_second(), full.bulk.per_second()),
        ("drain /s", empty.drain.per_second(), full.drain.per_second()),
        ("first page of 50, ms", empty.list_ms, full.list_ms),
    ] {
        println!("{what:<28} {empty:>10.1} {full:>10.1}  {:.2}", full / empty);
    }
    scale::purge(rig, sql).await;
}

/// What shows at a low rate.
async fn at_rest(all: &Daemon, sql: &mut mysql_async::Conn, options: &Options, limit: Option<&Limit>) {
    println!("start to ready: {:.0} ms with the schema in place", all.start.as_secs_f64() * 1e3);
    let began = all.resident_mib("VmRSS");
    phases::sustained(all, sql, WARM_UP).await;
    if options.wants("latency") {
        println!("  resident memory, idle: {began:.1} MiB, after its first tasks {:.1}", all.resident_mib("VmRSS"));
        println!("at 20 tasks a second, ms          p50     p99");
        for (what, p50, p99) in phases::latency(all, sql).await {
            println!("  {what:<26} {p50:>8.2} {p99:>7.2}");
        }
        if let Some(limit) = limit {
            let bare = 3.0 * limit.commit_ms + 2.0 * limit.redis_ms;
            println!("  bare: 3 commits of {:.2}, 2 round trips of {:.2}: {bare:.2}", limit.commit_ms, limit.redis_ms);
        }
    }
}

async fn sustained(all: &Daemon, sql: &mut mysql_async::Conn, tasks: usize, slots: usize, limit: Option<&Limit>) {
    phases::sustained(all, sql, WARM_UP).await;
    let (rate, submitting) = phases::sustained(all, sql, tasks).await;
    let parts = ["insert", "claim", "finish", "xadd", "xreadgroup + xack + xdel", "http"];
    line(&format!("end to end, {slots} slots"), &rate, limit.map(|limit| limit.per_second(&parts)));
    println!("  statements: {}", phases::statements(all).await);
    println!("  submitted at {:.0}/s", rate.tasks as f64 / submitting.as_secs_f64());
    println!("  resident memory, all: {:.1} MiB, at most {:.1}", all.resident_mib("VmRSS"), all.resident_mib("VmHWM"));
}
