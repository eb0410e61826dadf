//! What Redis is told after a commit: entries to add, dispatchers to wake, workers to tell of a
//! cancel, entries to acknowledge. Nobody waits for it; what was handed in while one pipeline was under way
//! shares the next.

use super::cancel::CancelNotice;
use super::connection::Stream;
use super::entry::Entry;
use super::error::StreamError;
use super::gate::Gates;
use crate::telemetry::Episode;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Orders that may wait for a pipeline. What does not fit is left to the sweep and the polls.
const WAITING: usize = 16_384;
/// Failed acknowledgements of a queue that are kept for another try; more stay pending until
/// their consumer is cleared.
const UNACKNOWLEDGED: usize = 10_000;
/// Their next try, when no other order comes before.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Most orders in one round.
const ROUND: usize = 512;

#[derive(Debug)]
enum Order {
    Append(Box<Entry>),
    /// Somebody is to be woken: the service has the names.
    Wake,
    Cancel(CancelNotice),
    Acknowledge {
        queue: Arc<str>,
        entry_id: String,
    },
    Flush(oneshot::Sender<()>),
}

/// Takes orders. Cheap to clone; when the last clone is dropped what waits is sent and the
/// service ends.
#[derive(Debug, Clone)]
pub struct Outbox {
    orders: mpsc::Sender<Order>,
    waking: Waking,
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
        let waking = Waking::default();
        (Self { orders, waking: Arc::clone(&waking) }, tokio::spawn(serve(stream, gates, waiting, waking)))
    }

    /// Adds an entry soon. If the line is full the sweep will find the task.
    pub fn append(&self, entry: Entry) {
        let _ = self.orders.try_send(Order::Append(Box::new(entry)));
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

    /// Acknowledges and deletes an entry soon. If the line is full it stays pending until its
    /// consumer is cleared.
    pub fn acknowledge(&self, queue: Arc<str>, entry_id: String) {
        let _ = self.orders.try_send(Order::Acknowledge { queue, entry_id });
    }

    /// Resolves when everything handed in before has been sent, or has failed.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

async fn serve(stream: Stream, gates: Gates, mut waiting: mpsc::Receiver<Order>, waking: Waking) {
    let trouble = Episode::new("redis writer");
    let mut orders = Vec::new();
    // Acknowledgements that failed: tried again with the next round, and soon in any case, since
    // what is pending counts against the window.
    let mut unacknowledged = Acknowledgements::new();
    loop {
        tokio::select! {
            received = waiting.recv_many(&mut orders, ROUND) => if received == 0 { return },
            () = tokio::time::sleep(RETRY_WAIT), if !unacknowledged.is_empty() => {}
        }
        let wakes = std::mem::take(&mut *waking.lock().unwrap_or_else(PoisonError::into_inner));
        match round(&stream, orders.drain(..), wakes, &mut unacknowledged).await {
            Ok(()) => trouble.succeeded(),
            Err(error) => {
                gates.close();
                trouble.failed(&error);
            }
        }
    }
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
            Order::Append(entry) => entries.push(*entry),
            // Which is in `wakes`, or was in those of the round before.
            Order::Wake => {}
            Order::Cancel(notice) => cancels.push(notice),
            Order::Acknowledge { queue, entry_id } => done.entry(queue).or_default().push(entry_id),
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
