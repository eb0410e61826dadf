//! Finish: recorded only for the attempt that owns the task, whatever else is in the batch.

use super::proxy::Proxy;
use super::{Ground, key};
use mysql_async::prelude::Queryable;
use std::time::Duration;
use taskrunnerx::store::Store;
use taskrunnerx::store::tasks::{Applied, Finish, Record};
use taskrunnerx::task::{Reason, Status, TaskId, WorkerId};

/// Every statement of a finish, and every status it leads to.
fn records() -> [Record; 7] {
    let error = || Some("e".to_owned());
    [
        Record::Completed { result: None },
        Record::Completed { result: Some("1".into()) },
        Record::Retry { delay: Duration::from_secs(60), error: error() },
        Record::Requeue { forgiven: false, error: error() },
        Record::Requeue { forgiven: true, error: None },
        Record::Failed { reason: Reason::Permanent, error: error() },
        Record::Cancelled { error: error() },
    ]
}

fn becomes(record: &Record) -> Status {
    match record {
        Record::Completed { .. } => Status::Completed,
        Record::Retry { .. } => Status::Scheduled,
        Record::Requeue { .. } => Status::Queued,
        Record::Failed { .. } => Status::Failed,
        Record::Cancelled { .. } => Status::Cancelled,
    }
}

fn finish(id: TaskId, attempt: u32, worker: WorkerId, record: &Record) -> Finish {
    let history = (!matches!(record, Record::Completed { .. })).then(|| ("error", Some("e".to_owned())));
    Finish { id, attempt, worker, record: record.clone(), history, crashed: false }
}

async fn apply(ground: &Ground, batch: Vec<Finish>) -> Vec<Applied> {
    ground.store.finish(batch).await.into_iter().map(Result::unwrap).collect()
}

/// The tasks that have history.
async fn with_history(ground: &mut Ground) -> Vec<TaskId> {
    let rows: Vec<Vec<u8>> = ground.sql.query("SELECT task_id FROM task_attempts ORDER BY task_id").await.unwrap();
    rows.iter().map(|id| TaskId(uuid::Uuid::from_slice(id).unwrap())).collect()
}

/// For each kind of finish: four tasks of one worker and attempt, of which the second is then
/// changed. Only it is refused, and nothing of it is written.
async fn refuses_the_second(assignments: impl Fn(Status) -> Vec<String>) {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    let mut history = Vec::new();
    for record in records() {
        for change in assignments(becomes(&record)) {
            let ids = ground.running(me, 4).await;
            ground.set(ids[1], &change).await;
            let before = ground.row(ids[1]).await;
            let applied = apply(&ground, ids.iter().map(|id| finish(*id, 1, me, &record)).collect()).await;
            let (good, bad) = (Applied::Recorded, Applied::Fenced);
            assert_eq!(applied, [good, bad, good, good], "{record:?} where {change}");
            assert_eq!(ground.row(ids[1]).await, before, "{record:?} where {change}");
            for id in [ids[0], ids[2], ids[3]] {
                assert_eq!(ground.task(id).await.status, becomes(&record), "{record:?} where {change}");
                if !matches!(record, Record::Completed { .. }) {
                    history.push(id);
                }
            }
        }
    }
    history.sort_unstable();
    assert_eq!(with_history(&mut ground).await, history);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempts_task_is_left_alone() {
    let asked = "attempt = 2, cancel_requested_at = NOW(6)";
    // The other attempt may have ended already, and in the same way.
    let there = |becomes| format!("attempt = 2, status = '{becomes}'");
    refuses_the_second(|becomes| ["attempt = 2", "attempt = 0", asked, &there(becomes)].map(str::to_owned).into())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_workers_task_is_left_alone() {
    let other = format!("worker_id = {}", key(TaskId(WorkerId::fresh().0)));
    let there = |becomes| format!("{other}, status = '{becomes}'");
    let asked = format!("{other}, cancel_requested_at = NOW(6)");
    refuses_the_second(|becomes| vec![other.clone(), asked.clone(), there(becomes)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_does_not_run_is_left_alone() {
    refuses_the_second(|becomes| {
        let scheduled_then_queued = |status| becomes == Status::Scheduled && status == Status::Queued;
        let others = Status::ALL.into_iter().filter(|status| {
            // One that is there already, or one step further, looks like this finish sent again.
            *status != Status::Running && *status != becomes && !scheduled_then_queued(*status)
        });
        others.map(|status| format!("status = '{status}'")).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_is_sent_twice_is_recorded_once() {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    let mut batch = Vec::new();
    for record in records() {
        for id in ground.running(me, 2).await {
            batch.push(Finish { crashed: true, ..finish(id, 1, me, &record) });
        }
    }
    let all = vec![Applied::Recorded; batch.len()];
    assert_eq!(apply(&ground, batch.clone()).await, all);
    let mut before = Vec::new();
    for finish in &batch {
        before.push(ground.row(finish.id).await);
    }
    assert_eq!(apply(&ground, batch.clone()).await, all);
    for (finish, row) in batch.iter().zip(before) {
        assert_eq!(ground.row(finish.id).await, row, "{finish:?}");
    }
    let expected = batch.iter().filter(|finish| finish.history.is_some()).count();
    assert_eq!(with_history(&mut ground).await.len(), expected, "one row an attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_sent_again_after_the_dispatcher_moved_it_is_recorded() {
    let ground = Ground::new().await;
    let me = WorkerId::fresh();
    let id = ground.running(me, 1).await[0];
    let retry = finish(id, 1, me, &Record::Retry { delay: Duration::ZERO, error: None });
    assert_eq!(apply(&ground, vec![retry.clone()]).await, [Applied::Recorded]);
    assert_eq!(ground.store.promote_due(super::queue()).await.unwrap(), [id]);
    assert_eq!(apply(&ground, vec![retry]).await, [Applied::Recorded]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_whose_answer_was_lost_are_recorded_once() {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    let mut batch = Vec::new();
    for record in records() {
        batch.push(finish(ground.running(me, 1).await[0], 1, me, &record));
    }
    let proxy = Proxy::new(&ground.world).await;
    // With the byte before it: other statements speak of it too.
    proxy.lose(b"\x03COMMIT", 1);
    for applied in proxy.store.finish(batch.clone()).await {
        assert_eq!(applied.unwrap(), Applied::Recorded);
    }
    assert_eq!(proxy.left(), 0);
    for finish in &batch {
        let task = ground.task(finish.id).await;
        assert_eq!((task.status, task.attempt), (becomes(&finish.record), 1));
        assert_eq!(task.forgiven, u32::from(matches!(finish.record, Record::Requeue { forgiven: true, .. })));
    }
    assert_eq!(with_history(&mut ground).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_batch_gets_its_own_values() {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    // Lengths that are padded to a power of two, and one that takes two statements.
    for count in [1, 3, 5, 129, 259] {
        let ids = ground.running(me, count).await;
        let result = |id: &TaskId| Some(format!("\"{id}\"").into_boxed_str());
        let finishes = ids.iter().map(|id| finish(*id, 1, me, &Record::Completed { result: result(id) }));
        assert!(apply(&ground, finishes.collect()).await.iter().all(|applied| *applied == Applied::Recorded));
        for id in ids {
            assert_eq!(ground.task(id).await.result.as_deref(), result(&id).as_deref());
        }
    }
    for count in [3usize, 5, 129] {
        let ids = ground.running(me, count).await;
        let record = |i: usize| {
            let error = Some(format!("error {i}"));
            match i % 3 {
                0 => Record::Retry { delay: Duration::from_secs(u64::try_from(i).unwrap()), error },
                1 => Record::Requeue { forgiven: i.is_multiple_of(2), error },
                _ if i.is_multiple_of(2) => Record::Failed { reason: Reason::Timeout, error },
                _ => Record::Cancelled { error },
            }
        };
        let finishes = ids.iter().enumerate().map(|(i, id)| Finish {
            crashed: i % 4 == 0,
            history: Some(("error", Some(format!("history {i}")))),
            ..finish(*id, 1, me, &record(i))
        });
        apply(&ground, finishes.collect()).await;
        let ended: Vec<String> =
            ground.sql.query("SELECT CAST(MAX(finished_at) AS CHAR) FROM task_attempts").await.unwrap();
        for (i, id) in ids.iter().enumerate() {
            let task = ground.task(*id).await;
            assert_eq!((task.status, task.last_error), (becomes(&record(i)), Some(format!("error {i}"))));
            let forgiven = matches!(record(i), Record::Requeue { forgiven: true, .. });
            assert_eq!(task.forgiven, u32::from(forgiven), "row {i} of {count}");
            let query = format!(
                "SELECT t.crash_count, a.error, TIMESTAMPDIFF(SECOND, '{}', t.run_at) \
                 FROM tasks t JOIN task_attempts a ON a.task_id = t.id WHERE t.id = {}",
                ended[0],
                key(*id)
            );
            let (crashes, history, later): (usize, String, i64) = ground.sql.query_first(query).await.unwrap().unwrap();
            assert_eq!((crashes, history), (usize::from(i % 4 == 0), format!("history {i}")));
            if let Record::Retry { delay, .. } = record(i) {
                assert_eq!(later, i64::try_from(delay.as_secs()).unwrap(), "row {i} of {count}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_was_asked_for_ends_what_would_move_back() {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    for record in records() {
        let ids = ground.running(me, 3).await;
        ground.set(ids[1], "cancel_requested_at = NOW(6)").await;
        let applied = apply(&ground, ids.iter().map(|id| finish(*id, 1, me, &record)).collect()).await;
        let moves_back = matches!(becomes(&record), Status::Scheduled | Status::Queued);
        let second = if moves_back { Applied::Cancelled } else { Applied::Recorded };
        assert_eq!(applied, [Applied::Recorded, second, Applied::Recorded], "{record:?}");
        let status = if moves_back { Status::Cancelled } else { becomes(&record) };
        let task = ground.task(ids[1]).await;
        assert_eq!(task.status, status, "{record:?}");
        if moves_back {
            assert_eq!(task.reason, Some(Reason::Cancelled));
            assert!(task.finished_at.is_some());
        }
        assert_eq!(ground.task(ids[2]).await.status, becomes(&record));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_the_database_refuses_fails_its_task_and_no_other() {
    let mut ground = Ground::new().await;
    let me = WorkerId::fresh();
    let ids = ground.running(me, 2).await;
    let huge = format!("\"{}\"", "x".repeat(2 << 20)).into_boxed_str();
    let batch = vec![
        finish(ids[0], 1, me, &Record::Completed { result: Some(huge) }),
        finish(ids[1], 1, me, &Record::Completed { result: Some("1".into()) }),
    ];
    // As with a server whose max_allowed_packet is one MiB.
    let url = &ground.world.database_url;
    let small = format!("{url}{}max_allowed_packet=1048576", if url.contains('?') { '&' } else { '?' });
    let store = Store::new(&small, Some(2), ground.world.metrics.clone()).unwrap();
    for applied in store.finish(batch).await {
        assert_eq!(applied.unwrap(), Applied::Recorded);
    }
    let failed = ground.task(ids[0]).await;
    assert_eq!((failed.status, failed.reason), (Status::Failed, Some(Reason::Permanent)));
    assert!(failed.last_error.unwrap().starts_with("the outcome could not be stored"));
    assert_eq!(with_history(&mut ground).await, [ids[0]]);
    assert_eq!(ground.task(ids[1]).await.status, Status::Completed);
}
