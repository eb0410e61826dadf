//! Dispatchers: one for each queue whose lease this worker holds. Each keeps its queue's
//! stream filled to the window, publishes the gate's budget, sweeps, and measures the queue.
//!
//! Losing the lease, or two holding it for a moment, costs duplicate entries and nothing else.

use super::incarnation::Life;
use crate::lifecycle::dispatch::{self, DispatchError, Sent, StartRate, window};
use crate::store::StoreError;
use crate::store::tasks::Place;
use crate::stream::Opening;
use crate::telemetry::Episode;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A dispatcher's lease on its queue; taken over by another worker when it runs out.
const LEASE: Duration = Duration::from_secs(5);
/// How often leases are renewed and free ones are taken.
const RENEW: Duration = Duration::from_secs(1);
/// Between passes while nothing happens: what is due, or was announced and not heard, waits
/// this long at most.
const IDLE: Duration = Duration::from_millis(250);
/// Between passes while tasks start: the window and the gate follow the rate.
const ACTIVE: Duration = Duration::from_millis(50);
/// Least time between two passes, however often they are asked for.
const GAP: Duration = Duration::from_millis(10);
/// Wait after a failed pass.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// Least time between two counts of a queue's depth; a count that takes long is taken less often.
const DEPTH_INTERVAL: Duration = Duration::from_secs(5);
const DEPTH_COST: u32 = 100;

/// Slots of the live workers that read each queue's stream.
type Slots = Mutex<HashMap<Arc<str>, u64>>;

/// Holds leases and runs their dispatchers until stopped.
pub(super) async fn run(life: Arc<Life>, stop: CancellationToken) {
    let trouble = Episode::new("dispatcher leases");
    let slots = Arc::new(Slots::default());
    let mut running: HashMap<Arc<str>, (JoinHandle<()>, DropGuard)> = HashMap::new();
    let mut served = life.served.clone();
    loop {
        let queues = served.borrow_and_update().clone();
        match hold(&life, &queues, &slots).await {
            Ok(held) => {
                trouble.succeeded();
                // One that broke off is started again.
                running.retain(|queue, (task, _)| held.contains(queue) && !task.is_finished());
                for queue in held {
                    running.entry(Arc::clone(&queue)).or_insert_with(|| {
                        let token = stop.child_token();
                        let task = tokio::spawn(serve(Arc::clone(&life), queue, Arc::clone(&slots), token.clone()));
                        (task, token.drop_guard())
                    });
                }
            }
            // The dispatchers go on: a lease that runs out meanwhile costs duplicates at most.
            Err(error) => trouble.failed(&error),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEW) => {}
            _ = served.changed() => {}
        }
    }
}

async fn hold(life: &Life, queues: &[Arc<str>], slots: &Slots) -> Result<Vec<Arc<str>>, StoreError> {
    if queues.is_empty() {
        return Ok(Vec::new());
    }
    let held = life.parts.tools.store.lease_queues(life.id, queues.to_vec(), LEASE).await?;
    let workers = life.parts.tools.store.live_workers().await?;
    let mut counted = HashMap::new();
    for queue in &held {
        let serves = |names: &str| {
            serde_json::from_str::<Vec<String>>(names)
                .is_ok_and(|names| names.iter().any(|name| name == "*" || **name == **queue))
        };
        let total: u64 = workers.iter().filter(|w| !w.outside && serves(&w.queues)).map(|w| u64::from(w.slots)).sum();
        counted.insert(Arc::clone(queue), total);
    }
    *slots.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    Ok(held)
}

/// One queue's dispatcher.
struct Dispatcher {
    life: Arc<Life>,
    queue: Arc<str>,
    slots: Arc<Slots>,
    rate: StartRate,
    sent: Sent,
    /// As the last pass left it.
    backlog: bool,
    /// How far this dispatcher has looked at what is set aside; None: it has.
    aside: Option<Place>,
    /// The task types that it looked for then.
    types: u64,
    sweep_at: Instant,
    depth_at: Instant,
    counting: Option<JoinHandle<()>>,
}

async fn serve(life: Arc<Life>, queue: Arc<str>, slots: Arc<Slots>, stop: CancellationToken) {
    tracing::info!(queue = &*queue, "dispatching this queue");
    let trouble = Episode::new("dispatcher");
    let wake = life.parts.tools.wakes.of(&queue);
    let now = Instant::now();
    let mut dispatcher = Dispatcher {
        life,
        queue,
        slots,
        rate: StartRate::default(),
        sent: Sent::default(),
        backlog: false,
        aside: Some(Place::default()),
        types: 0,
        sweep_at: now,
        depth_at: now,
        counting: None,
    };
    loop {
        let began = Instant::now();
        let wait = match dispatcher.pass().await {
            Ok(wait) => {
                trouble.succeeded();
                wait
            }
            Err(error) => {
                trouble.failed(&error);
                RETRY_WAIT
            }
        };
        let woken = async {
            wake.notified().await;
            tokio::time::sleep(GAP.saturating_sub(began.elapsed())).await;
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = woken, if !trouble.is_failing() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    dispatcher.forget_depth();
}

impl Dispatcher {
    /// Looks, fills, publishes, sweeps; says when to look again.
    async fn pass(&mut self) -> Result<Duration, DispatchError> {
        let parts = Arc::clone(&self.life.parts);
        let (store, stream, queue) = (&parts.tools.store, &parts.tools.stream, &self.queue);
        let state = stream.state(queue).await?;
        if state.anew {
            self.sent.forget_all();
        }
        self.rate.measure(Instant::now(), state.entries_read);
        // What was there a moment ago need not be looked for by itself.
        let busy = self.backlog || !self.sent.is_empty();
        let outlook = store.outlook(Arc::clone(queue), busy).await?;
        let mut backlog = outlook.backlog;
        let types = parts.tools.registry.version();
        if types != self.types {
            (self.types, self.aside) = (types, Some(Place::default()));
        }
        if let Some(from) = self.aside {
            self.aside = dispatch::put_back(&parts.tools, queue, &mut self.sent, from).await?;
            backlog = true;
        }
        if Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + parts.settings.sweep_interval;
            let moved =
                dispatch::sweep(store, queue, &mut self.sent, &state, outlook.now, &parts.tools.metrics).await?;
            if moved > 0 {
                tracing::warn!(queue = &**queue, tasks = moved, "the stream had lost tasks: they are dispatched again");
                backlog = true;
            }
        }
        if outlook.next_due.is_some_and(|due| due <= outlook.now) {
            // What does not fit in one step is due at the next pass, which comes at once.
            let promoted = store.promote_due(Arc::clone(queue)).await?;
            self.sent.forget(&promoted);
            backlog |= !promoted.is_empty();
            dispatch::sort_out(&parts.tools, queue, promoted).await?;
        }
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(queue).copied().unwrap_or(0);
        let window = window(&self.rate, slots, state.pending);
        let mut room = window.saturating_sub(state.unread);
        // Paused: what is due moves into the backlog and the sweep goes on, and nothing leaves it.
        let paused = outlook.paused;
        if !paused {
            let wanted = usize::try_from(room).unwrap_or(usize::MAX);
            let gone = dispatch::let_go(&parts.tools, queue, wanted, outlook.now).await?;
            room = room.saturating_sub(u64::try_from(gone).unwrap_or(room));
        }
        if backlog && room > 0 && !paused {
            let wanted = usize::try_from(room).unwrap_or(usize::MAX);
            let filled = dispatch::fill(&parts.tools, queue, &mut self.sent, &state, wanted, outlook.now).await?;
            room = room.saturating_sub(u64::try_from(filled.added).unwrap_or(room));
            backlog = filled.more;
        }
        self.backlog = backlog;
        let budget = if backlog || paused { 0 } else { room };
        stream.publish_gate(queue, Opening { serial: next_serial(), budget }, self.rate.per_second()).await?;
        self.measure_depth();
        Ok(self.wait(backlog && !paused, outlook.next_due.map(|due| (due - outlook.now).to_std().unwrap_or_default())))
    }

    fn wait(&self, backlog: bool, next_due: Option<Duration>) -> Duration {
        let rhythm = if backlog || self.rate.per_second() > 1.0 { ACTIVE } else { IDLE };
        next_due.map_or(rhythm, |due| rhythm.min(due.max(Duration::from_millis(1))))
    }

    /// Counts the queue beside the passes: a deep one takes its time, and none of theirs.
    fn measure_depth(&mut self) {
        if self.counting.as_ref().is_some_and(|count| !count.is_finished()) || Instant::now() < self.depth_at {
            return;
        }
        self.depth_at = Instant::now() + DEPTH_INTERVAL;
        let (parts, queue) = (Arc::clone(&self.life.parts), Arc::clone(&self.queue));
        self.counting = Some(tokio::spawn(async move {
            let began = Instant::now();
            match parts.tools.store.depth(Arc::clone(&queue)).await {
                Ok(depth) => parts.tools.metrics.show_queue(&queue, depth.by_status(), depth.oldest()),
                Err(error) => tracing::debug!(queue = &*queue, %error, "the queue could not be counted"),
            }
            // At most a hundredth of the time is spent on counting.
            tokio::time::sleep(began.elapsed() * DEPTH_COST).await;
        }));
    }

    /// The series belong to the process that dispatches the queue.
    fn forget_depth(&self) {
        if let Some(counting) = &self.counting {
            counting.abort();
        }
        self.life.parts.tools.metrics.forget_queue(&self.queue);
    }
}

/// Publications are told apart by time and count: another dispatcher's never looks like ours.
fn next_serial() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let micros = u64::try_from(chrono::Utc::now().timestamp_micros()).unwrap_or(0);
    micros.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}
