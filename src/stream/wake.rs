//! Wake-ups: who added work for a queue says so, and its dispatcher looks at once instead of
//! at its next poll. In the process by a notification, across processes by pub/sub. Losing one
//! costs the poll interval, nothing else.

use super::connection::Stream;
use super::error::StreamError;
use deadpool_redis::Connection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// One notification for each queue of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wakes {
    by_queue: Arc<Mutex<HashMap<Arc<str>, Arc<Notify>>>>,
    /// A wake-up for a queue that nobody here dispatches: perhaps a new one.
    other: Arc<Notify>,
}

impl Wakes {
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
