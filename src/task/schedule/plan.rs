//! What becomes of the instants that have come: one decision for all of them, so that none is forgotten.
//!
//! Every instant from the one that is due up to now gets an outcome. Those that nobody was there for are looked at one
//! by one as far back as `catch_up`, and the newest [`MAX_INSTANTS`] of them; what lies before is one summary that says
//! how many.

use super::{Definition, Misfire, Overlap};
use crate::task::Timestamp;
use chrono::TimeDelta;
use std::collections::VecDeque;

/// Most instants that one plan looks at one by one.
pub(super) const MAX_INSTANTS: usize = 1000;
/// Most instants that are counted for a summary; there may be more.
const MAX_COUNTED: u32 = 100_000;
/// An instant is missed when nobody was there for so long. A scheduler looks at least once a second.
const GRACE: TimeDelta = TimeDelta::seconds(10);

/// What became of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its task was submitted in time.
    Fired,
    /// Its task was submitted later: nobody was there in time.
    CaughtUp,
    /// It waits until the task of an earlier instant has ended, and then becomes `fired`.
    Waiting,
    /// The task of an earlier instant had not ended.
    SkippedOverlap,
    /// Nobody was there, and the schedule does not make up for it.
    SkippedMisfire,
    /// The schedule was paused.
    SkippedPaused,
    /// The schedule had had all its fires.
    SkippedEnded,
    /// Somebody ran it by hand.
    Manual,
    /// Somebody asked for it afterwards.
    Backfill,
    /// Its task is one that is not accepted (any more).
    Refused,
    /// The database would not take it.
    Failed,
}

super::words!(Outcome {
    Fired = "fired",
    CaughtUp = "caught_up",
    Waiting = "waiting",
    SkippedOverlap = "skipped_overlap",
    SkippedMisfire = "skipped_misfire",
    SkippedPaused = "skipped_paused",
    SkippedEnded = "skipped_ended",
    Manual = "manual",
    Backfill = "backfill",
    Refused = "refused",
    Failed = "failed"
});

impl Outcome {
    /// Whether a task is submitted with it.
    #[must_use]
    pub fn submits(self) -> bool {
        match self {
            Self::Fired | Self::CaughtUp | Self::Manual | Self::Backfill => true,
            Self::Waiting
            | Self::SkippedOverlap
            | Self::SkippedMisfire
            | Self::SkippedPaused
            | Self::SkippedEnded
            | Self::Refused
            | Self::Failed => false,
        }
    }
}

/// How a schedule stands when one of its instants has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The earliest instant that is in no ledger yet.
    pub due: Timestamp,
    pub now: Timestamp,
    /// It is paused: nothing fires, also not what came before.
    pub paused: bool,
    /// When its latest pause began and ended, where it has ended by itself.
    pub was_paused: Option<(Timestamp, Timestamp)>,
    /// The fires so far that count towards `max_fires`.
    pub fires: u32,
    /// The latest task of the schedule has not ended.
    pub busy: bool,
    /// An instant waits already.
    pub waiting: bool,
}

/// An instant and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    pub at: Timestamp,
    pub outcome: Outcome,
}

/// Instants that were not looked at one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many; at [`MAX_COUNTED`] and above at least so many.
    pub count: u32,
    pub outcome: Outcome,
}

/// What becomes of everything that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What lies before `instants`.
    pub summary: Option<Summary>,
    /// The oldest first.
    pub instants: Vec<Instant>,
    /// The first instant that has not come; None: there is none any more.
    pub next: Option<Timestamp>,
    /// The earlier task is to be cancelled first.
    pub cancels: bool,
}

/// Decides.
#[must_use]
pub fn plan(definition: &Definition, standing: Standing) -> Plan {
    let Come { summary, mut instants, next } = come(definition, standing);
    let mut judge = Judge { definition, standing, newest: instants.back().copied(), cancels: false };
    let judged: Vec<Instant> = instants.drain(..).map(|at| Instant { at, outcome: judge.outcome(at) }).collect();
    let over = definition.max_fires.is_some_and(|max| judge.standing.fires >= max);
    let outcome = if standing.paused { Outcome::SkippedPaused } else { Outcome::SkippedMisfire };
    Plan {
        summary: summary.map(|summary| Summary { outcome, ..summary }),
        instants: judged,
        next: next.filter(|_| !over),
        cancels: judge.cancels,
    }
}

/// What has come, with no outcome yet.
struct Come {
    summary: Option<Summary>,
    instants: VecDeque<Timestamp>,
    next: Option<Timestamp>,
}

fn come(definition: &Definition, standing: Standing) -> Come {
    let Standing { due, now, .. } = standing;
    let span = TimeDelta::from_std(definition.catch_up).unwrap_or(TimeDelta::MAX).max(GRACE);
    let horizon = now.checked_sub_signed(span).unwrap_or(Timestamp::MIN_UTC);
    let mut summary = None;
    let mut instants = VecDeque::new();
    let mut next = Some(due);
    while let Some(at) = next.filter(|at| *at <= now) {
        next = definition.next_after(at);
        if at < horizon {
            let counted = passed(&mut summary, at);
            if counted >= MAX_COUNTED {
                next = definition.next_after(horizon - TimeDelta::microseconds(1));
                // The row stands for everything up to there: its instant is a microsecond later, where no other is.
                let until = next.unwrap_or(horizon) - TimeDelta::microseconds(2);
                if let Some(summary) = &mut summary {
                    summary.last = summary.last.max(until);
                }
            }
        } else {
            instants.push_back(at);
            if instants.len() > MAX_INSTANTS
                && let Some(oldest) = instants.pop_front()
            {
                passed(&mut summary, oldest);
            }
        }
    }
    Come { summary, instants, next }
}

/// Counts one more.
fn passed(summary: &mut Option<Summary>, at: Timestamp) -> u32 {
    let summary = summary.get_or_insert(Summary { first: at, last: at, count: 0, outcome: Outcome::SkippedMisfire });
    summary.last = at;
    summary.count = summary.count.saturating_add(1);
    summary.count
}

struct Judge<'a> {
    definition: &'a Definition,
    standing: Standing,
    newest: Option<Timestamp>,
    cancels: bool,
}

impl Plan {
    /// Everything that has come as one row of one outcome. None: nothing has.
    #[must_use]
    pub fn as_one(&self, outcome: Outcome) -> Option<Summary> {
        let (first, last) = (self.instants.first().map(|i| i.at), self.instants.last().map(|i| i.at));
        let counted = self.summary.map_or(0, |summary| summary.count);
        let more = u32::try_from(self.instants.len()).unwrap_or(u32::MAX);
        Some(Summary {
            first: self.summary.map(|summary| summary.first).or(first)?,
            last: last.or(self.summary.map(|summary| summary.last))?,
            count: counted.saturating_add(more),
            outcome,
        })
    }
}

impl Judge<'_> {
    /// What becomes of an instant, given what became of those before it.
    fn outcome(&mut self, at: Timestamp) -> Outcome {
        if self.standing.paused || self.standing.was_paused.is_some_and(|(from, to)| (from..to).contains(&at)) {
            return Outcome::SkippedPaused;
        }
        let missed = self.standing.now - at > GRACE;
        let newest = self.newest == Some(at);
        let fires = match self.definition.misfire {
            _ if !missed => true,
            Misfire::Skip => false,
            // One that is in time stands for those that were missed before it.
            Misfire::Once => newest,
            Misfire::All => true,
        };
        if !fires {
            return Outcome::SkippedMisfire;
        }
        if self.definition.max_fires.is_some_and(|max| self.standing.fires >= max) {
            return Outcome::SkippedEnded;
        }
        // Of several at once the newest would cancel the others.
        if self.definition.overlap == Overlap::CancelRunning && !newest {
            return Outcome::SkippedOverlap;
        }
        if self.standing.busy {
            match self.definition.overlap {
                Overlap::Allow => {}
                Overlap::QueueOne if !std::mem::replace(&mut self.standing.waiting, true) => {
                    // It counts from now on: it will fire.
                    self.standing.fires = self.standing.fires.saturating_add(1);
                    return Outcome::Waiting;
                }
                Overlap::Skip | Overlap::QueueOne => return Outcome::SkippedOverlap,
                Overlap::CancelRunning => self.cancels = true,
            }
        }
        self.standing.fires = self.standing.fires.saturating_add(1);
        self.standing.busy = true;
        if missed { Outcome::CaughtUp } else { Outcome::Fired }
    }
}
