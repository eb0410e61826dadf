//! Two schedulers, then three, that stand still now and then, one with its clock an hour ahead and one an hour behind:
//! every tick of an every-second schedule has exactly one task. Where the one that stands still
//! has the schedule's row locked, the others pass it over, and what comes meanwhile fires when it goes on.

use super::conclude;
use crate::form::{Form, seed};
use crate::processes::Process;
use crate::report::Report;
use crate::rig::Rig;
use crate::skew::{AHEAD, BEHIND};
use crate::storm::TICK;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

pub(crate) async fn run(form: Form) {
    let time = form.of(Duration::from_millis(2000), Duration::from_secs(60));
    let seed = seed();
    println!("schedulers: CHAOS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let rig = Rig::start().await;
    let worker = rig.ready(rig.plan("worker", "worker")).await;
    let mut schedulers = Vec::new();
    let mut pauses = 0;
    let plan = |name| rig.plan(name, "scheduler").file(TICK);
    for plans in
        [vec![plan("scheduler-1"), plan("scheduler-2").skewed(AHEAD)], vec![plan("scheduler-3").skewed(BEHIND)]]
    {
        for plan in plans {
            schedulers.push(rig.ready(plan).await);
        }
        pauses += pause_in_turn(&mut schedulers, time, &mut random).await;
    }
    for (scheduler, skew) in schedulers[1..].iter().zip([AHEAD, BEHIND]) {
        let log = std::fs::read_to_string(scheduler.life().log).unwrap();
        skew.assert_shown(log.lines().next().unwrap());
    }
    for scheduler in &mut schedulers {
        scheduler.stop().await;
    }
    let mut report = Report::new(format!("Schedulers that stand still, one an hour ahead, one behind ({form:?} form)"));
    report.add("seed", seed).add("pauses", pauses);
    report.add("instants", rig.number("SELECT COUNT(*) FROM schedule_fires").await);
    let tasks = rig.number("SELECT COUNT(*) FROM tasks WHERE schedule = 'tick'").await;
    report.add("tasks", tasks);
    schedulers.push(worker);
    let verdict = conclude(rig, report, (Vec::new(), 0), schedulers, 1).await;
    let least = form.of(3, 100);
    assert!(verdict.fires >= least, "{} instants fired", verdict.fires);
}

/// Lets one after the other stand still; says how often.
async fn pause_in_turn(schedulers: &mut [Process], time: Duration, random: &mut StdRng) -> usize {
    let began = Instant::now();
    let mut pauses = 0;
    while began.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        let one = random.random_range(0..schedulers.len());
        schedulers[one].pause();
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        schedulers[one].resume();
        pauses += 1;
    }
    pauses
}
