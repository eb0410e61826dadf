//! Waiting until tasks are terminal, and reading what became of them.
//!
//! While tasks run the server is being measured, so it is asked for next to nothing: a handful of
//! ids a look. Tasks end roughly in the order in which they were sent, so the sample begins at the first
//! that was seen waiting, and goes to the last. Once the last is terminal, and the sample but for one
//! task at most, all rows are read: by then the work is as good as done. Those that are not terminal are what the next looks are for.

use super::errors::{Errors, tasks as counted};
use super::submit::Submitted;
use crate::cli::Failure;
use crate::client::{Client, ClientError, TaskView};
use crate::task::TaskId;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Ids of a look, and by how much each is further off than the one before it: enough for ten million.
const SAMPLE: usize = 12;
const STRIDE: usize = 5;
/// Between looks: at first, so that a short run is over soon, and later.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LATER_LOOK: Duration = Duration::from_millis(100);
/// Nothing has ended for so long: it is not waited for any longer.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Rows of a request where payloads are small.
const MAX_ROWS: usize = 200;
/// Bytes of an answer that are aimed at: 8 MiB.
const ANSWER_BYTES: usize = 8 << 20;
/// Bytes of a row beside its payload and result, which may be the payload again.
const ROW_BYTES: usize = 1_024;
/// Requests at once while rows are read.
const READERS: usize = 4;

/// Where tasks can be asked for.
pub(super) trait Ask {
    async fn ask(&self, ids: &[TaskId]) -> Result<Vec<TaskView>, ClientError>;
}

impl Ask for Client {
    async fn ask(&self, ids: &[TaskId]) -> Result<Vec<TaskView>, ClientError> {
        self.tasks(ids).await
    }
}

/// A task that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) submitted: Submitted,
    pub(super) row: TaskView,
}

/// What there is to wait for.
pub(super) struct Watch<'a, A> {
    pub(super) server: &'a A,
    pub(super) payload_len: usize,
    /// Says how many have ended, roughly.
    pub(super) progress: &'a (dyn Fn(usize) + Sync),
}

impl<A: Ask> Watch<'_, A> {
    /// Waits until all have ended; gives them, and those that are gone as errors.
    pub(super) async fn until_all_ended(
        &self,
        submitted: &[Submitted],
        errors: &mut Errors,
    ) -> Result<Vec<Ended>, Failure> {
        let mut ended = Vec::with_capacity(submitted.len());
        let mut waiting = submitted.to_vec();
        let mut first = 0;
        let mut pause = FIRST_LOOK;
        let mut moved = Instant::now();
        while !waiting.is_empty() {
            let sample = sample(first, waiting.len());
            let ids: Vec<TaskId> = sample.iter().filter_map(|at| Some(waiting.get(*at)?.id)).collect();
            let seen: HashMap<TaskId, TaskView> =
                self.server.ask(&ids).await?.into_iter().map(|row| (row.id, row)).collect();
            // A row that is gone (purged, deleted) will not come back.
            let is_open = |id: &TaskId| seen.get(id).is_some_and(|row| !row.status.is_terminal());
            let open: Vec<usize> = sample.iter().zip(&ids).filter(|(_, id)| is_open(id)).map(|(at, _)| *at).collect();
            let idle = moved.elapsed() >= IDLE_LIMIT;
            let advanced = match open.as_slice() {
                // Only a sample was seen: before it is given up, all are looked at.
                [at, rest @ ..] if !idle && (!rest.is_empty() || sample.last() == Some(at)) => {
                    let advanced = *at > first;
                    first = first.max(*at);
                    advanced
                }
                // The last one has ended, and at most one other has not: few are left.
                _ => {
                    let before = waiting.len();
                    waiting = self.read(waiting, &mut ended, errors).await?;
                    first = 0;
                    waiting.len() < before
                }
            };
            (self.progress)(ended.len() + first);
            if advanced {
                moved = Instant::now();
            } else if idle {
                return Err(self.stuck(&waiting).await);
            }
            if !waiting.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(LATER_LOOK);
            }
        }
        Ok(ended)
    }

    /// Reads these rows; gives those that have not ended.
    async fn read(
        &self,
        waiting: Vec<Submitted>,
        ended: &mut Vec<Ended>,
        errors: &mut Errors,
    ) -> Result<Vec<Submitted>, ClientError> {
        let rows = (ANSWER_BYTES / (ROW_BYTES + 2 * self.payload_len)).clamp(1, MAX_ROWS);
        let requests = waiting.chunks(rows).map(async |chunk| {
            let ids: Vec<TaskId> = chunk.iter().map(|task| task.id).collect();
            self.server.ask(&ids).await
        });
        let pages: Vec<Vec<TaskView>> = stream::iter(requests).buffered(READERS).try_collect().await?;
        let mut found: HashMap<TaskId, TaskView> = pages.into_iter().flatten().map(|row| (row.id, row)).collect();
        let mut open = Vec::new();
        for submitted in waiting {
            match found.remove(&submitted.id) {
                None => errors.note("the task's row is gone; was it purged or deleted during the run?", 1),
                Some(row) if !row.status.is_terminal() => open.push(submitted),
                Some(row) => ended.push(Ended { submitted, row }),
            }
        }
        Ok(open)
    }

    /// Why nothing moves, as far as the first of them tell.
    async fn stuck(&self, waiting: &[Submitted]) -> Failure {
        let ids: Vec<TaskId> = waiting.iter().take(SAMPLE).map(|task| task.id).collect();
        let mut states: BTreeMap<&str, u32> = BTreeMap::new();
        for row in self.server.ask(&ids).await.unwrap_or_default() {
            *states.entry(row.status.as_str()).or_default() += 1;
        }
        let states: Vec<String> =
            states.iter().map(|(status, count)| format!("{} {status}", counted(*count))).collect();
        Failure::new(format!(
            "no task has ended for {} s; of the first that have not: {}.\n\
             Is the queue paused, or does no live worker serve it? `taskrunnerx doctor` looks.",
            IDLE_LIMIT.as_secs(),
            states.join(", ")
        ))
    }
}

/// Positions from `first` to the last, at most [`SAMPLE`] of them: close together at the front, so that
/// each end is seen, and ever further apart behind it.
fn sample(first: usize, len: usize) -> Vec<usize> {
    let Some(span) = len.checked_sub(first + 1) else { return Vec::new() };
    let mut positions = vec![first];
    let mut left = span;
    while left > 0 && positions.len() < SAMPLE {
        positions.push(first + left);
        left /= STRIDE;
    }
    positions.sort_unstable();
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Status, Timestamp};
    use std::cell::RefCell;

    /// A server on which tasks end one by one, at a pace.
    struct Fake {
        ids: Vec<TaskId>,
        began: Instant,
        each: Duration,
        /// Never ends.
        stuck: Option<usize>,
        gone: Option<usize>,
        asked: RefCell<Vec<(Duration, usize)>>,
    }

    impl Fake {
        fn new(tasks: usize, each: Duration) -> Self {
            let ids = (0..tasks).map(|_| TaskId(uuid::Uuid::now_v7())).collect();
            Self { ids, began: Instant::now(), each, stuck: None, gone: None, asked: RefCell::default() }
        }

        fn submitted(&self) -> Vec<Submitted> {
            self.ids.iter().map(|id| Submitted { id: *id, due: 0, sent: 0, answered: 0 }).collect()
        }

        async fn watch(&self) -> (Result<Vec<Ended>, Failure>, Errors) {
            let mut errors = Errors::default();
            let watch = Watch { server: self, payload_len: 0, progress: &|_| {} };
            (watch.until_all_ended(&self.submitted(), &mut errors).await, errors)
        }
    }

    impl Ask for Fake {
        async fn ask(&self, ids: &[TaskId]) -> Result<Vec<TaskView>, ClientError> {
            self.asked.borrow_mut().push((self.began.elapsed(), ids.len()));
            let done = |at: usize| {
                self.began.elapsed() >= self.each * u32::try_from(at + 1).unwrap() && self.stuck != Some(at)
            };
            let row = |id: &TaskId| {
                let at = self.ids.iter().position(|known| known == id).unwrap();
                let status = if done(at) { Status::Completed } else { Status::Queued };
                let created_at = Timestamp::UNIX_EPOCH;
                let row =
                    TaskView { id: *id, status, created_at, started_at: None, finished_at: None, last_error: None };
                (self.gone != Some(at)).then_some(row)
            };
            Ok(ids.iter().filter_map(row).collect())
        }
    }

    #[test]
    fn a_sample_spans_what_is_left() {
        assert_eq!(sample(0, 1), [0]);
        assert_eq!(sample(0, 2), [0, 1]);
        assert_eq!(sample(100, 351), [100, 102, 110, 150, 350]);
        assert_eq!(sample(0, 0), [0_usize; 0]);
        let most = sample(0, 10_000_000);
        assert_eq!((most.len(), most[1] < 5, most[11]), (SAMPLE, true, 9_999_999));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_asks_for_a_handful_of_rows_and_only_then_for_all() {
        let fake = Fake::new(1_000, Duration::from_millis(10));
        let (ended, errors) = fake.watch().await;
        assert_eq!((ended.unwrap().len(), errors.tasks), (1_000, 0));
        let asked = fake.asked.borrow();
        let running: Vec<_> = asked.iter().filter(|(at, _)| *at < Duration::from_millis(9_990)).collect();
        assert!(running.iter().all(|(_, ids)| *ids <= SAMPLE), "{running:?}");
        assert!(running.len() < 10 * 10 + 10, "{}", running.len());
        assert!(asked.last().unwrap().0 < Duration::from_millis(10_500), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_given_up_and_what_is_gone_is_an_error() {
        let mut fake = Fake::new(1_000, Duration::from_millis(1));
        fake.stuck = Some(40);
        fake.gone = Some(50);
        let (ended, errors) = fake.watch().await;
        let message = ended.unwrap_err().message;
        assert!(message.contains("for 60 s") && message.contains("1 task queued"), "{message}");
        assert_eq!(errors.tasks, 1);
        let given_up = fake.began.elapsed();
        assert!(given_up >= IDLE_LIMIT && given_up < IDLE_LIMIT + Duration::from_secs(3), "{given_up:?}");
    }
}
