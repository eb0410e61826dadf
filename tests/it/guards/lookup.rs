//! Reads of single tasks, which share statements: each caller gets its own answer, whatever else is asked.

use super::{Ground, noop};
use std::sync::Arc;
use taskrunnerx::lifecycle::lookup::Lookup;
use taskrunnerx::task::{NewTask, Task, TaskId};

/// The most bytes of payload and result that are read beside others.
const SMALL: usize = 64 << 10;

impl Ground {
    /// A task whose payload has this many bytes.
    async fn of_size(&self, bytes: usize) -> TaskId {
        let payload = format!("\"{}\"", "x".repeat(bytes - 2)).into();
        self.insert(NewTask { payload, ..noop() }, false, 1).await[0]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_leaves_out_what_is_large_or_gone_and_answers_twice_what_is_asked_twice() {
    let mut ground = Ground::new().await;
    let (small, large) = (ground.of_size(SMALL).await, ground.of_size(SMALL + 1).await);
    // Its result counts as well.
    let both = ground.of_size(SMALL / 2).await;
    ground.set(both, &format!("result = REPEAT('x', {})", SMALL / 2 + 1)).await;
    let gone = TaskId(uuid::Uuid::now_v7());
    let ids = vec![small, gone, large, small, both, small];
    let tasks = ground.store.small_tasks(ids).await.unwrap();
    let found: Vec<Option<TaskId>> = tasks.iter().map(|task| task.as_ref().map(|task| task.id)).collect();
    assert_eq!(found, [Some(small), None, None, Some(small), None, Some(small)]);
    assert_eq!(tasks[0], Some(ground.task(small).await), "as it is read alone");
    assert_eq!(ground.store.small_tasks(Vec::new()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_at_once_each_gets_what_it_asked_for() {
    let mut ground = Ground::new().await;
    let mut ids = ground.insert(NewTask { tags: vec!["a".into()], ..noop() }, false, 100).await;
    ids.extend(ground.dispatched(100).await);
    for bytes in [SMALL, SMALL + 1, 1 << 20] {
        ids.push(ground.of_size(bytes).await);
    }
    let odd = ids[7];
    ground.set(odd, "status = 'completed', lane = 0, finished_at = NOW(6), result = '1'").await;
    let mut expected: Vec<(TaskId, Option<Task>)> = Vec::new();
    for id in &ids {
        expected.push((*id, Some(ground.task(*id).await)));
    }
    expected.extend((0..20).map(|_| (TaskId(uuid::Uuid::now_v7()), None)));
    let (lookup, lanes) = Lookup::start(ground.store.clone());
    let expected = Arc::new(expected);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let (lookup, expected) = (lookup.clone(), Arc::clone(&expected));
        callers.spawn(async move {
            // From different ends, so that batches hold everything, and some of it twice.
            for n in 0..expected.len() {
                let (id, task) = &expected[(n + caller * 37) % expected.len()];
                assert_eq!(lookup.task(*id).await.unwrap(), *task);
            }
        });
    }
    callers.join_all().await;
    // It ends with the last who may ask.
    drop(lookup);
    lanes.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_sees_what_was_committed_before_it_was_asked() {
    let mut ground = Ground::new().await;
    let id = ground.dispatched(1).await[0];
    let (lookup, _lanes) = Lookup::start(ground.store.clone());
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let lookup = lookup.clone();
        others.spawn(async move {
            loop {
                lookup.task(id).await.unwrap();
            }
        });
    }
    for attempt in 1..100 {
        ground.set(id, &format!("attempt = {attempt}")).await;
        assert_eq!(lookup.task(id).await.unwrap().unwrap().attempt, attempt);
    }
}
