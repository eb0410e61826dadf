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
pub(crate) const LATE: usize = 4;
/// Worker ids that anything may refer to at once: two for each process, each task's owner, each late
/// statement, what the rescuer has picked up, and 0, which is none.
pub(crate) const IDS: usize = 1 + 2 * PROCESSES + TASKS + LATE + 1;

/// A worker's id. An id that nothing refers to any more may be given again: to everything that is
/// left, it is fresh.
pub(crate) type Id = u8;
/// Nobody.
pub(crate) const NONE: Id = 0;

/// A row of `tasks`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Row {
    pub(crate) status: Status,
    /// It came through the gate, and `dispatched_at` says so: lane 3 while it is queued, and not lane 2.
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

    /// It stands in the backlog, where the dispatcher looks.
    pub(crate) fn waits(&self) -> bool {
        self.status == Status::Queued && !self.dispatched
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
    /// The worker lost its lease and lives on. Said by itself.
    Abandoned,
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
    /// The lease is lost, and the handler was told to stop. It has not ended yet.
    Stopping {
        attempt: u8,
        /// Its task was handed over all the same.
        given: bool,
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
    /// The incarnation before this one, until it has handed over.
    pub(crate) former: Option<Former>,
}

/// What is left of an incarnation that lost its lease, in a process that lives on: what
/// `hand_over` in `worker/incarnation.rs` waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Former {
    pub(crate) id: Id,
    pub(crate) holds: [Hold; TASKS],
    /// Releases that nobody sends any more, and that it holds all the same: see
    /// [`Guard::LetGo`](super::config::Guard::LetGo).
    pub(crate) releasing: [u8; TASKS],
    /// It has set `dead_at` in its row.
    pub(crate) declared: bool,
}

impl Former {
    /// `Held::empty`.
    pub(crate) fn is_empty(&self) -> bool {
        self.holds == [Hold::Free; TASKS] && self.releasing == [0; TASKS]
    }

    /// One of its handlers has not ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.holds.iter().any(|hold| matches!(hold, Hold::Stopping { .. }))
    }
}

impl Process {
    /// A process that is away, or one of which nothing is left.
    pub(crate) const AWAY: Self = Self { id: NONE, holds: [Hold::Free; TASKS], releasing: [0; TASKS], former: None };
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
    /// A worker handed over a task whose outcome it was about to record.
    Discarded = 64,
    /// A worker that came back was taken for dead because it had said so itself.
    Died = 128,
}

/// One moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) rows: [Row; TASKS],
    /// Attempt numbers whose handlers were started, a bit each.
    pub(crate) started: [u8; TASKS],
    /// The unread entries of each task: attempt number + 1, sorted, 0 for none.
    pub(crate) entries: [[u8; ENTRIES]; TASKS],
    /// The dispatcher's memory: it has put this task into the stream. (Of one that has come back since,
    /// it still says so only where [`Guard::Place`](super::config::Guard::Place) is missing.)
    pub(crate) sent: [bool; TASKS],
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
        let mut state = Self {
            rows: [row; TASKS],
            started: [0; TASKS],
            entries: [[0; ENTRIES]; TASKS],
            sent: [false; TASKS],
            leases: [Lease::Gone; IDS],
            processes: [Process::AWAY; PROCESSES],
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

    /// A process begins a new incarnation: a fresh id, a fresh lease, nothing held.
    pub(crate) fn register(&mut self, p: usize) {
        self.processes[p] = Process { former: self.processes[p].former, ..Process::AWAY };
        let id = (1..IDS).find(|id| !self.refers_to(*id as Id)).expect("there are ids for everything that refers");
        self.leases[id] = Lease::Live;
        self.processes[p].id = id as Id;
    }

    /// Whether anything still names this worker.
    pub(crate) fn refers_to(&self, id: Id) -> bool {
        self.processes.iter().any(|process| process.id == id || process.former.is_some_and(|former| former.id == id))
            || self.rows.iter().any(|row| row.owner == id)
            || self.late.iter().chain([&self.rescuing]).flatten().any(|statement| statement.id() == id)
    }

    /// Whether a worker's lease holds, by the database's clock.
    pub(crate) fn lease(&self, id: Id) -> Lease {
        self.leases[id as usize]
    }

    /// No process goes by this id any more, so nobody renews its lease.
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

    /// Forgets what can have no effect any more: statements of an attempt that is over, since the
    /// guards refuse them and no number comes twice, and a hand-over of nothing.
    fn forget_futile(&mut self) {
        let rows = self.rows;
        let futile = |statement: &Statement| match *statement {
            Statement::Claim { task, entry, .. } => rows[task].status.is_terminal() || rows[task].attempt > entry,
            Statement::Finish { task, attempt, .. } => {
                rows[task].status != Status::Running || rows[task].attempt != attempt
            }
        };
        for slot in self.late.iter_mut().chain([&mut self.rescuing]) {
            if slot.as_ref().is_some_and(futile) {
                *slot = None;
            }
        }
        for p in 0..PROCESSES {
            // Where nothing can name the id, nobody looks at its lease.
            let Some(former) = self.processes[p].former.take() else { continue };
            if !former.is_empty() || self.refers_to(former.id) {
                self.processes[p].former = Some(former);
            }
        }
    }

    /// Forgets what nobody can ask for any more, so that states which differ in nothing else are one.
    /// The last owner's id is compared only where the row runs, unless `owners` are asked for.
    /// `over`: what an attempt that is over still says has no effect. `place`: what has left the backlog is as good
    /// as forgotten.
    pub(crate) fn tidy(&mut self, owners: bool, over: bool, place: bool) {
        for t in 0..TASKS {
            self.sent[t] &= !place || self.rows[t].waits();
        }
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
        if over {
            self.forget_futile();
        }
        for p in 0..PROCESSES {
            let done = |former: &Former| {
                former.declared && former.is_empty() && !self.rows.iter().any(|row| row.runs_under(former.id))
            };
            if self.processes[p].former.as_ref().is_some_and(done) {
                self.processes[p].former = None;
            }
        }
        // Any order: they are done in any order.
        self.late.sort_unstable_by_key(|slot| slot.map(statement_key));
        for id in 1..IDS {
            if !self.refers_to(id as Id) {
                self.leases[id] = Lease::Gone;
            }
        }
        self.renumber();
    }

    /// Gives out the ids anew, in the order in which they are come by: what they are is nothing to
    /// anybody, only which are the same.
    fn renumber(&mut self) {
        let (old, mut new, mut next) = (self.leases, [NONE; IDS], NONE);
        let mut leases = [Lease::Gone; IDS];
        self.each_id(|id| {
            let known = &mut new[*id as usize];
            if *id != NONE && *known == NONE {
                next += 1;
                *known = next;
                leases[next as usize] = old[*id as usize];
            }
            *id = *known;
        });
        self.leases = leases;
        self.late.sort_unstable_by_key(|slot| slot.map(statement_key));
    }

    fn each_id(&mut self, mut change: impl FnMut(&mut Id)) {
        for process in &mut self.processes {
            change(&mut process.id);
            if let Some(former) = &mut process.former {
                change(&mut former.id);
            }
        }
        self.rows.iter_mut().for_each(|row| change(&mut row.owner));
        for statement in self.late.iter_mut().chain([&mut self.rescuing]).flatten() {
            match statement {
                Statement::Claim { id, .. } | Statement::Finish { id, .. } => change(id),
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
