//! The queues there are, which worker process dispatches each, and which are paused.

use super::connection::{Connection, Store, now, utc};
use super::error::StoreError;
use super::row::Key;
use super::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::{Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::sql_types::{Binary, Datetime, Nullable, Text};
use diesel::{OptionalExtension, QueryResult};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

static ENSURE: Texts =
    Texts::new(|n| format!("INSERT IGNORE INTO queues (name, created_at) VALUES {}", vec!["(?, NOW(6))"; n].join(",")));
static LEASE: Texts = Texts::new(|n| {
    format!(
        "UPDATE queues SET dispatcher_id = ?, dispatcher_until = NOW(6) + INTERVAL ? MICROSECOND \
         WHERE name IN ({}) AND (dispatcher_id = ? OR dispatcher_until IS NULL OR dispatcher_until < NOW(6))",
        marks(n)
    )
});

/// What of a row is read, as it holds now: a lease or a pause that has run out is none.
macro_rules! look {
    ($rest:literal) => {
        concat!(
            "SELECT name, created_at, IF(dispatcher_until > NOW(6), dispatcher_id, NULL), \
             IF(resume_at IS NULL OR resume_at > NOW(6), paused_at, NULL), pause_reason, paused_by, resume_at \
             FROM queues ",
            $rest
        )
    };
}
/// A scan: `limits.queues` keeps the table small.
const QUEUES: &str = look!("ORDER BY name");
pub(in crate::store) const QUEUE: &str = look!("WHERE name = ?");
const PAUSE: &str = "INSERT INTO queues (name, created_at, paused_at, pause_reason, paused_by, resume_at) \
     VALUES (?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE paused_at = VALUES(paused_at), \
     pause_reason = VALUES(pause_reason), paused_by = VALUES(paused_by), resume_at = VALUES(resume_at)";
pub(in crate::store) const RESUME: &str =
    "UPDATE queues SET paused_at = NULL, pause_reason = NULL, paused_by = NULL, resume_at = NULL WHERE name = ?";

/// Makes those of these queues that are not there yet.
pub(super) async fn ensure(conn: &mut Connection, names: &[&str]) -> QueryResult<()> {
    for chunk in names.chunks(MAX_ROWS) {
        let binds = padded(&chunk.iter().map(|name| Bind::Text(name)).collect::<Vec<_>>());
        statement(ENSURE.of(chunk.len()), binds).execute(conn).await?;
    }
    Ok(())
}

/// A queue as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    pub name: Arc<str>,
    pub created_at: Timestamp,
    /// The holder of the dispatcher's lease, if it holds.
    pub dispatcher: Option<WorkerId>,
    /// None: it is not paused, or was until a time that is over.
    pub pause: Option<Pause>,
}

/// A pause that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub since: Timestamp,
    pub reason: Option<String>,
    /// Who paused it.
    pub by: Option<String>,
    /// When it ends by itself; None: not before somebody resumes the queue.
    pub resume_at: Option<Timestamp>,
}

/// A pause as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPause {
    /// At most [`MAX_REASON`] characters.
    pub reason: Option<String>,
    /// At most 128 characters.
    pub by: String,
    /// It ends by itself after this time; None: not before somebody resumes the queue.
    pub resume_in: Option<Duration>,
}

/// Longest reason of a pause, in characters: what its column holds.
pub const MAX_REASON: usize = 500;

type RowSql =
    (Text, Datetime, Nullable<Binary>, Nullable<Datetime>, Nullable<Text>, Nullable<Text>, Nullable<Datetime>);
type RowTuple =
    (String, NaiveDateTime, Option<Key>, Option<NaiveDateTime>, Option<String>, Option<String>, Option<NaiveDateTime>);

fn row((name, created_at, dispatcher, paused_at, reason, by, resume_at): RowTuple) -> QueueRow {
    let pause = |since| Pause { since: utc(since), reason, by, resume_at: resume_at.map(utc) };
    QueueRow {
        name: name.into(),
        created_at: utc(created_at),
        dispatcher: dispatcher.map(WorkerId::from),
        pause: paused_at.map(pause),
    }
}

async fn look(conn: &mut Connection, queue: &str) -> QueryResult<QueueRow> {
    select::<RowSql>(QUEUE, vec![Bind::Text(queue)]).get_result(conn).await.map(row)
}

impl Store {
    /// Makes sure that these queues exist.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ensure_queues(&self, names: Vec<Arc<str>>) -> Result<(), StoreError> {
        let names = Arc::new(names);
        self.run("queues", move |conn, _| {
            let names = Arc::clone(&names);
            async move { ensure(conn, &names.iter().map(|name| &**name).collect::<Vec<_>>()).await }.boxed()
        })
        .await
    }

    /// The names of all queues, sorted.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn queue_names(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.run("queues", move |conn, _| {
            async move {
                let names: Vec<String> =
                    select::<Text>("SELECT name FROM queues ORDER BY name", vec![]).load(conn).await?;
                Ok(names.into_iter().map(Arc::from).collect())
            }
            .boxed()
        })
        .await
    }

    /// Every queue, in order.
    ///
    /// # Errors
    /// When the database cannot be reached, or has no such table yet.
    pub async fn queue_rows(&self) -> Result<Vec<QueueRow>, StoreError> {
        self.run("queues", |conn, _| {
            async move {
                let rows: Vec<RowTuple> = select::<RowSql>(QUEUES, vec![]).load(conn).await?;
                Ok(rows.into_iter().map(row).collect())
            }
            .boxed()
        })
        .await
    }

    /// One queue; None: there is none of this name.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn queue_row(&self, queue: Arc<str>) -> Result<Option<QueueRow>, StoreError> {
        self.run("queues", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move { look(conn, &queue).await.optional() }.boxed()
        })
        .await
    }

    /// Pauses a queue from now on, and makes it where it is missing. A pause that holds already is
    /// replaced. Gives the queue as it is then.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same; asking again does
    /// no harm.
    pub async fn pause_queue(&self, queue: Arc<str>, pause: NewPause) -> Result<QueueRow, StoreError> {
        let asked = Arc::new((queue, pause));
        self.run("queues", move |conn, _| {
            let asked = Arc::clone(&asked);
            async move {
                let (queue, pause) = &*asked;
                conn.transaction(async |conn| insert_pause(conn, queue, pause).await).await
            }
            .boxed()
        })
        .await
    }

    /// Ends a queue's pause, if it has one. Gives the queue as it is then; None: there is none of
    /// this name.
    ///
    /// # Errors
    /// As of [`Store::pause_queue`].
    pub async fn resume_queue(&self, queue: Arc<str>) -> Result<Option<QueueRow>, StoreError> {
        self.run("queues", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                conn.transaction(async |conn| {
                    statement(RESUME, vec![Bind::Text(&queue)]).execute(conn).await?;
                    look(conn, &queue).await.optional()
                })
                .await
            }
            .boxed()
        })
        .await
    }

    /// Takes or renews the dispatcher's lease on those of these queues that nobody else holds;
    /// says which this worker holds now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn lease_queues(
        &self,
        worker: WorkerId,
        names: Vec<Arc<str>>,
        lease: Duration,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let names = Arc::new(names);
        self.run("queues", move |conn, _| {
            let names = Arc::clone(&names);
            async move {
                let micros = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
                for chunk in names.chunks(MAX_ROWS) {
                    let mut binds = vec![Bind::Id(worker.0), Bind::Signed(micros)];
                    binds.extend(padded(&chunk.iter().map(|name| Bind::Text(name)).collect::<Vec<_>>()));
                    binds.push(Bind::Id(worker.0));
                    statement(LEASE.of(chunk.len()), binds).execute(conn).await?;
                }
                let held: Vec<String> = select::<Text>(
                    "SELECT name FROM queues WHERE dispatcher_id = ? AND dispatcher_until > NOW(6)",
                    vec![Bind::Id(worker.0)],
                )
                .load(conn)
                .await?;
                Ok(names.iter().filter(|name| held.iter().any(|h| **h == ***name)).cloned().collect())
            }
            .boxed()
        })
        .await
    }

    /// Gives up every queue that this worker dispatches, so that another takes over at once.
    ///
    /// # Errors
    /// When the database cannot be reached; the leases then run out by themselves.
    pub async fn release_queues(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.run("queues", move |conn, _| {
            async move {
                let text = "UPDATE queues SET dispatcher_id = NULL, dispatcher_until = NULL WHERE dispatcher_id = ?";
                statement(text, vec![Bind::Id(worker.0)]).execute(conn).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }
}

async fn insert_pause(conn: &mut Connection, queue: &str, pause: &NewPause) -> QueryResult<QueueRow> {
    // One reading of the clock, so that the pause lasts exactly as long as was asked for.
    let since = now(conn).await?.naive_utc();
    let binds = vec![
        Bind::Text(queue),
        Bind::Time(since),
        Bind::Time(since),
        Bind::OptText(pause.reason.as_deref()),
        Bind::Text(&pause.by),
        Bind::OptTime(pause.resume_in.map(|span| since + span)),
    ];
    statement(PAUSE, binds).execute(conn).await?;
    look(conn, queue).await
}
