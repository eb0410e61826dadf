//! Wake-ups: who added work for a queue says so, and its dispatcher looks at once instead of
//! at its next poll. In the process by a notification, across processes by pub/sub. Losing one
//! costs the poll interval, nothing else.

use super::connection::Stream;
use super::error::StreamError;
use deadpool_redis::Connection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, broadcast};

/// Arrivals that a waiter may be behind with.
const ARRIVALS: usize = 256;

/// One notification for each queue of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wakes {
    by_queue: Arc<Mutex<HashMap<Arc<str>, Arc<Notify>>>>,
    /// A wake-up for a queue that nobody here dispatches: perhaps a new one.
    other: Arc<Notify>,
    /// Queues in which tasks have come for workers outside. Whoever misses some looks at all of its own.
    outside: broadcast::Sender<Arc<str>>,
}

impl Default for Wakes {
    fn default() -> Self {
        Self { by_queue: Arc::default(), other: Arc::default(), outside: broadcast::Sender::new(ARRIVALS) }
    }
}

impl Wakes {
    /// Wakes who waits in this process for tasks of a queue that workers outside run.
    pub fn arrived(&self, queue: &Arc<str>) {
        // Nobody waits: nobody is to be woken.
        let _ = self.outside.send(Arc::clone(queue));
    }

    /// What comes for workers outside from now on.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        Arrivals(self.outside.subscribe())
    }

    /// What the dispatcher of a queue waits on.
    #[must_use]
    pub fn of(&self, queue: &Arc<str>) -> Arc<Notify> {
        let mut map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(map.entry(Arc::clone(queue)).or_default())
    }

    /// Wakes the dispatcher of a queue, if it runs in this process.
    pub fn wake(&self, queue: &str) {
        let map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
        match map.get(queue) {
            Some(notify) => notify.notify_one(),
            None => self.other.notify_one(),
        }
    }

    /// Resolves when a queue was woken that nobody in this process dispatches.
    pub async fn other(&self) {
        self.other.notified().await;
    }
}

/// Tells who waits for tasks that workers outside run.
#[derive(Debug)]
pub struct Arrivals(broadcast::Receiver<Arc<str>>);

impl Arrivals {
    /// Resolves when something may have come in one of these queues since the last time.
    pub async fn any_of(&mut self, queues: &[Arc<str>]) {
        loop {
            match self.0.recv().await {
                Ok(queue) if queues.contains(&queue) => return,
                Ok(_) => {}
                // Too many to be remembered: some may have been of these.
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                // The process ends, and so does the wait otherwise.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Stream {
    pub(super) fn wake_channel(&self) -> String {
        format!("{}:wake", self.prefix)
    }

    /// Tells the dispatchers of these queues, in whichever process, that there is work.
    ///
    /// # Errors
    /// When Redis cannot be reached; their polls find the work.
    pub async fn publish_wake(&self, queues: Vec<Arc<str>>) -> Result<(), StreamError> {
        let channel = self.wake_channel();
        self.run("wake", async move |mut conn: Connection| {
            let mut pipe = redis::pipe();
            for queue in &queues {
                pipe.cmd("PUBLISH").arg(&channel).arg(&**queue).ignore();
            }
            Ok(pipe.query_async::<()>(&mut conn).await?)
        })
        .await
    }
}
