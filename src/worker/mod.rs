//! The worker role: consume, claim, execute, finish; and for whoever holds the lease, dispatch
//! and sweep; and for everybody, rescue and expire.
//!
//! ```text
//!  consume ─► claim ─► attempts ─► finish        one incarnation: a life under one worker id
//!  heartbeat: renews the lease ([`lease`]), finds cancels,
//!             ends the incarnation when it is lost
//!  dispatchers: one a queue whose lease this worker holds
//!  rescuer, expirer, queue watch, subscription    the process
//! ```
//!
//! A worker that was declared dead, or that cannot trust its lease any more, stops every
//! handler, drops everything and begins a new incarnation under a new id.

mod consume;
mod dispatcher;
mod expirer;
mod heartbeat;
mod held;
mod incarnation;
mod lease;
mod pace;
mod queues;
mod rescuer;

use crate::lifecycle::Tools;
use crate::lifecycle::finish::Finisher;
use crate::stream::CancelNotices;
use incarnation::{Ended, Incarnation, RECORD_LIMIT};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Which queues a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// Every queue there is, new ones within a second.
    All,
    /// These.
    Only(Vec<Arc<str>>),
}

/// The worker's part of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Attempts at once.
    pub concurrency: u32,
    pub queues: Served,
    /// A worker that has not renewed for this long is dead. Renewed every third.
    pub lease: Duration,
    /// How long a drain waits for running attempts.
    pub drain_timeout: Duration,
    /// How often each queue is swept.
    pub sweep_interval: Duration,
    /// `limits.result`, in bytes.
    pub max_result: usize,
}

/// What the worker works with.
#[derive(Debug, Clone)]
pub struct Parts {
    pub tools: Tools,
    pub settings: Settings,
}

/// Runs the worker role until stopped, then drains; returns earlier only if a part of it
/// breaks off. `ready` is called when the worker is
/// registered and reads.
pub async fn run(parts: Parts, stop: CancellationToken, ready: impl Fn() + Send + Sync) {
    let parts = Arc::new(parts);
    let tools = &parts.tools;
    let (finisher, mut finish_lanes) = Finisher::start(tools.clone());
    // These go on while the last incarnation drains: another's tasks do not wait for it.
    let background = CancellationToken::new();
    let _stop_background = background.clone().drop_guard();
    let cancels = CancelNotices::default();
    let mut services = JoinSet::new();
    services.spawn(rescuer::run(tools.clone(), parts.settings.lease, background.clone()));
    services.spawn(expirer::run(tools.clone(), background.clone()));
    services.spawn({
        let (stream, wakes) = (tools.stream.clone(), tools.wakes.clone());
        let (cancels, background) = (cancels.clone(), background.clone());
        async move { stream.listen(wakes, cancels, background).await }
    });
    let served = queues::watch(&parts, background.clone(), &mut services);
    tools.metrics.worker_slots.set(i64::from(parts.settings.concurrency));
    let mut handing_over = JoinSet::new();
    loop {
        let Some(incarnation) = Incarnation::begin(&parts, &finisher, served.clone(), &cancels, &stop).await else {
            break;
        };
        ready();
        let ended = tokio::select! {
            ended = incarnation.run(&stop, &mut handing_over) => ended,
            // Neither ends while `background` lives. What runs is rescued: the process goes down.
            _ = services.join_next() => return tracing::error!("a background service of the worker ended"),
            _ = finish_lanes.join_next() => return tracing::error!("recording of outcomes ended"),
        };
        match ended {
            Ended::Drained => break,
            Ended::Fenced => tracing::warn!("this worker begins again under a new id"),
        }
        while handing_over.try_join_next().is_some() {}
    }
    // What is not done by then is the rescuer's.
    let _ = tokio::time::timeout(RECORD_LIMIT, handing_over.join_all()).await;
}
