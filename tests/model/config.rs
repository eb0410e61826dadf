//! What is checked: how much may go wrong, and which guard is missing.

/// How often each thing may go wrong in one life of the system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Budget {
    /// A worker process dies, with all that it remembers.
    pub(crate) crashes: u8,
    /// A worker stands still for longer than its lease, and goes on afterwards.
    pub(crate) pauses: u8,
    /// An unread entry is lost, or was never added after the row or the dispatcher's memory said so.
    pub(crate) lost_entries: u8,
    /// An entry is there twice.
    pub(crate) duplicates: u8,
    /// Redis is empty.
    pub(crate) wipes: u8,
    /// A worker gives up on a statement that may be done all the same, at once or later.
    pub(crate) lost_answers: u8,
    /// The sweep finds a task whose entry was read by a worker that has not claimed it yet.
    pub(crate) hasty_sweeps: u8,
    /// Another dispatcher begins, and knows nothing of what is in the stream.
    pub(crate) takeovers: u8,
    /// A client asks for a cancel.
    pub(crate) cancels: u8,
    /// A drain interrupts an attempt.
    pub(crate) drains: u8,
}

impl Budget {
    /// Nothing goes wrong.
    pub(crate) const CALM: Budget = Budget {
        crashes: 0,
        pauses: 0,
        lost_entries: 0,
        duplicates: 0,
        wipes: 0,
        lost_answers: 0,
        hasty_sweeps: 0,
        takeovers: 0,
        cancels: 0,
        drains: 0,
    };
}

/// A guard of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Guard {
    /// The whole guard of the claim.
    Claim,
    /// `status = 'queued'` in the claim.
    ClaimStatus,
    /// `attempt = ?` in the claim.
    ClaimAttempt,
    /// A worker drops an entry of a task that it holds.
    Held,
    /// A worker looks at its lease between the claim's answer and the handler's start.
    LeaseAfterClaim,
    /// A worker stops trusting its lease before it runs out by the database's clock.
    SelfFencing,
    /// `dead_at IS NULL` in the renewal.
    Renewal,
    /// A worker is declared dead before its tasks are moved.
    FenceFirst,
    /// The whole guard of the finish.
    Finish,
    /// `status = 'running'` in the finish.
    FinishRunning,
    /// `attempt = ?` in the finish.
    FinishAttempt,
    /// `worker_id = ?` in the finish.
    FinishWorker,
    /// `cancel_requested_at IS NULL` in moves back.
    CancelWins,
    /// The sweep, of what came through the gate: its row says that it was dispatched.
    Sweep,
    /// The sweep, of what the dispatcher has put into the stream: it forgets that it has.
    Forget,
    /// The dispatcher remembers a task with its place in the backlog, and whoever comes back stands at
    /// another one: `Sent` in `lifecycle/dispatch/sent.rs`.
    Place,
    /// The last two at once.
    ForgetAndPlace,
    /// The heartbeat's comparison of the rows with what its worker holds.
    Comparison,
    /// While it releases a task, the comparison holds it, so that no late entry starts it: `Releasing` in
    /// `worker/heartbeat.rs`.
    ReleaseHolds,
    /// A release is sent, and its task held, until it is answered or the row is found to have moved on.
    ReleaseAgain,
    /// A heartbeat that ends lets go of what its comparison was releasing.
    LetGo,
    /// It hands over once its handlers have ended and its outcomes are settled.
    HandOverAtRest,
    /// It declares itself dead after it has handed over.
    DeclareLast,
    /// The rescuer.
    Rescue,
    /// Of tasks whose workers have no row any more, too.
    Orphans,
}

/// A model: what may go wrong, and what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Protocol {
    /// One or two.
    pub(crate) tasks: usize,
    /// Tasks that one worker may hold at once.
    pub(crate) slots: usize,
    pub(crate) max_attempts: u8,
    pub(crate) budget: Budget,
    pub(crate) without: Option<Guard>,
}

impl Protocol {
    pub(crate) const fn new(tasks: usize, budget: Budget) -> Self {
        Self { tasks, slots: 1, max_attempts: 2, budget, without: None }
    }

    pub(crate) const fn without(self, guard: Guard) -> Self {
        Self { without: Some(guard), ..self }
    }

    pub(crate) fn has(&self, guard: Guard) -> bool {
        let both = matches!(guard, Guard::Forget | Guard::Place) && self.without == Some(Guard::ForgetAndPlace);
        self.without != Some(guard) && !both
    }
}
