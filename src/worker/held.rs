//! The tasks that a worker holds: from before the claim is sent until the outcome is settled.
//! An entry that comes twice is recognised here, and the heartbeat compares with this.

use crate::lifecycle::execute::{Stop, Stopper};
use crate::task::TaskId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What this worker holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    tasks: Mutex<HashMap<TaskId, (u32, Stopper)>>,
    emptied: Notify,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, (u32, Stopper)>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task under the attempt number that its entry says. None: taken. Some: it is held
    /// already, under this number.
    pub(super) fn take(&self, id: TaskId, attempt: u32) -> Option<u32> {
        let mut tasks = self.lock();
        if let Some((held, _)) = tasks.get(&id) {
            return Some(*held);
        }
        tasks.insert(id, (attempt, Stopper::default()));
        None
    }

    /// What stops the attempt of a held task.
    pub(super) fn stopper(&self, id: TaskId) -> Option<Stopper> {
        self.lock().get(&id).map(|(_, stopper)| stopper.clone())
    }

    /// Lets a task go.
    pub(super) fn release(&self, id: TaskId) {
        let mut tasks = self.lock();
        tasks.remove(&id);
        if tasks.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether a task is held.
    pub(super) fn contains(&self, id: TaskId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Cancels a held task if it is at this attempt, one more than its entry said.
    pub(super) fn cancel(&self, id: TaskId, attempt: u32) {
        if let Some((entry, stopper)) = self.lock().get(&id)
            && entry.saturating_add(1) == attempt
        {
            stopper.stop(Stop::Cancelled);
        }
    }

    /// Stops every attempt.
    pub(super) fn stop_all(&self, reason: Stop) -> usize {
        let tasks = self.lock();
        for (_, stopper) in tasks.values() {
            stopper.stop(reason);
        }
        tasks.len()
    }

    /// Resolves when nothing is held.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Registered before the look, so that a release in between is not missed.
            emptied.as_mut().enable();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_taken_once_cancelled_by_its_attempt_and_the_last_release_wakes_who_waits() {
        let held = std::sync::Arc::new(Held::default());
        let id = TaskId(uuid::Uuid::nil());
        assert_eq!((held.take(id, 3), held.take(id, 4)), (None, Some(3)));
        assert!(held.contains(id));
        let waiting = tokio::spawn({
            let held = std::sync::Arc::clone(&held);
            async move { held.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let stopper = held.stopper(id).unwrap();
        held.cancel(id, 3);
        assert_eq!(stopper.reason(), None, "a notice for an attempt before this one");
        held.cancel(id, 4);
        assert_eq!(stopper.reason(), Some(Stop::Cancelled));
        held.release(id);
        waiting.await.unwrap();
        assert_eq!(held.take(id, 4), None);
    }
}
