//! Consume: reads as many entries as there will be free slots ([`super::pace`]), claims them in one batch, and
//! starts an attempt for each that was won.

use super::incarnation::Life;
use super::pace::{PATIENCE, Pace};
use crate::lifecycle::claim::{self, Won};
use crate::lifecycle::execute::{Stop, Stopper, execute};
use crate::lifecycle::finish::Ended;
use crate::lifecycle::journal;
use crate::stream::{Delivered, Entry, Reader};
use crate::task::{Claimed, Outcome, TaskId};
use crate::telemetry::Episode;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Longest wait of one read. A drain waits for it, and a new queue is read only after it.
const BLOCK: Duration = Duration::from_millis(500);
/// The next attempt of a task whose last outcome is still on its way is offered again after this time.
const EARLY_DELAY: Duration = Duration::from_secs(1);
/// Between two looks at a lease that may not be trusted: it is renewed, or this incarnation ends.
const LEASE_WAIT: Duration = Duration::from_millis(50);
/// Wait after a failed read or claim: no hot loop while a server is away. Longer than [`BLOCK`], so that
/// a read which was cut off has ended in Redis too, and delivers no more, when the next one begins.
const RETRY_WAIT: Duration = Duration::from_millis(600);

/// Reads until stopped. Returns when every claim that was sent has been answered.
pub(super) async fn run(life: Arc<Life>, stop: CancellationToken) {
    let trouble = Episode::new("redis reader");
    let mut reader = life.parts.tools.stream.reader(life.id);
    let mut served = life.served.clone();
    let mut claims = tokio::task::JoinSet::new();
    let mut pace = Pace::new(Instant::now(), life.parts.settings.concurrency);
    let mut began = Instant::now();
    while let Some((slots, unrecorded)) = free(&life, &stop).await {
        // One claim at a time: it costs the database nearly as much for a few tasks as for many, and what
        // comes into the stream meanwhile shares the next one.
        if !claims.is_empty() {
            claims.join_next().await;
            pace.answered(began, Instant::now(), &life.freed);
            continue;
        }
        let room = slots.saturating_add(pace.ahead()).min(unrecorded);
        let queues = served.borrow_and_update().clone();
        if queues.is_empty() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = served.changed() => continue,
                () = tokio::time::sleep(BLOCK) => continue,
            }
        }
        // What it claimed it would have to drop, and the next, as fast as it can read.
        if !life.lease.holds() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LEASE_WAIT) => continue,
            }
        }
        // Not dropped by a stop: Redis would go on delivering into it for the rest of its BLOCK.
        let read = read(&mut reader, &queues, room).await;
        began = Instant::now();
        // What came while it was told to stop, or after its lease was over, goes back at once.
        let free = if stop.is_cancelled() || !life.lease.holds() { 0 } else { room };
        match read {
            Ok(delivered) => {
                trouble.succeeded();
                if !delivered.is_empty() {
                    admit(&life, delivered, free, &mut claims).await;
                }
            }
            Err(error) => {
                trouble.failed(&error);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(RETRY_WAIT) => {}
                }
            }
        }
    }
    while claims.join_next().await.is_some() {}
}

/// Waits for a free slot, behind what was claimed before; says how many there are, and how many more
/// tasks may be held. None: stopped.
async fn free(life: &Life, stop: &CancellationToken) -> Option<(usize, usize)> {
    let both = async {
        let slot = life.slots.acquire().await;
        let unrecorded = life.unrecorded.acquire().await;
        slot.and(unrecorded).is_ok()
    };
    tokio::select! {
        () = stop.cancelled() => None,
        open = both => open.then(|| (life.slots.available_permits().max(1), life.unrecorded.available_permits().max(1))),
    }
}

/// First a fair share from each queue; what was full may hold more, and gets the rest.
async fn read(
    reader: &mut Reader,
    queues: &[Arc<str>],
    free: usize,
) -> Result<Vec<Delivered>, crate::stream::StreamError> {
    let share = (free / queues.len().max(1)).max(1);
    let mut delivered = reader.read(queues, share, Some(BLOCK)).await?;
    if queues.len() > 1 {
        let full = |queue: &&Arc<str>| delivered.iter().filter(|d| d.queue == **queue).count() >= share;
        let busy: Vec<Arc<str>> = queues.iter().filter(full).cloned().collect();
        for queue in busy {
            let left = free.saturating_sub(delivered.len());
            if left == 0 {
                break;
            }
            match reader.read(&[queue], left, None).await {
                Ok(more) => delivered.extend(more),
                // What has come is claimed first; the next read meets the trouble again.
                Err(_) => break,
            }
        }
    }
    Ok(delivered)
}

/// Takes what was delivered: drops what is held already, hands back what no slot is free for,
/// and sends the claim for the rest.
async fn admit(life: &Arc<Life>, delivered: Vec<Delivered>, free: usize, claims: &mut tokio::task::JoinSet<()>) {
    let mut wanted = Vec::with_capacity(delivered.len());
    let (mut surplus, mut early) = (Vec::new(), Vec::new());
    let done = |queue, entry_id| life.parts.tools.outbox.acknowledge(queue, vec![entry_id]);
    for Delivered { queue, entry_id, entry } in delivered {
        let Some(entry) = entry else {
            tracing::warn!(queue = &*queue, entry_id, "an entry that is not ours was deleted");
            done(queue, entry_id);
            continue;
        };
        if wanted.len() >= free {
            surplus.push(entry.id);
            done(queue, entry_id);
        } else if let Some(held) = life.held.take(entry.id, entry.attempt) {
            tracing::debug!(task.id = %entry.id, "an entry came twice");
            if entry.attempt > held {
                // The next attempt's, while this one's outcome is still on its way.
                early.push(entry.id);
            }
            done(queue, entry_id);
        } else {
            wanted.push((entry, entry_id));
        }
    }
    hand_back(life, surplus, Duration::ZERO).await;
    hand_back(life, early, EARLY_DELAY).await;
    if wanted.is_empty() {
        return;
    }
    let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
    if let Ok(unrecorded) = Arc::clone(&life.unrecorded).acquire_many_owned(count).await {
        claims.spawn(claim(Arc::clone(life), wanted, unrecorded));
    }
}

/// No attempt is spent. If it fails the sweep does it.
async fn hand_back(life: &Life, ids: Vec<TaskId>, delay: Duration) {
    if ids.is_empty() {
        return;
    }
    let moved = life.parts.tools.store.hand_back(ids, delay).await.unwrap_or(0);
    life.parts.tools.metrics.tasks_undispatched.inc_by(u64::try_from(moved).unwrap_or(0));
}

async fn claim(life: Arc<Life>, wanted: Vec<(Entry, String)>, mut unrecorded: OwnedSemaphorePermit) {
    let ids: Vec<_> = wanted.iter().map(|(entry, _)| entry.id).collect();
    let entries: Vec<_> = wanted.iter().map(|(entry, id)| (Arc::clone(&entry.queue), id.clone())).collect();
    let parts = &life.parts;
    let claimed = claim::claim(&parts.tools, life.id, wanted).await;
    let claimings = match claimed {
        Ok(claimings) => claimings,
        Err(error) => {
            life.claiming.failed(&error);
            // What it claimed all the same is the heartbeat's, the rest is the sweep's: neither
            // needs the entries, which would stay pending for this worker's life.
            entries.into_iter().for_each(|(queue, entry_id)| parts.tools.outbox.acknowledge(queue, vec![entry_id]));
            ids.into_iter().for_each(|id| life.held.release(id));
            // No faster than this while the database is away: each round costs a claim's entries.
            tokio::time::sleep(RETRY_WAIT).await;
            return;
        }
    };
    life.claiming.succeeded();
    for (queue, entry_id) in claimings.done {
        parts.tools.outbox.acknowledge(queue, vec![entry_id]);
    }
    let won: HashSet<TaskId> = claimings.won.iter().map(|won| won.claimed.id).collect();
    ids.into_iter().filter(|id| !won.contains(id)).for_each(|id| life.held.release(id));
    // The claim may have taken long, or this process may have stood still.
    if !life.lease.holds() {
        for Won { claimed, entry_id } in claimings.won {
            parts.tools.outbox.acknowledge(Arc::clone(&claimed.queue), vec![entry_id]);
            life.held.release(claimed.id);
        }
        return;
    }
    for won in claimings.won {
        let Some(room) = unrecorded.split(1) else { continue };
        let Some(stopper) = life.held.stopper(won.claimed.id) else { continue };
        // Here, so that the next claim does not count it as free.
        let slot = Arc::clone(&life.slots).try_acquire_owned().ok();
        tokio::spawn(attempt(Arc::clone(&life), won, slot, stopper, room));
    }
}

/// Lets a task go at the end of its attempt, however that ends.
struct Release<'a> {
    life: &'a Life,
    id: TaskId,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.life.held.release(self.id);
    }
}

/// A slot that an attempt has, counted while it does.
struct Busy<'a> {
    life: &'a Life,
    _slot: OwnedSemaphorePermit,
}

impl<'a> Busy<'a> {
    /// Waits for a slot where none was free. None: it did not come free within [`PATIENCE`].
    async fn wait(life: &'a Life, slot: Option<OwnedSemaphorePermit>) -> Option<Self> {
        let slot = match slot {
            Some(slot) => slot,
            None => tokio::time::timeout(PATIENCE, Arc::clone(&life.slots).acquire_owned()).await.ok()?.ok()?,
        };
        life.parts.tools.metrics.worker_busy.inc();
        Some(Self { life, _slot: slot })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.life.freed.one();
        self.life.parts.tools.metrics.worker_busy.dec();
    }
}

/// One attempt: take a slot unless it has one, run it, free the slot, record its outcome, let it go.
async fn attempt(
    life: Arc<Life>,
    won: Won,
    slot: Option<OwnedSemaphorePermit>,
    stopper: Stopper,
    room: OwnedSemaphorePermit,
) {
    let Won { claimed, entry_id } = won;
    let claimed = Arc::new(claimed);
    let _release = Release { life: &life, id: claimed.id };
    let _room = room;
    let (registry, metrics, settings) = (&life.parts.tools.registry, &life.parts.tools.metrics, &life.parts.settings);
    let Some(busy) = Busy::wait(&life, slot).await else {
        // It has not begun: to whoever has a slot, and this attempt does not count.
        let outcome = if stopper.reason() == Some(Stop::Fenced) { None } else { Some(Outcome::Interrupted) };
        return settle(&life, &claimed, outcome, entry_id).await;
    };
    // This process may have stood still while it waited for the slot.
    if !life.lease.holds() {
        return settle(&life, &claimed, None, entry_id).await;
    }
    let waited = (chrono::Utc::now() - claimed.run_at).to_std().unwrap_or_default();
    metrics.task_wait.with_label_values(&[&*claimed.queue]).observe(waited.as_secs_f64());
    let span =
        tracing::info_span!("attempt", task.id = %claimed.id, task.name = &*claimed.name, attempt = claimed.attempt);
    let outcome = {
        let _busy = busy;
        let started = Instant::now();
        let attempt = execute(registry, Arc::clone(&claimed), &stopper, &life.parts.tools.journal, settings.max_result);
        let outcome = attempt.instrument(span.clone()).await;
        let labels = [&*claimed.queue, registry.label(&claimed.name)];
        metrics.task_run.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
        outcome
    };
    settle(&life, &claimed, outcome, entry_id).instrument(span).await;
}

/// Records an outcome. None: fenced; whoever owns the task now has an entry of its own.
async fn settle(life: &Life, claimed: &Arc<Claimed>, outcome: Option<Outcome>, entry_id: String) {
    let Some(outcome) = outcome else {
        drop(life.parts.tools.journal.end(claimed));
        return life.parts.tools.outbox.acknowledge(Arc::clone(&claimed.queue), vec![entry_id]);
    };
    journal::last_words(&life.parts.tools.journal, claimed).await;
    let ended = Ended { claimed: Arc::clone(claimed), outcome, entry_id };
    if life.finisher.finish(ended).await.is_err() {
        tracing::warn!("the outcome was not recorded: the process is stopping; the task will be rescued");
    }
}
