//! Clients: a steady stream of submissions. A 201 is a promise and is written down; any other
//! end is unknown: the task may exist or not, and both are fine.

use crate::handler::{NAME, Order, now_ms};
use crate::journal::Accepted;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The queues that are used.
pub(crate) const QUEUES: [&str; 2] = ["default", "side"];
/// Attempts of a task that is to complete in the end, however many are lost on the way.
const PATIENCE: u32 = 100;

/// What clients have learned.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) accepted: Mutex<Vec<Accepted>>,
    /// Refused or unanswered.
    pub(crate) unknown: AtomicU64,
    nonce: AtomicU64,
}

impl Ledger {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }
}

/// The addresses of the API's processes, as of now.
pub(crate) type Doors = Vec<Arc<RwLock<String>>>;

/// One client, until stopped.
pub(crate) async fn client(
    ledger: Arc<Ledger>,
    doors: Doors,
    http: reqwest::Client,
    every: Duration,
    seed: u64,
    stop: CancellationToken,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let door = doors[random.random_range(0..doors.len())].read().unwrap().clone();
        let submitted = submit(&ledger, &http, &door, &mut random).await;
        if random.random_ratio(1, 20)
            && let Some(index) = submitted
        {
            cancel(&ledger, &http, &door, index).await;
        }
    }
}

/// A submission of a random kind; gives its place in the ledger if it was accepted.
async fn submit(ledger: &Ledger, http: &reqwest::Client, door: &str, random: &mut StdRng) -> Option<usize> {
    let nonce = ledger.nonce.fetch_add(1, Ordering::Relaxed);
    let queue = QUEUES[usize::from(random.random_ratio(1, 4))];
    let (order, mut body) = invent(nonce, random);
    body["name"] = json!(NAME);
    body["queue"] = json!(queue);
    body["payload"] = serde_json::to_value(&order).unwrap();
    let id = accept(http, door, &body).await;
    let Some(id) = id else {
        ledger.unknown.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let mut accepted = ledger.accepted.lock().unwrap();
    accepted.push(Accepted { id, order, queue, at: now_ms(), cancel: None });
    Some(accepted.len() - 1)
}

/// The id of a task that was answered with 201.
pub(crate) async fn accept(http: &reqwest::Client, door: &str, body: &Value) -> Option<uuid::Uuid> {
    let answer = http.post(format!("{door}/api/tasks")).json(body).send().await.ok()?;
    if answer.status().as_u16() != 201 {
        return None;
    }
    // Cut off after the status: the promise was made, and what was promised is not known.
    let task: Value = answer.json().await.ok()?;
    Some(task["id"].as_str().unwrap().parse().unwrap())
}

async fn cancel(ledger: &Ledger, http: &reqwest::Client, door: &str, index: usize) {
    let id = ledger.accepted.lock().unwrap()[index].id;
    let answer = http.post(format!("{door}/api/tasks/{id}/cancel")).send().await;
    let status = answer.map_or(0, |answer| answer.status().as_u16());
    ledger.accepted.lock().unwrap()[index].cancel = Some(status);
}

/// How a task is to behave, and what its submission says besides.
fn invent(nonce: u64, random: &mut StdRng) -> (Order, Value) {
    let mut order = Order { nonce, ms: random.random_range(0..60), ..Order::default() };
    let mut body = json!({"max_attempts": PATIENCE, "backoff": "100ms", "priority": random.random_range(0..10)});
    match random.random_range(0..100) {
        0..60 => {}
        60..75 => order.ms = random.random_range(200..1500),
        75..82 => order.fail_below = random.random_range(2..4),
        82..85 => order.panic_below = 2,
        85..88 => order.permanent = true,
        88..91 => {
            // Never succeeds.
            order.fail_below = u32::MAX;
            body["max_attempts"] = json!(2);
        }
        91..93 => {
            // Takes longer than it may.
            order.ms = 60_000;
            body["timeout"] = json!("300ms");
            body["max_attempts"] = json!(2);
        }
        93..96 => {
            order.deaf = true;
            order.ms = random.random_range(300..1200);
        }
        _ => body["delay"] = json!(format!("{}ms", random.random_range(300..2000))),
    }
    (order, body)
}
