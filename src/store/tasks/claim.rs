//! Claim: a worker becomes the owner of a batch of tasks, by one guarded UPDATE for each
//! attempt number in it.

use crate::store::connection::{CLAIM as CLAIM_OPERATION, Connection, Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{Status, TaskId, WorkerId};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub(in crate::store) static CLAIM: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET status = 'running', lane = 3, attempt = attempt + 1, worker_id = ?, started_at = NOW(6) \
         WHERE id IN ({}) AND status = 'queued' AND attempt = ? AND (expires_at IS NULL OR expires_at > NOW(6))",
        marks(ids)
    )
});
pub(in crate::store) static STANDING: Texts = Texts::new(|ids| {
    format!("SELECT id, status, attempt, worker_id, expires_at, NOW(6) FROM tasks WHERE id IN ({})", marks(ids))
});
/// Of a claim that met such, and of the passes of `expire`.
pub(in crate::store) static EXPIRE: Texts = Texts::new(|ids| {
    format!(
        "UPDATE tasks SET status = 'cancelled', reason = 'expired', lane = 0, dispatched_at = NULL, \
         finished_at = NOW(6), last_error = 'expired before it started' \
         WHERE id IN ({}) AND status IN ('queued', 'scheduled') AND expires_at <= NOW(6)",
        marks(ids)
    )
});
pub(in crate::store) static PAYLOADS: Texts =
    Texts::new(|ids| format!("SELECT id, payload FROM tasks WHERE id IN ({})", marks(ids)));

/// A claim of one task: the attempt number as its stream entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub id: TaskId,
    pub attempt: u32,
}

/// Why a claim was lost. Its entry is acknowledged and deleted in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LostClaim {
    /// Another attempt owns it.
    Running,
    /// It has ended.
    Finished,
    /// `expires_at` has passed: it is now cancelled.
    Expired,
    /// It was claimed before under this attempt number and waits for another.
    Moved,
    /// There is no such row.
    Gone,
}

impl LostClaim {
    /// The word in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LostClaim::Running => "running elsewhere",
            LostClaim::Finished => "finished",
            LostClaim::Expired => "expired",
            LostClaim::Moved => "moved on to another attempt",
            LostClaim::Gone => "gone",
        }
    }
}

type StandingRow = (Key, String, u32, Key, Option<NaiveDateTime>, NaiveDateTime);
type StandingSql = (Binary, Text, Unsigned<Integer>, Binary, Nullable<Datetime>, Datetime);

impl Store {
    /// Claims a batch (ids must be distinct) for a worker. Answers who was lost, and why; the
    /// rest is owned, with the attempt number one higher than named.
    ///
    /// # Errors
    /// When the database cannot be reached. Some may then be claimed all the same: the
    /// worker's heartbeat finds and releases them.
    pub async fn claim(&self, worker: WorkerId, claims: Vec<Claim>) -> Result<HashMap<TaskId, LostClaim>, StoreError> {
        self.saw_batch("claim", claims.len());
        let claims = Arc::new(claims);
        self.run(CLAIM_OPERATION, move |conn, _| {
            let claims = Arc::clone(&claims);
            async move { claim(conn, worker, &claims).await }.boxed()
        })
        .await
    }

    /// The payloads that were too large for their stream entries.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn payloads(&self, ids: Vec<TaskId>) -> Result<HashMap<TaskId, Arc<str>>, StoreError> {
        let ids = Arc::new(ids);
        self.run("payloads", move |conn, _| {
            let ids = Arc::clone(&ids);
            async move {
                let mut found = HashMap::new();
                for chunk in ids.chunks(MAX_ROWS) {
                    let binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
                    let rows: Vec<(Key, String)> =
                        select::<(Binary, Text)>(PAYLOADS.of(chunk.len()), binds).load(conn).await?;
                    found.extend(rows.into_iter().map(|(id, payload)| (TaskId::from(id), Arc::from(payload))));
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }
}

async fn claim(conn: &mut Connection, worker: WorkerId, claims: &[Claim]) -> QueryResult<HashMap<TaskId, LostClaim>> {
    let mut lost = HashMap::new();
    let mut by_attempt: BTreeMap<u32, Vec<TaskId>> = BTreeMap::new();
    for claim in claims {
        by_attempt.entry(claim.attempt).or_default().push(claim.id);
    }
    for (attempt, mut ids) in by_attempt {
        // One order for everybody keeps batches that overlap from locking each other out.
        ids.sort_unstable();
        for chunk in ids.chunks(MAX_ROWS) {
            let mut binds = vec![Bind::Id(worker.0)];
            binds.extend(padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>()));
            binds.push(Bind::Number(attempt.into()));
            let affected = statement(CLAIM.of(chunk.len()), binds).execute(conn).await?;
            if affected != chunk.len() {
                classify(conn, worker, attempt, chunk, &mut lost).await?;
            }
        }
    }
    Ok(lost)
}

/// Says of each task why it was not claimed. One that is running under this worker with the
/// next attempt number was claimed: by this statement, or by one whose answer was lost.
async fn classify(
    conn: &mut Connection,
    worker: WorkerId,
    attempt: u32,
    ids: &[TaskId],
    lost: &mut HashMap<TaskId, LostClaim>,
) -> QueryResult<()> {
    let binds = padded(&ids.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
    let rows: Vec<StandingRow> = select::<StandingSql>(STANDING.of(ids.len()), binds).load(conn).await?;
    let mut seen = HashSet::new();
    let mut expired = Vec::new();
    for (id, status, now_attempt, owner, expires_at, now) in rows {
        let id = TaskId::from(id);
        seen.insert(id);
        let why = match Status::parse(&status) {
            Some(Status::Running) if owner == Key(worker.0) && now_attempt == attempt + 1 => continue,
            Some(Status::Running) => LostClaim::Running,
            Some(Status::Queued) if now_attempt == attempt && expires_at.is_some_and(|at| utc(at) <= utc(now)) => {
                expired.push(id);
                LostClaim::Expired
            }
            Some(Status::Queued | Status::Scheduled) => LostClaim::Moved,
            Some(Status::Completed | Status::Failed | Status::Cancelled) | None => LostClaim::Finished,
        };
        lost.insert(id, why);
    }
    lost.extend(ids.iter().filter(|id| !seen.contains(id)).map(|id| (*id, LostClaim::Gone)));
    if !expired.is_empty() {
        let binds = padded(&expired.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
        let cancelled = statement(EXPIRE.of(expired.len()), binds).execute(conn).await?;
        if cancelled < expired.len() {
            // The expirer came first with one of them, and has told of it; of the others nobody does.
            lost.extend(expired.into_iter().map(|id| (id, LostClaim::Finished)));
        }
    }
    Ok(())
}
