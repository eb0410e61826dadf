//! What attempts say while they run: lines of their logs, and progress.
//!
//! Lines are only ever added: their key, which the writer makes, is what keeps one from being in
//! twice. Progress is the row's, and so guarded as a finish is: by id, attempt, worker and `running`.

use crate::store::connection::{Connection, Store, utc};
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, split, statement};
use crate::task::{Status, Task, TaskId, Timestamp, WorkerId};
use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Datetime, Double, Integer, Nullable, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// Lines that one look at the end of a log gives at most.
pub const TAIL_LINES: usize = 50;

/// A line that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    pub id: TaskId,
    pub attempt: u32,
    /// Rises within the attempt.
    pub seq: u64,
    /// The clock of the process that it was said in: nothing is decided by it.
    pub at: Timestamp,
    pub line: Box<str>,
}

/// A place in a task's log: behind this line. The default is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPlace {
    pub attempt: u32,
    pub seq: u64,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub place: LogPlace,
    pub at: Timestamp,
    pub line: String,
}

/// What an attempt says of how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub id: TaskId,
    pub attempt: u32,
    pub worker: WorkerId,
    /// 0 to 1.
    pub fraction: f64,
    /// At most 255 characters.
    pub note: Option<Box<str>>,
}

/// What changes of a row that somebody watches, without what is large in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulse {
    pub status: Status,
    pub attempt: u32,
    pub cancel_requested_at: Option<Timestamp>,
    pub progress: Option<f64>,
    pub progress_note: Option<String>,
}

impl Pulse {
    /// The same of a whole task.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        Self {
            status: task.status,
            attempt: task.attempt,
            cancel_requested_at: task.cancel_requested_at,
            progress: task.progress,
            progress_note: task.progress_note.clone(),
        }
    }
}

/// A question for the lines behind a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    pub id: TaskId,
    pub after: LogPlace,
}

pub(in crate::store) static ADD: Texts = Texts::new(|n| {
    // INSERT IGNORE: a batch that is sent again finds its own rows.
    format!(
        "INSERT IGNORE INTO task_logs (task_id, attempt, seq, at, line) VALUES {}",
        vec!["(?,?,?,?,?)"; n].join(",")
    )
});
pub(in crate::store) static PROGRESS: Texts = Texts::new(|n| {
    let case = format!("CASE id {} END", vec!["WHEN ? THEN ?"; n].join(" "));
    format!(
        "UPDATE tasks SET progress = {case}, progress_note = {case} \
         WHERE id IN ({}) AND attempt = ? AND worker_id = ? AND status = 'running'",
        marks(n)
    )
});
pub(in crate::store) const LINES: &str = "SELECT attempt, seq, at, line FROM task_logs \
     WHERE task_id = ? AND (attempt > ? OR (attempt = ? AND seq > ?)) ORDER BY attempt, seq LIMIT ?";
/// Of one attempt.
pub(in crate::store) const LINES_OF: &str = "SELECT attempt, seq, at, line FROM task_logs \
     WHERE task_id = ? AND attempt = ? AND seq > ? ORDER BY seq LIMIT ?";
pub(in crate::store) static PULSES: Texts = Texts::new(|n| {
    format!(
        "SELECT id, status, attempt, cancel_requested_at, progress, progress_note FROM tasks WHERE id IN ({})",
        marks(n)
    )
});
/// Several questions by one statement; each row says to which it belongs.
pub(in crate::store) static TAILS: Texts = Texts::new(|n| {
    let tail = |i: usize| {
        format!(
            "(SELECT {i}, attempt, seq, at, line FROM task_logs WHERE task_id = ? \
             AND (attempt > ? OR (attempt = ? AND seq > ?)) ORDER BY attempt, seq LIMIT {TAIL_LINES})"
        )
    };
    (0..n).map(tail).collect::<Vec<_>>().join(" UNION ALL ")
});

type LineRow = (u32, u64, NaiveDateTime, String);
type LineSql = (Unsigned<Integer>, Unsigned<BigInt>, Datetime, Text);
type TailRow = (i64, u32, u64, NaiveDateTime, String);
type TailSql = (BigInt, Unsigned<Integer>, Unsigned<BigInt>, Datetime, Text);
type PulseRow = (Key, String, u32, Option<NaiveDateTime>, Option<f64>, Option<String>);
type PulseSql = (Binary, Text, Unsigned<Integer>, Nullable<Datetime>, Nullable<Double>, Nullable<Text>);

fn line((attempt, seq, at, line): LineRow) -> LogLine {
    LogLine { place: LogPlace { attempt, seq }, at: utc(at), line }
}

impl Store {
    /// Adds lines; one that is there already stays as it is.
    ///
    /// # Errors
    /// When the database cannot be reached. Some may be in all the same; adding again does no harm.
    pub async fn add_lines(&self, lines: Arc<[NewLine]>) -> Result<(), StoreError> {
        self.saw_batch("log", lines.len());
        self.run("log", move |conn, _| {
            let lines = Arc::clone(&lines);
            async move {
                for slice in split(&lines) {
                    let mut binds = Vec::with_capacity(slice.len() * 5);
                    for NewLine { id, attempt, seq, at, line } in slice {
                        binds.extend([
                            Bind::Id(id.0),
                            Bind::Number((*attempt).into()),
                            Bind::Number(*seq),
                            Bind::Time(at.naive_utc()),
                            Bind::Text(line),
                        ]);
                    }
                    statement(ADD.of(slice.len()), binds).execute(conn).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Writes how far attempts are, at most once for each task. What is said by one that no longer
    /// owns its task is passed over.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn record_progress(&self, batch: Vec<Progress>) -> Result<(), StoreError> {
        self.saw_batch("progress", batch.len());
        let batch = Arc::new(batch);
        self.run("progress", move |conn, _| {
            let batch = Arc::clone(&batch);
            async move { record(conn, &batch).await }.boxed()
        })
        .await
    }

    /// At most `limit` lines of a task's log behind a place, oldest first; of one attempt alone, or of all.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn lines(
        &self,
        id: TaskId,
        attempt: Option<u32>,
        after: LogPlace,
        limit: u32,
    ) -> Result<Vec<LogLine>, StoreError> {
        let (id, from, limit) = (Bind::Id(id.0), Bind::Number(after.attempt.into()), Bind::Number(limit.into()));
        let seq = Bind::Number(after.seq);
        let rows = self
            .run("lines", move |conn, _| {
                async move {
                    let (text, binds) = match attempt {
                        None => (LINES, vec![id, from, from, seq, limit]),
                        Some(only) => {
                            // A place in an earlier attempt is before this one's first line.
                            let seq = if after.attempt < only { Bind::Number(0) } else { seq };
                            (LINES_OF, vec![id, Bind::Number(only.into()), seq, limit])
                        }
                    };
                    select::<LineSql>(text, binds).load::<LineRow>(conn).await
                }
                .boxed()
            })
            .await?;
        Ok(rows.into_iter().map(line).collect())
    }

    /// For each question at most [`TAIL_LINES`] lines, in order. At most 256 questions.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn tails(&self, tails: Vec<Tail>) -> Result<Vec<Vec<LogLine>>, StoreError> {
        self.saw_batch("tails", tails.len());
        let count = tails.len();
        let rows = self
            .run("tails", move |conn, _| {
                // What fills it up to a power of two is a question for no task.
                let nobody = Tail { id: TaskId(Uuid::nil()), after: LogPlace::default() };
                let mut asked = tails.clone();
                asked.resize(asked.len().next_power_of_two(), nobody);
                async move {
                    let mut binds = Vec::with_capacity(asked.len() * 4);
                    for Tail { id, after: LogPlace { attempt, seq } } in &asked {
                        let attempt = Bind::Number((*attempt).into());
                        binds.extend([Bind::Id(id.0), attempt, attempt, Bind::Number(*seq)]);
                    }
                    select::<TailSql>(TAILS.of(asked.len()), binds).load::<TailRow>(conn).await
                }
                .boxed()
            })
            .await?;
        let mut answers = vec![Vec::new(); count];
        for (which, attempt, seq, at, text) in rows {
            if let Some(lines) = usize::try_from(which).ok().and_then(|which| answers.get_mut(which)) {
                lines.push(line((attempt, seq, at, text)));
            }
        }
        Ok(answers)
    }

    /// What of these tasks may change, in the order of `ids`. None: there is no such task.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn pulses(&self, ids: Vec<TaskId>) -> Result<Vec<Option<Pulse>>, StoreError> {
        self.saw_batch("pulse", ids.len());
        let ids = Arc::new(ids);
        let wanted = Arc::clone(&ids);
        let rows = self
            .run("pulse", move |conn, _| {
                let ids = Arc::clone(&wanted);
                async move {
                    let mut rows: Vec<PulseRow> = Vec::with_capacity(ids.len());
                    for chunk in ids.chunks(MAX_ROWS) {
                        let binds = padded(&chunk.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>());
                        rows.extend(select::<PulseSql>(PULSES.of(chunk.len()), binds).load::<PulseRow>(conn).await?);
                    }
                    Ok(rows)
                }
                .boxed()
            })
            .await?;
        let pulse = |(id, status, attempt, asked, progress, progress_note): PulseRow| {
            let strange = || StoreError::Unexpected(format!("task {}: column `status` holds {status:?}", TaskId(id.0)));
            let status = Status::parse(&status).ok_or_else(strange)?;
            let cancel_requested_at = asked.map(utc);
            Ok((TaskId::from(id), Pulse { status, attempt, cancel_requested_at, progress, progress_note }))
        };
        let pulses: HashMap<TaskId, Pulse> = rows.into_iter().map(pulse).collect::<Result<_, StoreError>>()?;
        Ok(ids.iter().map(|id| pulses.get(id).cloned()).collect())
    }
}

async fn record(conn: &mut Connection, batch: &[Progress]) -> QueryResult<()> {
    // So that the guard is exact for every id in a list.
    let mut groups: BTreeMap<(WorkerId, u32), Vec<&Progress>> = BTreeMap::new();
    for progress in batch {
        groups.entry((progress.worker, progress.attempt)).or_default().push(progress);
    }
    for ((worker, attempt), mut rows) in groups {
        rows.sort_unstable_by_key(|progress| progress.id);
        for chunk in rows.chunks(MAX_ROWS) {
            let chunk = padded(chunk);
            let mut binds = Vec::with_capacity(chunk.len() * 5 + 2);
            for progress in &chunk {
                binds.extend([Bind::Id(progress.id.0), Bind::Fraction(progress.fraction)]);
            }
            for progress in &chunk {
                binds.extend([Bind::Id(progress.id.0), Bind::OptText(progress.note.as_deref())]);
            }
            binds.extend(chunk.iter().map(|progress| Bind::Id(progress.id.0)));
            binds.extend([Bind::Number(attempt.into()), Bind::Id(worker.0)]);
            statement(PROGRESS.of(chunk.len()), binds).execute(conn).await?;
        }
    }
    Ok(())
}
