//! What the judges work from. Each server is asked only for what it shows, each question has a
//! time limit, and a question without an answer leaves the others their answers.

use crate::config::Config;
use crate::store::diagnosis::{Clock, Server as DatabaseServer, is_local};
use crate::store::migrations::Migration;
use crate::store::queues::QueueRow;
use crate::store::roster::Roster;
use crate::store::schedules::Agenda;
use crate::store::statements::most_per_connection;
use crate::store::tasks::Depth;
use crate::store::{DEFAULT_POOL, Store};
use crate::stream::Stream;
use crate::stream::diagnosis::{QueueStream, Server as RedisServer};
use crate::task::Timestamp;
use futures_util::StreamExt;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for the answer to one question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// No further queue is looked at after this time.
const QUEUES_LIMIT: Duration = Duration::from_secs(30);
/// Queues looked at together.
const QUEUES_AT_ONCE: usize = 4;
/// Orphans counted, at most.
pub(super) const MAX_ORPHANS: u32 = 1000;

/// Err: why it is not known.
pub(super) type Known<T> = Result<T, String>;

/// The database's server, and how we use it.
#[derive(Debug)]
pub(super) struct Database {
    /// Its URL without secrets.
    pub(super) place: String,
    /// On this host.
    pub(super) local: bool,
    /// Most connections of a process.
    pub(super) pool: usize,
    /// Most statements that a connection keeps prepared.
    pub(super) statements: usize,
    /// The larger of `limits.payload` and `limits.result`, in bytes.
    pub(super) largest_value: usize,
    pub(super) reached: Known<()>,
    pub(super) server: Known<DatabaseServer>,
    pub(super) clock: Known<Clock>,
    pub(super) migrations: Known<Vec<Migration>>,
}

/// The Redis server.
#[derive(Debug)]
pub(super) struct Redis {
    /// Its URL without secrets.
    pub(super) place: String,
    pub(super) server: Known<RedisServer>,
}

/// Queues, workers and schedules.
#[derive(Debug)]
pub(super) struct System {
    /// The database's clock before the queues were looked at: what waits seems younger than it
    /// is rather than older.
    pub(super) now: Timestamp,
    /// `worker.lease`, which the workers' own should be.
    pub(super) lease: Duration,
    pub(super) queues: Known<Vec<Queue>>,
    /// Queues for which the time did not suffice.
    pub(super) skipped: usize,
    pub(super) workers: Known<Roster>,
    /// Tasks that say running under a worker without a row; at most [`MAX_ORPHANS`].
    pub(super) orphans: Known<usize>,
    pub(super) agenda: Known<Agenda>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) row: QueueRow,
    pub(super) depth: Known<Depth>,
    /// None: there is no stream.
    pub(super) stream: Known<Option<QueueStream>>,
}

/// Asks one question.
async fn ask<T, E: Display>(question: impl Future<Output = Result<T, E>>) -> Known<T> {
    match tokio::time::timeout(ANSWER_LIMIT, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

pub(super) async fn database(config: &Config, place: String, url: &str, store: &Store) -> Database {
    let mut facts = Database {
        place,
        local: is_local(url),
        pool: config.database.pool.map_or(DEFAULT_POOL, usize::from),
        statements: most_per_connection(),
        largest_value: config.limits.payload.max(config.limits.result),
        reached: ask(store.ping()).await,
        server: Err("not asked".to_owned()),
        clock: Err("not asked".to_owned()),
        migrations: Err("not asked".to_owned()),
    };
    if facts.reached.is_ok() {
        facts.server = ask(store.server()).await;
        facts.clock = ask(store.compare_clocks()).await;
        facts.migrations = ask(store.migration_status()).await;
    }
    facts
}

pub(super) async fn redis(place: String, stream: &Stream) -> Redis {
    Redis { place, server: ask(stream.server()).await }
}

/// None of `stream`: what Redis would say is not known.
pub(super) async fn system(now: Timestamp, lease: Duration, store: &Store, stream: Option<&Stream>) -> System {
    let orphans = ask(store.orphans(MAX_ORPHANS)).await.map(|held| held.len());
    let agenda = ask(store.schedule_agenda()).await;
    let mut skipped = 0;
    let queues = match ask(store.queue_rows()).await {
        Err(why) => Err(why),
        Ok(rows) => {
            let until = Instant::now() + QUEUES_LIMIT;
            let looks = rows.into_iter().map(|row| queue(row, store, stream, until));
            let looked: Vec<Option<Queue>> = futures_util::stream::iter(looks).buffered(QUEUES_AT_ONCE).collect().await;
            skipped = looked.iter().filter(|queue| queue.is_none()).count();
            Ok(looked.into_iter().flatten().collect())
        }
    };
    // After the streams: the consumer of a worker that registers meanwhile is not taken for a dead one's.
    let workers = ask(store.roster()).await;
    System { now, lease, queues, skipped, workers, orphans, agenda }
}

/// None: there was no time left for it.
async fn queue(row: QueueRow, store: &Store, stream: Option<&Stream>, until: Instant) -> Option<Queue> {
    if Instant::now() >= until {
        return None;
    }
    let depth = ask(store.depth(Arc::clone(&row.name))).await;
    let stream = match stream {
        Some(stream) => ask(stream.examine(&row.name)).await,
        None => Err("Redis is not there to be asked".to_owned()),
    };
    Some(Queue { row, depth, stream })
}
