//! What Redis is told after a commit: entries to add, dispatchers to wake, workers to tell of a
//! cancel, entries to acknowledge. Nobody waits for it; what was handed in while one pipeline was under way
//! shares the next.

use super::cancel::CancelNotice;
use super::connection::Stream;
use super::entry::Entry;
use super::error::StreamError;
use super::gate::Gates;
use super::moves::{Move, Moves};
use crate::telemetry::Episode;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Orders that may wait for a pipeline, and entries to add or acknowledge that may be in them. What does not
/// fit is left to the sweep and the polls.
const WAITING: usize = 16_384;
/// Failed acknowledgements of a queue that are kept for another try; more stay pending until
/// their consumer is cleared.
const UNACKNOWLEDGED: usize = 10_000;
/// Their next try, when no other order comes before.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Most orders in one round.
const ROUND: usize = 512;
/// Least time between two wake-ups: a dispatcher makes no more passes than that.
const WAKE_GAP: Duration = Duration::from_millis(10);

#[derive(Debug)]
enum Order {
    Append(Vec<Entry>),
    /// Somebody is to be woken: the service has the names.
    Wake,
    Cancel(CancelNotice),
    Acknowledge {
        queue: Arc<str>,
        entry_ids: Vec<String>,
    },
    Flush(oneshot::Sender<()>),
}

impl Order {
    fn entries(&self) -> usize {
        match self {
            Order::Append(entries) => entries.len(),
            Order::Acknowledge { entry_ids, .. } => entry_ids.len(),
            Order::Wake | Order::Cancel(_) | Order::Flush(_) => 0,
        }
    }
}

/// Takes orders. Cheap to clone; when the last clone is dropped what waits is sent and the
/// service ends.
#[derive(Debug, Clone)]
pub struct Outbox {
    orders: mpsc::Sender<Order>,
    waking: Waking,
    /// Entries in the orders that wait.
    entries: Arc<AtomicUsize>,
    moves: Moves,
}

/// The queues for which a wake-up waits in line: one is enough, however often it is asked for, and
/// while Redis hangs they must not take the place of acknowledgements.
type Waking = Arc<Mutex<HashSet<Arc<str>>>>;

impl Outbox {
    /// Starts the service on the current runtime. A failed round closes the gates: its entries
    /// are found by the sweep, and no more are risked until Redis answers again.
    #[must_use]
    pub fn start(stream: Stream, gates: Gates) -> (Self, JoinHandle<()>) {
        let (orders, waiting) = mpsc::channel(WAITING);
        let moves = Moves::start(stream.clone());
        let outbox = Self { orders, waking: Waking::default(), entries: Arc::default(), moves };
        let (waking, entries) = (Arc::clone(&outbox.waking), Arc::clone(&outbox.entries));
        (outbox, tokio::spawn(serve(stream, gates, waiting, waking, entries)))
    }

    /// Hands in an order with so many entries, if they fit.
    fn order(&self, entries: usize, order: Order) {
        let before = self.entries.fetch_add(entries, Ordering::Relaxed);
        if before.saturating_add(entries) > WAITING || self.orders.try_send(order).is_err() {
            self.entries.fetch_sub(entries, Ordering::Relaxed);
        }
    }

    /// Adds entries soon. If the line is full the sweep will find the tasks.
    pub fn append(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.order(entries.len(), Order::Append(entries));
        }
    }

    /// Wakes a queue's dispatcher soon, in whichever process. If the line is full its poll finds the work.
    pub fn wake(&self, queue: Arc<str>) {
        let mut waking = self.waking.lock().unwrap_or_else(PoisonError::into_inner);
        if !waking.contains(&queue) && self.orders.try_send(Order::Wake).is_ok() {
            waking.insert(queue);
        }
    }

    /// Tells whoever runs this attempt soon that its task is to be cancelled. If the line is full
    /// the worker's heartbeat finds out.
    pub fn cancel(&self, notice: CancelNotice) {
        let _ = self.orders.try_send(Order::Cancel(notice));
    }

    /// Tells whoever listens of a task's move, in a line of its own: it takes nobody's place. Made only where somebody
    /// may be listening.
    pub fn moved(&self, make: impl FnOnce() -> Move) {
        self.moves.say(make);
    }

    /// Acknowledges and deletes entries soon. If the line is full they stay pending until their
    /// consumer is cleared.
    pub fn acknowledge(&self, queue: Arc<str>, entry_ids: Vec<String>) {
        self.order(entry_ids.len(), Order::Acknowledge { queue, entry_ids });
    }

    /// Resolves when everything handed in before has been sent, or has failed.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

async fn serve(
    stream: Stream,
    gates: Gates,
    mut waiting: mpsc::Receiver<Order>,
    waking: Waking,
    entries: Arc<AtomicUsize>,
) {
    let trouble = Episode::new("redis writer");
    let mut orders = Vec::new();
    // Acknowledgements that failed: tried again with the next round, and soon in any case, since
    // what is pending counts against the window.
    let mut unacknowledged = Acknowledgements::new();
    let mut wake_at = Instant::now();
    let mut wakes_wait = false;
    let mut ended = false;
    while !ended {
        tokio::select! {
            received = waiting.recv_many(&mut orders, ROUND) => ended = received == 0,
            () = tokio::time::sleep(RETRY_WAIT), if !unacknowledged.is_empty() => {}
            () = tokio::time::sleep_until(wake_at), if wakes_wait => {}
        }
        entries.fetch_sub(orders.iter().map(Order::entries).sum(), Ordering::Relaxed);
        let due = ended || Instant::now() >= wake_at || orders.iter().any(|order| matches!(order, Order::Flush(_)));
        let wakes = take_wakes(&waking, due);
        wakes_wait = !due && (wakes_wait || orders.iter().any(|order| matches!(order, Order::Wake)));
        if !wakes.is_empty() {
            wake_at = Instant::now() + WAKE_GAP;
        }
        match round(&stream, orders.drain(..), wakes, &mut unacknowledged).await {
            Ok(()) => trouble.succeeded(),
            Err(error) => {
                gates.close();
                trouble.failed(&error);
            }
        }
    }
}

/// The queues to wake now; they wait on while it is too early.
fn take_wakes(waking: &Waking, due: bool) -> HashSet<Arc<str>> {
    if due { std::mem::take(&mut *waking.lock().unwrap_or_else(PoisonError::into_inner)) } else { HashSet::new() }
}

/// Entry ids by queue.
type Acknowledgements = HashMap<Arc<str>, Vec<String>>;

async fn round(
    stream: &Stream,
    orders: impl Iterator<Item = Order>,
    wakes: HashSet<Arc<str>>,
    done: &mut Acknowledgements,
) -> Result<(), StreamError> {
    let mut entries = Vec::new();
    let mut cancels = Vec::new();
    let mut flushes = Vec::new();
    for order in orders {
        match order {
            Order::Append(more) => entries.extend(more),
            // Which is in `wakes`, or was in those of the round before.
            Order::Wake => {}
            Order::Cancel(notice) => cancels.push(notice),
            Order::Acknowledge { queue, entry_ids } => done.entry(queue).or_default().extend(entry_ids),
            Order::Flush(sent) => flushes.push(sent),
        }
    }
    // Each is tried even where another fails: at its memory limit Redis refuses additions and
    // still takes acknowledgements, which is how it gets out of it.
    let mut result = stream.append(entries).await;
    for (queue, entry_ids) in std::mem::take(done) {
        let acknowledged = stream.acknowledge(&queue, entry_ids.clone()).await;
        if acknowledged.as_ref().is_err_and(StreamError::is_transient) {
            done.insert(queue, entry_ids.into_iter().take(UNACKNOWLEDGED).collect());
        }
        result = result.and(acknowledged);
    }
    if !wakes.is_empty() {
        result = result.and(stream.publish_wake(wakes.into_iter().collect()).await);
    }
    if !cancels.is_empty() {
        result = result.and(stream.publish_cancels(cancels).await);
    }
    for sent in flushes {
        let _ = sent.send(());
    }
    result
}
