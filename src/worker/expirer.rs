//! The expirer's rhythm: every worker process, every second. Unlike the rescuer it holds off for nobody: whether a task has
//! expired depends on the database's clock alone. And it is a service of its own: however much expires at once, no dead
//! worker's task waits for it.

use crate::lifecycle::{Tools, expire};
use crate::telemetry::Episode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between passes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the batches of one: it does not compete with the work.
const PAUSE: Duration = Duration::from_millis(20);

/// Passes every second until stopped.
pub(super) async fn run(tools: Tools, stop: CancellationToken) {
    let trouble = Episode::new("expiry");
    let mut wait = INTERVAL;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let passed = expire::pass(&tools).await;
        wait = if let Ok(true) = passed { PAUSE } else { INTERVAL };
        match passed {
            Ok(_) => trouble.succeeded(),
            Err(error) => trouble.failed(&error),
        }
    }
}
