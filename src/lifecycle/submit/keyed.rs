//! Submit under keys: an idempotency key of the request, unique keys of its tasks.
//!
//! They have lanes of their own: what waits for a key holds up nobody without one, and what has no key is
//! inserted as if there were none. What decides is the database (`store/tasks/keyed.rs`); that a request is
//! still under way this process knows at once.

use super::{Prepared, ROW_BYTES, SubmitError, Submitter, hand_over};
use crate::lifecycle::Tools;
use crate::store::StoreError;
use crate::store::batcher::{BATCH_BYTES, Batcher, Bounds};
use crate::store::tasks::{Entry, Idempotency, Keyed, KeyedGroup};
use crate::task::{KeyHash, NewTask, Task, TaskId};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use tokio::task::JoinSet;

/// A transaction may wait for somebody's key, so others go beside it, and not behind it.
const BOUNDS: Bounds = Bounds { rows: 512, bytes: BATCH_BYTES, waiting: 8192, lanes: 4, beside: 1 };

pub(super) type KeyedBatcher = Batcher<KeyedGroup, Result<Keyed, StoreError>>;

/// Starts the lanes.
pub(super) fn start(tools: Tools) -> (KeyedBatcher, JoinSet<()>) {
    Batcher::start(BOUNDS, move |batch: Vec<KeyedGroup>| {
        let tools = tools.clone();
        async move {
            let answers = tools.store.insert_keyed(batch).await;
            let accepted = answers.iter().flatten().flat_map(entries);
            hand_over(accepted.filter_map(created), &tools);
            answers
        }
    })
}

fn entries(keyed: &Keyed) -> &[Entry] {
    match keyed {
        Keyed::Accepted(entries) => entries,
        Keyed::Repeated(_) | Keyed::OtherRequest | Keyed::HolderGone { .. } | Keyed::Busy => &[],
    }
}

fn created(entry: &Entry) -> Option<&Task> {
    match entry {
        Entry::New(task) => Some(task),
        Entry::Held(_) => None,
    }
}

/// What a submission under keys is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// In the order of the submission; where another task holds the key, that one.
    pub tasks: Vec<Task>,
    /// How many of them were made by this submission.
    pub created: usize,
    /// Which of them were not, since they hold a unique key; of a repeated request which may not have been: their places.
    pub held: Vec<usize>,
    /// It repeats an earlier one, whose tasks these are.
    pub repeated: bool,
}

impl Submitter {
    /// Accepts these tasks, all or none, unless the keys say that they are there already. When this returns
    /// they are committed.
    ///
    /// # Errors
    /// As [`Submitter::submit`]; and when the keys forbid it.
    pub async fn submit_keyed(
        &self,
        tasks: Vec<NewTask>,
        idempotency: Option<Idempotency>,
    ) -> Result<Receipt, SubmitError> {
        let shared = &*self.shared;
        let _flight = match idempotency {
            Some(key) => Some(shared.flights.begin(key.hash).ok_or(SubmitError::InFlight)?),
            None => None,
        };
        // Which tasks of an earlier request were held is not recorded: whatever names a unique key may be another's.
        let named = |(place, task): (usize, &NewTask)| task.unique.is_some().then_some(place);
        let unique: Vec<usize> = tasks.iter().enumerate().filter_map(named).collect();
        let Prepared { group, mut size } = shared.prepare(tasks).await?;
        size.bytes += size.rows * ROW_BYTES;
        let group = KeyedGroup { tasks: group, idempotency };
        match self.keyed.submit(group, size).await.map_err(|_| SubmitError::Stopping)?? {
            Keyed::Accepted(entries) => {
                shared.count(entries.iter().filter_map(created));
                self.receipt(entries).await
            }
            Keyed::Repeated(ids) => {
                let found = self.read(&ids).await?;
                let take = |id| found.get(&id).cloned().ok_or(SubmitError::FirstGone(id));
                let tasks = ids.into_iter().map(take).collect::<Result<_, _>>()?;
                Ok(Receipt { tasks, created: 0, held: unique, repeated: true })
            }
            Keyed::OtherRequest => Err(SubmitError::OtherRequest),
            Keyed::HolderGone { index, id, until } => Err(SubmitError::HolderGone { index, id, until: Some(until) }),
            Keyed::Busy => Err(SubmitError::InFlight),
        }
    }

    /// With the tasks that hold keys, as they are now.
    async fn receipt(&self, entries: Vec<Entry>) -> Result<Receipt, SubmitError> {
        let held: Vec<TaskId> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::New(_) => None,
                Entry::Held(id) => Some(*id),
            })
            .collect();
        let found = self.read(&held).await?;
        let created = entries.len() - held.len();
        let is_held = |(place, entry): (usize, &Entry)| matches!(entry, Entry::Held(_)).then_some(place);
        let places = entries.iter().enumerate().filter_map(is_held).collect();
        let mut tasks = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            tasks.push(match entry {
                Entry::New(task) => *task,
                // It was there a moment ago.
                Entry::Held(id) => found.get(&id).cloned().ok_or(SubmitError::HolderGone { index, id, until: None })?,
            });
        }
        Ok(Receipt { tasks, created, held: places, repeated: false })
    }

    async fn read(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, Task>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(found);
        }
        let store = &self.shared.tools.store;
        for (id, task) in ids.iter().zip(store.small_tasks(ids.to_vec()).await?) {
            // Too large to be read beside others, or not there.
            let task = if task.is_some() { task } else { store.task(*id).await? };
            found.extend(task.map(|task| (*id, task)));
        }
        Ok(found)
    }
}

/// The idempotency keys of the requests that this process is about to answer.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashSet<KeyHash>>);

impl Flights {
    /// None: a request with this key is under way. The key is free again when what this gives is dropped, which
    /// happens also when its client goes away.
    fn begin(&self, hash: KeyHash) -> Option<Flight<'_>> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
        begun.then_some(Flight { flights: self, hash })
    }
}

struct Flight<'a> {
    flights: &'a Flights,
    hash: KeyHash,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_requests_with_one_key_one_is_under_way() {
        let flights = Flights::default();
        let hash = KeyHash::idempotency("local", "k");
        let first = flights.begin(hash);
        assert!(first.is_some());
        assert!(flights.begin(hash).is_none());
        assert!(flights.begin(KeyHash::idempotency("local", "other")).is_some());
        drop(first);
        assert!(flights.begin(hash).is_some());
    }
}
