//! The storm: clients submit without a pause while one fault follows the other; then everything
//! that was promised must have come true.

use crate::disk::Disk;
use crate::faults::{Deck, Happened, Kind, Stage};
use crate::form::{Form, LEASE, seed};
use crate::handler::now_ms;
use crate::load::{self, Doors, Ledger};
use crate::oracle::{self, Evidence, Verdict};
use crate::processes::Life;
use crate::report::{Report, seconds};
use crate::rig::Rig;
use crate::skew::AHEAD;
use crate::tally::{self, COUNTED, Tally};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After the last fault everything that was accepted is at its end within a lease, the longest
/// backoff, and this: the rescuers hold off for a lease or two, the sweep has a grace of 5 s, a
/// dispatcher's lease is 5 s, a request to a server that was swallowed is given up after 10 s.
const SETTLE: Duration = Duration::from_secs(30);
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
                least: second(20),
                most: second(60),
                pause: 400..1000,
                every: millis(60),
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
    let watching = CancellationToken::new();
    let tally = tokio::spawn(tally::watch(Arc::clone(&stage), Arc::clone(&ledger), began, watching.clone()));
    let healed = blow(&stage, &ledger, &size, seed, disk.kinds()).await;
    let mut breaches: Vec<String> = settle(&stage, &ledger).await.err().into_iter().collect();
    let recovered = Duration::from_millis(now_ms() - healed);
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
    let served = happened.iter().filter(|fault| fault.until < healed);
    let served = served.filter_map(|fault| evidence.served_after(fault.until)).max().unwrap_or(0);
    let mut report = Report::new(format!("Storm, {form:?} form"));
    report.add("seed", seed).add("duration", seconds(began.elapsed()));
    report.add_faults(&happened);
    report.add("requests done and never answered", stage.rig.database.unanswered() + stage.rig.redis.unanswered());
    fill(&mut report, &ledger, &verdict, &tally);
    report.add("everything at its end after the last fault", seconds(recovered));
    report.add("longest from a fault's end to a new task's start", seconds(Duration::from_millis(served)));
    if let Some(reason) = &disk.not_run {
        report.add(Kind::DiskFull.words(), format!("not run: {reason}"));
    }
    report.print();
    judge(&verdict, &happened, &ledger, &size, seed);
    stage.strike_down().await;
    disk.unmount().await;
}

/// Clients submit while one fault follows the other, until there was enough of both. Gives the
/// time when the last fault was over.
async fn blow(stage: &Arc<Stage>, ledger: &Arc<Ledger>, size: &Size, seed: u64, more: &[Kind]) -> u64 {
    let began = Instant::now();
    let submitting = CancellationToken::new();
    let mut clients = JoinSet::new();
    let mut doors: Doors = Vec::new();
    for api in &stage.apis {
        doors.push(Arc::clone(&api.lock().await.url));
    }
    for number in 1..=CLIENTS {
        let (ledger, doors, http) = (Arc::clone(ledger), doors.clone(), stage.rig.client.clone());
        clients.spawn(load::client(ledger, doors, http, size.every, seed ^ number, submitting.clone()));
    }
    let mut deck = Deck::new(seed, more);
    let mut under_way = JoinSet::new();
    let mut struck = 0;
    let enough = |struck: usize| {
        let numbers = struck >= size.faults && ledger.accepted() >= size.accepted;
        numbers && began.elapsed() >= size.least || began.elapsed() >= size.most
    };
    while !enough(struck) {
        stage.strike(deck.draw(), &mut under_way).await;
        struck += 1;
        tokio::time::sleep(deck.pause(size.pause.clone())).await;
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    let healed = now_ms();
    // Until clients are served as before: what comes now is part of the promise too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    submitting.cancel();
    while clients.join_next().await.is_some() {}
    healed
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
    let all = |names: &[&str], roles| join_all(names.iter().map(|name| rig.ready(rig.plan(name, roles))));
    let apis = all(&["api-1", "api-2"], "api").await;
    let workers = all(&["worker-1", "worker-2", "worker-3"], "worker").await;
    let plan = |name| rig.plan(name, "scheduler").file(TICK);
    let schedulers =
        join_all([plan("scheduler-1"), plan("scheduler-2").skewed(AHEAD)].map(|plan| rig.ready(plan))).await;
    let log = std::fs::read_to_string(schedulers[1].life().log).unwrap();
    AHEAD.assert_shown(log.lines().next().unwrap());
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
    join_all(stage.processes().map(async |process| process.lock().await.stop().await)).await;
    let mut lives = Vec::new();
    for process in stage.processes() {
        let mut process = process.lock().await;
        breaches.append(&mut process.surprises);
        lives.extend_from_slice(process.lives());
    }
    lives
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
    report.add("attempts claimed and never started", verdict.never_started);
    report.add("attempts started twice", verdict.started_twice);
    report.add("attempts started late by a process that had stood still", verdict.late_starts);
    for (series, words) in COUNTED {
        let sum: u64 = tally.iter().filter(|((name, _), _)| *name == series).map(|(_, value)| value).sum();
        report.add(words, sum);
    }
    report.add("instants of the schedule", verdict.fires);
    report.add("- of which nobody was there in time", verdict.missed);
    report.add("log lines a second, busiest process", format!("{:.1}, at most {}", verdict.log_rate, verdict.log_peak));
}
