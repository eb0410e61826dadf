//! A task in the reference: its row, and what each verb makes of it.

use super::moves::{How, New, Way, Worker};
use std::collections::BTreeMap;
use taskrunnerx::store::tasks::LostClaim;
use taskrunnerx::task::{Reason, Status};

/// Time is counted in moves; this is longer than any play.
pub(super) const HOUR: i64 = 1_000_000;

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) status: Status,
    pub(super) reason: Option<Reason>,
    pub(super) lane: u8,
    pub(super) attempt: u32,
    pub(super) forgiven: u32,
    pub(super) crashes: u32,
    pub(super) dispatched: bool,
    pub(super) cancel: bool,
    /// Of the last claim.
    pub(super) worker: Option<Worker>,
    /// How each attempt ended that did not simply succeed.
    pub(super) history: BTreeMap<u32, String>,
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) row: Row,
    pub(super) priority: u8,
    /// When it became eligible, or will.
    pub(super) age: i64,
    /// How often it has gone a step behind others of its age since.
    pub(super) steps: u32,
    /// Its visits to the backlog.
    pub(super) visits: u32,
    pub(super) expires: Option<i64>,
    /// It was deleted.
    pub(super) gone: bool,
    patience: i64,
    max_attempts: u32,
}

/// What becomes of a running task.
pub(super) enum Next {
    End(Status, Option<Reason>),
    Retry,
    Requeue { forgiven: u32 },
}

impl Next {
    pub(super) fn status(&self) -> Status {
        match self {
            Next::End(status, _) => *status,
            Next::Retry => Status::Scheduled,
            Next::Requeue { .. } => Status::Queued,
        }
    }

    /// As it is counted.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Next::End(_, Some(reason)) => reason.as_str(),
            Next::End(..) => "completed",
            Next::Retry | Next::Requeue { .. } => "retried",
        }
    }
}

/// How a rescuer finds a task.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Loss {
    Died,
    HandedOver,
}

impl Task {
    pub(super) fn new(new: &New, now: i64) -> Self {
        let way = if new.delayed { Way::Closed } else { new.entry };
        let row = Row {
            status: if new.delayed { Status::Scheduled } else { Status::Queued },
            reason: None,
            lane: if new.delayed {
                1
            } else if way == Way::Closed {
                2
            } else {
                3
            },
            attempt: 0,
            forgiven: 0,
            crashes: 0,
            dispatched: way != Way::Closed,
            cancel: false,
            worker: None,
            history: BTreeMap::new(),
        };
        Self {
            row,
            priority: new.priority,
            age: now + if new.delayed { HOUR } else { 0 },
            steps: 0,
            visits: 0,
            expires: new.mortal.then_some(now + HOUR),
            gone: false,
            patience: if new.patient { HOUR } else { 0 },
            max_attempts: new.max_attempts,
        }
    }

    pub(super) fn become_(&mut self, status: Status, lane: u8) {
        let old = self.row.status;
        assert!(old == status || old.may_become(status), "the model itself: {old} -> {status}");
        (self.row.status, self.row.lane) = (status, lane);
        self.visits += u32::from(lane == 2);
    }

    pub(super) fn back(&mut self, status: Status, lane: u8) {
        self.become_(status, lane);
        self.row.dispatched = false;
    }

    fn end(&mut self, status: Status, reason: Option<Reason>) {
        self.become_(status, 0);
        self.row.reason = reason;
    }

    /// What is forgiven and forgotten of a task that is retried by hand.
    pub(super) fn again(&mut self, now: i64) {
        let row = &mut self.row;
        (row.forgiven, row.crashes, row.reason, row.cancel) = (row.attempt, 0, None, false);
        self.expires = self.expires.filter(|at| *at > now);
    }

    fn exhausted(&self, attempt: u32) -> bool {
        attempt.saturating_sub(self.row.forgiven) >= self.max_attempts
    }

    fn to_be_cancelled(&self) -> bool {
        self.row.cancel && self.row.status == Status::Running
    }

    pub(super) fn judge(&self, how: How, attempt: u32) -> Next {
        let failed = |reason| Next::End(Status::Failed, Some(reason));
        match how {
            How::Success => Next::End(Status::Completed, None),
            _ if self.to_be_cancelled() => Next::End(Status::Cancelled, Some(Reason::Cancelled)),
            How::Permanent => failed(Reason::Permanent),
            How::Cancelled => Next::End(Status::Cancelled, Some(Reason::Cancelled)),
            How::Interrupted => Next::Requeue { forgiven: 1 },
            How::Retryable if self.exhausted(attempt) => failed(Reason::Error),
            How::TimedOut if self.exhausted(attempt) => failed(Reason::Timeout),
            How::Retryable | How::TimedOut => Next::Retry,
        }
    }

    /// Ends the attempt that runs; says as what it counts.
    pub(super) fn settle(&mut self, next: &Next, now: i64, history: Option<&str>) -> &'static str {
        let attempt = self.row.attempt;
        if let Some(word) = history {
            self.row.history.insert(attempt, word.to_owned());
        }
        match next {
            Next::End(status, reason) => self.end(*status, *reason),
            Next::Retry => {
                self.back(Status::Scheduled, 1);
                (self.age, self.steps) = (now + self.patience, 0);
            }
            Next::Requeue { forgiven } => {
                self.back(Status::Queued, 2);
                self.steps += 1;
                self.row.forgiven += forgiven;
            }
        }
        next.word()
    }

    pub(super) fn lose(&mut self, loss: Loss, now: i64) {
        let crashes = self.row.crashes + u32::from(loss == Loss::Died);
        let next = if self.to_be_cancelled() {
            Next::End(Status::Cancelled, Some(Reason::Cancelled))
        } else if crashes >= 3 && loss == Loss::Died {
            Next::End(Status::Failed, Some(Reason::Poisoned))
        } else if self.exhausted(self.row.attempt) {
            Next::End(Status::Failed, Some(Reason::Error))
        } else {
            Next::Requeue { forgiven: 0 }
        };
        self.settle(&next, now, Some("lost"));
        self.row.crashes = crashes;
    }

    /// None: won.
    pub(super) fn claim(&mut self, worker: Worker, attempt: u32, now: i64) -> Option<LostClaim> {
        let (row, expired) = (&self.row, self.expires.is_some_and(|at| at <= now));
        match row.status {
            _ if self.gone => Some(LostClaim::Gone),
            Status::Queued if row.attempt == attempt && expired => {
                self.back(Status::Cancelled, 0);
                self.row.reason = Some(Reason::Expired);
                Some(LostClaim::Expired)
            }
            Status::Queued if row.attempt == attempt => {
                self.become_(Status::Running, 3);
                self.row.attempt += 1;
                self.row.worker = Some(worker);
                None
            }
            Status::Running if row.worker == Some(worker) && row.attempt == attempt + 1 => None,
            Status::Running => Some(LostClaim::Running),
            Status::Queued | Status::Scheduled => Some(LostClaim::Moved),
            Status::Completed | Status::Failed | Status::Cancelled => Some(LostClaim::Finished),
        }
    }
}

pub(super) fn word(how: How) -> Option<&'static str> {
    match how {
        How::Success => None,
        How::Retryable => Some("error"),
        How::Permanent => Some("permanent"),
        How::TimedOut => Some("timeout"),
        How::Cancelled => Some("cancelled"),
        How::Interrupted => Some("interrupted"),
    }
}
