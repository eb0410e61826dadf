//! The rules about tasks and their attempts.

use super::{Evidence, Row, Verdict};
use crate::handler::{NAME, Order, Receipt};
use crate::journal::{Accepted, Line};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Dead workers that it takes to poison a task.
const POISON: u32 = 3;
/// After it was let go on, a process may take this long until it has started what it had claimed.
const RESUMING_MS: u64 = 3000;

impl Evidence {
    /// Every promise has its row, and every row is somebody's.
    pub(super) fn judge_rows(&self, verdict: &mut Verdict) {
        for accepted in &self.accepted {
            let Some(row) = self.rows.get(&accepted.id) else {
                verdict.lost += 1;
                verdict.breach(format!("{} was accepted and has no row", accepted.id));
                continue;
            };
            let same = serde_json::from_str::<Order>(&row.payload).is_ok_and(|order| order == accepted.order);
            if !same || row.queue != accepted.queue {
                verdict.breach(format!("{} is not what was submitted: {row:?}", accepted.id));
            }
        }
        let promised: HashSet<Uuid> = self.accepted.iter().map(|accepted| accepted.id).collect();
        let mut nonces = HashSet::new();
        for (id, row) in self.rows.iter().filter(|(_, row)| row.schedule.is_none()) {
            verdict.unknown_that_exist += usize::from(!promised.contains(id));
            let nonce = order(row).nonce;
            if !nonces.insert(nonce) {
                verdict.breach(format!("submission {nonce} was inserted twice; one row is {id}"));
            }
        }
        if u64::try_from(verdict.unknown_that_exist).unwrap() > self.unknown {
            verdict.breach("there are more rows than submissions");
        }
    }

    /// Every task has ended as it was to, and its result is the owner's.
    pub(super) fn judge_ends(&self, verdict: &mut Verdict) {
        let cancelled: HashMap<Uuid, &Accepted> = self.accepted.iter().map(|a| (a.id, a)).collect();
        let pids = self.pids();
        let started: HashMap<(Uuid, u32), u32> =
            self.execution.starts().map(|line| ((line.task, line.attempt), line.pid)).collect();
        for (id, row) in &self.rows {
            *verdict.ends.entry(row.status.clone()).or_default() += 1;
            let cancel = cancelled.get(id).and_then(|accepted| accepted.cancel);
            if !as_ordered(&order(row), row, cancel, self.lost_attempts.get(id).copied().unwrap_or(0)) {
                verdict.lost += usize::from(!["completed", "failed", "cancelled"].contains(&&*row.status));
                verdict.breach(format!("{id} has not ended as it was to: {row:?}"));
            }
            if row.status != "completed" {
                continue;
            }
            let receipt: Option<Receipt> = row.result.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let owner = row.worker.and_then(|worker| pids.get(&worker)).copied();
            let by = started.get(&(*id, row.attempt)).copied();
            let agree = receipt.is_some_and(|r| r.attempt == row.attempt && Some(r.pid) == owner && Some(r.pid) == by);
            if !agree {
                verdict.by_non_owners += 1;
                verdict.breach(format!(
                    "{id}: the result is not its owner's (worker's process {owner:?}, started by {by:?}): {row:?}"
                ));
            }
        }
    }

    /// The process of each worker id.
    fn pids(&self) -> HashMap<Uuid, u32> {
        let of = |life: &crate::processes::Life| life.worker_ids().into_iter().map(|id| (id, life.pid)).collect();
        self.lives.iter().flat_map(|life| -> Vec<_> { of(life) }).collect()
    }

    /// No attempt starts twice, attempts rise, and only what was committed is run.
    pub(super) fn judge_starts(&self, verdict: &mut Verdict) {
        for line in &self.execution.broken {
            verdict.breach(format!("half a line in the journal: {line:?}"));
        }
        for (task, starts) in self.execution.starts_by_task() {
            verdict.starts += starts.len();
            let Some(row) = self.rows.get(&task) else {
                verdict.breach(format!("{task} was run and has no row: {starts:?}"));
                continue;
            };
            let attempts: HashSet<u32> = starts.iter().map(|line| line.attempt).collect();
            if attempts.len() < starts.len() {
                verdict.started_twice += starts.len() - attempts.len();
                verdict.breach(format!("{task}: an attempt started twice: {starts:?}"));
            }
            if starts.iter().any(|line| line.attempt > row.attempt) {
                verdict.breach(format!("{task}: an attempt that the row does not know: {starts:?}, {row:?}"));
            }
            for pair in starts.windows(2).filter(|pair| pair[1].attempt < pair[0].attempt) {
                if self.stood_still(&pair[1]) {
                    verdict.late_starts += 1;
                } else {
                    verdict.breach(format!("{task}: attempts fall, and nobody stood still: {starts:?}"));
                }
            }
        }
    }

    /// Whether a process had just been let go on when it wrote this. Between its look at its lease
    /// and the handler's first line it may be held up for any time: the promise is one owner, not
    /// that a process which stands still has stopped.
    fn stood_still(&self, line: &Line) -> bool {
        let life = self.lives.iter().find(|life| life.pid == line.pid && life.died.is_none_or(|died| line.at <= died));
        let recent = |&(_, until): &(u64, u64)| line.at + 5 >= until && line.at <= until.saturating_add(RESUMING_MS);
        life.is_some_and(|life| life.pauses.iter().any(recent))
    }
}

fn order(row: &Row) -> Order {
    serde_json::from_str(&row.payload).unwrap_or_else(|error| panic!("{NAME}: {error}: {row:?}"))
}

/// Whether a task that behaves so may have ended so.
fn as_ordered(order: &Order, row: &Row, cancel: Option<u16>, lost: u32) -> bool {
    let overdue = order.ms >= 60_000;
    let hopeless = order.fail_below == u32::MAX || overdue;
    let reason = row.reason.as_deref();
    match (&*row.status, reason) {
        ("cancelled", Some("cancelled")) => matches!(cancel, Some(0 | 200 | 202 | 500..)),
        // It was answered that it is cancelled, or that there is no such task.
        _ if matches!(cancel, Some(200 | 404)) => false,
        ("failed", Some("poisoned")) => lost >= POISON,
        ("failed", Some("permanent")) => order.permanent,
        ("failed", Some("timeout")) => overdue,
        // Its last attempt may be one that was lost.
        ("failed", Some("error")) => hopeless,
        ("completed", None) => !order.permanent && !hopeless,
        _ => false,
    }
}
