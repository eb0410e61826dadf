//! Two schedulers, one schedule, a few instants: one task a fire.
//!
//! Apart from the life of a task, since the two meet only in the INSERT that makes a task queued.
//!
//! ```text
//!            look                    lock, compare               ledger row, task        commit
//!  Idle ───────────────► Saw ──────────────────────────► Locked ─────────────────► Entered ──────► Idle
//!    ▲   next <= now      │   FOR UPDATE; is it still as        unique: who comes            next advances,
//!    │                    │   it was seen?                      second waits for the         ledger and task
//!    └────────────────────┘   no: nothing was inserted          first, then has nothing      are there at once
//! ```
//!
//! The transaction is open from the lock to the commit. Until then nobody sees what it has
//! written, and a crash undoes it; so the row, the ledger and the tasks change in the commit, and
//! the ledger's key is what it holds in between. A scheduler decides which instant comes next when it looks, as
//! `following` in `lifecycle/fire.rs` does: the first after the clock it saw. An instant that
//! passed meanwhile is passed over.
//!
//! A new definition of the schedule is the one thing that can set its next instant back: the instant was
//! computed from a clock that was read before the row was written.

use super::explore::{assert_acyclic, shortest};
use stateright::{Checker, Model, Property};

/// Instants that come, 1 to this one.
const INSTANTS: usize = 3;
const SCHEDULERS: usize = 2;

/// An instant has one task at most.
const ONE_TASK: &str = "one task a fire";
/// The ledger and the tasks agree.
const LEDGER: &str = "a task for each ledger row";
/// Nothing that is due is left behind.
const FIRES: &str = "what is due fires";

/// What keeps an instant from firing twice, and what may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Schedule {
    /// `FOR UPDATE`.
    row_lock: bool,
    /// The primary key of `schedule_fires`.
    unique: bool,
    crashes: u8,
    redefinitions: u8,
}

const WHOLE: Schedule = Schedule { row_lock: true, unique: true, crashes: 1, redefinitions: 1 };

/// What a scheduler decided when it looked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Decision {
    version: u8,
    instant: u8,
    /// The first instant after the clock that it saw.
    following: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Scheduler {
    Idle,
    Saw(Decision),
    Locked(Decision),
    Entered { decision: Decision, fired: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Moment {
    /// The database's clock: the last instant that has come.
    now: u8,
    version: u8,
    /// `next_fire_at`.
    next: u8,
    /// The instants in the ledger, a bit each.
    ledger: u8,
    tasks: [u8; INSTANTS + 1],
    schedulers: [Scheduler; SCHEDULERS],
    crashes: u8,
    redefinitions: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// Time passes.
    Tick,
    /// `schedule_agenda`: the schedule is due.
    Look { s: usize },
    /// `lock`: the row is locked and compared with the decision.
    Lock { s: usize },
    /// `insert_fire`, and the task where that inserted.
    Enter { s: usize },
    /// `advance`, and the end of the transaction.
    Commit { s: usize },
    /// World: a scheduler dies, and its transaction with it; another takes its place.
    Crash { s: usize },
    /// World: another process brings a new definition, whose first instant this is.
    Redefine { next: u8 },
}

impl Moment {
    /// Who has the row locked, or the ledger's key of this instant.
    fn is_locked(&self) -> bool {
        self.schedulers.iter().any(|s| matches!(s, Scheduler::Locked(_) | Scheduler::Entered { .. }))
    }

    fn key_is_held(&self, instant: u8) -> bool {
        let holds =
            |s: &Scheduler| matches!(s, Scheduler::Entered { decision, fired: true } if decision.instant == instant);
        self.schedulers.iter().any(holds)
    }
}

impl Schedule {
    fn progress(&self, at: &Moment, out: &mut Vec<Step>) {
        if usize::from(at.now) < INSTANTS {
            out.push(Step::Tick);
        }
        for (s, scheduler) in at.schedulers.iter().enumerate() {
            match *scheduler {
                Scheduler::Idle if at.next <= at.now => out.push(Step::Look { s }),
                Scheduler::Saw(_) if !(self.row_lock && at.is_locked()) => out.push(Step::Lock { s }),
                Scheduler::Locked(decision) if !(self.unique && at.key_is_held(decision.instant)) => {
                    out.push(Step::Enter { s });
                }
                Scheduler::Entered { .. } => out.push(Step::Commit { s }),
                _ => {}
            }
        }
    }

    fn world(&self, at: &Moment, out: &mut Vec<Step>) {
        for (s, scheduler) in at.schedulers.iter().enumerate() {
            if at.crashes > 0 && *scheduler != Scheduler::Idle {
                out.push(Step::Crash { s });
            }
        }
        if at.redefinitions > 0 && !(self.row_lock && at.is_locked()) {
            out.extend((1..=at.now + 1).map(|next| Step::Redefine { next }));
        }
    }

    fn lock(at: &Moment, decision: Decision) -> Scheduler {
        if (at.version, at.next) == (decision.version, decision.instant) {
            Scheduler::Locked(decision)
        } else {
            Scheduler::Idle
        }
    }

    fn enter(&self, at: &Moment, decision: Decision) -> Scheduler {
        let fired = !self.unique || at.ledger & (1 << decision.instant) == 0;
        Scheduler::Entered { decision, fired }
    }
}

fn commit(at: &mut Moment, decision: Decision, fired: bool) {
    if fired {
        at.ledger |= 1 << decision.instant;
        at.tasks[usize::from(decision.instant)] += 1;
    }
    at.next = decision.following;
}

impl Model for Schedule {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        vec![Moment {
            now: 0,
            version: 1,
            next: 1,
            ledger: 0,
            tasks: [0; INSTANTS + 1],
            schedulers: [Scheduler::Idle; SCHEDULERS],
            crashes: self.crashes,
            redefinitions: self.redefinitions,
        }]
    }

    fn actions(&self, at: &Moment, out: &mut Vec<Step>) {
        self.progress(at, out);
        self.world(at, out);
    }

    fn next_state(&self, before: &Moment, step: Step) -> Option<Moment> {
        let mut at = *before;
        match step {
            Step::Tick => at.now += 1,
            Step::Look { s } => {
                let following = at.next.max(at.now) + 1;
                at.schedulers[s] = Scheduler::Saw(Decision { version: at.version, instant: at.next, following });
            }
            Step::Crash { s } => {
                at.crashes -= 1;
                at.schedulers[s] = Scheduler::Idle;
            }
            Step::Redefine { next } => {
                at.redefinitions -= 1;
                at.version += 1;
                at.next = next;
            }
            Step::Lock { s } | Step::Enter { s } | Step::Commit { s } => {
                at.schedulers[s] = match at.schedulers[s] {
                    Scheduler::Saw(decision) => Self::lock(&at, decision),
                    Scheduler::Locked(decision) => self.enter(&at, decision),
                    Scheduler::Entered { decision, fired } => {
                        commit(&mut at, decision, fired);
                        Scheduler::Idle
                    }
                    Scheduler::Idle => Scheduler::Idle,
                };
            }
        }
        Some(at)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_TASK, |_, at: &Moment| at.tasks.iter().all(|tasks| *tasks <= 1)),
            Property::always(LEDGER, |_, at: &Moment| {
                at.tasks.iter().enumerate().all(|(i, tasks)| (*tasks > 0) == (at.ledger & (1 << i) != 0))
            }),
            Property::always(FIRES, |model: &Self, at: &Moment| {
                let mut steps = Vec::new();
                model.progress(at, &mut steps);
                // A new definition begins after the clock it was made from, whatever is due.
                let began = at.ledger != 0 || at.redefinitions < model.redefinitions;
                !steps.is_empty() || (began && usize::from(at.next) > INSTANTS)
            }),
        ]
    }
}

/// Checks everything that holds of a schedule; says how many states there are.
fn holds(schedule: Schedule) -> usize {
    let checked = schedule.checker().spawn_bfs().join();
    checked.assert_properties();
    eprintln!("{schedule:?}: {} states", checked.unique_state_count());
    checked.unique_state_count()
}

#[test]
fn two_schedulers_fire_each_instant_once_and_leave_none_behind() {
    assert!(holds(WHOLE) > 2_000);
    assert_acyclic(&WHOLE, |_| true);
}

#[test]
fn the_ledger_alone_keeps_an_instant_from_firing_twice() {
    holds(Schedule { row_lock: false, ..WHOLE });
}

#[test]
fn the_row_lock_alone_does_as_long_as_no_definition_sets_the_schedule_back() {
    holds(Schedule { unique: false, redefinitions: 0, ..WHOLE });
    let path = shortest(Schedule { unique: false, ..WHOLE }, ONE_TASK);
    eprintln!("without the ledger's key, a definition set back: {} steps: {path:#?}", path.len());
}

#[test]
fn without_the_lock_and_the_ledgers_key_an_instant_fires_twice() {
    let path = shortest(Schedule { row_lock: false, unique: false, crashes: 0, redefinitions: 0 }, ONE_TASK);
    eprintln!("without the row lock and the ledger's key: {} steps: {path:#?}", path.len());
}
