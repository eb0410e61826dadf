//! Who is there: every worker's row, for `doctor` and for readers. Nothing here writes, and nothing reads `tasks`.

use super::connection::{Store, now, utc};
use super::error::StoreError;
use super::row::Key;
use super::sql::{Bind, select};
use super::workers::OUTSIDE;
use crate::task::{Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::sql_types::{Binary, Datetime, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;

/// Most workers in one look.
const WORKER_ROWS: u64 = 1000;

/// The workers, and the instant at which they were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// The database's clock, just before: a lease that held then is live.
    pub now: Timestamp,
    /// The oldest first.
    pub workers: Vec<WorkerRow>,
}

impl Roster {
    /// Those whose lease holds.
    pub fn live(&self) -> impl Iterator<Item = &WorkerRow> {
        self.workers.iter().filter(|row| row.is_live(self.now))
    }

    /// Those of them that are processes of ours.
    pub fn processes(&self) -> impl Iterator<Item = &WorkerRow> {
        self.live().filter(|row| !row.is_outside())
    }
}

/// A worker's row, of a live or of a dead one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub host: String,
    pub pid: u32,
    /// JSON: the queues it serves, `["*"]` for all.
    pub queues: String,
    pub slots: u32,
    pub started_at: Timestamp,
    pub lease_until: Timestamp,
    /// Since when it has been declared dead.
    pub dead_at: Option<Timestamp>,
}

impl WorkerRow {
    /// Whether its lease holds at this instant of the database's clock.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.dead_at.is_none() && self.lease_until > now
    }

    /// Whether it claims over REST: it has no part in dispatching and rescuing.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.pid == OUTSIDE
    }

    /// The queues that it serves; `*` is all.
    #[must_use]
    pub fn queue_names(&self) -> Vec<String> {
        serde_json::from_str(&self.queues).unwrap_or_default()
    }

    /// Whether it serves a queue.
    #[must_use]
    pub fn serves(&self, queue: &str) -> bool {
        self.queue_names().iter().any(|name| name == "*" || name == queue)
    }
}

type WorkerSql = (Binary, Text, Unsigned<Integer>, Text, Unsigned<Integer>, Datetime, Datetime, Nullable<Datetime>);
type WorkerTuple = (Key, String, u32, String, u32, NaiveDateTime, NaiveDateTime, Option<NaiveDateTime>);

impl Store {
    /// Every worker's row, at most 1,000, with the clock to judge their leases by.
    ///
    /// # Errors
    /// When the database cannot be reached, or has no such table yet.
    pub async fn roster(&self) -> Result<Roster, StoreError> {
        self.roster_after(None, WORKER_ROWS).await
    }

    /// The next page of them, of at most `limit`, after this worker's.
    ///
    /// # Errors
    /// As of [`Store::roster`].
    pub async fn roster_after(&self, after: Option<WorkerId>, limit: u64) -> Result<Roster, StoreError> {
        self.run("workers", move |conn, _| {
            async move {
                let now = now(conn).await?;
                let text = "SELECT id, host, pid, queues, slots, started_at, lease_until, dead_at FROM workers \
                            WHERE id > ? ORDER BY id LIMIT ?";
                let after = after.map_or(uuid::Uuid::nil(), |id| id.0);
                let rows: Vec<WorkerTuple> =
                    select::<WorkerSql>(text, vec![Bind::Id(after), Bind::Number(limit)]).load(conn).await?;
                let row = |(id, host, pid, queues, slots, started, until, dead): WorkerTuple| WorkerRow {
                    id: WorkerId::from(id),
                    host,
                    pid,
                    queues,
                    slots,
                    started_at: utc(started),
                    lease_until: utc(until),
                    dead_at: dead.map(utc),
                };
                Ok(Roster { now, workers: rows.into_iter().map(row).collect() })
            }
            .boxed()
        })
        .await
    }
}
