//! Whether a live worker serves a queue: for the warning in the answer to a submission, and for
//! what is said of a queue.

use crate::store::Store;
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What was read is believed for this long where it says that a worker is there.
const FRESH: Duration = Duration::from_secs(5);
/// Where it says that none is there, it is read again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// What live workers serve, as last read.
#[derive(Debug, Default)]
pub(super) struct Serving {
    read: RwLock<Option<Read>>,
    /// One reads for all who ask meanwhile.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Read {
    at: Instant,
    all: bool,
    queues: HashSet<String>,
}

impl Read {
    fn serves(&self, queue: &str) -> bool {
        self.all || self.queues.contains(queue)
    }
}

impl Serving {
    /// Whether some live worker serves the queue; true where that cannot be told.
    pub(super) async fn serves(&self, store: &Store, queue: &str) -> bool {
        self.known(store, queue).await.unwrap_or(true)
    }

    /// The same; None where that cannot be told.
    pub(super) async fn known(&self, store: &Store, queue: &str) -> Option<bool> {
        if let Some(known) = self.as_read(queue) {
            return Some(known);
        }
        let _one = self.reading.lock().await;
        if let Some(known) = self.as_read(queue) {
            return Some(known);
        }
        let workers = store.live_workers().await.ok()?;
        let named = workers.iter().flat_map(|w| serde_json::from_str::<Vec<String>>(&w.queues).unwrap_or_default());
        let queues: HashSet<String> = named.collect();
        let fresh = Read { at: Instant::now(), all: queues.contains("*"), queues };
        let serves = fresh.serves(queue);
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Some(serves)
    }

    /// What was read, where that may still be believed.
    fn as_read(&self, queue: &str) -> Option<bool> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        let read = read.as_ref()?;
        let (age, serves) = (read.at.elapsed(), read.serves(queue));
        (age < if serves { FRESH } else { RETRY }).then_some(serves)
    }
}
