//! Two schedulers and a person, one schedule, a few instants: each of them is in the ledger, and has one task at most.
//!
//! Apart from the life of a task, since the two meet only in the INSERT that makes a task queued.
//!
//! ```text
//!   a transaction that fires: of either scheduler, or of the person
//!
//!            the database's clock          the row, locked               ledger            all of it, at once
//!    Idle ────────────────────► Looking ───────────────────► Judged ───────────► Entered ─────────────► Idle
//!     ▲                          now       first ..= now,               its key: who comes      entries, tasks,
//!     │                           │        first after now              second judges anew      next: COMMIT
//!     └───────────────────────────┘
//!       nothing has come by then
//!
//!   the person
//!
//!    Defines, now ──► the row, locked ──► Redefines ──────────► first after `now`: COMMIT
//!       ▲                  │ something is due
//!       └── fires it ◄─────┘
//!    Resumes ──► fires what has come, as what came during a pause ──► no pause: UPDATE
//!    Backfills ──► the row, locked ──► adds or fills a row of the ledger ──► row and task: COMMIT
//! ```
//!
//! The decision shares its shape with `task::schedule::plan` (everything from the one that is due up to now, then the first
//! after now), and the steps are the statements of `src/store/schedules/`. Until its commit nobody sees what a transaction
//! has written, and a crash undoes it.
//!
//! # What is left out, and why it may be
//!
//! - **`SKIP LOCKED`.** Who passes a locked row over is as one that has not looked yet. Here it waits with the clock that it
//!   has read, which is what a person's transaction does.
//! - **Misfire, overlap, `max_fires`, jitter.** They choose an outcome under the lock, and no instant. What is passed over
//!   is here what came during a pause. That an instant which waits fires once is shown in `guards::schedules`.
//! - **A scheduler's lost answer.** It looks again, as one that was answered does. A person asks again, and is modelled.
//! - **Many schedules in one transaction.** Each has a row of its own, and shares nothing else.
//! - **Removal.** A schedule that is made anew begins after the clock that was read, as one that is redefined.
//! - **A backfill of what was purged.** It submits again: nobody knows any more, and somebody asked for it.

mod checked;
mod step;

use stateright::{Model, Property};

/// Instants that come, 1 to this one.
const INSTANTS: u8 = 3;
/// After the last of them.
const NEVER: u8 = INSTANTS + 1;
const SCHEDULERS: usize = 2;
/// The person's transaction that fires, behind those of the schedulers.
const PERSONS: usize = SCHEDULERS;
/// Whoever pauses it.
const SOMEBODY: usize = PERSONS + 1;
/// The scheduler whose own clock is ahead.
const AHEAD: usize = 1;
/// The instants of the two definitions.
const DEFINITIONS: [Instants; 2] = [0b1110, 0b1010];

/// Instants, a bit each.
type Instants = u8;

const fn bit(instant: u8) -> Instants {
    1 << instant
}

/// Those up to this one.
const fn until(instant: u8) -> Instants {
    bit(instant + 1) - bit(1)
}

fn first_after(instants: Instants, now: u8) -> u8 {
    (now + 1..=INSTANTS).find(|instant| instants & bit(*instant) != 0).unwrap_or(NEVER)
}

/// What keeps the ledger whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guard {
    /// `FOR UPDATE` of those that fire.
    RowLock,
    /// `FOR UPDATE` of the person: `ONE_LOCKED`.
    HandLock,
    /// Who fires looks first what is in the ledger.
    Found,
    /// The primary key of `schedule_fires`.
    Key,
    /// Entries, tasks and the next instant in one transaction.
    Transaction,
    /// What has come by a definition is fired before another takes its place.
    OldFirst,
    /// What has come during a pause is fired before the pause ends.
    PausedFirst,
    /// It is the database's clock by which an instant has come.
    DatabaseTime,
    /// A row of the ledger stays for longer than any request takes, and until its schedule has gone past it.
    Retention,
    /// A hand's second try finds what the first has submitted.
    Existing,
}

/// How often each mishap may happen, and each thing that a person does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Budget {
    crashes: u8,
    definitions: u8,
    pauses: u8,
    backfills: u8,
    purges: u8,
    lost_answers: u8,
}

/// A model: what may happen, and what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Schedule {
    budget: Budget,
    without: &'static [Guard],
}

/// What was judged of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Verdict {
    entries: Instants,
    /// They get tasks: it is not paused.
    fires: bool,
    next: u8,
    /// Somebody else has changed the row since.
    stale: bool,
}

/// A transaction that fires.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Firing {
    Idle,
    /// It has read the clock.
    Looking {
        now: u8,
    },
    Judged(Verdict),
    /// Its rows of the ledger are written.
    Entered(Verdict),
    /// Its tasks are there: without the transaction that is a moment of its own.
    Submitted(Verdict),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Person {
    Idle,
    /// The clock is read, and the first instant after it known.
    Defines {
        definition: usize,
        now: u8,
    },
    /// Something is due by the definition before.
    FiresFirst {
        definition: usize,
    },
    /// The row is looked at under its lock, and nothing was due.
    Redefines {
        definition: usize,
        now: u8,
        clock: u8,
        stale: bool,
    },
    Resumes,
    Backfills {
        instant: u8,
        again: bool,
    },
    /// The row is locked.
    Fills {
        instant: u8,
        again: bool,
    },
    /// The instant is this task's, where it had none.
    Filled {
        instant: u8,
        fresh: bool,
        told: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Moment {
    /// The database's clock: the last instant that has come.
    now: u8,
    definition: usize,
    /// `next_fire_at`.
    next: u8,
    paused: bool,
    /// The ledger's rows, those that name a task, and those that were there and are purged.
    ledger: Instants,
    named: Instants,
    purged: Instants,
    tasks: [u8; INSTANTS as usize + 1],
    firing: [Firing; SCHEDULERS + 1],
    person: Person,
    left: Budget,
    /// The definition is in force since this clock.
    since: u8,
    /// What came by the definitions before.
    owed: Instants,
    /// What came while it was paused, and nobody was about to change that.
    held: Instants,
    /// What fired by itself, and what a person submitted and was told of.
    fired: Instants,
    made: Instants,
    told: Instants,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// Time passes.
    Tick,
    /// The database's clock is read; the schedule is due by it.
    Look {
        by: usize,
    },
    /// The row is locked, and judged if it is due.
    Judge {
        by: usize,
    },
    /// The ledger's rows are written, or one is there already.
    Enter {
        by: usize,
    },
    /// Without the transaction: tasks.
    Submit {
        by: usize,
    },
    /// The next instant, and the end of the transaction.
    Commit {
        by: usize,
    },
    /// The person's next statement.
    Act,
    /// World: a process dies, and its transaction with it; another takes its place.
    Crash {
        by: usize,
    },
    /// World: the person's statement is done, and not answered: it is sent again.
    LoseAnswer,
    /// World: somebody pauses the schedule, and a person does something else with it.
    Pause,
    Resume,
    Define {
        definition: usize,
    },
    Backfill {
        instant: u8,
    },
    /// World: a row of the ledger has outlived its retention.
    Purge {
        instant: u8,
    },
}

impl Schedule {
    fn has(&self, guard: Guard) -> bool {
        !self.without.contains(&guard)
    }
}

impl Model for Schedule {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        let begin = |definition: usize| Moment {
            now: 0,
            definition,
            next: first_after(DEFINITIONS[definition], 0),
            paused: false,
            ledger: 0,
            named: 0,
            purged: 0,
            tasks: [0; INSTANTS as usize + 1],
            firing: [Firing::Idle; SCHEDULERS + 1],
            person: Person::Idle,
            left: self.budget,
            since: 0,
            owed: 0,
            held: 0,
            fired: 0,
            made: 0,
            told: 0,
        };
        vec![begin(0), begin(1)]
    }

    fn actions(&self, at: &Moment, out: &mut Vec<Step>) {
        self.progress(at, out);
        self.world(at, out);
    }

    fn next_state(&self, before: &Moment, step: Step) -> Option<Moment> {
        let mut at = *before;
        self.take(&mut at, step);
        Some(at)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checked::properties()
    }
}
