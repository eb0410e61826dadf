//! What attempts say: in order and whole, within its bounds, and nothing of an attempt that has lost its task.

use super::{Ground, first_attempt, key};
use crate::harness::eventually;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::executor::Journal;
use taskrunnerx::lifecycle::journal::{Keeper, last_words};
use taskrunnerx::lifecycle::purge;
use taskrunnerx::store::Store;
use taskrunnerx::store::tasks::{LogPlace, NewLine, Progress, Retention, TAIL_LINES, Tail};
use taskrunnerx::task::{Claimed, TaskId, WorkerId};
use tokio::task::JoinSet;

/// As its worker has it.
fn claimed(id: TaskId, attempt: u32, worker: WorkerId) -> Claimed {
    Claimed {
        id,
        attempt,
        worker,
        name: "noop".into(),
        queue: super::queue(),
        payload: "null".into(),
        timeout: super::MINUTE,
        max_attempts: 5,
        run_at: chrono::Utc::now(),
    }
}

impl Ground {
    fn keeper(&self) -> (Arc<dyn Journal>, JoinSet<()>) {
        let (keeper, services) = Keeper::start(self.store.clone(), self.world.metrics.clone());
        (Arc::new(keeper), services)
    }

    async fn log(&self, id: TaskId) -> Vec<String> {
        let lines = self.store.lines(id, None, LogPlace::default(), 100_000).await.unwrap();
        lines.into_iter().map(|line| line.line).collect()
    }

    async fn progress(&self, id: TaskId) -> (Option<f64>, Option<String>) {
        let task = self.task(id).await;
        (task.progress, task.progress_note)
    }

    fn counted(&self, outcome: &str) -> u64 {
        self.world.metrics.task_log_lines.with_label_values(&[outcome]).get()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_whole_and_in_order_once_its_last_words_were_waited_for() {
    let ground = Ground::new().await;
    let worker = WorkerId::fresh();
    let ids = ground.running(worker, 8).await;
    let (journal, _services) = ground.keeper();
    let mut speakers = JoinSet::new();
    for id in &ids {
        let (journal, claimed) = (Arc::clone(&journal), claimed(*id, 1, worker));
        speakers.spawn(async move {
            for n in 0..1000 {
                journal.log(&claimed, format!("line {n} of {}", claimed.id));
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            last_words(&journal, &claimed).await;
            claimed.id
        });
    }
    while let Some(id) = speakers.join_next().await {
        let id = id.unwrap();
        let expected: Vec<String> = (0..1000).map(|n| format!("line {n} of {id}")).collect();
        assert_eq!(ground.log(id).await, expected);
    }
    assert_eq!((ground.counted("written"), ground.counted("dropped")), (8000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_lines_that_is_sent_twice_is_in_once() {
    let ground = Ground::new().await;
    let id = ground.running(WorkerId::fresh(), 1).await[0];
    let line = |seq: u64| NewLine { id, attempt: 1, seq, at: chrono::Utc::now(), line: seq.to_string().into() };
    let lines: Arc<[NewLine]> = (1..=300).map(line).collect();
    ground.store.add_lines(Arc::clone(&lines)).await.unwrap();
    ground.store.add_lines(lines).await.unwrap();
    assert_eq!(ground.log(id).await, (1..=300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_tails_begin_behind_their_place_and_keep_to_their_task() {
    let ground = Ground::new().await;
    let ids = ground.running(WorkerId::fresh(), 3).await;
    let line = |id: TaskId, attempt: u32, seq: u64| NewLine {
        id,
        attempt,
        seq,
        at: chrono::Utc::now(),
        line: format!("{attempt}.{seq}").into(),
    };
    let of = |id| (1..=2).flat_map(move |attempt| (1..=60).map(move |seq| line(id, attempt, seq)));
    let lines: Vec<NewLine> = of(ids[0]).chain(of(ids[2])).collect();
    ground.store.add_lines(lines.into()).await.unwrap();
    let place = |attempt, seq| LogPlace { attempt, seq };
    let page = async |attempt, after, limit| {
        let lines = ground.store.lines(ids[0], attempt, after, limit).await.unwrap();
        (lines.first().map(|l| l.line.clone()).unwrap_or_default(), lines.len())
    };
    assert_eq!(page(None, place(0, 0), 1000).await, ("1.1".to_owned(), 120));
    assert_eq!(page(None, place(1, 59), 10).await, ("1.60".to_owned(), 10));
    assert_eq!(page(None, place(2, 60), 10).await, (String::new(), 0));
    assert_eq!(page(Some(2), place(0, 0), 1000).await, ("2.1".to_owned(), 60));
    assert_eq!(page(Some(2), place(1, 30), 1000).await, ("2.1".to_owned(), 60));
    assert_eq!(page(Some(2), place(2, 30), 1000).await, ("2.31".to_owned(), 30));
    assert_eq!(page(Some(3), place(0, 0), 1000).await, (String::new(), 0));
    let asked = [(ids[0], place(1, 30)), (ids[1], place(0, 0)), (ids[2], place(2, 50)), (ids[0], place(2, 60))];
    let tails = ground.store.tails(asked.map(|(id, after)| Tail { id, after }).to_vec()).await.unwrap();
    let found: Vec<(usize, Option<&str>)> =
        tails.iter().map(|lines| (lines.len(), lines.first().map(|line| &*line.line))).collect();
    assert_eq!(found, [(TAIL_LINES, Some("1.31")), (0, None), (10, Some("2.51")), (0, None)]);
    assert!(tails[0].is_sorted_by_key(|line| line.place));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_says_too_much_is_cut_off() {
    let ground = Ground::new().await;
    let worker = WorkerId::fresh();
    let ids = ground.running(worker, 2).await;
    let (journal, _services) = ground.keeper();
    let talks = [(ids[0], "x".repeat(9 << 10), 600), (ids[1], "y".to_owned(), 10_100)];
    for (id, line, times) in &talks {
        let claimed = claimed(*id, 1, worker);
        for n in 0..*times {
            journal.log(&claimed, line.clone());
            // As fast as they are written: this is about what an attempt may say.
            if n % 1000 == 999 {
                let written = ground.counted("written");
                eventually("some are written", async || (ground.counted("written") > written).then_some(())).await;
            }
        }
        last_words(&journal, &claimed).await;
        let log = ground.log(*id).await;
        assert!(log.last().unwrap().starts_with("[the rest of this attempt's log is dropped"), "{:?}", log.last());
        assert!(log.iter().all(|line| line.len() <= 8 << 10));
        assert!(log.iter().map(String::len).sum::<usize>() <= (4 << 20) + 100 && log.len() <= 10_001);
        assert!(log.len() >= 512);
    }
    // The next attempt begins anew.
    let next = claimed(ids[0], 2, worker);
    journal.log(&next, "again".to_owned());
    last_words(&journal, &next).await;
    assert_eq!(ground.log(ids[0]).await.last().unwrap(), "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_does_not_take_is_dropped_and_counted_and_nobody_is_held_up() {
    let ground = Ground::new().await;
    let nowhere = Store::new("mysql://nobody@127.0.0.1:1/none", Some(1), ground.world.metrics.clone()).unwrap();
    let (keeper, _services) = Keeper::start(nowhere, ground.world.metrics.clone());
    let journal: Arc<dyn Journal> = Arc::new(keeper);
    let speakers: Vec<Claimed> = (0..8).map(|_| claimed(TaskId(uuid::Uuid::now_v7()), 1, WorkerId::fresh())).collect();
    for n in 0..40_000 {
        journal.log(&speakers[n % 8], "word".to_owned());
    }
    let (written, dropped) = (ground.counted("written"), ground.counted("dropped"));
    assert!(written == 0 && (10_000..30_000).contains(&dropped), "{written} written, {dropped} dropped");
    // An ended attempt's outcome does not wait for ever.
    let began = std::time::Instant::now();
    tokio::time::timeout(crate::harness::LIMIT, last_words(&journal, &speakers[0])).await.unwrap();
    assert!(began.elapsed() >= taskrunnerx::lifecycle::journal::LAST_WORDS, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_dropped_are_missed_in_the_log_itself() {
    let mut ground = Ground::new().await;
    let worker = WorkerId::fresh();
    let id = ground.running(worker, 1).await[0];
    let others: Vec<Claimed> = (0..8).map(|_| claimed(TaskId(uuid::Uuid::now_v7()), 1, worker)).collect();
    let (journal, _services) = ground.keeper();
    let speaker = claimed(id, 1, worker);
    ground.sql.query_drop("LOCK TABLES task_logs READ").await.unwrap();
    journal.log(&speaker, "before".to_owned());
    for n in 0..40_000 {
        journal.log(&others[n % 8], "word".to_owned());
    }
    (0..3).for_each(|n| journal.log(&speaker, format!("lost {n}")));
    ground.sql.query_drop("UNLOCK TABLES").await.unwrap();
    eventually("there is room again", async || (ground.counted("written") > 10_000).then_some(())).await;
    journal.log(&speaker, "after".to_owned());
    last_words(&journal, &speaker).await;
    assert_eq!(ground.log(id).await, ["before", "[3 lines are missing: the database did not take them]", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_one_that_does_not_own_the_task_is_passed_over() {
    let mut ground = Ground::new().await;
    let (me, other) = (WorkerId::fresh(), WorkerId::fresh());
    let ids = ground.running(me, 5).await;
    ground.set(ids[1], "attempt = 2").await;
    ground.set(ids[2], &format!("worker_id = UNHEX('{}')", other.0.simple())).await;
    ground.set(ids[3], "status = 'queued', lane = 2").await;
    let progress = |id: &TaskId| Progress { id: *id, attempt: 1, worker: me, fraction: 0.5, note: Some("half".into()) };
    ground.store.record_progress(ids.iter().map(progress).collect()).await.unwrap();
    for (id, owned) in ids.iter().zip([true, false, false, false, true]) {
        let expected = if owned { (Some(0.5), Some("half".to_owned())) } else { (None, None) };
        assert_eq!(ground.progress(*id).await, expected, "{id}");
    }
    // Each with its own value, whatever else is in the batch, and what is not said is taken back.
    let later = ids.iter().enumerate().map(|(n, id)| {
        let fraction = f64::from(u32::try_from(n).unwrap()) / 10.0;
        Progress { id: *id, attempt: 1, worker: me, fraction, note: None }
    });
    ground.store.record_progress(later.collect()).await.unwrap();
    assert_eq!(ground.progress(ids[0]).await, (Some(0.0), None));
    assert_eq!(ground.progress(ids[4]).await, (Some(0.4), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_much_progress_little_is_written_and_the_last_always() {
    let ground = Ground::new().await;
    let worker = WorkerId::fresh();
    let ids = ground.running(worker, 6).await;
    let (journal, _services) = ground.keeper();
    let writes = || ground.world.metrics.store_seconds.with_label_values(&["progress"]).get_sample_count();
    for n in 0..1000 {
        journal.progress(&claimed(ids[0], 1, worker), f64::from(n) / 1000.0, None);
    }
    // Without an end the last comes all the same, when its second is over.
    eventually("the last", async || (ground.progress(ids[0]).await.0 == Some(0.999)).then_some(())).await;
    assert!(writes() <= 3, "{} writes", writes());
    let mut took = Vec::new();
    for id in &ids[1..] {
        let ending = claimed(*id, 1, worker);
        journal.progress(&ending, 0.1, None);
        eventually("the first", async || ground.progress(*id).await.0).await;
        journal.progress(&ending, 1.0, Some("all".to_owned()));
        let began = std::time::Instant::now();
        last_words(&journal, &ending).await;
        took.push(began.elapsed());
        assert_eq!(ground.progress(*id).await, (Some(1.0), Some("all".to_owned())));
    }
    // None waits for its second to be over; some may meet a machine that does something else.
    assert!(took.iter().min().unwrap() < &Duration::from_millis(700), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_says_nothing_costs_no_statement() {
    let ground = Ground::new().await;
    let worker = WorkerId::fresh();
    let ids = ground.running(worker, 100).await;
    let (journal, _services) = ground.keeper();
    let count = |op: &str| ground.world.metrics.store_seconds.with_label_values(&[op]).get_sample_count();
    for id in ids {
        assert!(journal.end(&claimed(id, 1, worker)).is_none());
    }
    assert_eq!((count("log"), count("progress")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_tasks_log_goes_with_it_however_long_it_is_and_no_other() {
    let mut ground = Ground::new().await;
    let ids = ground.dispatched(4).await;
    ground.store.claim(WorkerId::fresh(), first_attempt(&ids)).await.unwrap();
    for id in &ids {
        let numbers =
            "WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 900) SELECT seq FROM n";
        let tens = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)";
        let lines = format!(
            "INSERT INTO task_logs SELECT {}, 1 + t.d, n.seq, NOW(6), 'said' FROM ({numbers}) n, {tens} t",
            key(*id)
        );
        ground.sql.query_drop(lines).await.unwrap();
    }
    for id in &ids[..3] {
        ground.set(*id, "status = 'completed', lane = 0, finished_at = NOW(6) - INTERVAL 1 HOUR").await;
    }
    let retention = Retention { completed: Duration::ZERO, failed: Duration::ZERO };
    assert_eq!(purge::pass(&ground.store, retention, Duration::ZERO).await.unwrap(), 3);
    assert_eq!(ground.number("SELECT COUNT(*) FROM task_logs").await, 4500);
    assert_eq!(ground.log(ids[3]).await.len(), 4500);
}
