//! The protocol as stateright sees it, and what must hold of it.

use super::action::Action;
use super::config::{Guard, Protocol};
use super::state::{Hold, Lease, NONE, PROCESSES, Process, State, TASKS, Wrong};
use stateright::{Model, Property};
use taskrunnerx::task::Status;

/// At any instant at most one attempt owns a task: of all who run it with no reason to doubt
/// their lease, there is at most one.
pub(crate) const ONE_OWNER: &str = "at most one owner";
/// Who runs an attempt with no reason to doubt its lease is who the row names.
pub(crate) const NAMED: &str = "the row names who runs it";
/// Only the owner records a result.
pub(crate) const OWNERS_RESULT: &str = "only the owner's result is recorded";
/// An attempt's end is recorded once.
pub(crate) const ONE_FINISH: &str = "at most one finish an attempt";
/// The status moves along `Status::may_become` alone.
pub(crate) const LEGAL: &str = "the status moves along the table";
/// The attempt number rises by one with each claim, and never falls.
pub(crate) const RISES: &str = "the attempt number rises with each claim";
/// No attempt number is started a second time.
pub(crate) const STARTED_ONCE: &str = "no attempt is started twice";
/// No handler starts under a lease that has run out.
pub(crate) const TRUSTED: &str = "no handler starts under a lost lease";
/// A task whose cancel was asked for while it ran does not wait for another attempt.
pub(crate) const CANCELLED: &str = "a cancel is not outlived";
/// No handler starts beside one whose own worker has handed the task over before it ended. (Beside
/// one that a rescuer has taken from a worker that stands still, it may.)
pub(crate) const STOPPED: &str = "what is handed over has stopped";
/// A worker does not hand over a task whose outcome it is about to record.
pub(crate) const SETTLED: &str = "what is handed over has no outcome";
/// A worker that comes back is not taken for dead because it said so.
pub(crate) const CAME_BACK: &str = "who hands over has not died";
/// Where the system has nothing left to do, every worker that lost its lease has handed over,
/// unless one of its handlers never ended.
pub(crate) const HANDS_OVER: &str = "who lives on hands over";
/// Where the system has nothing left to do, every accepted task has ended.
pub(crate) const ENDS: &str = "every accepted task ends";

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.tasks, self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.progress(state, actions);
        self.world(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_OWNER, |model: &Self, state: &State| {
                (0..TASKS).all(|t| (0..PROCESSES).filter(|p| model.runs(state, *p, t).is_some()).count() <= 1)
            }),
            Property::always(NAMED, |model: &Self, state: &State| {
                (0..TASKS).all(|t| (0..PROCESSES).all(|p| model.is_named(state, p, t)))
            }),
            Property::always(OWNERS_RESULT, |_, state: &State| !state.happened(Wrong::Stranger)),
            Property::always(ONE_FINISH, |_, state: &State| !state.happened(Wrong::Twice)),
            Property::always(LEGAL, |_, state: &State| !state.happened(Wrong::Move)),
            Property::always(RISES, |_, state: &State| !state.happened(Wrong::Attempt)),
            Property::always(STARTED_ONCE, |_, state: &State| !state.happened(Wrong::Restart)),
            Property::always(TRUSTED, |_, state: &State| !state.happened(Wrong::Untrusted)),
            Property::always(CANCELLED, |_, state: &State| {
                state.rows.iter().all(|row| !(row.cancel && matches!(row.status, Status::Scheduled | Status::Queued)))
            }),
            Property::always(STOPPED, |_, state: &State| (0..TASKS).all(|t| !is_beside(state, t))),
            Property::always(SETTLED, |_, state: &State| !state.happened(Wrong::Discarded)),
            Property::always(CAME_BACK, |_, state: &State| !state.happened(Wrong::Died)),
            Property::always(HANDS_OVER, |model: &Self, state: &State| {
                let left = |process: &Process| process.former.is_some_and(|former| !former.is_stopping());
                !state.processes.iter().any(left) || !model.is_at_rest(state)
            }),
            Property::always(ENDS, |model: &Self, state: &State| state.all_ended() || !model.is_at_rest(state)),
        ]
    }
}

impl Protocol {
    /// The attempt that a process runs with no reason to doubt its lease.
    fn runs(&self, state: &State, p: usize, t: usize) -> Option<u8> {
        let process = &state.processes[p];
        match process.holds[t] {
            Hold::Running { attempt } if self.trusts(state, p) => Some(attempt),
            _ => None,
        }
    }

    /// What `Lease::holds` says to a process that looks: trust ends before the lease does. Without
    /// that, it lasts until a renewal is refused.
    fn trusts(&self, state: &State, p: usize) -> bool {
        let id = state.processes[p].id;
        id != NONE && (state.lease(id) == Lease::Live || !self.has(Guard::SelfFencing))
    }

    fn is_named(&self, state: &State, p: usize, t: usize) -> bool {
        let row = &state.rows[t];
        self.runs(state, p, t).is_none_or(|attempt| row.runs_under(state.processes[p].id) && row.attempt == attempt)
    }

    /// Nothing happens any more unless the world makes it.
    fn is_at_rest(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.progress(state, &mut actions);
        actions.is_empty()
    }
}

/// A handler runs beside one that was to stop, after its own worker has handed its task over.
fn is_beside(state: &State, t: usize) -> bool {
    let given = |process: &Process| {
        process.former.is_some_and(|former| matches!(former.holds[t], Hold::Stopping { given: true, .. }))
    };
    state.processes.iter().any(given)
        && state.processes.iter().any(|process| matches!(process.holds[t], Hold::Running { .. }))
}
