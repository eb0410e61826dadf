//! Failed tasks by the kind of their failure: `task_failures` says of each task that is failed now which kind it is
//! of, `failure_groups` what a kind is.
//!
//! A task's row in `task_failures` changes under the lock of its row in `tasks` alone, in the same transaction: it is
//! there if and only if the task is failed (and did so since the table is there). Only tasks that fail pay.

use crate::store::connection::{Connection, Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, split, statement};
use crate::task::{Fingerprint, TaskId, Timestamp, fingerprint};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Datetime, Nullable, Text, Unsigned};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group's tasks are counted up to here: beyond it the count says "at least".
pub const MAX_COUNT: u64 = 100_000;
/// The newest tasks that a group names.
const NAMED_TASKS: u64 = 10;
/// Groups looked at in one step of a listing, or of the purge.
const STEP_GROUPS: u64 = 1000;
/// Entries of the index that one page counts, at most; it may be a short one.
const PAGE_COUNTS: u64 = 500_000;

/// Under the locks of the rows: what has failed. More of an error than its first line's first characters is not needed.
pub(in crate::store) static FAILED: Texts = Texts::new(|ids| {
    format!(
        "SELECT id, name, queue, LEFT(last_error, 2000), finished_at FROM tasks \
         WHERE id IN ({}) AND status = 'failed' FOR UPDATE",
        marks(ids)
    )
});
pub(in crate::store) static INSERT_FAILURES: Texts = Texts::new(|n| {
    format!(
        "INSERT INTO task_failures (task_id, fingerprint, queue, failed_at) VALUES {} ON DUPLICATE KEY UPDATE \
         fingerprint = VALUES(fingerprint), queue = VALUES(queue), failed_at = VALUES(failed_at)",
        vec!["(?,?,?,?)"; n].join(",")
    )
});
/// One that is there is locked against its purge, and shared with whoever else finds it.
pub(in crate::store) static INSERT_GROUPS: Texts = Texts::new(|n| {
    format!(
        "INSERT IGNORE INTO failure_groups (fingerprint, name, message, first_seen) VALUES {}",
        vec!["(?,?,?,?)"; n].join(",")
    )
});
pub(in crate::store) static FORGET: Texts =
    Texts::new(|ids| format!("DELETE FROM task_failures WHERE task_id IN ({})", marks(ids)));
/// Newest kinds first.
pub(in crate::store) const GROUPS: &str = "SELECT fingerprint, name, message, first_seen \
     FROM failure_groups FORCE INDEX (newest) WHERE first_seen <= ? AND (first_seen < ? OR fingerprint < ?) \
     ORDER BY first_seen DESC, fingerprint DESC LIMIT ?";
pub(in crate::store) const COUNT: &str =
    "SELECT COUNT(*) FROM (SELECT 1 FROM task_failures FORCE INDEX (kind) WHERE fingerprint = ? LIMIT ?) c";
pub(in crate::store) static COUNT_IN: Texts = Texts::new(|queues| {
    format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM task_failures FORCE INDEX (kind) \
         WHERE fingerprint = ? AND queue IN ({}) LIMIT ?) c",
        marks(queues)
    )
});
pub(in crate::store) const NEWEST: &str = "SELECT task_id, failed_at FROM task_failures FORCE INDEX (kind) \
     WHERE fingerprint = ? ORDER BY failed_at DESC LIMIT ?";
pub(in crate::store) static NEWEST_IN: Texts = Texts::new(|queues| {
    format!(
        "SELECT task_id, failed_at FROM task_failures FORCE INDEX (kind) \
         WHERE fingerprint = ? AND queue IN ({}) ORDER BY failed_at DESC LIMIT ?",
        marks(queues)
    )
});
pub(in crate::store) const IN_USE: &str = "SELECT g.fingerprint, \
     CAST(EXISTS(SELECT 1 FROM task_failures f WHERE f.fingerprint = g.fingerprint) AS SIGNED) \
     FROM failure_groups g WHERE g.fingerprint >= ? ORDER BY g.fingerprint LIMIT ?";
pub(in crate::store) const LOCK_GROUP: &str = "SELECT fingerprint FROM failure_groups WHERE fingerprint = ? FOR UPDATE";
pub(in crate::store) const DROP_GROUP: &str = "DELETE FROM failure_groups WHERE fingerprint = ?";

/// A kind of failure, with the tasks that are failed of it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    pub fingerprint: Fingerprint,
    /// The task type.
    pub name: String,
    /// The error of the first task of this kind.
    pub message: String,
    /// At most [`MAX_COUNT`].
    pub count: u64,
    /// When the first task failed so, since when there were such tasks all the time.
    pub first_seen: Timestamp,
    /// When the latest did, of those that are failed now.
    pub last_seen: Timestamp,
    /// The newest of them, newest first; at most 10.
    pub task_ids: Vec<TaskId>,
}

/// Which groups to list. Several values of one kind mean any of them; none means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFilter {
    pub queues: Vec<String>,
    pub names: Vec<String>,
}

/// A place in the order of groups; the next page begins behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPlace {
    pub first_seen: Timestamp,
    pub fingerprint: Fingerprint,
}

type FailedRow = (Key, String, String, Option<String>, NaiveDateTime);
type FailedSql = (Binary, Text, Text, Nullable<Text>, Datetime);
type GroupRow = (u64, String, String, NaiveDateTime);
type GroupSql = (Unsigned<BigInt>, Text, Text, Datetime);

/// What of these tasks has failed is noted, in the transaction in which it did.
pub(super) async fn note(conn: &mut Connection, ids: &[TaskId]) -> QueryResult<()> {
    let mut failed: Vec<FailedRow> = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(MAX_ROWS) {
        let binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
        failed.extend(select::<FailedSql>(FAILED.of(chunk.len()), binds).load::<FailedRow>(conn).await?);
    }
    let print = |row: &FailedRow| Fingerprint::of(&row.1, row.3.as_deref().unwrap_or_default());
    let noted: Vec<(&FailedRow, Fingerprint)> = failed.iter().map(|row| (row, print(row))).collect();
    for slice in split(&noted) {
        let mut binds = Vec::with_capacity(slice.len() * 4);
        for ((id, _, queue, _, at), print) in slice {
            binds.extend([Bind::Id(id.0), Bind::Number(print.0), Bind::Text(queue), Bind::Time(*at)]);
        }
        statement(INSERT_FAILURES.of(slice.len()), binds).execute(conn).await?;
    }
    // Each kind once, with its first task, and in one order for everybody.
    let mut kinds: BTreeMap<Fingerprint, (&FailedRow, String)> = BTreeMap::new();
    for (row, print) in &noted {
        let sample = || fingerprint::sample(row.3.as_deref().unwrap_or_default());
        kinds.entry(*print).or_insert_with(|| (row, sample()));
    }
    let kinds: Vec<(Fingerprint, (&FailedRow, String))> = kinds.into_iter().collect();
    for slice in split(&kinds) {
        let mut binds = Vec::with_capacity(slice.len() * 4);
        for (print, ((_, name, _, _, at), message)) in slice {
            binds.extend([Bind::Number(print.0), Bind::Text(name), Bind::Text(message), Bind::Time(*at)]);
        }
        statement(INSERT_GROUPS.of(slice.len()), binds).execute(conn).await?;
    }
    Ok(())
}

/// Tasks that are failed no longer, or are no more.
pub(super) async fn forget(conn: &mut Connection, ids: &[Bind<'_>]) -> QueryResult<()> {
    for chunk in ids.chunks(MAX_ROWS) {
        statement(FORGET.of(chunk.len()), padded(chunk)).execute(conn).await?;
    }
    Ok(())
}

impl Store {
    /// The next groups behind a place, newest kinds first, at most `limit`; and where the next page begins. A kind of
    /// which no task is failed now is left out.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn failure_groups(
        &self,
        filter: GroupFilter,
        from: Option<GroupPlace>,
        limit: usize,
    ) -> Result<(Vec<FailureGroup>, Option<GroupPlace>), StoreError> {
        let filter = Arc::new(filter);
        self.run("failures", move |conn, _| {
            let filter = Arc::clone(&filter);
            async move { list(conn, &filter, from, limit).await }.boxed()
        })
        .await
    }

    /// Deletes the kinds of failures of which there is no task any more, among the next 1,000 from this one; says how many, and
    /// where the next step begins.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn purge_groups(&self, from: Fingerprint) -> Result<(usize, Option<Fingerprint>), StoreError> {
        self.run("purge", move |conn, _| {
            async move {
                let binds = vec![Bind::Number(from.0), Bind::Number(STEP_GROUPS)];
                let groups: Vec<(u64, i64)> = select::<(Unsigned<BigInt>, BigInt)>(IN_USE, binds).load(conn).await?;
                let full = u64::try_from(groups.len()).is_ok_and(|count| count >= STEP_GROUPS);
                let mut purged = 0;
                for (print, _) in groups.iter().filter(|(_, in_use)| *in_use == 0) {
                    purged += drop_group(conn, *print).await?;
                }
                Ok((purged, groups.last().filter(|_| full).map(|(print, _)| Fingerprint(print.saturating_add(1)))))
            }
            .boxed()
        })
        .await
    }
}

/// Unless a task of its kind has failed since: whoever notes one holds the group's lock, and is waited for.
async fn drop_group(conn: &mut Connection, print: u64) -> QueryResult<usize> {
    conn.transaction(async |conn| {
        let _: Vec<u64> = select::<Unsigned<BigInt>>(LOCK_GROUP, vec![Bind::Number(print)]).load(conn).await?;
        let binds = vec![Bind::Number(print), Bind::Number(1)];
        let tasks: Vec<(Key, NaiveDateTime)> = select::<(Binary, Datetime)>(NEWEST, binds).load(conn).await?;
        if tasks.is_empty() { statement(DROP_GROUP, vec![Bind::Number(print)]).execute(conn).await } else { Ok(0) }
    })
    .await
}

async fn list(
    conn: &mut Connection,
    filter: &GroupFilter,
    mut from: Option<GroupPlace>,
    limit: usize,
) -> QueryResult<(Vec<FailureGroup>, Option<GroupPlace>)> {
    let at = Bind::Time(from.map_or(last_instant(), |at| at.first_seen.naive_utc()));
    let top = Bind::Number(from.map_or(u64::MAX, |at| at.fingerprint.0));
    let binds = vec![at, at, top, Bind::Number(STEP_GROUPS)];
    let rows: Vec<GroupRow> = select::<GroupSql>(GROUPS, binds).load(conn).await?;
    let full = u64::try_from(rows.len()).is_ok_and(|count| count >= STEP_GROUPS);
    let (mut groups, mut counted) = (Vec::new(), 0);
    for (print, name, message, first_seen) in rows {
        if groups.len() >= limit || counted >= PAGE_COUNTS {
            return Ok((groups, from));
        }
        from = Some(GroupPlace { first_seen: utc(first_seen), fingerprint: Fingerprint(print) });
        if !filter.names.is_empty() && !filter.names.contains(&name) {
            continue;
        }
        let found = tasks_of(conn, print, &filter.queues).await?;
        // Those of other queues are walked over too, also where there are no others.
        counted += match &found {
            Some((count, ..)) if filter.queues.is_empty() => *count,
            _ => MAX_COUNT,
        };
        let Some((count, last_seen, task_ids)) = found else { continue };
        groups.push(FailureGroup {
            fingerprint: Fingerprint(print),
            name,
            message,
            count,
            first_seen: utc(first_seen),
            last_seen,
            task_ids,
        });
    }
    Ok((groups, from.filter(|_| full)))
}

/// The latest that a DATETIME can say.
fn last_instant() -> NaiveDateTime {
    chrono::NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or_default().and_time(chrono::NaiveTime::MIN)
}

/// How many tasks are failed of this kind, since when the latest is, and the newest of them. None: there is none.
async fn tasks_of(
    conn: &mut Connection,
    print: u64,
    queues: &[String],
) -> QueryResult<Option<(u64, Timestamp, Vec<TaskId>)>> {
    let (count, newest) =
        if queues.is_empty() { (COUNT, NEWEST) } else { (COUNT_IN.of(queues.len()), NEWEST_IN.of(queues.len())) };
    let queues = padded(&queues.iter().map(|queue| Bind::Text(queue)).collect::<Vec<_>>());
    let binds = |limit| [vec![Bind::Number(print)], queues.clone(), vec![Bind::Number(limit)]].concat();
    let newest: Vec<(Key, NaiveDateTime)> = select::<(Binary, Datetime)>(newest, binds(NAMED_TASKS)).load(conn).await?;
    let Some((_, last_seen)) = newest.as_slice().first().copied() else { return Ok(None) };
    let count: i64 = select::<BigInt>(count, binds(MAX_COUNT)).get_result(conn).await?;
    let task_ids = newest.into_iter().map(|(id, _)| TaskId::from(id)).collect();
    Ok(Some((u64::try_from(count).unwrap_or(0), utc(last_seen), task_ids)))
}
