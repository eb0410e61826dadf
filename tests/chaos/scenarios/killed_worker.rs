//! A killed worker's tasks start again within its lease and two seconds.

use super::conclude;
use crate::form::Form;
use crate::handler::{NAME, Order, now_ms};
use crate::journal::{Accepted, Execution, Line};
use crate::load::accept;
use crate::processes::Process;
use crate::report::{Report, seconds, worst_and_median};
use crate::rig::Rig;
use crate::waiting::eventually;
use futures_util::future::join_all;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// Beyond the lease: a pass of the rescuer, a dispatch, a claim.
const SLACK: Duration = Duration::from_secs(2);
/// Renewals in a lease.
const BEATS: u32 = 3;
/// Workers that outlive each round.
const SURVIVORS: usize = 1;

pub(crate) async fn run(form: Form) {
    let (kills, together) = form.of((3, 3), (50, 5));
    // Shorter than the default's 15 s, so that fifty kills do not take half an hour.
    let lease = Duration::from_secs(form.of(2, 3));
    let rig = Rig::start().await;
    let api = rig.ready(rig.plan("api", "api")).await;
    let plan = |number| {
        rig.plan(&format!("worker-{number}"), "worker")
            .env("TASKRUNNERX_WORKER__LEASE", format!("{}s", lease.as_secs()))
            .env("TASKRUNNERX_WORKER__DRAIN_TIMEOUT", "0s")
    };
    let mut workers = join_all((0..together + SURVIVORS).map(|number| rig.ready(plan(number)))).await;
    let mut execution = rig.execution();
    let mut accepted = Vec::new();
    let mut times = Vec::new();
    for _ in 0..kills / together {
        past_hold_off(&rig, lease).await;
        let victims = occupy(&rig, &api, &workers, together, &mut accepted, &mut execution).await;
        times.extend(kill(&mut workers, &victims, lease / BEATS, &mut execution).await);
        join_all(workers.iter_mut().enumerate().filter(|(index, _)| victims.contains(index)).map(
            async |(_, worker)| {
                worker.again().await;
                worker.until_ready(&rig.client).await;
            },
        ))
        .await;
    }
    // Those that nobody interrupts would go on for a minute.
    join_all(workers.iter_mut().map(async |worker| {
        worker.stop().await;
        worker.again().await;
    }))
    .await;
    let (worst, median) = worst_and_median(&mut times);
    let mut report = Report::new(format!("A worker is killed ({form:?} form)"));
    report.add("kills", times.len()).add("lease", seconds(lease));
    report.add("from the kill to the next attempt's start: median", seconds(median));
    report.add("from the kill to the next attempt's start: worst", seconds(worst));
    let count = workers.len();
    workers.push(api);
    conclude(rig, report, (accepted, 0), workers, count).await;
    assert!(worst <= form.bound(lease + SLACK), "{worst:?}");
}

/// The rescuer holds off for a lease after its own start.
async fn past_hold_off(rig: &Rig, lease: Duration) {
    let young = format!(
        "SELECT COUNT(*) FROM workers WHERE started_at > NOW(6) - INTERVAL {} MICROSECOND",
        (lease + Duration::from_millis(500)).as_micros()
    );
    rig.until_none(super::PATIENCE, &young).await.unwrap();
}

/// Submits tasks that take a minute at their first attempt until so many workers have one; gives
/// those workers.
async fn occupy(
    rig: &Rig,
    api: &Process,
    workers: &[Process],
    count: usize,
    accepted: &mut Vec<Accepted>,
    execution: &mut Execution,
) -> Vec<usize> {
    let door = api.url.read().unwrap().clone();
    loop {
        let nonce = u64::try_from(accepted.len()).unwrap();
        let order = Order { nonce, ms: 10, long_below: 2, ..Order::default() };
        let body = json!({"name": NAME, "payload": order, "max_attempts": 100, "backoff": "100ms"});
        let id = accept(&rig.client, &door, &body).await.unwrap();
        accepted.push(Accepted { id, order, queue: "default", at: now_ms(), cancel: None });
        eventually("a start", async || execution.refresh().starts().any(|line| line.task == id).then_some(())).await;
        let busy = running(execution);
        let mut victims: Vec<usize> = (0..workers.len())
            .filter(|worker| busy.values().any(|line| line.pid == workers[*worker].life().pid))
            .collect();
        if victims.len() >= count {
            victims.truncate(count);
            return victims;
        }
    }
}

/// First attempts that have not been followed by others.
fn running(execution: &Execution) -> HashMap<uuid::Uuid, Line> {
    let last = execution.starts().map(|line| (line.task, *line)).collect::<HashMap<_, _>>();
    last.into_iter().filter(|(_, line)| line.attempt == 1).collect()
}

/// Kills these workers, each at some moment between two beats of its heart; says how long each one's
/// last task waited for its next attempt.
async fn kill(workers: &mut [Process], victims: &[usize], beat: Duration, execution: &mut Execution) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut killed = Vec::new();
    for victim in victims {
        tokio::time::sleep(beat.mul_f64(rand::random())).await;
        let pid = workers[*victim].life().pid;
        let tasks: Vec<uuid::Uuid> =
            running(execution.refresh()).into_values().filter(|line| line.pid == pid).map(|line| line.task).collect();
        killed.push((now_ms(), tasks));
        workers[*victim].kill().await;
    }
    for (at, tasks) in killed {
        let mut worst = 0;
        for task in tasks {
            let next = eventually("the next attempt", async || {
                execution.refresh().starts().find(|line| line.task == task && line.attempt > 1).copied()
            });
            worst = worst.max(next.await.at - at);
        }
        waits.push(Duration::from_millis(worst));
    }
    waits
}
