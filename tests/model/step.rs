//! What each step does. A guarded UPDATE is one step, since InnoDB makes it one; the time between
//! a decision and its statement is the time between two steps, in which everybody else acts.

use super::action::Action;
use super::config::{Guard, Protocol};
use super::state::{End, Former, Hold, Id, Lease, Process, State, Statement, TASKS, Wrong};
use std::time::Duration;
use taskrunnerx::task::{Backoff, Next, Outcome, Standing, Status, decide};

impl Protocol {
    /// The state after a step.
    pub(crate) fn after(&self, before: &State, action: Action) -> State {
        let mut state = *before;
        self.apply(&mut state, action);
        judge(before, &mut state);
        // Where these are missing, an attempt that is over stays so all the same.
        let over = matches!(self.without, None | Some(Guard::FinishWorker | Guard::HandOverAtRest));
        state.tidy(!self.has(Guard::FinishRunning), over, self.has(Guard::Place));
        state
    }

    fn apply(&self, state: &mut State, action: Action) {
        match action {
            Action::Promote { t } => state.rows[t].status = Status::Queued,
            // Reading the row, adding the entry and remembering it are one step here: an entry that comes
            // late, of a row that has left meanwhile, is one that is read late, one that is added and not
            // remembered is there twice, and one that is remembered and never comes is lost.
            Action::Dispatch { t } => {
                state.sent[t] = true;
                state.add_entry(t, state.rows[t].attempt);
            }
            Action::Look { t } => state.sent[t] = false,
            Action::Sweep { t } => sweep(state, t),
            Action::HastySweep { t } => {
                state.left.hasty_sweeps -= 1;
                sweep(state, t);
            }
            Action::Read { p, t, entry } => {
                state.remove_entry(t, entry);
                state.processes[p].holds[t] = Hold::Claiming { entry };
            }
            Action::Drop { p, t, entry } => self.drop_entry(state, p, t, entry),
            Action::Claim { p, t } => self.claim_answered(state, p, t),
            Action::Start { p, t } => self.start(state, p, t),
            Action::End { p, t, end } => ended(state, p, t, end),
            Action::Finish { p, t } => {
                let Process { id, holds, .. } = state.processes[p];
                if let Hold::Finishing { attempt, end } = holds[t] {
                    self.finish(state, id, t, attempt, end);
                }
                state.processes[p].holds[t] = Hold::Free;
            }
            Action::Renew { p } => state.leases[state.processes[p].id as usize] = Lease::Live,
            Action::Notice { p } => {
                self.lose_lease(state, p);
                state.register(p);
            }
            Action::Answer { p, t } => self.answered(state, p, t),
            Action::HandOver { p, t } => self.hand_over(state, p, t),
            Action::Declare { p } => {
                let former = state.processes[p].former.as_mut().expect("there is one that declares itself dead");
                former.declared = true;
                let lease = &mut state.leases[former.id as usize];
                if *lease != Lease::Gone {
                    *lease = Lease::Dead;
                }
            }
            Action::Compare { p, t } => state.processes[p].releasing[t] = state.rows[t].attempt,
            Action::Release { p, t } => {
                let Process { id, releasing, .. } = state.processes[p];
                self.finish(state, id, t, releasing[t], End::Interrupted);
                state.processes[p].releasing[t] = 0;
            }
            Action::Fence { id } => state.leases[id as usize] = Lease::Dead,
            Action::PickUp { t } => {
                let row = &state.rows[t];
                state.rescuing =
                    Some(Statement::Finish { id: row.owner, task: t, attempt: row.attempt, end: End::Lost });
            }
            Action::TakeOver => {
                if let Some(statement) = state.rescuing.take() {
                    self.done(state, statement);
                }
            }
            Action::Remove { id } => state.leases[id as usize] = Lease::Gone,
            Action::Return { p } => state.register(p),
            world => self.befall(state, world),
        }
    }

    /// The steps of the world that spend a budget.
    fn befall(&self, state: &mut State, action: Action) {
        match action {
            Action::Crash { p } => {
                state.left.crashes -= 1;
                lose_memory(state, p);
            }
            Action::Expire { p } => {
                state.left.pauses -= 1;
                state.leases[state.processes[p].id as usize] = Lease::Expired;
            }
            Action::Lose { t, entry } => {
                state.left.lost_entries -= 1;
                state.remove_entry(t, entry);
            }
            Action::Duplicate { t, entry } => {
                state.left.duplicates -= 1;
                state.add_entry(t, entry);
            }
            Action::Wipe { seen } => {
                state.left.wipes -= 1;
                state.entries = Default::default();
                if seen {
                    state.sent = [false; TASKS];
                }
            }
            Action::TakeOverQueue => {
                state.left.takeovers -= 1;
                state.sent = [false; TASKS];
            }
            Action::GiveUp { p, t } => {
                state.left.lost_answers -= 1;
                let process = state.processes[p];
                leave_under_way(state, &process, t);
                // A claim is given up; a finish and a release are sent again.
                if matches!(process.holds[t], Hold::Claiming { .. }) {
                    state.processes[p].holds[t] = Hold::Free;
                }
                if !self.has(Guard::ReleaseAgain) {
                    state.processes[p].releasing[t] = 0;
                }
            }
            Action::Stopped { p, t } => set_former(state, p, t, Hold::Free),
            Action::Fail { p, t } => {
                let former = state.processes[p].former.expect("there is one whose statement fails");
                if let Some(statement) = under_way(former.id, former.holds[t], t) {
                    state.add_late(statement);
                }
                // A claim is given up; a finish is sent again.
                match former.holds[t] {
                    Hold::Finishing { .. } => state.left.lost_answers -= 1,
                    _ => set_former(state, p, t, Hold::Free),
                }
            }
            Action::Commit { late } => {
                if let Some(statement) = state.late[late].take() {
                    self.done(state, statement);
                }
            }
            Action::Cancel { t } => {
                state.left.cancels -= 1;
                match state.rows[t].status {
                    Status::Running => state.rows[t].cancel = true,
                    _ => state.rows[t].status = Status::Cancelled,
                }
            }
            other => unreachable!("{other:?} is no step of the world"),
        }
    }

    /// A statement that nobody waits for.
    fn done(&self, state: &mut State, statement: Statement) {
        match statement {
            Statement::Claim { id, task, entry } => {
                self.claim(state, id, task, entry);
            }
            Statement::Finish { id, task, attempt, end } => self.finish(state, id, task, attempt, end),
        }
    }

    /// `CLAIM` in `store/tasks/claim.rs`; what did not change is classified. True: owned.
    fn claim(&self, state: &mut State, id: Id, t: usize, entry: u8) -> bool {
        let row = &mut state.rows[t];
        let queued = row.status == Status::Queued || !self.has(Guard::ClaimStatus);
        let same = row.attempt == entry || !self.has(Guard::ClaimAttempt);
        if (queued && same) || !self.has(Guard::Claim) {
            (row.status, row.owner) = (Status::Running, id);
            row.attempt += 1;
            return true;
        }
        // Claimed by an earlier statement of this worker, whose answer was lost.
        row.runs_under(id) && row.attempt == entry + 1
    }

    fn claim_answered(&self, state: &mut State, p: usize, t: usize) {
        let Process { id, holds, .. } = state.processes[p];
        let Hold::Claiming { entry } = holds[t] else { return };
        let won = self.claim(state, id, t, entry);
        state.processes[p].holds[t] = if won { Hold::Won { attempt: entry + 1 } } else { Hold::Free };
    }

    /// The look at the lease and the start are one step: a worker that stands still exactly in
    /// between is one that stands still right after its handler's start.
    fn start(&self, state: &mut State, p: usize, t: usize) {
        let Process { id, holds, .. } = state.processes[p];
        let Hold::Won { attempt } = holds[t] else { return };
        let holds_lease = state.lease(id) == Lease::Live;
        if !holds_lease && self.has(Guard::LeaseAfterClaim) {
            state.processes[p].holds[t] = Hold::Free;
            return;
        }
        if !holds_lease {
            state.note(Wrong::Untrusted);
        }
        if state.started[t] & (1 << attempt) != 0 {
            state.note(Wrong::Restart);
        }
        state.started[t] |= 1 << attempt;
        state.processes[p].holds[t] = Hold::Running { attempt };
    }

    /// The lease is lost, as in `Incarnation::run`. What is held stays held under the id until it
    /// has come to its end; a claim that was answered is dropped at once.
    fn lose_lease(&self, state: &mut State, p: usize) {
        // One before that is still at it: its statements go their own ways; see `main.rs`.
        if let Some(former) = state.processes[p].former {
            leave_former(state, &former);
        }
        let process = state.processes[p];
        let mut former = Former { id: process.id, holds: process.holds, releasing: process.releasing, declared: false };
        for t in 0..TASKS {
            // The heartbeat has ended, and with it whoever waits for the release.
            if let Some(statement) = releasing(&process, t) {
                state.add_late(statement);
            }
            former.holds[t] = match process.holds[t] {
                Hold::Won { .. } => Hold::Free,
                Hold::Running { attempt } => Hold::Stopping { attempt, given: false },
                other => other,
            };
        }
        if self.has(Guard::LetGo) {
            former.releasing = [0; TASKS];
        }
        state.processes[p].former = Some(former);
    }

    /// Under the id before. A claim that is won is dropped: the lease is lost.
    fn answered(&self, state: &mut State, p: usize, t: usize) {
        let former = state.processes[p].former.expect("there is one that is answered");
        if let Some(statement) = under_way(former.id, former.holds[t], t) {
            self.done(state, statement);
        }
        set_former(state, p, t, Hold::Free);
    }

    /// `hand_over` in `lifecycle/rescue.rs`, of one row.
    fn hand_over(&self, state: &mut State, p: usize, t: usize) {
        let former = state.processes[p].former.expect("there is one that hands over");
        let attempt = state.rows[t].attempt;
        match former.holds[t] {
            Hold::Finishing { attempt: ended, .. } if ended == attempt => state.note(Wrong::Discarded),
            Hold::Stopping { attempt: stopping, .. } if stopping == attempt => {
                set_former(state, p, t, Hold::Stopping { attempt, given: true });
            }
            _ => {}
        }
        self.finish(state, former.id, t, attempt, End::Abandoned);
    }

    /// `admit` in `worker/consume.rs`. The acknowledgement is no step: nothing waits for it.
    fn drop_entry(&self, state: &mut State, p: usize, t: usize, entry: u8) {
        state.remove_entry(t, entry);
        let process = &state.processes[p];
        let held = match process.holds[t] {
            Hold::Claiming { entry } => entry,
            Hold::Won { attempt } | Hold::Running { attempt } | Hold::Finishing { attempt, .. } => attempt - 1,
            Hold::Free => process.releasing[t] - 1,
            Hold::Stopping { .. } => unreachable!("only under the id before"),
        };
        // The next attempt's, while this one's outcome is still on its way: handed back, to another place.
        if entry > held && state.rows[t].status == Status::Queued {
            state.rows[t].dispatched = false;
            state.sent[t] &= !self.has(Guard::Place);
        }
    }

    /// `apply` in `store/tasks/finish.rs`, for whoever ends an attempt: its worker, now or under
    /// its id before, the rescuer, the comparison. The decision is the product's own.
    fn finish(&self, state: &mut State, id: Id, t: usize, attempt: u8, end: End) {
        let row = state.rows[t];
        let runs = row.status == Status::Running || !self.has(Guard::FinishRunning);
        let same = row.attempt == attempt || !self.has(Guard::FinishAttempt);
        let mine = row.owner == id || !self.has(Guard::FinishWorker);
        if !(runs && same && mine) && self.has(Guard::Finish) {
            return;
        }
        let under_way = row.status == Status::Running && row.attempt == attempt;
        if !under_way {
            state.note(Wrong::Twice);
        }
        if !(row.runs_under(id) && under_way) {
            state.note(Wrong::Stranger);
        }
        let standing = Standing {
            attempt: attempt.into(),
            forgiven: row.forgiven.into(),
            max_attempts: self.max_attempts.into(),
            crash_count: row.crashes.into(),
            backoff: Backoff::fixed(Duration::ZERO),
            // Read before it was asked for: what is asked for later is the guard's.
            cancel_requested: false,
        };
        let next = decide(&outcome(end), &standing, 0.0);
        let back = matches!(next, Next::Retry(_) | Next::Requeue { .. });
        let row = &mut state.rows[t];
        if back && row.cancel && self.has(Guard::CancelWins) {
            row.status = Status::Cancelled;
            return;
        }
        row.crashes += u8::from(end == End::Lost);
        let came_back = |process: &Process| process.former.is_some_and(|former| former.id == id && former.declared);
        if end == End::Lost && state.processes.iter().any(came_back) {
            state.note(Wrong::Died);
        }
        let row = &mut state.rows[t];
        row.status = match next {
            Next::Complete => Status::Completed,
            Next::Retry(_) => Status::Scheduled,
            Next::Requeue { forgiven } => {
                row.forgiven += u8::from(forgiven);
                Status::Queued
            }
            Next::Fail(_) => Status::Failed,
            Next::Cancel => Status::Cancelled,
        };
        row.dispatched = false;
    }
}

/// Of both kinds one step: what came through the gate was not sent, and what was sent did not.
fn sweep(state: &mut State, t: usize) {
    state.rows[t].dispatched = false;
    state.sent[t] = false;
}

fn ended(state: &mut State, p: usize, t: usize, end: End) {
    if end == End::Interrupted {
        state.left.drains -= 1;
    }
    if let Hold::Running { attempt } = state.processes[p].holds[t] {
        state.processes[p].holds[t] = Hold::Finishing { attempt, end };
    }
}

fn outcome(end: End) -> Outcome {
    match end {
        End::Success => Outcome::Success(None),
        End::Error => Outcome::Retryable(String::new()),
        End::Cancelled => Outcome::Cancelled,
        End::Interrupted => Outcome::Interrupted,
        End::Lost => Outcome::Lost(String::new()),
        End::Abandoned => Outcome::Abandoned(String::new()),
    }
}

/// The statement of a held task that its incarnation waits for.
fn under_way(id: Id, hold: Hold, task: usize) -> Option<Statement> {
    match hold {
        Hold::Claiming { entry } => Some(Statement::Claim { id, task, entry }),
        Hold::Finishing { attempt, end } => Some(Statement::Finish { id, task, attempt, end }),
        Hold::Free | Hold::Won { .. } | Hold::Running { .. } | Hold::Stopping { .. } => None,
    }
}

/// The release of a task that the comparison waits for.
fn releasing(process: &Process, task: usize) -> Option<Statement> {
    let (id, attempt) = (process.id, process.releasing[task]);
    (attempt != 0).then_some(Statement::Finish { id, task, attempt, end: End::Interrupted })
}

/// Nobody waits any more for what a process has sent about a task.
fn leave_under_way(state: &mut State, process: &Process, t: usize) {
    for statement in under_way(process.id, process.holds[t], t).into_iter().chain(releasing(process, t)) {
        state.add_late(statement);
    }
}

fn leave_former(state: &mut State, former: &Former) {
    for t in 0..TASKS {
        if let Some(statement) = under_way(former.id, former.holds[t], t) {
            state.add_late(statement);
        }
    }
}

fn set_former(state: &mut State, p: usize, t: usize, hold: Hold) {
    if let Some(former) = &mut state.processes[p].former {
        former.holds[t] = hold;
    }
}

/// A process dies, in every incarnation. What it has sent may still be done.
fn lose_memory(state: &mut State, p: usize) {
    let process = state.processes[p];
    for t in 0..TASKS {
        leave_under_way(state, &process, t);
    }
    if let Some(former) = process.former {
        leave_former(state, &former);
    }
    state.processes[p] = Process::AWAY;
}

/// Compares the rows before and after a step, whichever it was, with the product's table of moves.
fn judge(before: &State, after: &mut State) {
    for t in 0..TASKS {
        let (old, new) = (before.rows[t], after.rows[t]);
        if old.status != new.status && !old.status.may_become(new.status) {
            after.note(Wrong::Move);
        }
        let claimed = old.status == Status::Queued && new.status == Status::Running;
        if new.attempt != old.attempt + u8::from(claimed) {
            after.note(Wrong::Attempt);
        }
    }
}
