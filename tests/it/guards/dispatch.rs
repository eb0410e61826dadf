//! Dispatch: what is offered from the backlog, in which order, what is not offered twice, and what
//! comes back.

use super::proxy::Proxy;
use super::{Ground, first_attempt, no_stream, noop, queue};
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::time::Duration;
use taskrunnerx::lifecycle::Tools;
use taskrunnerx::lifecycle::dispatch::{self, Filled, Sent};
use taskrunnerx::store::tasks::{Finish, Record};
use taskrunnerx::stream::{Gates, Opening, Outbox, Reader, StreamState};
use taskrunnerx::task::{NewTask, Status, TaskId, When, WorkerId, position};
use tokio_util::sync::CancellationToken;

/// A dispatcher with its memory, and somebody who reads what it adds.
struct Desk {
    tools: Tools,
    sent: Sent,
    reader: Reader,
}

impl Ground {
    async fn desk(&self) -> Desk {
        let tools = self.tools();
        tools.stream.ensure_group("default").await.unwrap();
        let reader = tools.stream.reader(WorkerId::fresh());
        Desk { tools, sent: Sent::default(), reader }
    }

    /// The backlog, in order.
    async fn standing(&self) -> Vec<TaskId> {
        let head = self.store.backlog_head(queue(), std::array::from_fn(position::band), 1000).await.unwrap();
        head.into_iter().map(|(id, _)| id).collect()
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

impl Desk {
    async fn fill(&mut self, room: usize, later: chrono::TimeDelta) -> Filled {
        let now = self.tools.store.now().await.unwrap() + later;
        let state = self.tools.stream.state(&queue()).await.unwrap();
        dispatch::fill(&self.tools, &queue(), &mut self.sent, &state, room, now).await.unwrap()
    }

    /// What nobody has read, in order.
    async fn read(&mut self) -> Vec<TaskId> {
        let read = self.reader.read(&[queue()], 1000, None).await.unwrap();
        read.into_iter().map(|delivered| delivered.entry.unwrap().id).collect()
    }

    /// Adds entries for up to `room` tasks; gives those whose entries came.
    async fn offer(&mut self, room: usize) -> Vec<TaskId> {
        let filled = self.fill(room, chrono::TimeDelta::zero()).await;
        let read = self.read().await;
        assert_eq!(filled.added, read.len());
        read
    }
}

async fn change_and_let_go(mut operator: mysql_async::Conn, id: TaskId, assignments: &str) {
    operator.query_drop(format!("UPDATE tasks SET {assignments} WHERE id = {}", super::key(id))).await.unwrap();
    operator.query_drop("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_stream_stays_in_the_backlog_and_is_not_offered_again() {
    let mut ground = Ground::new().await;
    let all = ground.backlog(5).await;
    let mut before = Vec::new();
    for id in &all {
        before.push(ground.row(*id).await);
    }
    let mut desk = ground.desk().await;
    let filled = |added, more| Filled { added, more };
    let zero = chrono::TimeDelta::zero();
    assert_eq!(desk.fill(2, zero).await, filled(2, true), "room for two");
    assert_eq!(desk.fill(3, zero).await, filled(3, false), "for the rest");
    for _ in 0..3 {
        assert_eq!(desk.fill(100, chrono::TimeDelta::seconds(2)).await, filled(0, false));
    }
    assert_eq!(desk.read().await, all, "each once, in order");
    assert_eq!(desk.sent.len(), 5);
    for (id, row) in all.iter().zip(before) {
        assert_eq!(ground.row(*id).await, row, "entering the stream changes no row");
    }
    // What is claimed leaves the backlog, and the memory.
    ground.store.claim(WorkerId::fresh(), first_attempt(&all[..2])).await.unwrap();
    assert_eq!((ground.lane(all[0]).await, ground.lane(all[2]).await), (3, 2));
    assert_eq!(desk.fill(100, zero).await, filled(0, false));
    assert_eq!(desk.sent.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_has_lost_does_not_hide_what_stands_behind_it() {
    let ground = Ground::new().await;
    let lost = ground.backlog(5).await;
    let mut desk = ground.desk().await;
    assert_eq!(desk.offer(10).await, lost);
    // Read, and claimed by nobody: the stream holds none of them, and the sweep has not been here yet.
    let read: Vec<String> = {
        let mut redis = ground.world.redis().await;
        let pending: Vec<(String, String, u64, u64)> = redis::cmd("XPENDING")
            .arg(format!("{}:{{default}}", ground.world.prefix))
            .arg("workers")
            .arg(("-", "+", 10))
            .query_async(&mut redis)
            .await
            .unwrap();
        pending.into_iter().map(|(id, ..)| id).collect()
    };
    desk.tools.stream.acknowledge("default", read).await.unwrap();
    let behind = ground.backlog(3).await;
    for one in behind {
        assert_eq!(desk.fill(1, chrono::TimeDelta::seconds(1)).await.added, 1);
        assert_eq!(desk.read().await, [one]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_dispatcher_and_four_at_once_cost_duplicates_and_each_task_starts_once() {
    let ground = Ground::new().await;
    let all = ground.backlog(200).await;
    let mut dispatchers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut desk = ground.desk().await;
        dispatchers.spawn(async move { while desk.fill(7, chrono::TimeDelta::zero()).await.more {} });
    }
    dispatchers.join_all().await;
    // One more begins, and knows of nothing.
    let mut desk = ground.desk().await;
    while desk.fill(1000, chrono::TimeDelta::zero()).await.more {}
    let mut offered: HashMap<TaskId, u32> = HashMap::new();
    let mut read = desk.read().await;
    while !read.is_empty() {
        read.into_iter().for_each(|id| *offered.entry(id).or_default() += 1);
        read = desk.read().await;
    }
    assert!(all.iter().all(|id| (1..=5).contains(&offered[id])), "{offered:?}");
    let worker = WorkerId::fresh();
    let mut won = 0;
    for chunk in all.chunks(50) {
        won += 50 - ground.store.claim(worker, first_attempt(chunk)).await.unwrap().len();
        assert_eq!(ground.store.claim(WorkerId::fresh(), first_attempt(chunk)).await.unwrap().len(), 50);
    }
    assert_eq!(won, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_backlog_while_it_is_being_read_gets_no_entry() {
    let ends = "status = 'cancelled', lane = 0";
    for change in [ends, "status = 'running', attempt = 1, lane = 3", "lane = 1, position = 1"] {
        let mut ground = Ground::new().await;
        let all = ground.backlog(3).await;
        let mut desk = ground.desk().await;
        let proxy = Proxy::new(&ground.world).await;
        // The second question, which names them.
        proxy.hold(all[0].0.as_bytes());
        desk.tools.store = proxy.store.clone();
        let filling = tokio::spawn(async move {
            let offered = desk.offer(10).await;
            (desk, offered)
        });
        proxy.held().await;
        ground.set(all[0], change).await;
        proxy.go_on();
        let (mut desk, offered) = filling.await.unwrap();
        assert_eq!(offered, all[1..], "{change}");
        // It was not remembered: when it is there again, even where it stood, it is offered.
        let place = format!(
            "status = 'queued', lane = 2, position = {}",
            position::queued(0, ground.task(all[0]).await.run_at)
        );
        ground.set(all[0], &place).await;
        assert_eq!(desk.offer(10).await, all[..1], "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_goes_by_priority_then_age() {
    let ground = Ground::new().await;
    let mut made = Vec::new();
    for priority in [0, 5, 9, 5, 0] {
        let task = NewTask { priority, ..noop() };
        made.push(ground.insert(task, false, 1).await[0]);
    }
    let order = [2, 1, 3, 0, 4].map(|i: usize| made[i]);
    let mut desk = ground.desk().await;
    assert_eq!(desk.offer(2).await, order[..2]);
    // One that is more urgent than what is left, and than what is in the stream.
    let urgent = ground.insert(NewTask { priority: 8, ..noop() }, false, 1).await[0];
    assert_eq!(desk.offer(1).await, [urgent]);
    assert_eq!(desk.offer(10).await, order[2..]);
}

/// Commits a task whose position says `age`; what reads meanwhile does not see it.
async fn commits_late(ground: &mut Ground, desk: &mut Desk, age: u32) -> TaskId {
    let id = ground.backlog(1).await[0];
    let mut operator = ground.world.sql().await;
    let key = super::key(id);
    // As if it had not been there: it is deleted, and comes in the transaction.
    let copy = "CREATE TEMPORARY TABLE late ENGINE = InnoDB SELECT * FROM tasks WHERE id =";
    operator.query_drop(format!("{copy} {key}")).await.unwrap();
    operator.query_drop(format!("UPDATE late SET position = position - {age} * 1000000")).await.unwrap();
    operator.query_drop(format!("DELETE FROM tasks WHERE id = {key}")).await.unwrap();
    operator.query_drop("START TRANSACTION").await.unwrap();
    operator.query_drop("INSERT INTO tasks SELECT * FROM late").await.unwrap();
    // Younger ones have been seen, and are in the stream.
    let young = ground.backlog(1).await;
    assert_eq!(desk.offer(10).await, young);
    operator.query_drop("COMMIT").await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_row_that_commits_late_is_found() {
    // A little late, as a slow commit is: at once. Later than that: by the next look at everything.
    for (age, seconds) in [(1, 0), (3600, 1)] {
        let mut ground = Ground::new().await;
        let mut desk = ground.desk().await;
        ground.backlog(2).await;
        assert_eq!(desk.offer(10).await.len(), 2);
        let late = commits_late(&mut ground, &mut desk, age).await;
        let filled = desk.fill(10, chrono::TimeDelta::seconds(seconds)).await;
        assert_eq!((filled.added, desk.read().await), (1, vec![late]), "{age} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_is_offered_again() {
    let finish = |id, attempt, worker, record| Finish { id, attempt, worker, record, history: None, crashed: false };
    let retry = Record::Retry { delay: Duration::ZERO, error: None };
    let lost = Record::Requeue { forgiven: false, error: None };
    let interrupted = Record::Requeue { forgiven: true, error: None };
    for record in [retry, lost, interrupted] {
        // Whether the dispatcher has looked in between, or must tell by where it stands.
        for looks in [true, false] {
            let mut ground = Ground::new().await;
            let id = ground.backlog(1).await[0];
            let mut desk = ground.desk().await;
            assert_eq!(desk.offer(10).await, [id]);
            for attempt in 1..4 {
                let worker = WorkerId::fresh();
                let claim = taskrunnerx::store::tasks::Claim { id, attempt: attempt - 1 };
                assert!(ground.store.claim(worker, vec![claim]).await.unwrap().is_empty());
                if looks {
                    assert_eq!(desk.offer(10).await, []);
                }
                let applied = ground.store.finish(vec![finish(id, attempt, worker, record.clone())]).await;
                assert!(applied[0].is_ok());
                // A retry is in the future until somebody moves it.
                if matches!(record, Record::Retry { .. }) {
                    assert_eq!(desk.offer(10).await, []);
                    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), [id]);
                }
                let at = format!("{record:?}, attempt {attempt}, looks {looks}");
                assert_eq!(ground.lane(id).await, 2, "{at}");
                // Its age among others stays, and that may be further back than a short look goes.
                assert_eq!(desk.fill(10, chrono::TimeDelta::seconds(i64::from(attempt))).await.added, 1, "{at}");
                assert_eq!(desk.read().await, [id], "{at}");
                assert_eq!(desk.offer(10).await, [], "{at}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_back_or_undispatched_is_offered_again() {
    let ground = Ground::new().await;
    let all = ground.backlog(2).await;
    let mut desk = ground.desk().await;
    assert_eq!(desk.offer(10).await, all);
    // By the worker that read it.
    assert_eq!(ground.store.hand_back(all[..1].to_vec(), Duration::ZERO).await.unwrap(), 1);
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), all[..1]);
    assert_eq!(desk.offer(10).await, all[..1]);
    // By the sweep, from behind the gate.
    let direct = ground.dispatched(1).await[0];
    assert_eq!(desk.offer(10).await, []);
    let later = ground.store.now().await.unwrap() + chrono::TimeDelta::minutes(1);
    assert_eq!(ground.store.undispatch_stale(queue(), later, 10).await.unwrap(), 1);
    assert_eq!(desk.offer(10).await, [direct]);
    assert_eq!(desk.offer(10).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_gone_is_known_as_new_once() {
    let ground = Ground::new().await;
    let all = ground.backlog(2).await;
    let mut desk = ground.desk().await;
    assert!(!desk.tools.stream.state(&queue()).await.unwrap().anew);
    assert_eq!(desk.offer(10).await, all);
    let mut redis = ground.world.redis().await;
    let key = format!("{}:{{default}}", ground.world.prefix);
    let groupless = redis::cmd("XGROUP").arg("DESTROY").arg(&key).arg("workers").to_owned();
    for lose in [redis::cmd("DEL").arg(&key).to_owned(), groupless] {
        let _: u64 = lose.query_async(&mut redis).await.unwrap();
        assert!(desk.tools.stream.state(&queue()).await.unwrap().anew);
        assert!(!desk.tools.stream.state(&queue()).await.unwrap().anew);
        // As the dispatcher then does.
        desk.sent.forget_all();
        assert_eq!(desk.fill(10, chrono::TimeDelta::zero()).await.added, 2);
        // What a stream without its group still held comes as well.
        assert!(desk.read().await.ends_with(&all));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_enters_the_backlog_by_priority_then_age_and_nothing_else_does() {
    let mut ground = Ground::new().await;
    let mut made = Vec::new();
    // Due at these seconds from now: the last is not due.
    for (priority, due) in [(0, -30), (7, -10), (7, -20), (0, -40), (9, 3600)] {
        let task = NewTask { priority, when: When::After(Duration::from_secs(7200)), ..noop() };
        let id = ground.insert(task, false, 1).await[0];
        let run_at = format!("NOW(6) + INTERVAL {due} SECOND");
        let position = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', run_at)";
        ground.sql.query_drop("SET time_zone = '+00:00'").await.unwrap();
        ground.set(id, &format!("run_at = {run_at}")).await;
        ground.set(id, &format!("position = {position}")).await;
        made.push(id);
    }
    let before = ground.row(made[4]).await;
    assert_eq!(ground.store.promote_due("another".into()).await.unwrap(), []);
    // In the order in which they were due.
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), [3, 0, 2, 1].map(|i: usize| made[i]));
    assert_eq!(ground.row(made[4]).await, before, "not due");
    assert_eq!(ground.standing().await, [2, 1, 3, 0].map(|i: usize| made[i]));
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), [], "once");
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
    assert_eq!(ground.standing().await, [stale]);
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
async fn what_is_handed_back_spends_no_attempt_and_waits_its_delay() {
    let mut ground = Ground::new().await;
    // What is in the stream, through the gate and by the dispatcher.
    let all = [ground.dispatched(3).await, ground.backlog(1).await].concat();
    ground.store.claim(WorkerId::fresh(), first_attempt(&all[..1])).await.unwrap();
    ground.set(all[1], "status = 'completed', lane = 0").await;
    let before = (ground.row(all[0]).await, ground.row(all[1]).await);
    let delay = Duration::from_secs(60);
    let asked = ground.store.now().await.unwrap();
    assert_eq!(ground.store.hand_back(all.clone(), delay).await.unwrap(), 2);
    assert_eq!((ground.row(all[0]).await, ground.row(all[1]).await), before, "running, finished");
    let outlook = ground.store.outlook(queue(), false).await.unwrap();
    assert!(outlook.next_due.unwrap() >= asked + delay && !outlook.backlog);
    assert_eq!(ground.store.promote_due(queue()).await.unwrap(), [], "not before its time");
    for id in &all[2..] {
        let task = ground.task(*id).await;
        assert_eq!((task.status, task.attempt, task.dispatched_at), (Status::Queued, 0, None));
    }
    assert_eq!(ground.store.hand_back(all.clone(), Duration::ZERO).await.unwrap(), 2);
    assert_eq!(ground.store.promote_due(queue()).await.unwrap().len(), 2);
    assert_eq!(ground.standing().await.len(), 2);
    // An entry that was there already may bring it while it waits.
    assert_eq!(ground.store.hand_back(all[3..].to_vec(), delay).await.unwrap(), 1);
    assert!(ground.store.claim(WorkerId::fresh(), first_attempt(&all[3..])).await.unwrap().is_empty());
    assert_eq!(ground.lane(all[3]).await, 3, "where the rescuer looks");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_redis_does_not_take_are_offered_again() {
    let ground = Ground::new().await;
    let all = ground.backlog(3).await;
    let mut desk = ground.desk().await;
    let (broken, now) = (no_stream(&ground.world), ground.store.now().await.unwrap());
    let state = desk.tools.stream.state(&queue()).await.unwrap();
    let failed =
        dispatch::fill(&Tools { stream: broken, ..ground.tools() }, &queue(), &mut desk.sent, &state, 10, now).await;
    assert!(matches!(failed, Err(dispatch::DispatchError::Stream(_))), "{failed:?}");
    assert!(desk.sent.is_empty());
    assert_eq!(desk.offer(10).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_entry_that_redis_does_not_take_closes_the_gates() {
    let ground = Ground::new().await;
    let (gates, stop) = (Gates::default(), CancellationToken::new());
    let stream = ground.stream();
    stream.publish_gate("default", Opening { serial: 1, budget: 1_000_000 }, 0.0).await.unwrap();
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
    outbox.append(vec![super::entry(&task)]);
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
    let sent = &mut Sent::default();
    // Older than the oldest unread entry and the grace: no longer in the stream.
    assert_eq!(dispatch::sweep(&ground.store, &queue(), sent, &state, now, &metrics).await.unwrap(), 1);
    assert_eq!(ground.standing().await, [lost]);
    // Nothing unread: whatever is older than the grace.
    ground.set(younger, "dispatched_at = NOW(6)").await;
    ground.set(lost, "status = 'completed', lane = 0").await;
    stream.reader(WorkerId::fresh()).read(&[queue()], 10, None).await.unwrap();
    let state = stream.state(&queue()).await.unwrap();
    let now = ground.store.now().await.unwrap();
    assert_eq!(dispatch::sweep(&ground.store, &queue(), sent, &state, now, &metrics).await.unwrap(), 1);
    assert_eq!(ground.standing().await, [unread]);
    assert_eq!(metrics.tasks_undispatched.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_forgets_what_the_stream_has_lost_and_nothing_else() {
    let mut ground = Ground::new().await;
    let mut desk = ground.desk().await;
    let metrics = ground.world.metrics.clone();
    let mut all = Vec::new();
    // Added a minute ago, in the middle, and just now; what was added first has been read, and never claimed.
    for (added, seconds) in [(0, -60), (1, -50), (2, -3)] {
        all.extend(ground.backlog(1).await);
        assert_eq!(desk.fill(10, chrono::TimeDelta::seconds(seconds)).await.added, 1);
        if added == 0 {
            assert_eq!(desk.read().await, all);
        }
    }
    let now = ground.store.now().await.unwrap();
    let sweep = async |desk: &mut Desk, state: &StreamState| {
        dispatch::sweep(&desk.tools.store, &queue(), &mut desk.sent, state, now, &metrics).await.unwrap()
    };
    let state = desk.tools.stream.state(&queue()).await.unwrap();
    assert_eq!(sweep(&mut desk, &state).await, 1, "older than the oldest unread entry");
    assert_eq!(sweep(&mut desk, &state).await, 0, "once");
    assert_eq!(desk.fill(10, chrono::TimeDelta::seconds(2)).await.added, 1);
    assert_eq!(desk.read().await, [all[1], all[2], all[0]]);
    // All of them have been read: two are within the grace.
    let state = desk.tools.stream.state(&queue()).await.unwrap();
    assert_eq!((state.unread, sweep(&mut desk, &state).await), (0, 1));
    assert_eq!(desk.fill(10, chrono::TimeDelta::seconds(4)).await.added, 1);
    assert_eq!(desk.read().await, all[1..2]);
    assert_eq!(metrics.tasks_undispatched.get(), 2);
    for id in all {
        assert!(ground.lane(id).await == 2 && ground.task(id).await.dispatched_at.is_none());
    }
}
