//! Follow: what whoever watches a task looks at again and again, four times a second. Those who look at the
//! same time share a statement, and what is large in a row is not read.

use crate::store::batcher::{Batcher, Bounds, Size, Stopped};
use crate::store::tasks::{LogLine, LogPlace, Pulse, Tail};
use crate::store::{Store, StoreError};
use crate::task::TaskId;
use tokio::task::JoinSet;

const PULSES: Bounds = Bounds { rows: 256, bytes: usize::MAX, waiting: 8192, lanes: 2, beside: 64 };
/// Each may answer with fifty lines of 8 KiB.
const TAILS: Bounds = Bounds { rows: 32, bytes: usize::MAX, waiting: 8192, lanes: 2, beside: 16 };
const ONE: Size = Size { rows: 1, bytes: 0 };

type Answer<T> = Result<T, StoreError>;

/// Reads what changes of a task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Follow {
    pulses: Batcher<TaskId, Answer<Option<Pulse>>>,
    tails: Batcher<Tail, Answer<Vec<LogLine>>>,
}

/// What was asked together is answered together.
fn each<T>(count: usize, answers: Answer<Vec<T>>) -> Vec<Answer<T>> {
    match answers {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

impl Follow {
    /// Starts the lanes on the current runtime. They end when every clone is dropped.
    #[must_use]
    pub fn start(store: Store) -> (Self, JoinSet<()>) {
        let reader = store.clone();
        let (pulses, mut lanes) = Batcher::start(PULSES, move |ids: Vec<TaskId>| {
            let store = reader.clone();
            async move { each(ids.len(), store.pulses(ids).await) }
        });
        let (tails, mut others) = Batcher::start(TAILS, move |asked: Vec<Tail>| {
            let store = store.clone();
            async move { each(asked.len(), store.tails(asked).await) }
        });
        lanes.spawn(async move { while others.join_next().await.is_some() {} });
        (Self { pulses, tails }, lanes)
    }

    /// What of a task may change, as it is at some moment after this call began. None: there is none with this id.
    ///
    /// # Errors
    /// When the database cannot be reached, or the process is stopping.
    pub async fn pulse(&self, id: TaskId) -> Result<Option<Pulse>, StoreError> {
        self.pulses.submit(id, ONE).await.unwrap_or_else(|stopped| Err(stopping(stopped)))
    }

    /// The first lines of its log behind this place, in order. Fewer than
    /// [`TAIL_LINES`](crate::store::tasks::TAIL_LINES): there were no more.
    ///
    /// # Errors
    /// As [`Self::pulse`].
    pub async fn tail(&self, id: TaskId, after: LogPlace) -> Result<Vec<LogLine>, StoreError> {
        self.tails.submit(Tail { id, after }, ONE).await.unwrap_or_else(|stopped| Err(stopping(stopped)))
    }
}

fn stopping(_: Stopped) -> StoreError {
    StoreError::Unavailable("this process is stopping".to_owned())
}
