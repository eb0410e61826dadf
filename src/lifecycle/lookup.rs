//! Look-up: readers of single tasks that come at the same time share a statement.

use crate::store::batcher::{Batcher, Bounds, Size, Stopped};
use crate::store::{Store, StoreError};
use crate::task::{Task, TaskId};
use tokio::task::JoinSet;

/// Reads need no disk: a second lane only bridges the time in which the first one's answers are made.
const BOUNDS: Bounds = Bounds { rows: 256, bytes: usize::MAX, waiting: 8192, lanes: 2, beside: 64 };

/// Reads single tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lookup {
    store: Store,
    batcher: Batcher<TaskId, Result<Option<Task>, StoreError>>,
}

impl Lookup {
    /// Starts the lanes on the current runtime. They end when every clone is dropped.
    #[must_use]
    pub fn start(store: Store) -> (Self, JoinSet<()>) {
        let reader = store.clone();
        let (batcher, lanes) = Batcher::start(BOUNDS, move |ids: Vec<TaskId>| {
            let store = reader.clone();
            async move {
                let count = ids.len();
                match store.small_tasks(ids).await {
                    Ok(tasks) => tasks.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error); count],
                }
            }
        });
        (Self { store, batcher }, lanes)
    }

    /// One task, as it is at some moment after this call began. None: there is none with this id.
    ///
    /// # Errors
    /// When the database cannot be reached, or the process is stopping.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        match self.batcher.submit(id, Size { rows: 1, bytes: 0 }).await {
            Ok(Ok(None)) => self.store.task(id).await, // too large, or not there
            Ok(answer) => answer,
            Err(Stopped) => Err(StoreError::Unavailable("this process is stopping".to_owned())),
        }
    }
}
