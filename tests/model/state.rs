//! What a moment of the system is: the rows, the stream, what each process remembers, and the
//! statements that nobody waits for any more.

use super::config::Budget;
use taskrunnerx::task::Status;

/// Tasks of the model.
pub(crate) const TASKS: usize = 2;
/// Worker processes of the model.
pub(crate) const PROCESSES: usize = 2;
/// Unread entries that one task may have at once.
pub(crate) const ENTRIES: usize = 5;
/// Statements that may be under way with nobody waiting for them.
pub(crate) const LATE: usize = 3;
/// Worker ids that anything may refer to at once: one for each process, each task's owner, each late
/// statement, what the rescuer has picked up, and 0, which is none.
pub(crate) const IDS: usize = 1 + PROCESSES + TASKS + LATE + 1;

/// A worker's id. An id that nothing refers to any more may be given again: to everything that is
/// left, it is fresh.
pub(crate) type Id = u8;
/// Nobody.
pub(crate) const NONE: Id = 0;

/// A row of `tasks`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Row {
    pub(crate) status: Status,
    /// `dispatched_at` is set: lane 3 while it is queued.
    pub(crate) dispatched: bool,
    pub(crate) attempt: u8,
    pub(crate) forgiven: u8,
    /// `crash_count`.
    pub(crate) crashes: u8,
    /// `worker_id`; forgotten where nobody compares it, which is while it does not run.
    pub(crate) owner: Id,
    /// `cancel_requested_at` is set.
    pub(crate) cancel: bool,
}

impl Row {
    /// It says `running` under this worker.
    pub(crate) fn runs_under(&self, id: Id) -> bool {
        self.status == Status::Running && self.owner == id
    }
}

/// A row of `workers`, by the database's clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Lease {
    /// `lease_until` is in the future. Whether anybody still renews it is another question.
    Live,
    /// It has run out, and nobody has said so yet.
    Expired,
    /// `dead_at` is set.
    Dead,
    /// There is no such row (any more).
    Gone,
}

/// How an attempt ended, in its worker's eyes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum End {
    Success,
    /// A retryable error.
    Error,
    /// The handler was told of a cancel and stopped.
    Cancelled,
    /// The drain's time was over; or the comparison releases what nobody ran.
    Interrupted,
    /// The worker died. Said by the rescuer alone.
    Lost,
}

/// What a process holds of one task: `worker/held.rs`, and where its attempt stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Hold {
    Free,
    /// The claim of this entry is under way.
    Claiming {
        entry: u8,
    },
    /// The claim was answered; the lease has not been looked at yet.
    Won {
        attempt: u8,
    },
    /// The handler runs.
    Running {
        attempt: u8,
    },
    /// The outcome is under way, and is sent again until it is answered.
    Finishing {
        attempt: u8,
        end: End,
    },
}

/// What a worker process remembers. It is all gone after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Process {
    /// The id of this incarnation; [`NONE`] while the process is away.
    pub(crate) id: Id,
    pub(crate) holds: [Hold; TASKS],
    /// The attempt that the heartbeat's comparison has found unknown and whose release is under
    /// way; 0: none.
    pub(crate) releasing: [u8; TASKS],
}

/// A statement that was sent and that nobody waits for: it may be done at any time, or never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Statement {
    Claim { id: Id, task: usize, entry: u8 },
    Finish { id: Id, task: usize, attempt: u8, end: End },
}

impl Statement {
    pub(crate) const fn id(self) -> Id {
        match self {
            Statement::Claim { id, .. } | Statement::Finish { id, .. } => id,
        }
    }
}

/// Something that must never happen, and did. Kept in the state so that a property sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub(crate) enum Wrong {
    /// An outcome was recorded that was not the owner's.
    Stranger = 1,
    /// An outcome was recorded of an attempt that had ended before.
    Twice = 2,
    /// A status changed in a way that `Status::may_become` forbids.
    Move = 4,
    /// An attempt number changed by something other than a claim of a queued row, or fell.
    Attempt = 8,
    /// One attempt number was started a second time.
    Restart = 16,
    /// A handler was started under a lease that had run out.
    Untrusted = 32,
}

/// One moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) rows: [Row; TASKS],
    /// Attempt numbers whose handlers were started, a bit each.
    pub(crate) started: [u8; TASKS],
    /// The unread entries of each task: attempt number + 1, sorted, 0 for none.
    pub(crate) entries: [[u8; ENTRIES]; TASKS],
    pub(crate) leases: [Lease; IDS],
    pub(crate) processes: [Process; PROCESSES],
    /// What the rescuer has found and is about to move.
    pub(crate) rescuing: Option<Statement>,
    pub(crate) late: [Option<Statement>; LATE],
    /// What may still go wrong.
    pub(crate) left: Budget,
    /// The [`Wrong`]s that happened.
    pub(crate) wrong: u8,
}

impl State {
    /// Both tasks are accepted: the first behind an open gate, with its entry, the second behind
    /// a closed one, in the backlog. Both workers are registered.
    pub(crate) fn new(tasks: usize, budget: Budget) -> Self {
        let row = Row {
            status: Status::Queued,
            dispatched: false,
            attempt: 0,
            forgiven: 0,
            crashes: 0,
            owner: NONE,
            cancel: false,
        };
        let idle = Process { id: NONE, holds: [Hold::Free; TASKS], releasing: [0; TASKS] };
        let mut state = Self {
            rows: [row; TASKS],
            started: [0; TASKS],
            entries: [[0; ENTRIES]; TASKS],
            leases: [Lease::Gone; IDS],
            processes: [idle; PROCESSES],
            rescuing: None,
            late: [None; LATE],
            left: budget,
            wrong: 0,
        };
        state.rows[0].dispatched = true;
        state.add_entry(0, 0);
        for row in state.rows.iter_mut().skip(tasks) {
            row.status = Status::Completed;
        }
        for p in 0..PROCESSES {
            state.register(p);
        }
        state
    }

    /// Every task has ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.rows.iter().all(|row| row.status.is_terminal())
    }

    pub(crate) fn happened(&self, wrong: Wrong) -> bool {
        self.wrong & wrong as u8 != 0
    }

    pub(crate) fn note(&mut self, wrong: Wrong) {
        self.wrong |= wrong as u8;
    }

    /// A process begins a new incarnation: a fresh id, a fresh lease, no memory.
    pub(crate) fn register(&mut self, p: usize) {
        self.processes[p] = Process { id: NONE, holds: [Hold::Free; TASKS], releasing: [0; TASKS] };
        let id = (1..IDS).find(|id| !self.refers_to(*id as Id)).expect("there are ids for everything that refers");
        self.leases[id] = Lease::Live;
        self.processes[p].id = id as Id;
    }

    /// Whether anything still names this worker.
    pub(crate) fn refers_to(&self, id: Id) -> bool {
        self.processes.iter().any(|process| process.id == id)
            || self.rows.iter().any(|row| row.owner == id)
            || self.late.iter().chain([&self.rescuing]).flatten().any(|statement| statement.id() == id)
    }

    /// Whether a worker's lease holds, by the database's clock.
    pub(crate) fn lease(&self, id: Id) -> Lease {
        self.leases[id as usize]
    }

    /// No process goes by this id any more.
    pub(crate) fn is_abandoned(&self, id: Id) -> bool {
        self.processes.iter().all(|process| process.id != id)
    }

    /// The different entries of a task that nobody has read.
    pub(crate) fn unread(&self, task: usize) -> impl Iterator<Item = u8> {
        let entries = self.entries[task];
        (0..ENTRIES)
            .filter(move |i| entries[*i] != 0 && (*i == 0 || entries[*i] != entries[i - 1]))
            .map(move |i| entries[i] - 1)
    }

    /// No entry of this task is unread.
    pub(crate) fn is_read(&self, task: usize) -> bool {
        self.entries[task] == [0; ENTRIES]
    }

    /// XADD.
    pub(crate) fn add_entry(&mut self, task: usize, attempt: u8) {
        let free = self.entries[task].iter_mut().find(|entry| **entry == 0).expect("there is room for an entry");
        *free = attempt + 1;
        self.entries[task].sort_unstable();
    }

    /// An entry is read or lost. What was read stays pending until it is acknowledged; nothing
    /// ever reads it again, so here it is simply gone.
    pub(crate) fn remove_entry(&mut self, task: usize, attempt: u8) {
        if let Some(entry) = self.entries[task].iter_mut().find(|entry| **entry == attempt + 1) {
            *entry = 0;
        }
        self.entries[task].sort_unstable();
    }

    /// Leaves a statement to itself.
    pub(crate) fn add_late(&mut self, statement: Statement) {
        let free = self.late.iter_mut().find(|slot| slot.is_none()).expect("there is room for a late statement");
        *free = Some(statement);
    }

    /// Forgets what nobody can ask for any more, so that states which differ in nothing else are one.
    /// The last owner's id is compared only where the row runs, unless `owners` are asked for.
    pub(crate) fn tidy(&mut self, owners: bool) {
        for row in &mut self.rows {
            if row.status != Status::Running && !owners {
                row.owner = NONE;
            }
            if row.status != Status::Queued {
                row.dispatched = false;
            }
            if row.status.is_terminal() {
                (row.forgiven, row.crashes, row.cancel) = (0, 0, false);
            }
        }
        // Any order: they are done in any order.
        self.late.sort_unstable_by_key(|slot| slot.map(statement_key));
        for id in 1..IDS {
            if !self.refers_to(id as Id) {
                self.leases[id] = Lease::Gone;
            }
        }
    }
}

pub(crate) fn statement_key(statement: Statement) -> [u8; 5] {
    match statement {
        Statement::Claim { id, task, entry } => [0, task as u8, id, entry, 0],
        Statement::Finish { id, task, attempt, end } => [1, task as u8, id, attempt, end as u8],
    }
}
