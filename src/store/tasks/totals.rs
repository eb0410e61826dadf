//! Counts over all queues: what each worker runs, and how it stands with the newest tasks.

use super::read::first_id;
use crate::store::connection::{Store, now, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, select};
use crate::task::{Status, Timestamp, WorkerId};
use chrono::{NaiveDateTime, TimeDelta};
use diesel::sql_types::{BigInt, Binary, Datetime, Text};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::collections::HashMap;

/// Most tasks that are looked at for [`Recent`].
const RECENT_ROWS: u64 = 10_000;
/// And how far back.
const RECENT_SPAN: TimeDelta = TimeDelta::hours(1);

/// By queue, as for the rescue: what is in flight is a small part of the table.
pub(in crate::store) const BUSY: &str = "SELECT STRAIGHT_JOIN t.worker_id, COUNT(*) \
     FROM queues q JOIN tasks t FORCE INDEX (agenda) ON t.queue = q.name AND t.lane = 3 \
     WHERE t.status = 'running' GROUP BY t.worker_id ORDER BY NULL";
/// The end of the primary key, which begins with the time of submission.
pub(in crate::store) const RECENT: &str = "SELECT status, COUNT(*), MIN(created_at) \
     FROM (SELECT status, created_at FROM tasks WHERE id >= ? ORDER BY id DESC LIMIT ?) newest \
     GROUP BY status ORDER BY NULL";

/// The newest tasks, as far back as an hour, but no more than 10,000.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Every task that was accepted since then is counted.
    pub since: Timestamp,
    /// The database's clock.
    pub now: Timestamp,
    /// How many are in each state; one that is missing: none.
    pub by_status: HashMap<Status, u64>,
}

impl Store {
    /// How many tasks each worker runs; one that is missing runs none.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn busy(&self) -> Result<HashMap<WorkerId, u64>, StoreError> {
        self.run("workers", |conn, _| {
            async move {
                let rows: Vec<(Key, i64)> = select::<(Binary, BigInt)>(BUSY, vec![]).load(conn).await?;
                Ok(rows
                    .into_iter()
                    .map(|(id, count)| (WorkerId::from(id), u64::try_from(count).unwrap_or(0)))
                    .collect())
            }
            .boxed()
        })
        .await
    }

    /// How it stands with the newest tasks.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn recent(&self) -> Result<Recent, StoreError> {
        let (now, rows) = self
            .run("stats", |conn, _| {
                async move {
                    let now = now(conn).await?;
                    let binds = vec![Bind::Id(first_id(now - RECENT_SPAN)), Bind::Number(RECENT_ROWS)];
                    let rows: Vec<(String, i64, NaiveDateTime)> =
                        select::<(Text, BigInt, Datetime)>(RECENT, binds).load(conn).await?;
                    Ok((now, rows))
                }
                .boxed()
            })
            .await?;
        let mut recent = Recent { since: now - RECENT_SPAN, now, by_status: HashMap::new() };
        let oldest = rows.iter().map(|(_, _, oldest)| utc(*oldest)).min();
        for (status, count, _) in rows {
            let strange = || StoreError::Unexpected(format!("a task's column `status` holds {status:?}"));
            let status = Status::parse(&status).ok_or_else(strange)?;
            recent.by_status.insert(status, u64::try_from(count).unwrap_or(0));
        }
        // There may be older ones within the hour, which were not looked at.
        if recent.by_status.values().sum::<u64>() >= RECENT_ROWS {
            recent.since = oldest.unwrap_or(recent.since).max(recent.since);
        }
        Ok(recent)
    }
}
