//! The oracle: what was promised, what was done and what the database says must agree.
//!
//! Each rule gives a sentence for each breach of it. A rule says no more than the protocol
//! promises: a killed process may have written a start for a claim that committed, a process that
//! stood still may overlap until it notices; neither is a breach.

mod logs;
mod schedules;
mod tasks;

use crate::journal::{Accepted, Execution};
use crate::load::QUEUES;
use crate::processes::Life;
use crate::rig::Rig;
use redis::streams::StreamPendingReply;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use uuid::Uuid;

const INCONSISTENT: &str = include_str!("../../it/guards/inconsistent.sql");
/// How long what is left behind may take to be cleared away.
const TIDY_LIMIT: Duration = Duration::from_secs(20);

/// A row of `tasks`.
#[derive(Debug, Clone)]
struct Row {
    status: String,
    reason: Option<String>,
    attempt: u32,
    worker: Option<Uuid>,
    payload: String,
    result: Option<String>,
    queue: String,
    schedule: Option<String>,
}

/// All that there is to judge by.
pub(crate) struct Evidence {
    accepted: Vec<Accepted>,
    unknown: u64,
    execution: Execution,
    lives: Vec<Life>,
    rows: HashMap<Uuid, Row>,
    /// Attempts whose worker died, by task.
    lost_attempts: HashMap<Uuid, u32>,
    fires: Vec<schedules::Fire>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) breaches: Vec<String>,
    pub(crate) ends: BTreeMap<String, usize>,
    pub(crate) lost: usize,
    pub(crate) by_non_owners: usize,
    pub(crate) started_twice: usize,
    /// Rows of submissions whose clients never heard that they were accepted.
    pub(crate) unknown_that_exist: usize,
    /// Attempts that started after a later one: their process stood still in between.
    pub(crate) late_starts: usize,
    pub(crate) starts: usize,
    /// Attempts that were claimed and given up before their handlers began.
    pub(crate) never_started: usize,
    /// Instants in the ledger.
    pub(crate) fires: usize,
    /// Of those, recorded so late that nobody was there in time.
    pub(crate) missed: usize,
    /// Lines that the busiest process logged in a second, and on average.
    pub(crate) log_peak: usize,
    pub(crate) log_rate: f64,
}

impl Verdict {
    fn breach(&mut self, text: impl ToString) {
        self.breaches.push(text.to_string());
    }
}

impl Evidence {
    pub(crate) async fn gather(rig: &Rig, accepted: Vec<Accepted>, unknown: u64, lives: Vec<Life>) -> Self {
        type Columns =
            (Vec<u8>, String, Option<String>, u32, Option<Vec<u8>>, String, Option<String>, String, Option<String>);
        let query = "SELECT id, status, reason, attempt, NULLIF(worker_id, UNHEX(REPEAT('00', 16))), payload, result, queue, \
                     schedule FROM tasks";
        let id = |bytes: Vec<u8>| Uuid::from_slice(&bytes).unwrap();
        let rows = rig.rows::<Columns>(query).await.into_iter().map(|columns| {
            let (key, status, reason, attempt, worker, payload, result, queue, schedule) = columns;
            let worker = worker.map(id);
            (id(key), Row { status, reason, attempt, worker, payload, result, queue, schedule })
        });
        let lost = "SELECT task_id, COUNT(*) FROM task_attempts WHERE outcome = 'lost' GROUP BY task_id";
        let lost_attempts = rig.rows::<(Vec<u8>, u32)>(lost).await.into_iter().map(|(key, n)| (id(key), n)).collect();
        let mut execution = rig.execution();
        execution.refresh();
        let rows = rows.collect();
        let fires = schedules::fires(rig).await;
        Self { accepted, unknown, execution, lives, rows, lost_attempts, fires }
    }

    /// Judges by every rule that looks at what was gathered.
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        self.judge_rows(&mut verdict);
        self.judge_ends(&mut verdict);
        self.judge_starts(&mut verdict);
        let claims: usize = self.rows.values().map(|row| usize::try_from(row.attempt).unwrap()).sum();
        match claims.checked_sub(verdict.starts) {
            Some(never_started) => verdict.never_started = never_started,
            None => verdict.breach(format!("{} attempts started, and {claims} were claimed", verdict.starts)),
        }
        self.judge_fires(&mut verdict);
        logs::judge(&self.lives, &mut verdict);
        verdict
    }

    /// How long after this instant a task that was accepted after it started.
    pub(crate) fn served_after(&self, instant: u64) -> Option<u64> {
        let first = self.execution.starts_by_task();
        let after = self.accepted.iter().filter(|accepted| accepted.at >= instant);
        after.filter_map(|accepted| Some(first.get(&accepted.id)?[0].at.max(instant) - instant)).min()
    }
}

/// Once nothing is submitted any more: nothing is left anywhere.
pub(crate) async fn judge_rest(rig: &Rig, workers: usize) -> Vec<String> {
    let mut breaches = Vec::new();
    let live = "SELECT COUNT(*) FROM tasks WHERE status IN ('scheduled', 'queued', 'running')";
    breaches.extend(rig.until_none(TIDY_LIMIT, live).await.err());
    // As many as there are, all of them alive.
    let wrong = format!(
        "SELECT ABS(CAST(COUNT(*) AS SIGNED) - {workers}) + COUNT(dead_at) + COALESCE(SUM(lease_until < NOW(6)), 0) FROM workers"
    );
    breaches.extend(rig.until_none(TIDY_LIMIT, &wrong).await.err());
    let mut redis = rig.redis().await;
    for queue in QUEUES {
        let stream = Rig::stream(queue);
        let mut left = (0_u64, 0);
        let empty = crate::waiting::within(TIDY_LIMIT, async || {
            let length: u64 = redis::cmd("XLEN").arg(&stream).query_async(&mut redis).await.unwrap();
            let pending: redis::RedisResult<StreamPendingReply> =
                redis::cmd("XPENDING").arg(&stream).arg("workers").query_async(&mut redis).await;
            left = (length, pending.map_or(0, |pending| pending.count()));
            (left == (0, 0)).then_some(())
        });
        if empty.await.is_none() {
            breaches.push(format!("the stream {stream} has {} entries and {} pending at rest", left.0, left.1));
        }
    }
    let inconsistent: Vec<String> = rig.rows(INCONSISTENT).await;
    breaches.extend(inconsistent.into_iter().map(|row| format!("a row contradicts itself: {row}")));
    breaches
}
