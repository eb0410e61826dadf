//! What operators do to single tasks and to many, against whatever else moves the rows.

use super::{Ground, first_attempt, key, noop};
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::lifecycle::bulk::{Ask, Done, Verb, bulk};
use taskrunnerx::seam::{Fault, Loss, Seam};
use taskrunnerx::store::tasks::{DeleteStep, Filter, Finish, Record, Selection, Ways};
use taskrunnerx::task::{NewTask, Reason, Status, TaskId, Timestamp, Way, When, WorkerId};

const HOUR: Duration = Duration::from_secs(3600);
/// Nothing of the tests takes as long as a request may.
const LONG: Duration = Duration::from_secs(60);

fn ways(way: Way) -> Ways {
    Arc::new(move |_| way)
}

impl Ground {
    /// Tasks that have failed at their first attempt.
    pub(super) async fn failed(&self, task: NewTask, error: &str, count: usize) -> Vec<TaskId> {
        let worker = WorkerId::fresh();
        let ids = self.insert(task, true, count).await;
        assert!(self.store.claim(worker, first_attempt(&ids)).await.unwrap().is_empty());
        let finish = |id: &TaskId| Finish {
            id: *id,
            attempt: 1,
            worker,
            record: Record::Failed { reason: Reason::Permanent, error: Some(error.to_owned()) },
            history: Some(("permanent", Some(error.to_owned()))),
            crashed: false,
        };
        let answers = self.store.finish(ids.iter().map(finish).collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        ids
    }

    async fn cancelled(&self, count: usize) -> Vec<TaskId> {
        let ids = self.backlog(count).await;
        for id in &ids {
            assert!(self.store.cancel(*id).await.unwrap().unwrap().changed);
        }
        ids
    }

    async fn in_lane(&mut self, id: TaskId) -> u64 {
        self.number(&format!("SELECT lane FROM tasks WHERE id = {}", key(id))).await
    }

    /// Rows of tables beside `tasks` whose tasks are gone, and of `task_failures` whose tasks are not failed.
    pub(super) async fn orphans(&mut self) -> u64 {
        self.number(
            "SELECT (SELECT COUNT(*) FROM task_attempts WHERE task_id NOT IN (SELECT id FROM tasks)) \
                  + (SELECT COUNT(*) FROM task_logs WHERE task_id NOT IN (SELECT id FROM tasks)) \
                  + (SELECT COUNT(*) FROM task_failures \
                     WHERE task_id NOT IN (SELECT id FROM tasks WHERE status = 'failed'))",
        )
        .await
    }

    /// Whether rows contradict themselves; those that are held have no lane that it knows of.
    async fn contradictions(&mut self) -> Vec<String> {
        use mysql_async::prelude::Queryable;
        self.sql.query(include_str!("inconsistent.sql")).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_failed_or_was_cancelled_is_queued_with_all_of_its_attempts() {
    let mut ground = Ground::new().await;
    let failed = ground.failed(noop(), "why", 1).await[0];
    ground.set(failed, "crash_count = 1, cancel_requested_at = NOW(6), attempt = 7, forgiven = 2").await;
    let cancelled = ground.cancelled(1).await[0];
    let before = [ground.task(failed).await, ground.task(cancelled).await];
    let now = ground.store.now().await.unwrap();
    for task in before {
        let asked = ground.store.retry(task.id, ways(Way::Stream)).await.unwrap().unwrap();
        assert!(asked.changed);
        let again = asked.task;
        assert_eq!((again.status, again.reason, again.attempt), (Status::Queued, None, task.attempt));
        // All of its attempts: it is exhausted when `attempt - forgiven` reaches `max_attempts`.
        assert_eq!((again.forgiven, again.max_attempts), (task.attempt, task.max_attempts));
        assert_eq!((again.cancel_requested_at, again.finished_at, again.dispatched_at), (None, None, None));
        assert_eq!((again.worker_id, again.started_at), (task.worker_id, task.started_at));
        assert!(again.run_at >= now);
        let error = (task.status == Status::Failed).then(|| "why".to_owned());
        assert_eq!(again.last_error, error);
        assert_eq!(ground.in_lane(task.id).await, 2);
        // Twice is once too often.
        let asked = ground.store.retry(task.id, ways(Way::Stream)).await.unwrap().unwrap();
        assert_eq!((asked.changed, asked.task), (false, again));
    }
    let crashes = format!("SELECT crash_count FROM tasks WHERE id = {}", key(failed));
    assert_eq!(ground.number(&crashes).await, 0, "three more workers may die of it");
    assert_eq!(ground.contradictions().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_failed_and_was_not_cancelled_is_not_retried() {
    let mut ground = Ground::new().await;
    let mut later = noop();
    later.when = When::After(HOUR);
    let mut ids = [ground.insert(later, false, 1).await, ground.backlog(1).await, ground.dispatched(1).await].concat();
    ids.extend(ground.running(WorkerId::fresh(), 1).await);
    let done = ground.dispatched(1).await[0];
    ground.set(done, "status = 'completed', lane = 0, finished_at = NOW(6)").await;
    ids.push(done);
    let selection = Arc::new(Selection::default());
    for id in ids {
        let before = ground.row(id).await;
        assert!(!ground.store.retry(id, ways(Way::Stream)).await.unwrap().unwrap().changed);
        let batch = ground.store.retry_chosen(vec![id], Arc::clone(&selection), 1, false, ways(Way::Stream)).await;
        assert_eq!(batch.unwrap().changed, []);
        assert_eq!(ground.row(id).await, before);
    }
    assert_eq!(ground.store.retry(TaskId(uuid::Uuid::now_v7()), ways(Way::Stream)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_has_passed_goes_and_one_that_is_ahead_stays() {
    let mut ground = Ground::new().await;
    let ids = ground.cancelled(3).await;
    ground.set(ids[0], "expires_at = NOW(6) - INTERVAL 1 SECOND").await;
    ground.set(ids[1], "expires_at = NOW(6) + INTERVAL 1 HOUR").await;
    for (id, expires) in ids.iter().zip([false, true, false]) {
        let task = ground.store.retry(*id, ways(Way::Stream)).await.unwrap().unwrap().task;
        assert_eq!(task.expires_at.is_some(), expires);
    }
    assert!(ground.store.claim(WorkerId::fresh(), first_attempt(&ids)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_goes_the_way_of_its_type() {
    let mut ground = Ground::new().await;
    let mut later = noop();
    later.when = When::After(HOUR);
    for (way, lanes) in [(Way::Stream, 2..3), (Way::Outside, 4..5), (Way::Held, 64..192)] {
        let failed = ground.failed(noop(), "why", 1).await[0];
        let many = ground.failed(noop(), "why", 3).await;
        let scheduled = ground.insert(later.clone(), false, 1).await[0];
        assert!(ground.store.retry(failed, ways(way)).await.unwrap().unwrap().changed);
        assert!(ground.store.run_now(scheduled, ways(way)).await.unwrap().unwrap().changed);
        let selection = Arc::new(Selection::default());
        let batch = ground.store.retry_chosen(many.clone(), selection, 3, false, ways(way)).await.unwrap();
        assert_eq!(batch.changed.len(), 3);
        for id in [vec![failed, scheduled], many].concat() {
            assert!(lanes.contains(&ground.in_lane(id).await), "{way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_retries_at_once_one_counts_and_of_a_retry_and_a_deletion_one_comes_first() {
    let mut ground = Ground::new().await;
    let store = ground.store.clone();
    for id in ground.failed(noop(), "why", 24).await {
        let (a, b) = tokio::join!(store.retry(id, ways(Way::Stream)), store.retry(id, ways(Way::Stream)));
        let changed = [a, b].map(|asked| asked.unwrap().unwrap().changed);
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 1);
    }
    for id in ground.failed(noop(), "why", 24).await {
        let (asked, step) = tokio::join!(store.retry(id, ways(Way::Stream)), store.delete_step(id));
        match (asked.unwrap().map(|asked| asked.changed), step.unwrap()) {
            (Some(true), DeleteStep::Lives(Status::Queued)) => assert!(store.task(id).await.unwrap().is_some()),
            (None, DeleteStep::Deleted) => assert_eq!(store.task(id).await.unwrap(), None),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ground.orphans().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_retries_waits_for_who_has_the_row_and_sees_what_became_of_it() {
    use mysql_async::prelude::Queryable;
    let mut ground = Ground::new().await;
    let ids = ground.failed(noop(), "why", 2).await;
    for (id, many) in ids.iter().copied().zip([false, true]) {
        let mut other = ground.world.sql().await;
        other.query_drop("START TRANSACTION").await.unwrap();
        let again = "status = 'queued', lane = 2, reason = NULL, finished_at = DEFAULT, forgiven = attempt, \
                     position = (9 - priority) * 9007199254740992 + 1";
        other.query_drop(format!("UPDATE tasks SET {again} WHERE id = {}", key(id))).await.unwrap();
        other.query_drop(format!("DELETE FROM task_failures WHERE task_id = {}", key(id))).await.unwrap();
        let store = ground.store.clone();
        let asking = tokio::spawn(async move {
            if many {
                let selection = Arc::new(Selection::default());
                let batch = store.retry_chosen(vec![id], selection, 1, false, ways(Way::Stream)).await.unwrap();
                (!batch.changed.is_empty(), batch.matched.len())
            } else {
                (store.retry(id, ways(Way::Stream)).await.unwrap().unwrap().changed, 1)
            }
        });
        ground.until_blocked(1).await;
        other.query_drop("COMMIT").await.unwrap();
        assert_eq!(asking.await.unwrap(), (false, 1));
        let position = format!("SELECT position % 9007199254740992 FROM tasks WHERE id = {}", key(id));
        assert_eq!(ground.number(&position).await, 1, "the other one's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_scheduled_is_made_due() {
    let mut ground = Ground::new().await;
    let mut later = noop();
    later.when = When::After(HOUR);
    later.priority = 3;
    let id = ground.insert(later, false, 1).await[0];
    let now = ground.store.now().await.unwrap();
    let asked = ground.store.run_now(id, ways(Way::Stream)).await.unwrap().unwrap();
    assert!(asked.changed && asked.task.status == Status::Queued);
    assert!(asked.task.run_at >= now && asked.task.run_at < now + HOUR);
    assert_eq!((asked.task.attempt, asked.task.forgiven), (0, 0));
    let mut others =
        [vec![id], ground.backlog(1).await, ground.dispatched(1).await, ground.cancelled(1).await].concat();
    others.extend(ground.running(WorkerId::fresh(), 1).await);
    others.extend(ground.failed(noop(), "why", 1).await);
    // Handed back: it waits in the same lane, and is queued.
    let back = ground.backlog(1).await[0];
    assert_eq!(ground.store.hand_back(vec![back], HOUR).await.unwrap(), 1);
    others.push(back);
    for id in others {
        let before = ground.row(id).await;
        assert!(!ground.store.run_now(id, ways(Way::Stream)).await.unwrap().unwrap().changed);
        assert_eq!(ground.row(id).await, before);
    }
    assert_eq!(ground.store.run_now(TaskId(uuid::Uuid::now_v7()), ways(Way::Stream)).await.unwrap(), None);
    assert_eq!(ground.contradictions().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_made_due_while_its_dispatcher_or_a_cancel_is_at_it_moves_once() {
    let mut ground = Ground::new().await;
    let mut later = noop();
    later.when = When::After(HOUR);
    let store = ground.store.clone();
    for id in ground.insert(later.clone(), false, 24).await {
        ground.set(id, "run_at = run_at - INTERVAL 2 HOUR, position = position - 7200000000").await;
        let (asked, promoted) = tokio::join!(store.run_now(id, ways(Way::Stream)), store.promote_due(super::queue()));
        let (asked, _) = (asked.unwrap().unwrap(), promoted.unwrap());
        assert_eq!(asked.task.status, Status::Queued);
        assert_eq!(ground.in_lane(id).await, 2);
    }
    for id in ground.insert(later, false, 24).await {
        let (asked, cancel) = tokio::join!(store.run_now(id, ways(Way::Stream)), store.cancel(id));
        let (asked, cancel) = (asked.unwrap().unwrap(), cancel.unwrap().unwrap());
        // Whichever came first: it is cancelled in the end.
        assert!(cancel.changed && ground.task(id).await.status == Status::Cancelled);
        assert_eq!(asked.changed, asked.task.status == Status::Queued, "{:?}", asked.task);
    }
    assert_eq!(ground.contradictions().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_everything_and_one_that_is_interrupted_leaves_nothing_without_its_task() {
    use mysql_async::prelude::Queryable;
    let mut ground = Ground::new().await;
    let ids = ground.failed(noop(), "why", 2).await;
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
                  UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    // 20,000 lines of the one, one of its neighbour.
    for statement in [
        format!(
            "INSERT INTO task_logs (task_id, attempt, seq, at, line) \
             SELECT {}, 1, a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d, NOW(6), 'said' \
             FROM {digits} a, {digits} b, {digits} c, {digits} d, (SELECT 0 d UNION SELECT 1) e",
            key(ids[0])
        ),
        format!(
            "INSERT INTO task_logs (task_id, attempt, seq, at, line) VALUES ({}, 1, 1, NOW(6), 'said')",
            key(ids[1])
        ),
    ] {
        ground.sql.query_drop(statement).await.unwrap();
    }
    assert_eq!(ground.store.delete_step(ids[0]).await.unwrap(), DeleteStep::More);
    // Whoever asked is gone. The task is not.
    assert_eq!(ground.task(ids[0]).await.status, Status::Failed);
    assert_eq!(ground.orphans().await, 0);
    assert_eq!(ground.number("SELECT COUNT(*) FROM task_logs").await, 10_001);
    let tools = ground.tools();
    use taskrunnerx::lifecycle::delete::{Deletion, delete};
    assert_eq!(delete(&tools, ids[0]).await.unwrap(), Deletion::Deleted);
    assert_eq!(delete(&tools, ids[0]).await.unwrap(), Deletion::Unknown);
    assert_eq!(ground.orphans().await, 0);
    for table in ["task_logs", "task_attempts", "task_failures", "tasks"] {
        assert_eq!(ground.number(&format!("SELECT COUNT(*) FROM {table}")).await, 1, "{table}: the neighbour's");
    }
    let live = [ground.backlog(1).await, ground.running(WorkerId::fresh(), 1).await].concat();
    for (id, status) in live.into_iter().zip([Status::Queued, Status::Running]) {
        let before = ground.row(id).await;
        assert_eq!(delete(&tools, id).await.unwrap(), Deletion::Lives(status));
        assert_eq!(ground.row(id).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retried_while_it_is_being_deleted_keeps_what_is_known_of_it() {
    use mysql_async::prelude::Queryable;
    let mut ground = Ground::new().await;
    let id = ground.failed(noop(), "why", 1).await[0];
    let mut other = ground.world.sql().await;
    other.query_drop("START TRANSACTION").await.unwrap();
    let again = "status = 'queued', lane = 2, reason = NULL, finished_at = DEFAULT";
    other.query_drop(format!("UPDATE tasks SET {again} WHERE id = {}", key(id))).await.unwrap();
    let store = ground.store.clone();
    let deleting = tokio::spawn(async move { store.delete_step(id).await.unwrap() });
    ground.until_blocked(1).await;
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(deleting.await.unwrap(), DeleteStep::Lives(Status::Queued));
    assert_eq!(ground.store.history(id).await.unwrap().len(), 1);
}

// --- many at once ---

fn ask(verb: Verb, filter: Filter) -> Ask {
    let statuses = match verb {
        Verb::Cancel => vec![Status::Scheduled, Status::Queued, Status::Running],
        Verb::Retry => vec![Status::Failed],
    };
    let statuses = if filter.statuses.is_empty() { statuses } else { filter.statuses.clone() };
    let selection = Selection { filter: Filter { statuses, ..filter }, fingerprints: Vec::new() };
    Ask { verb, selection, dry_run: false, limit: u64::MAX, after: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_of_many_does_what_one_does_in_every_lane_and_leaves_what_has_ended() {
    let mut ground = Ground::new().await;
    let tools = ground.tools();
    let mut later = noop();
    later.when = When::After(HOUR);
    let (mut outside, mut held) = (noop(), noop());
    (outside.way, held.way) = (Way::Outside, Way::Held);
    let waits = [
        ground.insert(later, false, 2).await,
        ground.backlog(2).await,
        ground.dispatched(2).await,
        ground.insert(outside, false, 2).await,
        ground.insert(held, false, 2).await,
    ]
    .concat();
    let runs = ground.running(WorkerId::fresh(), 2).await;
    let ended = ground.failed(noop(), "why", 2).await;
    let before = ground.row(ended[0]).await;
    let mut dry = ask(Verb::Cancel, Filter::default());
    dry.dry_run = true;
    assert_eq!(bulk(&tools, dry, LONG).await.unwrap(), Done { matched: 12, changed: 0, held: 0, next: None });
    assert_eq!(ground.task(waits[0]).await.status, Status::Scheduled);
    let all = ask(Verb::Cancel, Filter::default());
    assert_eq!(bulk(&tools, all.clone(), LONG).await.unwrap(), Done { matched: 12, changed: 12, held: 0, next: None });
    for id in waits {
        let task = ground.task(id).await;
        assert_eq!((task.status, task.reason), (Status::Cancelled, Some(Reason::Cancelled)));
        assert_eq!(ground.in_lane(id).await, 0);
        assert!(task.finished_at.is_some() && task.finished_at == task.cancel_requested_at);
    }
    for id in &runs {
        let task = ground.task(*id).await;
        assert!(task.status == Status::Running && task.cancel_requested_at.is_some());
    }
    assert_eq!(ground.row(ended[0]).await, before);
    let counted = tools.metrics.tasks_finished.with_label_values(&["default", "noop", "cancelled"]).get();
    assert_eq!(counted, 10, "what runs is counted when it ends");
    // What is marked already is meant, and not marked again.
    assert_eq!(bulk(&tools, all, LONG).await.unwrap(), Done { matched: 2, changed: 0, held: 0, next: None });
}

/// Tasks of every kind: three queues, two tags, two states for each verb.
async fn variety(ground: &Ground) -> Vec<TaskId> {
    ground.store.ensure_queues(vec!["a".into(), "b".into()]).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..24 {
        let task = NewTask {
            queue: ["default", "a", "b"][n % 3].into(),
            name: ["noop", "echo"][n % 2].into(),
            tags: [vec![], vec!["x_1".into()], vec!["x_1".into(), "y".into()], vec!["xx1".into()]][n % 4].clone(),
            ..noop()
        };
        ids.extend(match n / 6 {
            0 => ground.insert(task, false, 1).await,
            1 => ground.failed(task, "why", 1).await,
            2 => {
                let ids = ground.insert(task, false, 1).await;
                ground.store.cancel(ids[0]).await.unwrap();
                ids
            }
            _ => ground.insert(task, true, 1).await,
        });
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_means_what_it_means_in_a_listing() {
    let ground = Ground::new().await;
    let ids = variety(&ground).await;
    let tools = ground.tools();
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let middle: Timestamp = ground.task(ids[12]).await.created_at;
    let filters = [
        Filter { queues: texts(&["a"]), ..Filter::default() },
        Filter { queues: texts(&["a", "b", "none"]), names: texts(&["echo"]), ..Filter::default() },
        Filter { names: texts(&["noop"]), ..Filter::default() },
        Filter { tags: texts(&["x_1"]), ..Filter::default() },
        Filter { tags: texts(&["xx1", "y"]), ..Filter::default() },
        Filter { ids: vec![ids[1], ids[7], ids[13], ids[1]], ..Filter::default() },
        Filter { created_after: Some(middle), ..Filter::default() },
        Filter { created_before: Some(middle), ..Filter::default() },
        Filter { statuses: vec![Status::Queued], ..Filter::default() },
        Filter { statuses: vec![Status::Cancelled], ..Filter::default() },
        Filter { statuses: vec![Status::Cancelled, Status::Failed], tags: texts(&["x_1"]), ..Filter::default() },
        Filter::default(),
    ];
    let mut some = 0;
    for filter in filters {
        for verb in [Verb::Cancel, Verb::Retry] {
            let mut asked = ask(verb, filter.clone());
            let live = |status: &Status| !status.is_terminal();
            if asked.selection.filter.statuses.iter().any(|status| live(status) != (verb == Verb::Cancel)) {
                continue; // refused at the door
            }
            let page = ground.store.list(asked.selection.filter.clone(), None, 500).await.unwrap();
            asked.dry_run = true;
            let done = bulk(&tools, asked, LONG).await.unwrap();
            assert_eq!(done.matched, u64::try_from(page.tasks.len()).unwrap(), "{verb:?} {filter:?}");
            some += done.matched;
        }
    }
    assert!(some > 50, "{some}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_one_request_goes_on_where_it_ended_and_each_is_changed_once() {
    let ground = Ground::new().await;
    let tools = ground.tools();
    let failed = ground.failed(noop(), "why", 700).await;
    let mut first = ask(Verb::Retry, Filter::default());
    first.limit = 3;
    let done = bulk(&tools, first.clone(), LONG).await.unwrap();
    assert_eq!(done, Done { matched: 3, changed: 3, held: 0, next: Some(failed[2]) }, "the oldest");
    // No time at all: a batch is done all the same.
    let (mut changed, mut requests, mut next) = (3, 1, done.next);
    while let Some(after) = next {
        let asked = Ask { after: Some(after), limit: u64::MAX, ..first.clone() };
        let done = bulk(&tools, asked, Duration::ZERO).await.unwrap();
        (changed, requests, next) = (changed + done.changed, requests + 1, done.next);
        assert_eq!(done.matched, done.changed);
    }
    assert_eq!((changed, requests), (700, 4));
    for id in failed.iter().step_by(50) {
        assert_eq!(ground.task(*id).await.status, Status::Queued);
    }
    // The same for what waits, over two queues.
    ground.store.ensure_queues(vec!["a".into()]).await.unwrap();
    let mut other = noop();
    other.queue = "a".into();
    ground.insert(other, false, 10).await;
    let mut asked = ask(Verb::Cancel, Filter::default());
    let (mut changed, mut requests) = (0, 0);
    loop {
        let done = bulk(&tools, asked.clone(), Duration::ZERO).await.unwrap();
        (changed, requests) = (changed + done.changed, requests + 1);
        if done.next.is_none() {
            break;
        }
        asked.after = done.next;
    }
    assert_eq!((changed, requests), (710, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_claims_and_a_cancel_of_many_at_once_no_task_is_forgotten() {
    let ground = Ground::new().await;
    let tools = ground.tools();
    let ids = ground.dispatched(256).await;
    let me = WorkerId::fresh();
    let claims = async {
        let mut lost = 0;
        for chunk in ids.chunks(16) {
            lost += ground.store.claim(me, first_attempt(chunk)).await.unwrap().len();
        }
        lost
    };
    let (done, lost) = tokio::join!(bulk(&tools, ask(Verb::Cancel, Filter::default()), LONG), claims);
    assert_eq!(done.unwrap(), Done { matched: 256, changed: 256, held: 0, next: None });
    let (mut marked, mut cancelled) = (0, 0);
    for id in &ids {
        let task = ground.task(*id).await;
        assert!(task.cancel_requested_at.is_some());
        match task.status {
            Status::Running => marked += 1,
            Status::Cancelled => cancelled += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((marked + cancelled, cancelled), (256, lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_no_longer_when_its_turn_comes_is_left_alone() {
    use mysql_async::prelude::Queryable;
    let mut ground = Ground::new().await;
    let tools = ground.tools();
    let ids = ground.backlog(2).await;
    let mut other = ground.world.sql().await;
    other.query_drop("START TRANSACTION").await.unwrap();
    // As a claim does, and a worker that reports at once.
    let done = "status = 'completed', lane = 0, attempt = 1, finished_at = NOW(6)";
    other.query_drop(format!("UPDATE tasks SET {done} WHERE id = {}", key(ids[0]))).await.unwrap();
    let only = Filter { statuses: vec![Status::Queued], ..Filter::default() };
    let asking = tokio::spawn(async move { bulk(&tools, ask(Verb::Cancel, only), LONG).await.unwrap() });
    ground.until_blocked(1).await;
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(asking.await.unwrap(), Done { matched: 2, changed: 1, held: 0, next: None });
    assert_eq!(ground.task(ids[0]).await.status, Status::Completed);
    assert_eq!(ground.task(ids[1]).await.status, Status::Cancelled);
}

/// The next call of this operation is done, and its connection breaks before the answer.
#[derive(Debug)]
struct Unanswered(std::sync::Mutex<Option<&'static str>>);

impl Seam for Unanswered {
    fn fault(&self, op: &'static str) -> Option<Fault> {
        let mut waits = self.0.lock().unwrap();
        waits.take_if(|waiting| *waiting == op).map(|_| Fault::After(Loss::Lost))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_try_has_done_whose_answer_was_lost_is_answered_as_done() {
    let ground = Ground::new().await;
    let mut later = noop();
    later.when = When::After(HOUR);
    let (failed, scheduled) = (ground.failed(noop(), "why", 2).await, ground.insert(later, false, 1).await[0]);
    let struck = |op| ground.store.clone().with_seam(Arc::new(Unanswered(std::sync::Mutex::new(Some(op)))));
    let store = struck("retry");
    let asked = store.retry(failed[0], ways(Way::Stream)).await.unwrap().unwrap();
    assert!(asked.changed && asked.task.status == Status::Queued);
    assert!(!store.retry(failed[0], ways(Way::Stream)).await.unwrap().unwrap().changed, "that was another request");
    let asked = struck("run").run_now(scheduled, ways(Way::Stream)).await.unwrap().unwrap();
    assert!(asked.changed && asked.task.status == Status::Queued);
    // What was refused stays so.
    assert!(!struck("run").run_now(scheduled, ways(Way::Stream)).await.unwrap().unwrap().changed);
    assert!(!struck("retry").retry(scheduled, ways(Way::Stream)).await.unwrap().unwrap().changed);
    assert_eq!(struck("delete").delete_step(failed[1]).await.unwrap(), DeleteStep::Deleted);
    assert_eq!(ground.store.delete_step(failed[1]).await.unwrap(), DeleteStep::Gone);
}
