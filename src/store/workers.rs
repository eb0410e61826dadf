//! Worker rows: one lease covers every task that a worker runs.

use super::connection::{Store, utc};
use super::error::StoreError;
use super::row::Key;
use super::sql::{Bind, select, statement};
use crate::task::{Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::sql_types::{Binary, Datetime, Integer, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// A worker as it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorker {
    pub id: WorkerId,
    pub host: String,
    /// [`OUTSIDE`] for one that claims over REST.
    pub pid: u32,
    /// JSON: the queues it serves, `["*"]` for all.
    pub queues: String,
    pub slots: u32,
}

/// The process of a worker outside, which may have none or be on any host. No process of ours has it.
pub const OUTSIDE: u32 = 0;

/// A worker whose lease holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveWorker {
    pub id: WorkerId,
    /// JSON: the queues it serves, `["*"]` for all.
    pub queues: String,
    pub slots: u32,
    /// It claims over REST, and reads no stream.
    pub outside: bool,
    pub lease_until: Timestamp,
}

fn micros(lease: Duration) -> Bind<'static> {
    Bind::Signed(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX))
}

impl Store {
    /// Inserts a worker's row with a fresh lease. Safe to repeat.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn register_worker(&self, worker: NewWorker, lease: Duration) -> Result<(), StoreError> {
        let worker = Arc::new(worker);
        self.run("worker", move |conn, _| {
            let worker = Arc::clone(&worker);
            async move {
                let text = "INSERT IGNORE INTO workers (id, host, pid, queues, slots, started_at, lease_until) \
                            VALUES (?, ?, ?, ?, ?, NOW(6), NOW(6) + INTERVAL ? MICROSECOND)";
                let binds = vec![
                    Bind::Id(worker.id.0),
                    Bind::Text(&worker.host),
                    Bind::Number(worker.pid.into()),
                    Bind::Text(&worker.queues),
                    Bind::Number(worker.slots.into()),
                    micros(lease),
                ];
                statement(text, binds).execute(conn).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }

    /// Renews a worker's lease. False: it was declared dead, or its row is gone.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn renew_worker(&self, worker: WorkerId, lease: Duration) -> Result<bool, StoreError> {
        self.run("heartbeat", move |conn, _| {
            async move {
                let text =
                    "UPDATE workers SET lease_until = NOW(6) + INTERVAL ? MICROSECOND WHERE id = ? AND dead_at IS NULL";
                let renewed = statement(text, vec![micros(lease), Bind::Id(worker.0)]).execute(conn).await?;
                Ok(renewed == 1)
            }
            .boxed()
        })
        .await
    }

    /// Renews the lease of a worker outside. False: it was declared dead, its row is gone, or it is a process of ours.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn renew_outside(&self, worker: WorkerId, lease: Duration) -> Result<bool, StoreError> {
        self.run("heartbeat", move |conn, _| {
            async move {
                let text = "UPDATE workers SET lease_until = NOW(6) + INTERVAL ? MICROSECOND \
                            WHERE id = ? AND dead_at IS NULL AND pid = 0";
                let renewed = statement(text, vec![micros(lease), Bind::Id(worker.0)]).execute(conn).await?;
                Ok(renewed == 1)
            }
            .boxed()
        })
        .await
    }

    /// The same, with what it serves from now on.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn return_outside(
        &self,
        worker: WorkerId,
        queues: String,
        slots: u32,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let queues = Arc::new(queues);
        self.run("heartbeat", move |conn, _| {
            let queues = Arc::clone(&queues);
            async move {
                let text = "UPDATE workers SET lease_until = NOW(6) + INTERVAL ? MICROSECOND, queues = ?, slots = ? \
                            WHERE id = ? AND dead_at IS NULL AND pid = 0";
                let binds = vec![micros(lease), Bind::Text(&queues), Bind::Number(slots.into()), Bind::Id(worker.0)];
                Ok(statement(text, binds).execute(conn).await? == 1)
            }
            .boxed()
        })
        .await
    }

    /// Declares every worker dead whose own lease has run out; says how many. From here on
    /// their renewals are refused.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn fence_expired_workers(&self) -> Result<usize, StoreError> {
        self.run("rescue", move |conn, _| {
            async move {
                let text = "UPDATE workers SET dead_at = NOW(6) WHERE lease_until < NOW(6) AND dead_at IS NULL";
                statement(text, vec![]).execute(conn).await
            }
            .boxed()
        })
        .await
    }

    /// Declares one worker dead, whatever its lease says: it asks for that itself. From here on
    /// its renewals are refused.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn declare_dead(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.run("worker", move |conn, _| {
            async move {
                let text = "UPDATE workers SET dead_at = NOW(6) WHERE id = ? AND dead_at IS NULL";
                statement(text, vec![Bind::Id(worker.0)]).execute(conn).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }

    /// The workers that were declared dead and whose rows are still there.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn dead_workers(&self) -> Result<Vec<WorkerId>, StoreError> {
        self.run("rescue", move |conn, _| {
            async move {
                let ids: Vec<Key> =
                    select::<Binary>("SELECT id FROM workers WHERE dead_at IS NOT NULL", vec![]).load(conn).await?;
                Ok(ids.into_iter().map(WorkerId::from).collect())
            }
            .boxed()
        })
        .await
    }

    /// The workers whose lease holds.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn live_workers(&self) -> Result<Vec<LiveWorker>, StoreError> {
        self.run("workers", move |conn, _| {
            async move {
                let text =
                    "SELECT id, queues, slots, pid, lease_until FROM workers WHERE dead_at IS NULL AND lease_until > NOW(6)";
                let rows: Vec<(Key, String, u32, u32, NaiveDateTime)> =
                    select::<(Binary, Text, Unsigned<Integer>, Unsigned<Integer>, Datetime)>(text, vec![]).load(conn).await?;
                let live = |(id, queues, slots, pid, until)| LiveWorker {
                    id: WorkerId::from(id),
                    queues,
                    slots,
                    outside: pid == OUTSIDE,
                    lease_until: utc(until),
                };
                Ok(rows.into_iter().map(live).collect())
            }
            .boxed()
        })
        .await
    }

    /// Removes a worker's row. The caller has seen that no task names it as running; one that
    /// a late claim still adds is found as an orphan.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn remove_worker(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.run("worker", move |conn, _| {
            async move {
                statement("DELETE FROM workers WHERE id = ?", vec![Bind::Id(worker.0)]).execute(conn).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }
}
