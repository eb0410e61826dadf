//! The rule about schedules: each instant is in the ledger exactly once, whatever happened to the schedulers, with one
//! task where it fired and none where it was passed over; and it is passed over only if nobody was there in time.

use super::{Evidence, Verdict};
use crate::rig::Rig;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Microseconds between two instants: the schedule fires every second.
const STEP: u64 = 1_000_000;
/// So late is missed (`task::schedule`).
const GRACE: i64 = 10_000_000;

/// A row of the ledger; times in microseconds since the epoch.
#[derive(Debug, Clone)]
pub(super) struct Fire {
    at: u64,
    outcome: String,
    task: Option<Uuid>,
    recorded: u64,
}

pub(super) async fn fires(rig: &Rig) -> Vec<Fire> {
    let micros = |column: &str| format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})");
    let (at, recorded) = (micros("fire_at"), micros("recorded_at"));
    let query = format!("SELECT {at}, outcome, task_id, {recorded} FROM schedule_fires ORDER BY fire_at");
    let rows: Vec<(u64, String, Option<Vec<u8>>, u64)> = rig.rows(&query).await;
    let fire = |(at, outcome, task, recorded): (u64, String, Option<Vec<u8>>, u64)| {
        let task = task.map(|bytes| Uuid::from_slice(&bytes).unwrap());
        Fire { at, outcome, task, recorded }
    };
    rows.into_iter().map(fire).collect()
}

impl Fire {
    /// By how much it was recorded after its instant; negative: before it.
    fn late(&self) -> i64 {
        i64::try_from(self.recorded).unwrap() - i64::try_from(self.at).unwrap()
    }
}

impl Evidence {
    pub(super) fn judge_fires(&self, verdict: &mut Verdict) {
        let mut of_fires: HashMap<Uuid, u64> = HashMap::new();
        for fire in &self.fires {
            verdict.fires += 1;
            let (submits, missed) = match fire.outcome.as_str() {
                "fired" => (true, false),
                "caught_up" => (true, true),
                "skipped_misfire" => (false, true),
                _ => {
                    verdict.breach(format!("nobody gave it this outcome: {fire:?}"));
                    continue;
                }
            };
            if fire.late() < 0 || fire.at % STEP != 0 {
                verdict.breach(format!("a fire that should not be so: {fire:?}"));
            }
            verdict.missed += usize::from(missed);
            if missed && fire.late() <= GRACE {
                verdict.breach(format!("somebody was there in time, and yet it was missed: {fire:?}"));
            }
            let row = fire.task.and_then(|task| self.rows.get(&task));
            if fire.task.is_some() != submits || row.is_some_and(|row| row.schedule.is_some()) != submits {
                verdict.breach(format!("a fire without its task, or a task without its fire: {fire:?}"));
            }
            if let Some(task) = fire.task
                && let Some(other) = of_fires.insert(task, fire.at)
            {
                verdict.breach(format!("one task for two instants, {other} and {}", fire.at));
            }
        }
        let scheduled: HashSet<&Uuid> =
            self.rows.iter().filter(|(_, row)| row.schedule.is_some()).map(|(id, _)| id).collect();
        for stray in scheduled.iter().filter(|id| !of_fires.contains_key(**id)) {
            verdict.breach(format!("{stray} was fired and is not in the ledger"));
        }
        for pair in self.fires.windows(2) {
            let (before, next) = (&pair[0], &pair[1]);
            if next.at != before.at + STEP {
                verdict.breach(format!("a hole in the ledger before {}; before it: {before:?}", next.at));
            }
        }
    }
}
