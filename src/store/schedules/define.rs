//! What a schedule is: put, replaced, removed.
//!
//! Whether a schedule is the caller's is asked of its row while that is locked: what was true of it before the lock may
//! have been changed since.

use super::{BY_CONFIG, Connection, ONE, ONE_LOCKED, ScheduleRow, now, one};
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::sql::{Bind, select, statement};
use crate::task::Timestamp;
use diesel::QueryResult;
use diesel::result::Error as DieselError;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;

const INSERT: &str = "INSERT IGNORE INTO schedules \
     (name, definition, managed_by, version, next_fire_at, pause_after, created_at, updated_at) \
     VALUES (?, ?, ?, 1, ?, ?, NOW(6), NOW(6))";
const REPLACE: &str = "UPDATE schedules SET definition = ?, managed_by = ?, version = version + 1, next_fire_at = ?, \
     pause_after = ?, updated_at = NOW(6) WHERE name = ?";
const ADOPT: &str = "UPDATE schedules SET managed_by = ? WHERE name = ?";
const REMOVE: &str = "DELETE FROM schedules WHERE name = ?";

/// A schedule to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    pub name: Arc<str>,
    /// JSON: `task::schedule::Definition`.
    pub definition: String,
    /// At most 16 characters.
    pub managed_by: String,
    pub pause_after: Option<u32>,
    /// Its first instant after `now`, which was the database's clock; one that is not due.
    pub next_fire_at: Option<Timestamp>,
}

/// Whether a schedule, as it is, is one that the caller may change.
pub type Owns = Arc<dyn Fn(&ScheduleRow) -> bool + Send + Sync>;

/// What became of a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defined {
    Created(ScheduleRow),
    /// Its definition has changed, and with it its version and its next instant.
    Replaced(ScheduleRow),
    /// It was like this already, and keeps its next instant.
    Unchanged(ScheduleRow),
    /// An instant of the definition that it has until now has come and is in no ledger yet: that comes first.
    IsDue,
    /// It is managed by the configuration, and the caller is not.
    Configured,
    /// There is one of this name, and it is not the caller's.
    Foreign,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Removed,
    /// There is none of this name.
    Unknown,
    /// It is managed by the configuration.
    Configured,
    /// It is not the caller's.
    Foreign,
}

impl Store {
    /// Puts a schedule. What changes the definition of one that is there waits until what has come by the old one is
    /// in the ledger. `owns`: None, where every schedule is the caller's.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same; asking again does no harm.
    pub async fn define_schedule(&self, schedule: NewSchedule, owns: Option<Owns>) -> Result<Defined, StoreError> {
        let asked = Arc::new((schedule, owns));
        self.run("schedules", move |conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                let (schedule, owns) = &*asked;
                conn.transaction(async |conn| define(conn, schedule, owns.as_ref()).await).await
            }
            .boxed()
        })
        .await
    }

    /// Removes a schedule that the configuration does not manage. Its ledger stays until it is purged. `owns`: None,
    /// where every schedule is the caller's.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same.
    pub async fn remove_schedule(&self, name: Arc<str>, owns: Option<Owns>) -> Result<Removed, StoreError> {
        let asked = Arc::new((name, owns));
        self.run("schedules", move |conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                let (name, owns) = &*asked;
                conn.transaction(async |conn| {
                    Ok(match one(conn, ONE_LOCKED, name).await? {
                        None => Removed::Unknown,
                        Some(row) if is_foreign(&row, owns.as_ref()) => Removed::Foreign,
                        Some(row) if row.managed_by == BY_CONFIG => Removed::Configured,
                        Some(_) => {
                            statement(REMOVE, vec![Bind::Text(name)]).execute(conn).await?;
                            Removed::Removed
                        }
                    })
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Removes the schedules that the configuration manages and no longer has.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn keep_configured(&self, names: Vec<Arc<str>>) -> Result<(), StoreError> {
        let names = Arc::new(names);
        self.run("schedules", move |conn, _| {
            let names = Arc::clone(&names);
            async move {
                let text = "SELECT name FROM schedules WHERE managed_by = ?";
                let managed: Vec<String> = select::<Text>(text, vec![Bind::Text(BY_CONFIG)]).load(conn).await?;
                for name in managed.iter().filter(|name| !names.iter().any(|kept| **kept == ***name)) {
                    let text = "DELETE FROM schedules WHERE name = ? AND managed_by = ?";
                    statement(text, vec![Bind::Text(name), Bind::Text(BY_CONFIG)]).execute(conn).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

fn is_foreign(row: &ScheduleRow, owns: Option<&Owns>) -> bool {
    owns.is_some_and(|owns| !owns(row))
}

async fn define(conn: &mut Connection, new: &NewSchedule, owns: Option<&Owns>) -> QueryResult<Defined> {
    let next = Bind::OptTime(new.next_fire_at.map(|at| at.naive_utc()));
    let pause_after = Bind::OptSigned(new.pause_after.map(i64::from));
    let old = one(conn, ONE_LOCKED, &new.name).await?;
    let clock = now(conn).await?;
    let Some(old) = old else {
        let binds =
            vec![Bind::Text(&new.name), Bind::Text(&new.definition), Bind::Text(&new.managed_by), next, pause_after];
        // Somebody else puts the same name for the first time: it is looked at anew.
        if statement(INSERT, binds).execute(conn).await? != 1 {
            return Err(DieselError::RollbackTransaction);
        }
        return Ok(one(conn, ONE, &new.name).await?.map_or(Defined::IsDue, Defined::Created));
    };
    if is_foreign(&old, owns) {
        return Ok(Defined::Foreign);
    }
    if old.managed_by == BY_CONFIG && new.managed_by != BY_CONFIG {
        return Ok(Defined::Configured);
    }
    if old.definition == new.definition {
        if old.managed_by == new.managed_by {
            return Ok(Defined::Unchanged(old));
        }
        statement(ADOPT, vec![Bind::Text(&new.managed_by), Bind::Text(&new.name)]).execute(conn).await?;
        return Ok(Defined::Unchanged(ScheduleRow { managed_by: new.managed_by.clone(), ..old }));
    }
    // Its instants up to now are those of the old definition, the first one after it is the new one's.
    if old.next_fire_at.is_some_and(|next| next <= clock) {
        return Ok(Defined::IsDue);
    }
    let binds =
        vec![Bind::Text(&new.definition), Bind::Text(&new.managed_by), next, pause_after, Bind::Text(&new.name)];
    statement(REPLACE, binds).execute(conn).await?;
    Ok(one(conn, ONE, &new.name).await?.map_or(Defined::IsDue, Defined::Replaced))
}
