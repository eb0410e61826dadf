//! A daemon starts before a long backlog and an empty Redis: it is at work at once, and its
//! memory does not grow with what waits.

use super::{conclude, insert};
use crate::form::Form;
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::waiting::eventually;
use std::time::{Duration, Instant};

/// From the process's start to the first task's.
const BOUND: Duration = Duration::from_secs(3);
/// Largest resident set.
const MEMORY_KIB: u64 = 150 << 10;

pub(crate) async fn run(form: Form) {
    let count = form.of(5_000, 100_000);
    let rig = Rig::start().await;
    let accepted = insert(&rig, count, 0).await;
    let began = Instant::now();
    let daemon = rig.process(rig.plan("daemon", "all").env("TASKRUNNERX_WORKER__CONCURRENCY", 64)).await;
    let mut execution = rig.execution();
    eventually("the first start", async || execution.refresh().starts().next().map(|_| ())).await;
    let first = began.elapsed();
    super::all_ended(&rig).await.unwrap();
    let drained = began.elapsed();
    let peak = daemon.peak_kib();
    let mut report = Report::new(format!("A backlog and an empty Redis ({form:?} form)"));
    report.add("tasks", count).add("from the daemon's start to the first task's", seconds(first));
    report.add("until all had completed", seconds(drained));
    report.add("tasks a second, start included", format!("{:.0}", count as f64 / drained.as_secs_f64()));
    report.add("largest resident set", format!("{} MiB", peak >> 10));
    conclude(rig, report, (accepted, 0), vec![daemon], 1).await;
    assert!(first <= form.bound(BOUND), "{first:?}");
    assert!(peak <= MEMORY_KIB, "{peak} KiB");
}
