//! What the workers count themselves. A killed process takes its counts with it, so they are asked
//! for all the time; what is summed up is a lower bound.

use crate::faults::Stage;
use crate::load::Ledger;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two lines that say how it goes.
const STATUS: Duration = Duration::from_secs(5);

/// What the workers have counted, by process: the last that was seen of each life.
pub(crate) type Tally = HashMap<(&'static str, u32), u64>;

/// What is summed up: its series, and what it is called in the report.
pub(crate) const COUNTED: [(&str, &str); 3] = [
    ("taskrunnerx_tasks_fenced_total", "results discarded because another attempt owned the task"),
    ("taskrunnerx_tasks_rescued_total", "tasks taken over from dead workers"),
    ("taskrunnerx_tasks_undispatched_total", "tasks put back because the stream had lost them"),
];

/// Says how it goes, and keeps what the workers count.
pub(crate) async fn watch(stage: Arc<Stage>, ledger: Arc<Ledger>, began: Instant, stop: CancellationToken) -> Tally {
    let mut tally = Tally::new();
    let mut execution = stage.rig.execution();
    let mut said = Instant::now();
    while !stop.is_cancelled() {
        for worker in &stage.workers {
            // One that is being struck is looked at later.
            let Ok(worker) = worker.try_lock() else { continue };
            let (pid, url) = (worker.life().pid, worker.url.read().unwrap().clone());
            drop(worker);
            count(&stage, pid, &url, &mut tally).await;
        }
        if said.elapsed() >= STATUS {
            said = Instant::now();
            let (accepted, unknown) = (ledger.accepted(), ledger.unknown.load(Ordering::Relaxed));
            let faults = stage.happened.lock().unwrap().len();
            let starts = execution.refresh().starts().count();
            let time = began.elapsed().as_secs();
            eprintln!("storm {time:>4} s: {faults} faults, {accepted} accepted, {unknown} unknown, {starts} starts");
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), stop.cancelled()).await;
    }
    tally
}

async fn count(stage: &Stage, pid: u32, url: &str, tally: &mut Tally) {
    let request = stage.rig.client.get(format!("{url}/metrics")).timeout(Duration::from_millis(300));
    let Ok(answer) = request.send().await else { return };
    let Ok(text) = answer.text().await else { return };
    for (series, _) in COUNTED {
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        if let Some(value) = value {
            tally.insert((series, pid), value as u64);
        }
    }
}
