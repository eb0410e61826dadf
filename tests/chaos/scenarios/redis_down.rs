//! Redis is away: every submission is still answered 201, and all of them run once it is back.

use super::conclude;
use crate::form::Form;
use crate::handler::{NAME, Order, now_ms};
use crate::journal::Accepted;
use crate::load::accept;
use crate::report::{Report, seconds, worst_and_median};
use crate::rig::Rig;
use serde_json::json;
use std::time::{Duration, Instant};

/// Between two submissions.
const EVERY: Duration = Duration::from_millis(20);
/// From its return until all that had been accepted has completed.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) async fn run(form: Form) {
    let away = form.of(Duration::from_secs(5), Duration::from_secs(30));
    let rig = Rig::start().await;
    let api = rig.ready(rig.plan("api", "api")).await;
    let worker = rig.ready(rig.plan("worker", "worker")).await;
    let door = api.url.read().unwrap().clone();
    rig.servers.lock().await.redis.kill().await;
    let down = Instant::now();
    let (mut accepted, mut times) = (Vec::new(), Vec::new());
    let mut refused = 0;
    while down.elapsed() < away {
        let order = Order { nonce: u64::try_from(accepted.len() + refused).unwrap(), ..Order::default() };
        let body = json!({"name": NAME, "payload": order});
        let asked = Instant::now();
        match accept(&rig.client, &door, &body).await {
            Some(id) => accepted.push(Accepted { id, order, queue: "default", at: now_ms(), cancel: None }),
            None => refused += 1,
        }
        times.push(asked.elapsed());
        tokio::time::sleep(EVERY).await;
    }
    rig.servers.lock().await.redis.start().await.unwrap();
    let back = Instant::now();
    super::all_ended(&rig).await.unwrap();
    let caught_up = back.elapsed();
    let (worst, median) = worst_and_median(&mut times);
    let mut report = Report::new(format!("Redis is down ({form:?} form)"));
    report.add("Redis down for", seconds(away)).add("submissions", times.len());
    report.add("- answered otherwise than 201", refused);
    report.add("answer, median and worst", format!("{} and {}", seconds(median), seconds(worst)));
    report.add("from its return until all had completed", seconds(caught_up));
    conclude(rig, report, (accepted, 0), vec![worker, api], 1).await;
    assert_eq!(refused, 0, "every submission is answered 201");
    assert!(caught_up <= form.bound(BOUND), "{caught_up:?}");
}
