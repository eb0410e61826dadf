//! Submission: as many connections as asked for, each of which sends, reads the answer, and goes on.
//!
//! This shares the machine with the server that it measures. So one thread runs it, request bodies
//! are made once, and of an answer only the task's id is kept.

use super::clocks::Clock;
use super::errors::Errors;
use super::plan::Plan;
use super::schedule::{Schedule, Turn};
use crate::cli::Failure;
use crate::client::{Accepted, Client, ClientError, Connection, Prepared};
use crate::task::TaskId;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Between tries of a server that is away or says "later".
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A server that is away for longer ends the run.
const AWAY_LIMIT: Duration = Duration::from_secs(5);
/// Different warnings that are kept.
const MAX_WARNINGS: usize = 5;

/// A task that was accepted. Times are microseconds of the client's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Submitted {
    pub(super) id: TaskId,
    /// When its request was to be sent: what latencies count from.
    pub(super) due: i64,
    /// When it was sent: not the same in an open loop that is behind.
    pub(super) sent: i64,
    pub(super) answered: i64,
}

/// What became of the submissions. Each connection has one: figures are made of it at the end, since
/// on the way every microsecond, and every byte of cache, is taken from the server that is measured.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// In the order in which they were sent.
    pub(super) submitted: Vec<Submitted>,
    pub(super) errors: Errors,
    pub(super) warnings: Vec<String>,
}

impl Tally {
    fn warned(&mut self, warning: &str) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.iter().any(|known| known == warning) {
            self.warnings.push(warning.to_owned());
        }
    }

    fn add(&mut self, mut other: Self) {
        self.submitted.append(&mut other.submitted);
        self.errors.add(&other.errors);
        other.warnings.iter().for_each(|warning| self.warned(warning));
    }
}

/// What the connections share.
struct Shared {
    client: Arc<Client>,
    schedule: Schedule,
    clock: Clock,
    /// Tasks a request, its request, and that of the last one, which may have fewer.
    whole: (u32, Prepared),
    rest: (u32, Prepared),
    single: bool,
    last: u32,
    answered: Arc<AtomicU32>,
    /// Why the run cannot go on.
    fatal: Mutex<Option<ClientError>>,
}

/// Submits everything; `answered` counts the tasks along the way.
pub(super) async fn all(
    plan: &Plan,
    client: &Arc<Client>,
    clock: Clock,
    answered: Arc<AtomicU32>,
) -> Result<Tally, Failure> {
    let requests = plan.requests();
    let last = requests.saturating_sub(1);
    let request = |number: u32| {
        let tasks = plan.tasks_of(number);
        let body = plan.body(tasks);
        let prepared = if plan.bulk == 1 { client.submission(body) } else { client.bulk_submission(body) };
        prepared.map(|prepared| (tasks, prepared))
    };
    let (whole, rest) = (request(0)?, request(last)?);
    // All are there before the first request is sent.
    let mut connections = Vec::new();
    for _ in 0..plan.connections.min(requests) {
        connections.push(client.connect().await?);
    }
    let schedule = Schedule::begin(requests, plan.bulk, plan.rate).map_err(Failure::new)?;
    let single = plan.bulk == 1;
    let fatal = Mutex::new(None);
    let client = Arc::clone(client);
    let shared = Arc::new(Shared { client, schedule, clock, whole, rest, single, last, answered, fatal });
    let mut senders = JoinSet::new();
    for connection in connections {
        senders.spawn(send_all(Arc::clone(&shared), connection, Tally::default()));
    }
    let mut tally = Tally::default();
    while let Some(ended) = senders.join_next().await {
        tally.add(ended.map_err(Failure::new)?);
    }
    if let Some(error) = shared.fatal.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error.into());
    }
    tally.submitted.sort_unstable_by_key(|task| task.sent);
    Ok(tally)
}

/// One connection's life.
async fn send_all(shared: Arc<Shared>, mut connection: Connection, mut tally: Tally) -> Tally {
    while let Some(turn) = shared.schedule.next().await {
        let (tasks, prepared) = if turn.request == shared.last { &shared.rest } else { &shared.whole };
        let sent = Instant::now();
        let answer = connection.send(prepared).await;
        let answered = Instant::now();
        let body = match answer.and_then(crate::client::Answer::accepted) {
            Ok(body) => body,
            Err(error) => {
                tally.errors.note(&error.to_string(), *tasks);
                match recover(&shared, error).await {
                    Recovery::Same => {}
                    Recovery::Fresh(fresh) => connection = *fresh,
                    Recovery::None => return tally,
                }
                continue;
            }
        };
        if let Err(error) = note(&shared, &mut tally, &body, turn, (sent, answered)) {
            tally.errors.note(&error.to_string(), *tasks);
            abort(&shared, error);
            return tally;
        }
        shared.answered.fetch_add(*tasks, Ordering::Relaxed);
    }
    tally
}

/// Keeps what an answer says.
fn note(
    shared: &Shared,
    tally: &mut Tally,
    body: &[u8],
    turn: Turn,
    (sent, answered): (Instant, Instant),
) -> Result<(), ClientError> {
    let clock = &shared.clock;
    let due = turn.due.unwrap_or(sent);
    let (due, sent, answered) = (clock.at(due), clock.at(sent), clock.at(answered));
    let mut keep = |task: &Accepted<'_>| {
        tally.submitted.push(Submitted { id: task.id()?, due, sent, answered });
        task.warnings.iter().for_each(|warning| tally.warned(warning));
        Ok(())
    };
    if shared.single { keep(&Accepted::read(body)?) } else { Accepted::read_bulk(body)?.iter().try_for_each(keep) }
}

/// How a connection goes on after an error.
enum Recovery {
    Same,
    Fresh(Box<Connection>),
    /// Not at all: the run has ended.
    None,
}

async fn recover(shared: &Shared, error: ClientError) -> Recovery {
    match &error {
        ClientError::Refused { status, .. } if status.as_u16() == 429 || status.is_server_error() => {
            sleep(RETRY_PAUSE).await;
            Recovery::Same
        }
        // What was refused once is refused every time.
        ClientError::Refused { .. } => {
            abort(shared, error);
            Recovery::None
        }
        ClientError::Unreachable { .. } | ClientError::Broken(_) => {
            let since = Instant::now();
            loop {
                match shared.client.connect().await {
                    Ok(fresh) => return Recovery::Fresh(Box::new(fresh)),
                    Err(error) if since.elapsed() > AWAY_LIMIT => {
                        abort(shared, error);
                        return Recovery::None;
                    }
                    Err(_) => sleep(RETRY_PAUSE).await,
                }
            }
        }
    }
}

fn abort(shared: &Shared, error: ClientError) {
    shared.schedule.end();
    shared.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}
