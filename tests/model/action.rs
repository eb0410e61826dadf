//! Every step that may be taken from a state.
//!
//! A *step of the system* is one that some part of it will take sooner or later if nothing else
//! makes it impossible. A *step of the world* may be taken, and need not be: the properties
//! about the end of tasks never count on one.

use super::config::{Guard, Protocol};
use super::state::{End, Hold, Id, Lease, NONE, PROCESSES, State, TASKS};
use taskrunnerx::task::Status;

/// One step. `p` is a worker process, `t` a task, `id` a worker's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Action {
    /// The dispatcher moves a due row to the backlog.
    Promote { t: usize },
    /// The dispatcher adds the entry of a row of the backlog (`lane = 2`) that it does not remember, and
    /// remembers it. The row stays as it is.
    Dispatch { t: usize },
    /// The dispatcher looks, and forgets what has left the backlog.
    Look { t: usize },
    /// The sweep un-dispatches a queued row that has no unread entry, or forgets that it was sent.
    Sweep { t: usize },
    /// A worker with a free slot reads an entry, takes the task and sends the claim.
    Read { p: usize, t: usize, entry: u8 },
    /// A claim is done by the database and answered.
    Claim { p: usize, t: usize },
    /// The worker looks at its lease, and starts the handler or lets the task go.
    Start { p: usize, t: usize },
    /// The handler ends.
    End { p: usize, t: usize, end: End },
    /// A finish is done by the database and answered.
    Finish { p: usize, t: usize },
    /// The heartbeat renews a lease that has run out and that nobody has condemned yet.
    Renew { p: usize },
    /// The worker notices that its lease is lost, stops everything and takes a new id.
    Notice { p: usize },
    /// Under the id before: a claim or a finish is done by the database and answered.
    Answer { p: usize, t: usize },
    /// Under the id before: the guarded move of a row that still says `running` under it.
    HandOver { p: usize, t: usize },
    /// Under the id before: the worker sets `dead_at` in its own row.
    Declare { p: usize },
    /// The heartbeat finds a row that says `running` under its id and that it does not hold, and holds it from here on.
    Compare { p: usize, t: usize },
    /// The release of such a row is done by the database and answered; the row is let go of.
    Release { p: usize, t: usize },
    /// The rescuer sets `dead_at` where the lease has run out.
    Fence { id: Id },
    /// The rescuer reads a row that says `running` under a dead worker, or one that has no row.
    PickUp { t: usize },
    /// The rescuer's guarded move of what it picked up.
    TakeOver,
    /// The rescuer deletes a dead worker's row, since no task names it as running.
    Remove { id: Id },
    /// A process that was away registers.
    Return { p: usize },
    /// World: a worker reads an entry of a task that it holds, and drops it.
    Drop { p: usize, t: usize, entry: u8 },
    /// World: a process dies.
    Crash { p: usize },
    /// World: a worker stands still until its lease has run out by the database's clock.
    Expire { p: usize },
    /// World: an unread entry is lost.
    Lose { t: usize, entry: u8 },
    /// World: an unread entry is there twice.
    Duplicate { t: usize, entry: u8 },
    /// World: Redis is empty. The dispatcher sees that its stream is new, or a reader made it before
    /// it looked.
    Wipe { seen: bool },
    /// World: another dispatcher begins.
    TakeOverQueue,
    /// World: a worker gives up on its statement.
    GiveUp { p: usize, t: usize },
    /// World: under the id before, a handler ends. What it returns is discarded.
    Stopped { p: usize, t: usize },
    /// World: under the id before, the worker gives up on its statement.
    Fail { p: usize, t: usize },
    /// World: a statement that nobody waits for is done.
    Commit { late: usize },
    /// World: the sweep, while a claim of the row is under way for longer than its grace.
    HastySweep { t: usize },
    /// World: a client cancels.
    Cancel { t: usize },
}

impl Protocol {
    /// The steps of the system.
    pub(crate) fn progress(&self, state: &State, out: &mut Vec<Action>) {
        for t in 0..TASKS {
            self.delivery(state, t, out);
        }
        for p in 0..PROCESSES {
            if state.processes[p].id == NONE {
                if state.processes.iter().all(|process| process.id == NONE) {
                    out.push(Action::Return { p });
                }
                continue;
            }
            self.lease(state, p, out);
            self.after_loss(state, p, out);
            for t in 0..TASKS {
                self.work(state, p, t, out);
            }
        }
        self.rescue(state, out);
    }

    /// Dispatcher and sweep, of one task.
    fn delivery(&self, state: &State, t: usize, out: &mut Vec<Action>) {
        let row = &state.rows[t];
        match row.status {
            Status::Scheduled => out.push(Action::Promote { t }),
            Status::Queued if row.waits() && !state.sent[t] => out.push(Action::Dispatch { t }),
            // An older entry of another task keeps the real sweep waiting until it is read. That
            // is a delay and no end: whoever could claim this row can read that entry.
            Status::Queued if state.is_read(t) && !state.is_claimed_by_anyone(t) && self.sweeps(state, t) => {
                out.push(Action::Sweep { t });
            }
            _ => {}
        }
        // With its place it is forgotten at once: it comes back to another.
        if state.sent[t] && !row.waits() {
            out.push(Action::Look { t });
        }
    }

    /// Whether the sweep would do something about this task.
    fn sweeps(&self, state: &State, t: usize) -> bool {
        let by_row = state.rows[t].dispatched && self.has(Guard::Sweep);
        by_row || (state.rows[t].waits() && state.sent[t] && self.has(Guard::Forget))
    }

    /// A worker's view of its own lease.
    fn lease(&self, state: &State, p: usize, out: &mut Vec<Action>) {
        let lease = state.lease(state.processes[p].id);
        if lease == Lease::Expired || (lease == Lease::Dead && !self.has(Guard::Renewal)) {
            out.push(Action::Renew { p });
        }
        // By its own clock, or since a renewal was refused.
        let refused = matches!(lease, Lease::Dead | Lease::Gone) && self.has(Guard::Renewal);
        if refused || (lease == Lease::Expired && self.has(Guard::SelfFencing)) {
            out.push(Action::Notice { p });
        }
    }

    /// What a worker that lost its lease does under its id before, beside its new life.
    fn after_loss(&self, state: &State, p: usize, out: &mut Vec<Action>) {
        let Some(former) = state.processes[p].former else { return };
        for t in 0..TASKS {
            if matches!(former.holds[t], Hold::Claiming { .. } | Hold::Finishing { .. }) {
                out.push(Action::Answer { p, t });
            }
        }
        if !former.is_empty() && self.has(Guard::HandOverAtRest) {
            return;
        }
        let left = (0..TASKS).filter(|t| state.rows[*t].runs_under(former.id));
        out.extend(left.clone().map(|t| Action::HandOver { p, t }));
        if !former.declared && (left.count() == 0 || !self.has(Guard::DeclareLast)) {
            out.push(Action::Declare { p });
        }
    }

    /// What a worker does about one task.
    fn work(&self, state: &State, p: usize, t: usize, out: &mut Vec<Action>) {
        let (process, row) = (&state.processes[p], &state.rows[t]);
        let room = process.holds.iter().filter(|hold| **hold != Hold::Free).count() < self.slots;
        if !self.holds(state, p, t) && (room || process.holds[t] != Hold::Free) {
            out.extend(state.unread(t).map(|entry| Action::Read { p, t, entry }));
        }
        match process.holds[t] {
            Hold::Free => {
                let unknown = row.runs_under(process.id) && process.releasing[t] == 0;
                // Once more at most after the lease has run out, and then as the rescuer would.
                let live = state.lease(process.id) == Lease::Live;
                if unknown && live && self.has(Guard::Comparison) {
                    out.push(Action::Compare { p, t });
                }
            }
            Hold::Claiming { .. } => out.push(Action::Claim { p, t }),
            Hold::Won { .. } => out.push(Action::Start { p, t }),
            Hold::Running { .. } => {
                out.push(Action::End { p, t, end: End::Success });
                out.push(Action::End { p, t, end: End::Error });
                // Told over pub/sub, or at the heartbeat.
                if row.cancel {
                    out.push(Action::End { p, t, end: End::Cancelled });
                }
            }
            Hold::Finishing { .. } => out.push(Action::Finish { p, t }),
            Hold::Stopping { .. } => unreachable!("only under the id before"),
        }
        if process.releasing[t] != 0 {
            out.push(Action::Release { p, t });
        }
    }

    /// The rescuer. Each worker has one; two at once send the same guarded statements twice.
    fn rescue(&self, state: &State, out: &mut Vec<Action>) {
        if !self.has(Guard::Rescue) {
            return;
        }
        for id in 1..state.leases.len() as Id {
            let lease = state.lease(id);
            // A lease that nobody renews runs out.
            let ran_out = lease == Lease::Expired || (lease == Lease::Live && state.is_abandoned(id));
            if ran_out && self.has(Guard::FenceFirst) {
                out.push(Action::Fence { id });
            }
            if lease == Lease::Dead && !state.rows.iter().any(|row| row.runs_under(id)) {
                out.push(Action::Remove { id });
            }
        }
        if state.rescuing.is_some() {
            out.push(Action::TakeOver);
            return;
        }
        for (t, row) in state.rows.iter().enumerate().filter(|(_, row)| row.status == Status::Running) {
            let lost = match state.lease(row.owner) {
                Lease::Dead => true,
                Lease::Gone => self.has(Guard::Orphans),
                Lease::Expired => !self.has(Guard::FenceFirst),
                Lease::Live => state.is_abandoned(row.owner) && !self.has(Guard::FenceFirst),
            };
            if lost {
                out.push(Action::PickUp { t });
            }
        }
    }

    /// The steps of the world.
    pub(crate) fn world(&self, state: &State, out: &mut Vec<Action>) {
        for (late, statement) in state.late.iter().enumerate() {
            if statement.is_some() {
                out.push(Action::Commit { late });
            }
        }
        for p in 0..PROCESSES {
            self.misfortune(state, p, out);
        }
        let left = &state.left;
        for t in 0..TASKS {
            for entry in state.unread(t) {
                if left.lost_entries > 0 {
                    out.push(Action::Lose { t, entry });
                }
                if left.duplicates > 0 {
                    out.push(Action::Duplicate { t, entry });
                }
            }
            let row = &state.rows[t];
            let swept = row.status == Status::Queued && state.is_read(t) && self.sweeps(state, t);
            if left.hasty_sweeps > 0 && swept && state.is_claimed_by_anyone(t) {
                out.push(Action::HastySweep { t });
            }
            if left.cancels > 0 && !row.status.is_terminal() && !row.cancel {
                out.push(Action::Cancel { t });
            }
        }
        if left.wipes > 0 && (0..TASKS).any(|t| !state.is_read(t)) {
            out.extend([true, false].map(|seen| Action::Wipe { seen }));
        }
        if left.takeovers > 0 && state.sent.contains(&true) {
            out.push(Action::TakeOverQueue);
        }
    }

    /// What may befall a worker. One that holds nothing is spared: whatever befell it then may
    /// as well befall it right after it has read its next entry.
    fn misfortune(&self, state: &State, p: usize, out: &mut Vec<Action>) {
        let (process, left) = (&state.processes[p], &state.left);
        if process.id == NONE {
            if state.processes.iter().any(|process| process.id != NONE) {
                out.push(Action::Return { p });
            }
            return;
        }
        let engaged = (0..TASKS).any(|t| process.holds[t] != Hold::Free || process.releasing[t] != 0)
            || state.rows.iter().any(|row| row.runs_under(process.id))
            || state.late.iter().flatten().any(|statement| statement.id() == process.id);
        if (engaged || process.former.is_some()) && left.crashes > 0 {
            out.push(Action::Crash { p });
        }
        if engaged && left.pauses > 0 && state.lease(process.id) == Lease::Live {
            out.push(Action::Expire { p });
        }
        for t in 0..TASKS {
            match process.former.map(|former| former.holds[t]) {
                Some(Hold::Stopping { .. }) => out.push(Action::Stopped { p, t }),
                // No budget: what cost the lease may well have cost the claim.
                Some(Hold::Claiming { .. }) => out.push(Action::Fail { p, t }),
                Some(Hold::Finishing { .. }) if left.lost_answers > 0 => out.push(Action::Fail { p, t }),
                _ => {}
            }
            if self.holds(state, p, t) {
                out.extend(state.unread(t).map(|entry| Action::Drop { p, t, entry }));
            }
            match process.holds[t] {
                Hold::Claiming { .. } | Hold::Finishing { .. } if left.lost_answers > 0 => {
                    out.push(Action::GiveUp { p, t });
                }
                Hold::Free if process.releasing[t] != 0 && left.lost_answers > 0 => {
                    out.push(Action::GiveUp { p, t });
                }
                Hold::Running { .. } if left.drains > 0 => out.push(Action::End { p, t, end: End::Interrupted }),
                _ => {}
            }
        }
    }

    /// Whether an entry of this task is dropped by this process: it holds the task.
    pub(crate) fn holds(&self, state: &State, p: usize, t: usize) -> bool {
        let process = &state.processes[p];
        let held = process.holds[t] != Hold::Free && self.has(Guard::Held);
        held || (process.releasing[t] != 0 && self.has(Guard::ReleaseHolds))
    }
}

impl State {
    /// A claim of this task is under way, and its worker waits for it.
    fn is_claimed_by_anyone(&self, t: usize) -> bool {
        self.processes.iter().any(|process| matches!(process.holds[t], Hold::Claiming { .. }))
    }
}
