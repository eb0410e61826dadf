//! Dispatch: keep the unread part of a queue's stream filled to a window, from the head of the
//! backlog; and bring back what the stream has lost.
//!
//! Entering the stream changes no row: the dispatcher remembers what it has added ([`Sent`]).

mod sent;

pub use sent::Sent;

use super::Tools;
use crate::store::tasks::{Place, Waiting};
use crate::store::{Store, StoreError};
use crate::stream::{Entry, StreamError, StreamState};
use crate::task::{TaskId, Timestamp, Way};
use crate::telemetry::Metrics;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Work held in the stream, as time at the measured start rate: short, so that a task of
/// higher priority overtakes what waits behind it.
pub const WINDOW: Duration = Duration::from_millis(250);
/// Entries in the window for each free slot, whatever the rate.
pub const ENTRIES_PER_FREE_SLOT: u64 = 2;
/// The window's upper bound.
pub const MAX_WINDOW: u64 = 10_000;
/// The sweep leaves alone what was dispatched within this time: longer than a claim takes.
pub const SWEEP_GRACE: chrono::TimeDelta = chrono::TimeDelta::seconds(5);
/// Rows that one step of the sweep brings back.
const SWEEP_ROWS: usize = 1000;
/// Rows that one step looks at of what is set aside.
const ASIDE_ROWS: u64 = 1000;
/// Weight of the newest measurement in the start rate.
const RATE_WEIGHT: f64 = 0.3;

/// Dispatching failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// How many tasks a second workers start, measured from the entries they read.
#[derive(Debug, Clone, Default)]
pub struct StartRate {
    per_second: f64,
    last: Option<(Instant, u64)>,
}

impl StartRate {
    /// Takes a measurement: the count of entries read so far.
    pub fn measure(&mut self, at: Instant, entries_read: u64) {
        let Some((before, count)) = self.last.replace((at, entries_read)) else { return };
        let seconds = at.saturating_duration_since(before).as_secs_f64();
        if seconds <= 0.0 {
            self.last = Some((before, count));
            return;
        }
        // A count that fell is a stream made anew: what was read since then.
        let read = entries_read.checked_sub(count).unwrap_or(entries_read);
        let read = f64::from(u32::try_from(read).unwrap_or(u32::MAX));
        // Long pauses between measurements count for more than short ones.
        let weight = 1.0 - (1.0 - RATE_WEIGHT).powf(seconds / 0.1);
        self.per_second += (read / seconds - self.per_second) * weight;
    }

    /// Tasks a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second
    }
}

/// The unread entries to aim at.
#[must_use]
pub fn window(rate: &StartRate, slots: u64, pending: u64) -> u64 {
    let by_rate = whole(rate.per_second() * WINDOW.as_secs_f64());
    let by_slots = slots.saturating_sub(pending) * ENTRIES_PER_FREE_SLOT;
    by_rate.max(by_slots).clamp(1, MAX_WINDOW)
}

/// The nearest whole number of a non-negative value, bounded by the window's limit.
fn whole(value: f64) -> u64 {
    let bounded = value.clamp(0.0, 1e6).round();
    #[expect(clippy::as_conversions, reason = "between 0 and a million by the line above")]
    let whole = bounded as u64;
    whole
}

/// What [`fill`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Entries added.
    pub added: usize,
    /// The backlog holds tasks that are not in the stream.
    pub more: bool,
}

/// Adds entries for up to `room` tasks of a queue's backlog that are not in its stream yet, which was in this
/// state. Those among them that workers outside run are set aside instead. `now` is the database's clock, not
/// later than this call.
///
/// # Errors
/// When either server cannot be reached. Nothing is remembered then: what reached the stream all the
/// same comes twice, and loses its second claim.
pub async fn fill(
    tools: &Tools,
    queue: &Arc<str>,
    sent: &mut Sent,
    state: &StreamState,
    room: usize,
    now: Timestamp,
) -> Result<Filled, DispatchError> {
    let Tools { store, stream, registry, .. } = tools;
    let (fresh, more) = look(store, queue, sent, state, room, now).await?;
    if fresh.is_empty() {
        return Ok(Filled { added: 0, more });
    }
    let positions: HashMap<TaskId, u64> = fresh.iter().copied().collect();
    let waiting = store.waiting(fresh.into_iter().map(|(id, _)| id).collect()).await?;
    let (waiting, others): (Vec<Waiting>, Vec<Waiting>) =
        waiting.into_iter().partition(|task| registry.way(&task.name) == Way::Stream);
    put_aside(tools, queue, others.into_iter().map(|task| (task.id, task.name)).collect()).await?;
    let added: Vec<TaskId> = waiting.iter().map(|task| task.id).collect();
    stream.append(waiting.into_iter().map(|task| entry(queue, task, now)).collect()).await?;
    for id in &added {
        sent.remember(*id, positions.get(id).copied().unwrap_or(0), now);
    }
    Ok(Filled { added: added.len(), more })
}

/// Of tasks that have just come into a queue's backlog, sets aside those that workers outside run or whose type has
/// a limit of its own: they need not wait behind what the stream has no room for.
///
/// # Errors
/// When the database cannot be reached; [`fill`] then does it.
pub async fn sort_out(tools: &Tools, queue: &Arc<str>, ids: Vec<TaskId>) -> Result<(), StoreError> {
    if ids.is_empty() || tools.registry.is_plain() {
        return Ok(());
    }
    put_aside(tools, queue, tools.store.backlog_names(ids).await?).await
}

/// Takes tasks that do not go through the stream as they come out of the backlog.
async fn put_aside(tools: &Tools, queue: &Arc<str>, named: Vec<(TaskId, String)>) -> Result<(), StoreError> {
    let (mut outside, mut held) = (Vec::new(), HashMap::<String, Vec<TaskId>>::new());
    for (id, name) in named {
        match tools.registry.way(&name) {
            Way::Stream => {}
            Way::Outside => outside.push(id),
            Way::Held => held.entry(name).or_default().push(id),
        }
    }
    for (name, ids) in held {
        tools.store.hold(name.into(), ids).await?;
    }
    set_aside(tools, queue, outside).await
}

/// Lets held tasks of a queue go into its stream, at most `room` and of each type at most what its limit leaves; says
/// how many. `now` is the database's clock, not later than this call.
///
/// # Errors
/// When either server cannot be reached; what did not reach the stream is swept.
pub async fn let_go(tools: &Tools, queue: &Arc<str>, room: usize, now: Timestamp) -> Result<usize, DispatchError> {
    let mut added = 0;
    for (name, limit) in tools.registry.limited() {
        let room = room.saturating_sub(added);
        if room == 0 || !tools.store.is_held(Arc::clone(queue), Arc::clone(&name)).await? {
            continue;
        }
        let gone = tools.store.let_go(Arc::clone(queue), name, limit, room, now).await?;
        added += gone.len();
        tools.stream.append(gone.into_iter().map(|task| entry(queue, task, now)).collect()).await?;
    }
    Ok(added)
}

/// Takes tasks out of the backlog for workers outside, and wakes those that wait.
pub(super) async fn set_aside(tools: &Tools, queue: &Arc<str>, ids: Vec<TaskId>) -> Result<(), StoreError> {
    if !ids.is_empty() && tools.store.set_aside(ids).await? > 0 {
        tools.wakes.arrived(queue);
    }
    Ok(())
}

/// One step of a look at what is set aside or held in a queue: what goes another way by now, since the configuration
/// has changed, comes back to the backlog. A type that nobody has stays where it is. Gives the place of the next
/// step; None: that was all.
///
/// # Errors
/// When the database cannot be reached.
pub async fn put_back(
    tools: &Tools,
    queue: &Arc<str>,
    sent: &mut Sent,
    from: Place,
) -> Result<Option<Place>, StoreError> {
    let aside = tools.store.aside(Arc::clone(queue), from, ASIDE_ROWS).await?;
    let known = |name: &str| tools.registry.get(name).is_some() && tools.registry.way(name) != aside.way;
    let changed: Vec<TaskId> = aside.tasks.iter().filter(|(_, name)| known(name)).map(|(id, _)| *id).collect();
    if !changed.is_empty() {
        let moved = tools.store.put_back(from, changed.clone()).await?;
        sent.forget(&changed);
        tracing::info!(queue = &**queue, tasks = moved, "their types go another way now: put back into the backlog");
    }
    Ok(aside.next)
}

/// The first tasks of the backlog that are not in the stream, at most `room`; and whether there are others.
async fn look(
    store: &Store,
    queue: &Arc<str>,
    sent: &mut Sent,
    state: &StreamState,
    room: usize,
    now: Timestamp,
) -> Result<(Vec<(TaskId, u64)>, bool), StoreError> {
    let mut look = sent.look(now);
    // Most of what is remembered from before has been claimed since: no more stands there than the stream holds.
    let in_stream = usize::try_from(state.unread.saturating_add(state.pending)).unwrap_or(usize::MAX);
    let mut standing = if look.whole { look.remembered.min(in_stream) } else { look.remembered };
    loop {
        let limit = standing.saturating_add(room).saturating_add(1);
        let head = store.backlog_head(Arc::clone(queue), look.from, limit).await?;
        let rest = head.len() < limit;
        let mut fresh = sent.compare(&head, rest, now);
        if rest || fresh.len() >= room || standing >= look.remembered {
            let more = fresh.len() > room || !rest;
            fresh.truncate(room);
            return Ok((fresh, more));
        }
        // Unless it has lost some, which stand there until the sweep finds them: beyond those.
        look = sent.look(now);
        standing = look.remembered;
    }
}

fn entry(queue: &Arc<str>, task: Waiting, dispatched_at: Timestamp) -> Entry {
    let Waiting { id, name, attempt, max_attempts, timeout, run_at, payload } = task;
    Entry {
        queue: Arc::clone(queue),
        id,
        name: name.into(),
        attempt,
        max_attempts,
        timeout,
        run_at,
        dispatched_at,
        payload: payload.map(Arc::from),
    }
}

/// Brings back queued tasks whose entries the stream no longer has; says how many.
///
/// What was dispatched before the oldest unread entry, or before now if there is none, less
/// [`SWEEP_GRACE`], was read by a worker that never claimed it, or its entry is gone: FLUSHALL,
/// a restart without persistence, a crash between commit and XADD, XTRIM, a deleted stream.
/// All one case. What this dispatcher added is forgotten, and so dispatched again; what an API
/// added through an open gate goes back to the backlog. Where the guess is wrong, the duplicate entry
/// loses its claim.
///
/// # Errors
/// When the database cannot be reached.
pub async fn sweep(
    store: &Store,
    queue: &Arc<str>,
    sent: &mut Sent,
    state: &StreamState,
    now: Timestamp,
    metrics: &Metrics,
) -> Result<usize, StoreError> {
    let cutoff = state.oldest_unread.unwrap_or(now).min(now) - SWEEP_GRACE;
    let mut total = sent.forget_before(cutoff);
    metrics.tasks_undispatched.inc_by(u64::try_from(total).unwrap_or(0));
    loop {
        let moved = store.undispatch_stale(Arc::clone(queue), cutoff, SWEEP_ROWS).await?;
        metrics.tasks_undispatched.inc_by(u64::try_from(moved).unwrap_or(0));
        total += moved;
        if moved < SWEEP_ROWS {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> StartRate {
        StartRate { per_second, last: None }
    }

    #[test]
    fn the_window_is_a_fraction_of_a_second_or_a_few_entries_for_each_free_slot() {
        assert_eq!(window(&rate(0.0), 64, 0), 128, "an idle worker");
        assert_eq!(window(&rate(64.0), 64, 64), 16, "slots full of one-second tasks");
        assert_eq!(window(&rate(10_000.0), 64, 64), 2500, "fast tasks");
        assert_eq!(window(&rate(1e9), 64, 0), MAX_WINDOW);
        assert_eq!(window(&rate(0.0), 0, 0), 1, "never nothing: the first read shows the rate");
    }

    #[test]
    fn the_rate_follows_the_count_of_entries_read() {
        let start = Instant::now();
        let mut rate = StartRate::default();
        for tenth in 0..100u32 {
            rate.measure(start + Duration::from_millis(100) * tenth, u64::from(tenth) * 50);
        }
        assert!((rate.per_second() - 500.0).abs() < 1.0, "{}", rate.per_second());
        // The stream was flushed: the count begins again.
        rate.measure(start + Duration::from_secs(10), 50);
        assert!(rate.per_second() > 400.0 && rate.per_second() <= 501.0, "{}", rate.per_second());
    }
}
