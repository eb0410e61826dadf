//! FLUSHALL with thousands of tasks queued: what the stream had is dispatched again.

use super::{PATIENCE, conclude, insert};
use crate::form::Form;
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::waiting::eventually;
use std::time::{Duration, Instant};

/// Until no task waits for an entry that is gone: the sweep's grace of 5 s, and its passes.
const BOUND: Duration = Duration::from_secs(10);

/// Unread entries that make a stream full enough: a window of tasks that take a tenth of a second.
const FULL: u64 = 20;

pub(crate) async fn run(form: Form) {
    let count = form.of(1_500, 10_000);
    let rig = Rig::start().await;
    let accepted = insert(&rig, count, 100).await;
    let worker = rig.ready(rig.plan("worker", "worker").env("TASKRUNNERX_WORKER__CONCURRENCY", 64)).await;
    let mut execution = rig.execution();
    let some = usize::try_from(count / 20).unwrap();
    eventually("some have started", async || (execution.refresh().starts().count() >= some).then_some(())).await;
    let waiting = rig.number("SELECT COUNT(*) FROM tasks WHERE status = 'queued'").await;
    let in_stream = "SELECT COUNT(*) FROM tasks WHERE status = 'queued' AND dispatched_at IS NOT NULL";
    let mut redis = rig.redis().await;
    let dispatched = eventually("the stream is full", async || {
        let dispatched = rig.number(in_stream).await;
        (dispatched >= FULL).then_some(dispatched)
    })
    .await;
    let flushed = Instant::now();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    // An upper bound: of those that were dispatched up to here some came after the flush.
    let now: String = rig.rows("SELECT CAST(NOW(6) AS CHAR)").await.remove(0);
    rig.until_none(PATIENCE, &format!("{in_stream} AND dispatched_at < '{now}'")).await.unwrap();
    let again = flushed.elapsed();
    let mut report = Report::new(format!("FLUSHALL with a full queue ({form:?} form)"));
    report.add("tasks queued at the flush", waiting).add("- of which in the stream", dispatched);
    report.add("until none waited for an entry that was gone", seconds(again));
    super::all_ended(&rig).await.unwrap();
    report.add("until all had completed", seconds(flushed.elapsed()));
    conclude(rig, report, (accepted, 0), vec![worker], 1).await;
    assert!(again <= form.bound(BOUND), "{again:?}");
}
