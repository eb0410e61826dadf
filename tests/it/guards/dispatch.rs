//! Dispatch: who takes what from the backlog, in which order, and what comes back.

use super::proxy::Proxy;
use super::{Ground, first_attempt, no_stream, noop, queue};
use chrono::Datelike;
use mysql_async::prelude::Queryable;
use std::collections::HashSet;
use std::time::Duration;
use taskrunnerx::lifecycle::dispatch;
use taskrunnerx::store::tasks::Dispatched;
use taskrunnerx::stream::{Gates, Opening, Outbox, StreamState};
use taskrunnerx::task::{Status, TaskId, When, WorkerId};
use tokio_util::sync::CancellationToken;

fn ids(taken: Vec<Dispatched>) -> Vec<TaskId> {
    taken.into_iter().map(|task| task.id).collect()
}

impl Ground {
    async fn take(&self, limit: usize) -> Vec<TaskId> {
        ids(self.store.take_backlog(queue(), limit).await.unwrap())
    }

    async fn lane(&mut self, id: TaskId) -> u64 {
        self.number(&format!("SELECT lane FROM tasks WHERE id = {}", super::key(id))).await
    }

    /// A connection that has locked a row. What it does to the row is seen by those who wait for it.
    async fn holding(&self, id: TaskId) -> mysql_async::Conn {
        let mut operator = self.world.sql().await;
        operator.query_drop("START TRANSACTION").await.unwrap();
        let query = format!("SELECT id FROM tasks WHERE id = {} FOR UPDATE", super::key(id));
        operator.query_drop(query).await.unwrap();
        operator
    }
}

async fn change_and_let_go(mut operator: mysql_async::Conn, id: TaskId, assignments: &str) {
    operator.query_drop(format!("UPDATE tasks SET {assignments} WHERE id = {}", super::key(id))).await.unwrap();
    operator.query_drop("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_dispatchers_that_see_the_same_backlog_each_row_goes_to_one() {
    let mut ground = Ground::new().await;
    let all = ground.backlog(6).await;
    // Both have read the backlog before either may write.
    let operator = ground.holding(all[0]).await;
    let (one, two) = (ground.store.clone(), ground.store.clone());
    let one = tokio::spawn(async move { ids(one.take_backlog(queue(), 5).await.unwrap()) });
    let two = tokio::spawn(async move { ids(two.take_backlog(queue(), 5).await.unwrap()) });
    ground.until_blocked(2).await;
    drop(operator);
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let both: HashSet<TaskId> = one.iter().chain(&two).copied().collect();
    assert_eq!((both.len(), one.len() + two.len()), (5, 5), "{one:?} {two:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_dispatchers_empty_a_backlog_together() {
    let ground = Ground::new().await;
    let all = ground.backlog(300).await;
    let mut dispatchers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = ground.store.clone();
        dispatchers.spawn(async move {
            let mut mine = Vec::new();
            while store.outlook(queue()).await.unwrap().backlog {
                mine.extend(ids(store.take_backlog(queue(), 7).await.unwrap()));
            }
            mine
        });
    }
    let taken: Vec<TaskId> = dispatchers.join_all().await.into_iter().flatten().collect();
    let once: HashSet<TaskId> = taken.iter().copied().collect();
    assert_eq!(once.len(), taken.len(), "none twice");
    // Two that read the clock in the same microsecond leave theirs to the sweep.
    let metrics = ground.world.metrics.clone();
    let later = ground.store.now().await.unwrap() + chrono::TimeDelta::minutes(1);
    let left = all.iter().filter(|id| !once.contains(id)).count();
    assert!(left < 50, "{left}");
    let swept = dispatch::sweep(&ground.store, &queue(), &StreamState::default(), later, &metrics).await.unwrap();
    assert_eq!(swept, all.len(), "each is in flight");
}

/// The instant in a request: its length, year, month, day, time and microseconds.
fn instant(request: &[u8]) -> String {
    let [low, high] = u16::try_from(chrono::Utc::now().year()).unwrap().to_le_bytes();
    let at = request.windows(12).rfind(|window| window.starts_with(&[11, low, high])).unwrap();
    let micros = u32::from_le_bytes([at[8], at[9], at[10], at[11]]);
    let year = u16::from_le_bytes([low, high]);
    format!("{year}-{}-{} {}:{}:{}.{micros:06}", at[3], at[4], at[5], at[6], at[7])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_that_read_the_clock_in_the_same_microsecond_take_nothing_of_each_others() {
    let mut ground = Ground::new().await;
    let all = ground.backlog(2).await;
    let proxy = Proxy::new(&ground.world).await;
    // The values of its UPDATE: the instant, then the ids.
    proxy.hold(all[0].0.as_bytes());
    let store = proxy.store.clone();
    let taking = tokio::spawn(async move { ids(store.take_backlog(queue(), 2).await.unwrap()) });
    let at = instant(&proxy.held().await);
    ground.set(all[0], &format!("lane = 3, dispatched_at = '{at}'")).await;
    proxy.go_on();
    let taken = taking.await.unwrap();
    let same = ground.number(&format!("SELECT COUNT(*) FROM tasks WHERE dispatched_at = '{at}'")).await;
    assert_eq!((taken.contains(&all[0]), same), (false, 2), "{taken:?} at {at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_backlog_while_it_was_being_taken_is_not_dispatched() {
    let mut ground = Ground::new().await;
    let by = "lane = 1, position = 1";
    let meanwhile = ["status = 'cancelled', lane = 0", "status = 'running', attempt = 1, lane = 3", by];
    for change in meanwhile {
        let all = ground.backlog(2).await;
        let operator = ground.holding(all[0]).await;
        let store = ground.store.clone();
        let taking = tokio::spawn(async move { ids(store.take_backlog(queue(), 2).await.unwrap()) });
        ground.until_blocked(1).await;
        change_and_let_go(operator, all[0], change).await;
        assert_eq!(taking.await.unwrap(), [all[1]], "{change}");
        assert!(ground.task(all[0]).await.dispatched_at.is_none(), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_goes_by_priority_then_age() {
    let ground = Ground::new().await;
    let mut made = Vec::new();
    for priority in [0, 5, 9, 5, 0] {
        let task = taskrunnerx::task::NewTask { priority, ..noop() };
        made.push(ground.insert(task, false, 1).await[0]);
    }
    let order = [2, 1, 3, 0, 4].map(|i: usize| made[i]);
    assert_eq!(ground.take(2).await, order[..2]);
    assert_eq!(ground.take(10).await, order[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_enters_the_backlog_by_priority_then_age_and_nothing_else_does() {
    let mut ground = Ground::new().await;
    let mut made = Vec::new();
    // Due at these seconds from now: the last is not due.
    for (priority, due) in [(0, -30), (7, -10), (7, -20), (0, -40), (9, 3600)] {
        let task = taskrunnerx::task::NewTask { priority, when: When::After(Duration::from_secs(7200)), ..noop() };
        let id = ground.insert(task, false, 1).await[0];
        let run_at = format!("NOW(6) + INTERVAL {due} SECOND");
        let position = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', run_at)";
        ground.sql.query_drop("SET time_zone = '+00:00'").await.unwrap();
        ground.set(id, &format!("run_at = {run_at}")).await;
        ground.set(id, &format!("position = {position}")).await;
        made.push(id);
    }
    let before = ground.row(made[4]).await;
    assert_eq!(ground.store.promote_due("another".into()).await.unwrap(), 0);
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), 4);
    assert_eq!(ground.row(made[4]).await, before, "not due");
    assert_eq!(ground.take(10).await, [2, 1, 3, 0].map(|i: usize| made[i]));
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), 0, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_takes_back_only_queued_rows_dispatched_before_the_cutoff() {
    let mut ground = Ground::new().await;
    let all = ground.dispatched(4).await;
    let [stale, fresh, running, elsewhere] = [0, 1, 2, 3].map(|i: usize| all[i]);
    let old = "dispatched_at = NOW(6) - INTERVAL 60 SECOND";
    for id in [stale, running, elsewhere] {
        ground.set(id, old).await;
    }
    ground.set(running, "status = 'running', attempt = 1").await;
    ground.set(elsewhere, "queue = 'elsewhere'").await;
    let cutoff = ground.store.now().await.unwrap() - chrono::TimeDelta::seconds(30);
    assert_eq!(ground.store.undispatch_stale(queue(), cutoff, 100).await.unwrap(), 1);
    assert_eq!(ground.take(10).await, [stale]);
    for id in [fresh, running, elsewhere] {
        assert!(ground.lane(id).await == 3 && ground.task(id).await.dispatched_at.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_on_while_it_was_being_swept_stays_where_it_is() {
    let mut ground = Ground::new().await;
    for change in ["dispatched_at = NOW(6)", "status = 'running', attempt = 1", "status = 'completed', lane = 0"] {
        let id = ground.dispatched(1).await[0];
        ground.set(id, "dispatched_at = NOW(6) - INTERVAL 60 SECOND").await;
        let operator = ground.holding(id).await;
        let (store, cutoff) =
            (ground.store.clone(), ground.store.now().await.unwrap() - chrono::TimeDelta::seconds(30));
        let sweeping = tokio::spawn(async move { store.undispatch_stale(queue(), cutoff, 100).await.unwrap() });
        ground.until_blocked(1).await;
        change_and_let_go(operator, id, change).await;
        assert_eq!(sweeping.await.unwrap(), 0, "{change}");
        assert!(ground.task(id).await.dispatched_at.is_some(), "{change}");
        ground.set(id, "status = 'completed', lane = 0").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_taken_at_this_instant_is_put_back() {
    let mut ground = Ground::new().await;
    let all = ground.backlog(4).await;
    let taken = ground.store.take_backlog(queue(), 3).await.unwrap();
    let instant = taken[0].dispatched_at;
    assert!(taken.iter().all(|task| task.dispatched_at == instant));
    // One is claimed, one was swept and dispatched again.
    ground.store.claim(WorkerId::fresh(), first_attempt(&all[..1])).await.unwrap();
    ground.set(all[1], "dispatched_at = dispatched_at + INTERVAL 1 MICROSECOND").await;
    ground.store.put_back(all.clone(), instant).await.unwrap();
    assert_eq!(ground.task(all[0]).await.status, Status::Running);
    assert_eq!((ground.lane(all[0]).await, ground.lane(all[1]).await), (3, 3));
    assert_eq!(ground.take(10).await, all[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_back_spends_no_attempt_and_waits_its_delay() {
    let mut ground = Ground::new().await;
    let all = ground.dispatched(3).await;
    ground.store.claim(WorkerId::fresh(), first_attempt(&all[..1])).await.unwrap();
    ground.set(all[1], "status = 'completed', lane = 0").await;
    let before = (ground.row(all[0]).await, ground.row(all[1]).await);
    let delay = Duration::from_secs(60);
    let asked = ground.store.now().await.unwrap();
    assert_eq!(ground.store.hand_back(all.clone(), delay).await.unwrap(), 1);
    assert_eq!((ground.row(all[0]).await, ground.row(all[1]).await), before, "running, finished");
    let outlook = ground.store.outlook(queue()).await.unwrap();
    assert!(outlook.next_due.unwrap() >= asked + delay && !outlook.backlog);
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), 0, "not before its time");
    let task = ground.task(all[2]).await;
    assert_eq!((task.status, task.attempt, task.dispatched_at), (Status::Queued, 0, None));
    assert_eq!(ground.store.hand_back(all, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), 1);
    assert_eq!(ground.take(10).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_redis_does_not_take_are_in_the_backlog_again() {
    let ground = Ground::new().await;
    let all = ground.backlog(3).await;
    let failed = dispatch::fill(&ground.store, &no_stream(&ground.world), &queue(), 10).await;
    assert!(matches!(failed, Err(dispatch::DispatchError::Stream(_))), "{failed:?}");
    assert_eq!(dispatch::fill(&ground.store, &ground.stream(), &queue(), 10).await.unwrap(), 3);
    let mut reader = ground.stream().reader(WorkerId::fresh());
    ground.stream().ensure_group("default").await.unwrap();
    let read = reader.read(&[queue()], 10, None).await.unwrap();
    assert_eq!(read.into_iter().map(|d| d.entry.unwrap().id).collect::<Vec<_>>(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_entry_that_redis_does_not_take_closes_the_gates() {
    let ground = Ground::new().await;
    let (gates, stop) = (Gates::default(), CancellationToken::new());
    let stream = ground.stream();
    stream.publish_gate("default", Opening { serial: 1, budget: 1_000_000 }).await.unwrap();
    assert!(!gates.pass(&queue()), "not known yet");
    let watch = tokio::spawn({
        let (stream, gates, stop) = (stream.clone(), gates.clone(), stop.clone());
        async move { stream.watch_gates(gates, stop).await }
    });
    crate::harness::eventually("open", async || gates.pass(&queue()).then_some(())).await;
    stop.cancel();
    watch.await.unwrap();
    assert!(gates.pass(&queue()));
    let task = ground.task(ground.dispatched(1).await[0]).await;
    let (outbox, _service) = Outbox::start(no_stream(&ground.world), gates.clone());
    outbox.append(super::entry(&task));
    outbox.flush().await;
    // The round's answers come before its failure is acted upon.
    crate::harness::eventually("closed", async || (!gates.pass(&queue())).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_spares_what_is_unread_and_what_was_dispatched_within_the_grace() {
    let mut ground = Ground::new().await;
    let all = ground.dispatched(3).await;
    let [unread, younger, lost] = [0, 1, 2].map(|i: usize| all[i]);
    for (id, age) in [(unread, 60), (younger, 59), (lost, 66)] {
        ground.set(id, &format!("dispatched_at = NOW(6) - INTERVAL {age} SECOND")).await;
    }
    let stream = ground.stream();
    stream.append(vec![super::entry(&ground.task(unread).await)]).await.unwrap();
    let state = stream.state(&queue()).await.unwrap();
    let now = ground.store.now().await.unwrap();
    let metrics = ground.world.metrics.clone();
    // Older than the oldest unread entry and the grace: no longer in the stream.
    assert_eq!(dispatch::sweep(&ground.store, &queue(), &state, now, &metrics).await.unwrap(), 1);
    assert_eq!(ground.take(10).await, [lost]);
    // Nothing unread: whatever is older than the grace.
    ground.set(younger, "dispatched_at = NOW(6)").await;
    ground.set(lost, "status = 'completed', lane = 0").await;
    stream.reader(WorkerId::fresh()).read(&[queue()], 10, None).await.unwrap();
    let state = stream.state(&queue()).await.unwrap();
    let now = ground.store.now().await.unwrap();
    assert_eq!(dispatch::sweep(&ground.store, &queue(), &state, now, &metrics).await.unwrap(), 1);
    assert_eq!(ground.take(10).await, [unread]);
}
