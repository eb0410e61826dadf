//! What is due, and what comes next.

use super::now;
use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::sql::{Bind, select};
use crate::task::Timestamp;
use chrono::NaiveDateTime;
use diesel::OptionalExtension;
use diesel::sql_types::{Datetime, Text};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;

/// Most due schedules in one look.
const DUE_ROWS: u64 = 100;

/// The first instant that is in no ledger yet, of all schedules.
pub(in crate::store) const NEXT: &str =
    "SELECT next_fire_at FROM schedules WHERE next_fire_at IS NOT NULL ORDER BY next_fire_at LIMIT 1";
pub(in crate::store) const AFTER: &str =
    "SELECT next_fire_at FROM schedules WHERE next_fire_at > ? ORDER BY next_fire_at LIMIT 1";
pub(in crate::store) const OVERDUE: &str =
    "SELECT name, next_fire_at FROM schedules WHERE next_fire_at <= ? ORDER BY next_fire_at LIMIT ?";

/// A schedule whose instant has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub name: Arc<str>,
    pub fire_at: Timestamp,
}

/// What one look at the schedules shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agenda {
    /// The database's clock.
    pub now: Timestamp,
    /// The most overdue first, at most 100.
    pub due: Vec<Due>,
    /// The earliest instant of a schedule that is not due yet.
    pub next: Option<Timestamp>,
}

impl Store {
    /// The schedules that are due, and when the next one will be.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn schedule_agenda(&self) -> Result<Agenda, StoreError> {
        self.run("schedules", |conn, _| {
            async move {
                let now = now(conn).await?;
                let at = Bind::Time(now.naive_utc());
                let rows: Vec<(String, NaiveDateTime)> =
                    select::<(Text, Datetime)>(OVERDUE, vec![at, Bind::Number(DUE_ROWS)]).load(conn).await?;
                let next: Option<NaiveDateTime> =
                    select::<Datetime>(AFTER, vec![at]).get_result(conn).await.optional()?;
                let due = |(name, fire_at): (String, _)| Due { name: name.into(), fire_at: utc(fire_at) };
                Ok(Agenda { now, due: rows.into_iter().map(due).collect(), next: next.map(utc) })
            }
            .boxed()
        })
        .await
    }

    /// The first instant of any schedule that is in no ledger yet, come or not, and the database's clock.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn next_fire(&self) -> Result<(Option<Timestamp>, Timestamp), StoreError> {
        self.run("schedules", |conn, _| {
            async move {
                let next: Option<NaiveDateTime> = select::<Datetime>(NEXT, vec![]).get_result(conn).await.optional()?;
                Ok((next.map(utc), now(conn).await?))
            }
            .boxed()
        })
        .await
    }
}
