//! FLUSHALL with thousands of tasks queued: what the stream had is dispatched again.

use super::{PATIENCE, conclude, insert};
use crate::form::Form;
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::waiting::eventually;
use std::time::{Duration, Instant};

/// Until no task waits for an entry that is gone: the sweep's grace of 5 s, and its passes.
const BOUND: Duration = Duration::from_secs(10);

/// Unread entries that make a stream full enough. What waits beyond the window is in the database.
const FULL: u64 = 20;
/// Flushes a stream that is full enough, in one step: it is read all the time.
const FLUSH: &str = "local unread = redis.call('XLEN', KEYS[1]) - redis.call('XPENDING', KEYS[1], 'workers')[1] \
    if unread >= tonumber(ARGV[1]) then redis.call('FLUSHALL') end \
    return unread";

pub(crate) async fn run(form: Form) {
    let count = form.of(1_500, 12_000);
    let rig = Rig::start().await;
    let accepted = insert(&rig, count, 10).await;
    let worker = rig.ready(rig.plan("worker", "worker").env("TASKRUNNERX_WORKER__CONCURRENCY", 64)).await;
    let mut execution = rig.execution();
    let some = usize::try_from(count / 20).unwrap();
    eventually("some have started", async || (execution.refresh().starts().count() >= some).then_some(())).await;
    let in_stream = "SELECT COUNT(*) FROM tasks WHERE status = 'queued' AND dispatched_at IS NOT NULL";
    let mut redis = rig.redis().await;
    let lost = eventually("a full stream", async || {
        let mut flush = redis::cmd("EVAL");
        flush.arg(FLUSH).arg(1).arg(Rig::stream("default")).arg(FULL);
        flush.query_async::<u64>(&mut redis).await.ok().filter(|unread| *unread >= FULL)
    })
    .await;
    let flushed = Instant::now();
    let waiting = rig.number("SELECT COUNT(*) FROM tasks WHERE status = 'queued'").await;
    // An upper bound: of those that were dispatched up to here some came after the flush.
    let now: String = rig.rows("SELECT CAST(NOW(6) AS CHAR)").await.remove(0);
    rig.until_none(PATIENCE, &format!("{in_stream} AND dispatched_at < '{now}'")).await.unwrap();
    let again = flushed.elapsed();
    let mut report = Report::new(format!("FLUSHALL with a full queue ({form:?} form)"));
    report.add("tasks queued at the flush", waiting).add("unread entries that were lost", lost);
    report.add("until none waited for an entry that was gone", seconds(again));
    super::all_ended(&rig).await.unwrap();
    report.add("until all had completed", seconds(flushed.elapsed()));
    let metrics = rig.client.get(format!("{}/metrics", worker.url.read().unwrap())).send().await.unwrap();
    let text = metrics.text().await.unwrap();
    let series = "taskrunnerx_tasks_undispatched_total ";
    let put_back = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
    report.add("tasks put back because the stream had lost them", put_back);
    conclude(rig, report, (accepted, 0), vec![worker], 1).await;
    assert!(again <= form.bound(BOUND), "{again:?}");
}
