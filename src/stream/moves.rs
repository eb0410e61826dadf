//! The moves of all tasks, told to whoever listens: for people who watch, and nothing rests on them. A process that
//! hears that nobody listened says nothing for a second; what cannot be sent at once is dropped.
//!
//! ```text
//!  lifecycle ──► Moves ──► {prefix}:moves (pub/sub) ──► MoveFeed ──► each stream of events
//! ```

use super::connection::Stream;
use super::error::StreamError;
use crate::task::{Status, TaskId, Timestamp};
use crate::telemetry::Episode;
use deadpool_redis::Connection;
use futures_util::StreamExt;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// Moves that may wait to be sent, and those that one listener may be behind.
const WAITING: usize = 4096;
/// Most moves in one pipeline.
const ROUND: usize = 512;
/// For how long nothing is said when nobody listened, or Redis was away; and between two tries to subscribe.
const QUIET: Duration = Duration::from_secs(1);

/// A task has come into a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub id: TaskId,
    pub attempt: u32,
    pub status: Status,
    /// The clock of the process that made the move: nothing is decided by it.
    pub at: Timestamp,
    pub queue: Arc<str>,
    pub name: Arc<str>,
}

/// Names and queues hold no blanks.
impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, attempt, status, at, queue, name } = self;
        write!(f, "{id} {attempt} {status} {} {queue} {name}", at.timestamp_micros())
    }
}

impl FromStr for Move {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(' ').collect();
        let &[id, attempt, status, at, queue, name] = parts.as_slice() else { return Err(()) };
        Ok(Self {
            id: id.parse().map_err(|_| ())?,
            attempt: attempt.parse().map_err(|_| ())?,
            status: Status::parse(status).ok_or(())?,
            at: at.parse().ok().and_then(Timestamp::from_timestamp_micros).ok_or(())?,
            queue: queue.into(),
            name: name.into(),
        })
    }
}

/// Takes moves. Cheap to clone; the service ends with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Moves {
    line: mpsc::Sender<Move>,
    quiet: Arc<AtomicBool>,
}

impl Moves {
    /// Starts the service on the current runtime.
    pub(super) fn start(stream: Stream) -> Self {
        let (line, waiting) = mpsc::channel(WAITING);
        let quiet = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve(stream, waiting, Arc::clone(&quiet)));
        Self { line, quiet }
    }

    /// Tells of a move, if somebody may be listening.
    pub(super) fn say(&self, make: impl FnOnce() -> Move) {
        if !self.quiet.load(Ordering::Relaxed) {
            let _ = self.line.try_send(make());
        }
    }
}

async fn serve(stream: Stream, mut waiting: mpsc::Receiver<Move>, quiet: Arc<AtomicBool>) {
    let mut moves = Vec::new();
    while waiting.recv_many(&mut moves, ROUND).await > 0 {
        // An error is counted; the others who write to Redis log it.
        if !stream.publish_moves(std::mem::take(&mut moves)).await.is_ok_and(|heard| heard) {
            quiet.store(true, Ordering::Relaxed);
            tokio::time::sleep(QUIET).await;
            // What was handed in before it was quiet.
            while waiting.try_recv().is_ok() {}
            quiet.store(false, Ordering::Relaxed);
        }
    }
}

/// The moves of all processes, for those of this one who listen. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MoveFeed {
    moves: broadcast::Sender<Move>,
    wanted: Arc<Notify>,
}

impl Default for MoveFeed {
    fn default() -> Self {
        Self { moves: broadcast::channel(WAITING).0, wanted: Arc::default() }
    }
}

impl MoveFeed {
    /// What comes from about a second from now on.
    #[must_use]
    pub fn listen(&self) -> MoveInbox {
        let inbox = MoveInbox(self.moves.subscribe());
        self.wanted.notify_one();
        inbox
    }

    fn is_wanted(&self) -> bool {
        self.moves.receiver_count() > 0
    }
}

/// One listener's moves.
#[derive(Debug)]
pub struct MoveInbox(broadcast::Receiver<Move>);

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Move(Move),
    /// It was too slow for this many.
    Missed(u64),
}

impl MoveInbox {
    /// The next move. None: there will be no more.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(heard) => Some(Heard::Move(heard)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Heard::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next one, if it is here already.
    pub fn ready(&mut self) -> Option<Heard> {
        match self.0.try_recv() {
            Ok(heard) => Some(Heard::Move(heard)),
            Err(broadcast::error::TryRecvError::Lagged(count)) => Some(Heard::Missed(count)),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

impl Stream {
    fn moves_channel(&self) -> String {
        format!("{}:moves", self.prefix)
    }

    /// Tells of moves. Whether anybody listened.
    async fn publish_moves(&self, moves: Vec<Move>) -> Result<bool, StreamError> {
        let channel = self.moves_channel();
        self.run("publish_moves", async move |mut conn: Connection| {
            let mut pipe = redis::pipe();
            for told in &moves {
                pipe.cmd("PUBLISH").arg(&channel).arg(told.to_string());
            }
            let heard: Vec<u64> = pipe.query_async(&mut conn).await?;
            Ok(heard.iter().any(|listeners| *listeners > 0))
        })
        .await
    }

    /// Passes the moves of all processes on, while somebody in this one listens, until stopped.
    pub async fn feed_moves(&self, feed: MoveFeed, stop: CancellationToken) {
        let trouble = Episode::new("redis subscription to moves");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = feed.wanted.notified() => {}
            }
            while feed.is_wanted() {
                let ended = tokio::select! {
                    () = stop.cancelled() => return,
                    ended = self.subscribe_to_moves(&feed, &trouble) => ended,
                };
                if let Err(error) = ended {
                    self.count(&error);
                    trouble.failed(&error);
                }
                // Not at once: a listener that comes back finds the subscription as it was.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(QUIET) => {}
                }
            }
        }
    }

    /// Until nobody listens any more.
    async fn subscribe_to_moves(&self, feed: &MoveFeed, trouble: &Episode) -> Result<(), StreamError> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(self.moves_channel()).await?;
        trouble.succeeded();
        let mut messages = subscription.on_message();
        let mut looks = tokio::time::interval(QUIET);
        loop {
            tokio::select! {
                _ = looks.tick() => if !feed.is_wanted() {
                    return Ok(());
                },
                message = messages.next() => {
                    let Some(message) = message else { return Ok(()) };
                    if let Ok(told) = message.get_payload::<String>().unwrap_or_default().parse() {
                        let _ = feed.moves.send(told);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_reads_back_and_what_is_none_is_refused() {
        let told = Move {
            id: TaskId(uuid::Uuid::now_v7()),
            attempt: 3,
            status: Status::Running,
            at: Timestamp::from_timestamp_micros(1_764_000_000_123_456).unwrap(),
            queue: "default".into(),
            name: "a.b:c".into(),
        };
        let text = told.to_string();
        assert_eq!(text.parse(), Ok(told));
        for wrong in ["", "7", &text[1..], &text.replace("running", "walking"), &format!("{text} more")] {
            assert_eq!(wrong.parse::<Move>(), Err(()), "{wrong}");
        }
    }
}
