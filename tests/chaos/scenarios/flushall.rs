//! FLUSHALL with thousands of tasks queued: what the stream had is dispatched again.

use super::{PATIENCE, conclude, insert};
use crate::form::Form;
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::waiting::eventually;
use std::time::{Duration, Instant};

/// Until every task whose entry is gone has started: the dispatcher sees that the stream is new, or,
/// where the reader was faster, the sweep's grace of 5 s and its passes.
const BOUND: Duration = Duration::from_secs(10);

/// Unread entries that make a stream full enough. What waits beyond the window is in the database.
const FULL: u64 = 20;
/// Flushes a stream that is full enough, in one step: it is read all the time. Says which tasks had
/// entries in it.
const FLUSH: &str = "local entries = redis.call('XRANGE', KEYS[1], '-', '+') \
    local unread = #entries - redis.call('XPENDING', KEYS[1], 'workers')[1] \
    local ids = {} \
    if unread < tonumber(ARGV[1]) then return ids end \
    redis.call('FLUSHALL') \
    for _, entry in ipairs(entries) do \
        for i = 1, #entry[2], 2 do \
            if entry[2][i] == 'id' then ids[#ids + 1] = entry[2][i + 1] end \
        end \
    end \
    return ids";

pub(crate) async fn run(form: Form) {
    let count = form.of(1_500, 12_000);
    let rig = Rig::start().await;
    let accepted = insert(&rig, count, 10).await;
    let worker = rig.ready(rig.plan("worker", "worker").env("TASKRUNNERX_WORKER__CONCURRENCY", 64)).await;
    let mut execution = rig.execution();
    let some = usize::try_from(count / 20).unwrap();
    eventually("some have started", async || (execution.refresh().starts().count() >= some).then_some(())).await;
    let mut redis = rig.redis().await;
    let lost = eventually("a full stream", async || {
        let mut flush = redis::cmd("EVAL");
        flush.arg(FLUSH).arg(1).arg(Rig::stream("default")).arg(FULL);
        flush.query_async::<Vec<String>>(&mut redis).await.ok().filter(|ids| !ids.is_empty())
    })
    .await;
    let flushed = Instant::now();
    let waiting = rig.number("SELECT COUNT(*) FROM tasks WHERE status = 'queued'").await;
    let ids: Vec<String> = lost.iter().map(|id| format!("UNHEX('{}')", id.replace('-', ""))).collect();
    let unstarted = format!("SELECT COUNT(*) FROM tasks WHERE attempt = 0 AND id IN ({})", ids.join(","));
    rig.until_none(PATIENCE, &unstarted).await.unwrap();
    let again = flushed.elapsed();
    let mut report = Report::new(format!("FLUSHALL with a full queue ({form:?} form)"));
    report.add("tasks queued at the flush", waiting).add("entries that were lost", lost.len());
    report.add("until every task whose entry was lost had started", seconds(again));
    super::all_ended(&rig).await.unwrap();
    report.add("until all had completed", seconds(flushed.elapsed()));
    let metrics = rig.client.get(format!("{}/metrics", worker.url.read().unwrap())).send().await.unwrap();
    let text = metrics.text().await.unwrap();
    let series = "taskrunnerx_tasks_undispatched_total ";
    let put_back = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
    report.add("tasks that the sweep brought back", put_back);
    conclude(rig, report, (accepted, 0), vec![worker], 1).await;
    assert!(again <= form.bound(BOUND), "{again:?}");
}
