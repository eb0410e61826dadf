//! The storm: clients submit without a pause while one fault follows the other; then everything
//! that was promised must have come true.

use crate::faults::{Deck, Happened, Kind, Stage};
use crate::form::{Form, LEASE, seed};
use crate::handler::now_ms;
use crate::load::{self, Doors, Ledger};
use crate::oracle::{self, Evidence, Verdict};
use crate::processes::{Life, Process};
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::waiting::within;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After the last fault everything that was accepted is at its end within a lease, the longest
/// backoff, and this: the rescuers hold off for a lease or two, the sweep has a grace of 5 s, a
/// dispatcher's lease is 5 s, a request to a server that was swallowed is given up after 10 s.
const SETTLE: Duration = Duration::from_secs(30);
/// Between two lines that say how it goes.
const STATUS: Duration = Duration::from_secs(5);
const CLIENTS: u64 = 8;
/// A second's tick, which two schedulers fire, one with a wrong clock.
pub(crate) const TICK: &str = r#"
[schedules.tick]
cron = "* * * * * *"
[schedules.tick.task]
name = "journal"
payload = { nonce = 0, ms = 1 }
max_attempts = 100
backoff = "100ms"
"#;

/// How much there is of it.
struct Size {
    faults: usize,
    accepted: usize,
    /// It goes on for so long at least.
    least: Duration,
    /// And no longer than this, whatever it has reached.
    most: Duration,
    /// Milliseconds between two faults.
    pause: std::ops::Range<u64>,
    /// Each client's rhythm.
    every: Duration,
}

impl Size {
    fn of(form: Form) -> Self {
        let (second, millis) = (Duration::from_secs, Duration::from_millis);
        form.of(
            Size {
                faults: 20,
                accepted: 1500,
                least: second(30),
                most: second(60),
                pause: 200..700,
                every: millis(80),
            },
            Size {
                faults: 200,
                accepted: 20_000,
                least: second(600),
                most: second(20 * 60),
                pause: 500..4000,
                every: millis(120),
            },
        )
    }
}

pub(crate) async fn run(form: Form) {
    let (size, seed) = (Size::of(form), seed());
    println!("storm: CHAOS_SEED={seed}");
    let disk = Disk::mount(form);
    let stage = raise(disk.path()).await;
    let began = Instant::now();
    let ledger = Arc::new(Ledger::default());
    let (submitting, watching) = (CancellationToken::new(), CancellationToken::new());
    let mut clients = JoinSet::new();
    let mut doors: Doors = Vec::new();
    for api in &stage.apis {
        doors.push(Arc::clone(&api.lock().await.url));
    }
    for number in 0..CLIENTS {
        let (ledger, doors, http) = (Arc::clone(&ledger), doors.clone(), stage.rig.client.clone());
        clients.spawn(load::client(ledger, doors, http, size.every, seed ^ (number + 1), submitting.clone()));
    }
    let tally = tokio::spawn(watch(Arc::clone(&stage), Arc::clone(&ledger), began, watching.clone()));
    let mut deck = Deck::new(seed, disk.kinds());
    let mut under_way = JoinSet::new();
    let enough = |struck: usize| struck >= size.faults && ledger.accepted() >= size.accepted;
    let mut struck = 0;
    while (!enough(struck) || began.elapsed() < size.least) && began.elapsed() < size.most {
        stage.strike(deck.draw(), &mut under_way).await;
        struck += 1;
        tokio::time::sleep(deck.pause(size.pause.clone())).await;
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    let (healed, healed_at) = (Instant::now(), now_ms());
    // Until clients are served as before: what comes now is part of the promise too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    submitting.cancel();
    while clients.join_next().await.is_some() {}
    let settled = settle(&stage, &ledger).await;
    let recovered = healed.elapsed();
    let mut breaches: Vec<String> = settled.err().into_iter().collect();
    breaches.extend(end_schedules(&stage).await);
    breaches.extend(oracle::judge_rest(&stage.rig, stage.workers.len()).await);
    watching.cancel();
    let tally = tally.await.unwrap();
    let lives = lay_down(&stage, &mut breaches).await;
    let (accepted, unknown) = (ledger.accepted.lock().unwrap().clone(), ledger.unknown.load(Ordering::Relaxed));
    let evidence = Evidence::gather(&stage.rig, accepted, unknown, lives).await;
    let mut verdict = evidence.judge();
    verdict.breaches.extend(breaches);
    let happened = stage.happened.lock().unwrap().clone();
    let served = happened.iter().filter(|fault| fault.until < healed_at);
    let served = served.filter_map(|fault| evidence.served_after(fault.until)).max().unwrap_or(0);
    let mut report = Report::new(format!("Storm, {form:?} form"));
    report.add("seed", seed).add("duration", seconds(began.elapsed()));
    report.add_faults(&happened);
    report.add("requests done and never answered", stage.rig.database.unanswered() + stage.rig.redis.unanswered());
    fill(&mut report, &ledger, &verdict, &tally);
    report.add("everything at its end after the last fault", seconds(recovered));
    report.add("longest from a fault's end to a new task's start", seconds(Duration::from_millis(served)));
    if let Some(reason) = &disk.not_run {
        report.add("database: disk full", format!("not run: {reason}"));
    }
    report.print();
    judge(&verdict, &happened, &ledger, &size, seed);
    disk.unmount(stage).await;
}

fn judge(verdict: &Verdict, happened: &[Happened], ledger: &Ledger, size: &Size, seed: u64) {
    let first: Vec<&String> = verdict.breaches.iter().take(20).collect();
    let count = verdict.breaches.len();
    assert!(count == 0, "CHAOS_SEED={seed}: {count} breaches, of which the first: {first:#?}");
    let (faults, accepted) = (happened.len(), ledger.accepted());
    assert!(faults >= size.faults, "CHAOS_SEED={seed}: only {faults} faults");
    assert!(accepted >= size.accepted, "CHAOS_SEED={seed}: only {accepted} tasks were accepted");
}

/// Servers, proxies and every process, up and ready.
async fn raise(disk: Option<&std::path::Path>) -> Arc<Stage> {
    let rig = Rig::start_on(disk).await;
    let mut apis = Vec::new();
    // One after the other at first: the schema is made once.
    for name in ["api-1", "api-2"] {
        apis.push(rig.ready(rig.plan(name, "api")).await);
    }
    let mut workers = Vec::new();
    for name in ["worker-1", "worker-2", "worker-3"] {
        workers.push(rig.process(rig.plan(name, "worker")).await);
    }
    let plans =
        [rig.plan("scheduler-1", "scheduler").file(TICK), rig.plan("scheduler-2", "scheduler").file(TICK).ahead()];
    let mut schedulers = Vec::new();
    for plan in plans {
        schedulers.push(rig.process(plan).await);
    }
    for process in workers.iter().chain(&schedulers) {
        process.until_ready(&rig.client).await;
    }
    let log = std::fs::read_to_string(schedulers[1].life().log).unwrap();
    crate::skew::assert_ahead(log.lines().next().unwrap());
    Stage::new(rig, workers, apis, schedulers)
}

/// Waits until every task that was accepted is at its end.
async fn settle(stage: &Stage, ledger: &Ledger) -> Result<(), String> {
    let rig = &stage.rig;
    let limit = LEASE + SETTLE;
    // The ticks go on; those that are young do not count.
    let live = "SELECT COUNT(*) FROM tasks WHERE status IN ('scheduled', 'queued', 'running') AND schedule IS NULL";
    rig.until_none(limit, live).await.map_err(|why| format!("{} were accepted; {why}", ledger.accepted()))
}

/// The schedule has caught up; then no more ticks.
async fn end_schedules(stage: &Stage) -> Option<String> {
    let behind = "SELECT GREATEST(0, TIMESTAMPDIFF(SECOND, COALESCE(MAX(recorded_at), '1970-01-01'), NOW(6)) - 1) FROM schedule_fires";
    let caught_up = stage.rig.until_none(LEASE + SETTLE, behind).await;
    for scheduler in &stage.schedulers {
        scheduler.lock().await.stop().await;
    }
    caught_up.err().map(|why| format!("the schedule does not catch up: {why}"))
}

/// Ends every process; gives all their lives.
async fn lay_down(stage: &Stage, breaches: &mut Vec<String>) -> Vec<Life> {
    let mut lives = Vec::new();
    for process in stage.processes() {
        let mut process = process.lock().await;
        process.stop().await;
        breaches.append(&mut process.surprises);
        lives.extend_from_slice(process.lives());
    }
    lives
}

/// What the workers have counted, by process: the last that was seen of each life.
type Tally = HashMap<(&'static str, u32), u64>;

/// What is summed up: its series, and what it is called in the report.
const COUNTED: [(&str, &str); 3] = [
    ("taskrunnerx_tasks_fenced_total", "results discarded because another attempt owned the task"),
    ("taskrunnerx_tasks_rescued_total", "tasks taken over from dead workers"),
    ("taskrunnerx_tasks_undispatched_total", "tasks put back because the stream had lost them"),
];

/// Says how it goes, and keeps what the workers count.
async fn watch(stage: Arc<Stage>, ledger: Arc<Ledger>, began: Instant, stop: CancellationToken) -> Tally {
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

fn fill(report: &mut Report, ledger: &Ledger, verdict: &Verdict, tally: &Tally) {
    report.add("tasks accepted", ledger.accepted());
    let unknown = ledger.unknown.load(Ordering::Relaxed);
    report.add("submissions refused or unanswered", unknown);
    report.add("- of which the task exists", verdict.unknown_that_exist);
    for (status, count) in &verdict.ends {
        report.add(format!("ended {status}"), count);
    }
    report.add("accepted and lost", verdict.lost);
    report.add("results by a non-owner", verdict.by_non_owners);
    report.add("attempts started", verdict.starts);
    report.add("attempts started twice", verdict.started_twice);
    report.add("attempts started late by a process that had stood still", verdict.late_starts);
    for (series, words) in COUNTED {
        let sum: u64 = tally.iter().filter(|((name, _), _)| *name == series).map(|(_, value)| value).sum();
        report.add(words, sum);
    }
    report.add("instants fired", verdict.fires);
    report.add("- of which stood for missed ones", verdict.catch_ups);
    report.add("log lines a second, busiest process", format!("{:.1}, at most {}", verdict.log_rate, verdict.log_peak));
}

/// A small disk of its own for the servers' data, so that it can be filled.
struct Disk {
    mounted: Option<tempfile::TempDir>,
    not_run: Option<String>,
}

impl Disk {
    fn mount(form: Form) -> Self {
        if form == Form::Short {
            return Self { mounted: None, not_run: Some("only in the long form".to_owned()) };
        }
        let directory = tempfile::Builder::new().prefix("trx-disk-").tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=900m", "chaos"])
            .arg(directory.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Self { mounted: Some(directory), not_run: None },
            Ok(output) => Self {
                mounted: None,
                not_run: Some(format!("a tmpfs cannot be mounted: {}", String::from_utf8_lossy(&output.stderr).trim())),
            },
            Err(error) => Self { mounted: None, not_run: Some(format!("mount cannot be run: {error}")) },
        }
    }

    fn path(&self) -> Option<&std::path::Path> {
        self.mounted.as_ref().map(tempfile::TempDir::path)
    }

    fn kinds(&self) -> &[Kind] {
        if self.mounted.is_some() { &[Kind::DiskFull] } else { &[] }
    }

    async fn unmount(self, stage: Arc<Stage>) {
        let stage = Arc::try_unwrap(stage).unwrap_or_else(|_| panic!("nobody else is on the stage now"));
        let Stage { rig, workers, apis, schedulers, .. } = stage;
        drop::<Vec<Arc<tokio::sync::Mutex<Process>>>>(workers.into_iter().chain(apis).chain(schedulers).collect());
        if let Ok(rig) = Arc::try_unwrap(rig) {
            rig.stop().await;
        }
        if let Some(directory) = self.mounted {
            let path = directory.path().to_owned();
            let unmounted = within(Duration::from_secs(10), async || {
                std::process::Command::new("umount").arg(&path).status().is_ok_and(|s| s.success()).then_some(())
            });
            assert!(unmounted.await.is_some(), "{} is still mounted", path.display());
        }
    }
}
