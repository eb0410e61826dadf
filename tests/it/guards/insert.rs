//! Insert: each task once, and a bad one alone.

use super::proxy::Proxy;
use super::{Ground, noop, only, sessions};
use crate::harness::{World, eventually};
use mysql_async::prelude::Queryable;
use taskrunnerx::store::tasks::Insert;
use taskrunnerx::store::{Store, StoreError};
use taskrunnerx::task::{Backoff, NewTask, Task};

type Answers = Vec<Result<Vec<Task>, StoreError>>;

/// The i-th task; every third has what only some have.
fn insert(i: usize) -> Insert {
    let tags = if i % 3 == 2 { vec!["a".to_owned()] } else { Vec::new() };
    let plain = NewTask { backoff: Backoff::default(), ..noop() };
    Insert { task: NewTask { payload: format!("\"needle {i}\"").into(), tags, ..plain }, direct: false }
}

/// Each alone.
fn batch(count: usize) -> Vec<Vec<Insert>> {
    (0..count).map(|i| vec![insert(i)]).collect()
}

/// Groups of these sizes.
fn groups(sizes: &[usize]) -> Vec<Vec<Insert>> {
    let mut all = (0..sizes.iter().sum()).map(insert);
    sizes.iter().map(|size| all.by_ref().take(*size).collect()).collect()
}

impl Ground {
    /// Each answer is a row, and each row is one of the answers'.
    async fn holds_exactly(&mut self, answers: Answers) {
        let tasks: Vec<Task> = answers.into_iter().flat_map(Result::unwrap).collect();
        let count = u64::try_from(tasks.len()).unwrap();
        for (i, task) in tasks.into_iter().enumerate() {
            assert_eq!(*task.payload, format!("\"needle {i}\""));
            assert_eq!(self.task(task.id).await, task, "as it was answered");
        }
        assert_eq!(self.number("SELECT COUNT(*) FROM tasks").await, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_is_refused_and_its_neighbours_are_in() {
    let ground = Ground::new().await;
    for count in [1, 2, 7, 130] {
        for bad in [0, count / 2, count - 1] {
            let mut batch = batch(count);
            batch[bad][0].task.name = "x".repeat(129).into();
            for (i, answer) in ground.store.insert_tasks(batch).await.into_iter().enumerate() {
                if i == bad {
                    let refused = matches!(&answer, Err(StoreError::Refused(why)) if why.contains("Data too long"));
                    assert!(refused, "{answer:?}");
                } else {
                    ground.task(only(answer.unwrap()).id).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_with_a_bad_row_none_is_in_and_its_neighbours_are() {
    let sizes = [1, 3, 300, 2, 7];
    // The first, one in the middle, the last; in one statement, and where several are needed.
    for (bad, at) in [(0, 0), (1, 0), (1, 2), (2, 150), (2, 299), (4, 6)] {
        let mut ground = Ground::new().await;
        let mut batch = groups(&sizes);
        batch[bad][at].task.name = "x".repeat(129).into();
        let mut accepted = 0;
        for (i, (answer, size)) in ground.store.insert_tasks(batch).await.into_iter().zip(sizes).enumerate() {
            if i == bad {
                assert!(matches!(&answer, Err(StoreError::Refused(_))), "{answer:?}");
                continue;
            }
            let tasks = answer.unwrap();
            assert_eq!(tasks.len(), size);
            for task in tasks {
                assert_eq!(ground.task(task.id).await, task);
                accepted += 1;
            }
        }
        assert_eq!(ground.number("SELECT COUNT(*) FROM tasks").await, accepted, "{at} of group {bad} is bad");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_whose_statements_are_cut_off_nothing_is_in() {
    let mut ground = Ground::new().await;
    let proxy = Proxy::new(&ground.world).await;
    // The last of its rows, at each try: the statements before it had been answered.
    proxy.lose(b"needle 6\"", 100);
    let answers = proxy.store.insert_tasks(groups(&[7])).await;
    assert!(matches!(answers.as_slice(), [Err(StoreError::Lost(_))]), "{answers:?}");
    assert!(proxy.left() < 100);
    assert_eq!(ground.number("SELECT COUNT(*) FROM tasks").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_whose_answer_was_lost_are_in_once() {
    // One statement, and several in a transaction.
    let commit = &b"\x03COMMIT"[..];
    let cases = [(&[1][..], &b"needle 0"[..]), (&[1; 4], b"needle 2"), (&[1; 7], commit), (&[1; 7], b"needle 6")];
    let together = [(&[4][..], &b"needle 2"[..]), (&[7], commit), (&[2, 5], commit), (&[2, 1, 4], b"needle 5")];
    for (sizes, lost) in cases.into_iter().chain(together) {
        let mut ground = Ground::new().await;
        let proxy = Proxy::new(&ground.world).await;
        proxy.lose(lost, 1);
        let answers = proxy.store.insert_tasks(groups(sizes)).await;
        assert_eq!(proxy.left(), 0);
        assert_eq!(answers.iter().map(|group| group.as_ref().unwrap().len()).collect::<Vec<_>>(), sizes);
        ground.holds_exactly(answers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_whose_first_insert_commits_after_the_second_was_sent_are_in_once() {
    for count in [1, 4] {
        let mut ground = Ground::new().await;
        let mut operator = ground.world.sql().await;
        operator.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        operator.query_drop("START TRANSACTION").await.unwrap();
        operator.query_drop("SELECT id FROM tasks FORCE INDEX (PRIMARY) FOR UPDATE").await.unwrap();
        let proxy = Proxy::new(&ground.world).await;
        proxy.cut_off(b"needle 0");
        let store = proxy.store.clone();
        let inserting = tokio::spawn(async move { store.insert_tasks(batch(count)).await });
        // Whoever looks for the first finds nothing yet.
        ground.until_blocked(2).await;
        operator.query_drop("ROLLBACK").await.unwrap();
        let answers = inserting.await.unwrap();
        ground.until_blocked(0).await;
        ground.holds_exactly(answers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_whose_connection_is_killed_while_they_wait_are_in_once() {
    let mut ground = Ground::new().await;
    let mut operator = ground.world.sql().await;
    operator.query_drop("LOCK TABLES tasks WRITE").await.unwrap();
    let store = ground.store.clone();
    let inserting = tokio::spawn(async move { store.insert_tasks(batch(3)).await });
    let waiting = ground.until_shut_out().await;
    ground.sql.query_drop(format!("KILL {waiting}")).await.unwrap();
    eventually("it waits again, on another connection", async || {
        (ground.until_shut_out().await != waiting).then_some(())
    })
    .await;
    operator.query_drop("UNLOCK TABLES").await.unwrap();
    ground.holds_exactly(inserting.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_instances_that_start_at_once_migrate_once() {
    let world = World::new().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Store::new(&world.database_url, Some(1), world.metrics.clone()).unwrap();
        starts.spawn(async move { store.migrate().await.unwrap().len() });
    }
    let ran: Vec<usize> = starts.join_all().await;
    assert_eq!(ran.iter().filter(|count| **count > 0).count(), 1, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_migrates_while_another_does() {
    let world = World::new().await;
    let mut operator = world.sql().await;
    let name = "CONCAT('taskrunnerx:', LEFT(SHA2(DATABASE(), 256), 40))";
    operator.query_drop(format!("DO GET_LOCK({name}, 0)")).await.unwrap();
    let store = Store::new(&world.database_url, Some(1), world.metrics.clone()).unwrap();
    let migrating = tokio::spawn(async move { store.migrate().await.unwrap() });
    let mut sql = world.sql().await;
    let sessions = sessions(&mut sql).await;
    let query = format!("SELECT 1 FROM {sessions} WHERE db = DATABASE() AND state LIKE 'User lock%'");
    eventually("it waits for the lock, or is done", async || {
        let waits = sql.query_first::<u8, _>(&query).await.unwrap().is_some();
        (waits || migrating.is_finished()).then_some(())
    })
    .await;
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()";
    assert_eq!(sql.query_first::<u64, _>(tables).await.unwrap(), Some(0));
    operator.query_drop(format!("DO RELEASE_LOCK({name})")).await.unwrap();
    assert!(!migrating.await.unwrap().is_empty());
}
