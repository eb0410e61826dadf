//! Failed tasks by the kind of their failure: who is in which group, and when no longer.

use super::{Ground, first_attempt, key, noop};
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::bulk::{Ask, Done, Verb, bulk};
use taskrunnerx::lifecycle::{purge, rescue};
use taskrunnerx::store::tasks::{
    Applied, FailureGroup, Filter, Finish, GroupFilter, GroupPlace, Record, Retention, Selection,
};
use taskrunnerx::task::{Fingerprint, NewTask, Reason, Status, TaskId, Way, WorkerId};

const LONG: Duration = Duration::from_secs(60);

impl Ground {
    async fn groups(&self, filter: GroupFilter) -> Vec<FailureGroup> {
        self.store.failure_groups(filter, None, 100).await.unwrap().0
    }

    /// Counts, by message.
    async fn counts(&self) -> Vec<(String, u64)> {
        let groups = self.groups(GroupFilter::default()).await.into_iter();
        let mut all: Vec<(String, u64)> = groups.map(|group| (group.message, group.count)).collect();
        all.sort();
        all
    }
}

fn failing(id: TaskId, worker: WorkerId, error: &str) -> Finish {
    Finish {
        id,
        attempt: 1,
        worker,
        record: Record::Failed { reason: Reason::Error, error: Some(error.to_owned()) },
        history: Some(("error", Some(error.to_owned()))),
        crashed: false,
    }
}

fn counted(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(message, count)| ((*message).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_fail_alike_are_one_group_and_their_names_and_words_part_them() {
    let ground = Ground::new().await;
    ground.store.ensure_queues(vec!["a".into()]).await.unwrap();
    let first = ground.failed(noop(), "row 17 is bad", 12).await;
    let again = ground.failed(noop(), "row 4711 is bad\nand a trace", 2).await;
    let other = ground.failed(noop(), "no such file", 1).await;
    let named = ground.failed(NewTask { name: "echo".into(), queue: "a".into(), ..noop() }, "row 1 is bad", 1).await;
    let groups = ground.groups(GroupFilter::default()).await;
    // Newest kinds first.
    let said: Vec<(&str, &str, u64)> = groups.iter().map(|g| (&*g.name, &*g.message, g.count)).collect();
    assert_eq!(said, [("echo", "row 1 is bad", 1), ("noop", "no such file", 1), ("noop", "row 17 is bad", 14)]);
    assert_eq!((&groups[0].task_ids, &groups[1].task_ids), (&named, &other));
    let newest = &groups[2].task_ids;
    assert!(newest.len() == 10 && again.iter().all(|id| newest[..2].contains(id)), "{newest:?}");
    assert_eq!(groups[2].fingerprint, Fingerprint::of("noop", "row 5 is bad"));
    let ended = async |id: TaskId| ground.task(id).await.finished_at.unwrap();
    assert_eq!((groups[2].first_seen, groups[2].last_seen), (ended(first[0]).await, ended(again[0]).await));
    // By queue and by name.
    let of = async |queues: &[&str], names: &[&str]| {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        let filter = GroupFilter { queues: texts(queues), names: texts(names) };
        ground.groups(filter).await.iter().map(|group| group.count).collect::<Vec<_>>()
    };
    assert_eq!(of(&["a"], &[]).await, [1]);
    assert_eq!(of(&["a", "none", "default"], &["noop"]).await, [1, 14]);
    assert_eq!(of(&["a"], &["noop"]).await, [] as [u64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_in_pages_and_each_once() {
    let ground = Ground::new().await;
    for letter in 'a'..='g' {
        ground.failed(noop(), &format!("kind {letter}"), 1).await;
    }
    // As if all had begun in the same instant.
    let mut sql = ground.world.sql().await;
    sql.query_drop("UPDATE failure_groups SET first_seen = '2026-01-01 00:00:00.5'").await.unwrap();
    let (mut seen, mut from): (Vec<String>, Option<GroupPlace>) = (Vec::new(), None);
    loop {
        let (groups, next) = ground.store.failure_groups(GroupFilter::default(), from, 2).await.unwrap();
        assert!(groups.len() == 2 || next.is_none());
        seen.extend(groups.into_iter().map(|group| group.message));
        from = next;
        if from.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ('a'..='g').map(|letter| format!("kind {letter}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_in_its_group_for_as_long_as_it_is_failed() {
    let mut ground = Ground::new().await;
    let ids = ground.failed(noop(), "why", 4).await;
    assert_eq!(ground.counts().await, counted(&[("why", 4)]));
    let again = ground.store.retry(ids[0], Arc::new(|_: &str| Way::Stream)).await.unwrap().unwrap();
    assert!(again.changed);
    assert_eq!(ground.counts().await, counted(&[("why", 3)]));
    // It fails otherwise.
    let worker = WorkerId::fresh();
    let claim = taskrunnerx::store::tasks::Claim { id: ids[0], attempt: 1 };
    assert!(ground.store.claim(worker, vec![claim]).await.unwrap().is_empty());
    ground.store.finish(vec![Finish { attempt: 2, ..failing(ids[0], worker, "else") }]).await;
    assert_eq!(ground.counts().await, counted(&[("else", 1), ("why", 3)]));
    ground.store.delete_step(ids[1]).await.unwrap();
    assert_eq!(ground.counts().await, counted(&[("else", 1), ("why", 2)]));
    ground.set(ids[2], "finished_at = NOW(6) - INTERVAL 2 HOUR").await;
    let hour = Duration::from_secs(3600);
    assert_eq!(
        purge::pass(&ground.store, Retention { completed: hour, failed: hour }, Duration::ZERO).await.unwrap(),
        1
    );
    assert_eq!(ground.counts().await, counted(&[("else", 1), ("why", 1)]));
    assert_eq!(ground.orphans().await, 0);
    // Of the last one of its kind the kind is left, and nobody sees it; until it is purged.
    ground.store.delete_step(ids[3]).await.unwrap();
    assert_eq!(ground.counts().await, counted(&[("else", 1)]));
    assert_eq!(ground.number("SELECT COUNT(*) FROM failure_groups").await, 2);
    assert_eq!(purge::groups(&ground.store, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(ground.number("SELECT COUNT(*) FROM failure_groups").await, 1);
    assert_eq!(ground.counts().await, counted(&[("else", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_task_as_failed_notes_it_and_nothing_else_does() {
    let mut ground = Ground::new().await;
    let (tools, worker) = (ground.tools(), WorkerId::fresh());
    let ids = ground.running(worker, 4).await;
    let other = |record: Record, history: &'static str, n: usize| Finish {
        record,
        history: Some((history, None)),
        ..failing(ids[n], worker, "why")
    };
    let batch = vec![
        failing(ids[0], worker, "why"),
        other(Record::Retry { delay: Duration::ZERO, error: Some("why".into()) }, "error", 1),
        other(Record::Cancelled { error: Some("why".into()) }, "cancelled", 2),
        other(Record::Completed { result: None }, "error", 3),
    ];
    for _ in 0..2 {
        // Sent again it is noted once.
        let answers = ground.store.finish(batch.clone()).await;
        assert!(answers.iter().all(|answer| *answer.as_ref().unwrap() == Applied::Recorded), "{answers:?}");
        assert_eq!(ground.counts().await, counted(&[("why", 1)]));
    }
    // What is not the owner's is nobody's.
    let ids = ground.running(worker, 1).await;
    let answers = ground.store.finish(vec![failing(ids[0], WorkerId::fresh(), "foreign")]).await;
    assert_eq!(answers[0].as_ref().unwrap(), &Applied::Fenced);
    assert_eq!(ground.counts().await, counted(&[("why", 1)]));
    // The third worker that dies of it.
    ground.set(ids[0], "crash_count = 2, attempt = 3").await;
    ground.store.remove_worker(worker).await.unwrap();
    rescue::orphans(&tools).await.unwrap();
    assert_eq!(ground.task(ids[0]).await.reason, Some(Reason::Poisoned));
    assert_eq!(ground.counts().await, counted(&[("its worker is gone", 1), ("why", 1)]));
    // What the database refuses is a failure that says so.
    let dying = ground.register(LONG).await;
    let ids = ground.running(dying, 1).await;
    let bad = Record::Failed { reason: Reason::Error, error: Some("x".repeat(100_000)) };
    ground.store.finish(vec![Finish { record: bad, ..failing(ids[0], dying, "why") }]).await;
    assert_eq!(ground.task(ids[0]).await.status, Status::Failed);
    assert_eq!(ground.counts().await.len(), 3);
    assert_eq!(ground.orphans().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_fingerprint_is_of_that_group_alone() {
    let ground = Ground::new().await;
    let tools = ground.tools();
    let bad = ground.failed(noop(), "row 17 is bad", 300).await;
    let missing = ground.failed(noop(), "no such file", 5).await;
    let ask = |error: &str| Ask {
        verb: Verb::Retry,
        selection: Selection {
            filter: Filter { statuses: vec![Status::Failed], ..Filter::default() },
            fingerprints: vec![Fingerprint::of("noop", error)],
        },
        dry_run: false,
        limit: u64::MAX,
        after: None,
    };
    assert_eq!(
        bulk(&tools, ask("row 1 is bad"), LONG).await.unwrap(),
        Done { matched: 300, changed: 300, held: 0, next: None }
    );
    assert_eq!(ground.counts().await, counted(&[("no such file", 5)]));
    for id in bad {
        assert_eq!(ground.task(id).await.status, Status::Queued);
    }
    for id in &missing {
        assert_eq!(ground.task(*id).await.status, Status::Failed);
    }
    assert_eq!(bulk(&tools, ask("row 1 is bad"), LONG).await.unwrap(), Done::default());
    // With ids as well both hold.
    let mut one = ask("no such file");
    one.selection.filter.ids = vec![missing[0]];
    assert_eq!(bulk(&tools, one, LONG).await.unwrap(), Done { matched: 1, changed: 1, held: 0, next: None });
    let mut none = ask("row 1 is bad");
    none.selection.filter.ids = vec![missing[1]];
    assert_eq!(bulk(&tools, none, LONG).await.unwrap(), Done::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_otherwise_meanwhile_is_not_retried_with_its_former_group() {
    let mut ground = Ground::new().await;
    let tools = ground.tools();
    let ids = ground.failed(noop(), "why", 2).await;
    let mut other = ground.world.sql().await;
    other.query_drop("START TRANSACTION").await.unwrap();
    other.query_drop(format!("UPDATE tasks SET last_error = 'else' WHERE id = {}", key(ids[0]))).await.unwrap();
    other
        .query_drop(format!("UPDATE task_failures SET fingerprint = 7 WHERE task_id = {}", key(ids[0])))
        .await
        .unwrap();
    let filter = Filter { statuses: vec![Status::Failed], ..Filter::default() };
    let selection = Selection { filter, fingerprints: vec![Fingerprint::of("noop", "why")] };
    let ask = Ask { verb: Verb::Retry, selection, dry_run: false, limit: u64::MAX, after: None };
    let asking = tokio::spawn(async move { bulk(&tools, ask, LONG).await.unwrap() });
    ground.until_blocked(1).await;
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(asking.await.unwrap(), Done { matched: 2, changed: 1, held: 0, next: None });
    assert_eq!(ground.task(ids[0]).await.status, Status::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_not_purged_under_a_task_that_is_failing_of_it() {
    let mut ground = Ground::new().await;
    let id = ground.failed(noop(), "why", 1).await[0];
    ground.store.delete_step(id).await.unwrap();
    // One that fails, and has not committed yet.
    let (failing, print) = (ground.backlog(1).await[0], Fingerprint::of("noop", "why").0);
    let mut other = ground.world.sql().await;
    for statement in [
        "START TRANSACTION".to_owned(),
        format!(
            "INSERT INTO task_failures (task_id, fingerprint, queue, failed_at) VALUES ({}, {print}, 'default', NOW(6))",
            key(failing)
        ),
        format!(
            "INSERT IGNORE INTO failure_groups (fingerprint, name, message, first_seen) VALUES ({print}, 'noop', 'why', NOW(6))"
        ),
    ] {
        other.query_drop(statement).await.unwrap();
    }
    let store = ground.store.clone();
    let purging = tokio::spawn(async move { purge::groups(&store, Duration::ZERO).await.unwrap() });
    ground.until_blocked(1).await;
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(purging.await.unwrap(), 0);
    assert_eq!(ground.counts().await, counted(&[("why", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_fail_alike_at_once_do_not_wait_for_each_other() {
    let mut ground = Ground::new().await;
    ground.failed(noop(), "why", 1).await;
    let mut other = ground.world.sql().await;
    let print = Fingerprint::of("noop", "why").0;
    other.query_drop("START TRANSACTION").await.unwrap();
    let known = format!(
        "INSERT IGNORE INTO failure_groups (fingerprint, name, message, first_seen) VALUES ({print}, 'noop', 'why', NOW(6))"
    );
    other.query_drop(known).await.unwrap();
    // It holds the group until it commits, and that is in nobody's way.
    let worker = WorkerId::fresh();
    let ids = ground.dispatched(1).await;
    assert!(ground.store.claim(worker, first_attempt(&ids)).await.unwrap().is_empty());
    let answers = ground.store.finish(vec![failing(ids[0], worker, "why")]).await;
    assert_eq!(answers[0].as_ref().unwrap(), &Applied::Recorded);
    other.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(ground.counts().await, counted(&[("why", 2)]));
    assert_eq!(ground.orphans().await, 0);
}
