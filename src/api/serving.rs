//! Whether a live worker serves a queue: for the warning in the answer to a submission, and for
//! what is said of a queue.
//!
//! Workers outside run the task types that are pulled, worker processes all others: the `*` of a process says nothing
//! of a task that only a worker outside may claim.

use crate::store::Store;
use crate::store::workers::LiveWorker;
use crate::task::Way;
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
    /// Of worker processes.
    inside: Queues,
    /// Of workers outside.
    outside: Queues,
}

/// The queues that workers of one kind serve.
#[derive(Debug, Default)]
struct Queues {
    all: bool,
    named: HashSet<String>,
}

impl Queues {
    fn serve(&self, queue: &str) -> bool {
        self.all || self.named.contains(queue)
    }

    fn add(&mut self, list: &str) {
        for queue in serde_json::from_str::<Vec<String>>(list).unwrap_or_default() {
            self.all |= queue == "*";
            self.named.insert(queue);
        }
    }
}

impl Read {
    fn new(workers: &[LiveWorker]) -> Self {
        let (mut inside, mut outside) = (Queues::default(), Queues::default());
        for worker in workers {
            let kind = if worker.outside { &mut outside } else { &mut inside };
            kind.add(&worker.queues);
        }
        Self { at: Instant::now(), inside, outside }
    }

    /// Whether a worker serves the queue; for tasks that come this way, or None: for any.
    fn serves(&self, queue: &str, way: Option<Way>) -> bool {
        match way {
            None => self.inside.serve(queue) || self.outside.serve(queue),
            Some(Way::Outside) => self.outside.serve(queue),
            Some(Way::Stream | Way::Held) => self.inside.serve(queue),
        }
    }
}

impl Serving {
    /// Whether some live worker serves the queue for tasks that come this way; true where that cannot be told.
    pub(super) async fn serves(&self, store: &Store, queue: &str, way: Way) -> bool {
        self.look(store, queue, Some(way)).await.unwrap_or(true)
    }

    /// Whether some live worker serves the queue at all; None where that cannot be told.
    pub(super) async fn known(&self, store: &Store, queue: &str) -> Option<bool> {
        self.look(store, queue, None).await
    }

    async fn look(&self, store: &Store, queue: &str, way: Option<Way>) -> Option<bool> {
        if let Some(known) = self.as_read(queue, way) {
            return Some(known);
        }
        let _one = self.reading.lock().await;
        if let Some(known) = self.as_read(queue, way) {
            return Some(known);
        }
        let fresh = Read::new(&store.live_workers().await.ok()?);
        let serves = fresh.serves(queue, way);
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Some(serves)
    }

    /// What was read, where that may still be believed.
    fn as_read(&self, queue: &str, way: Option<Way>) -> Option<bool> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        let read = read.as_ref()?;
        let (age, serves) = (read.at.elapsed(), read.serves(queue, way));
        (age < if serves { FRESH } else { RETRY }).then_some(serves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::WorkerId;

    #[test]
    fn each_kind_of_worker_serves_the_tasks_that_come_its_way() {
        let worker = |queues: &str, outside| LiveWorker {
            id: WorkerId::fresh(),
            queues: queues.to_owned(),
            slots: 1,
            outside,
            lease_until: chrono::DateTime::UNIX_EPOCH,
        };
        let read = Read::new(&[worker(r#"["*"]"#, false), worker(r#"["video", "audio"]"#, true)]);
        let table = [
            ("video", Some(Way::Outside), true),
            ("mail", Some(Way::Outside), false),
            ("mail", Some(Way::Stream), true),
            ("mail", Some(Way::Held), true),
            ("mail", None, true),
        ];
        for (queue, way, serves) in table {
            assert_eq!(read.serves(queue, way), serves, "{queue} {way:?}");
        }
        let outside = Read::new(&[worker(r#"["video"]"#, true)]);
        assert!(!outside.serves("video", Some(Way::Stream)) && outside.serves("video", None));
    }
}
