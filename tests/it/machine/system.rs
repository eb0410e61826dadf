//! The program's side: each move by the verb that makes it, and each row as it then is.

use super::model::{Answer, Model};
use super::moves::{Carried, How, Move, New, Nth, Said, Way};
use super::task::Row;
use crate::guards::{Ground, entry, no_stream, noop, only};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use taskrunnerx::lifecycle::dispatch::{self, DispatchError, Sent};
use taskrunnerx::lifecycle::finish::{Ended, Finisher};
use taskrunnerx::lifecycle::{Tools, claim, rescue};
use taskrunnerx::store::tasks::{Claim, DeleteStep, Insert, Ways};
use taskrunnerx::store::workers::NewWorker;
use taskrunnerx::stream::{Delivered, Entry, Reader, Stream};
use taskrunnerx::task::{Backoff, Claimed, NewTask, Outcome, Reason, Status, TaskId, Timestamp, When, WorkerId};
use tokio::runtime::Runtime;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Rows that contradict themselves.
const INCONSISTENT: &str = include_str!("../guards/inconsistent.sql");
const ROWS: &str = "SELECT id, status, reason, lane, attempt, forgiven, crash_count, dispatched_at IS NOT NULL, \
     cancel_requested_at IS NOT NULL, NULLIF(worker_id, UNHEX(REPEAT('00', 16))) FROM tasks WHERE queue = ? ORDER BY id";
const HISTORY: &str = "SELECT a.task_id, a.attempt, a.outcome FROM task_attempts a JOIN tasks t ON t.id = a.task_id \
     WHERE t.queue = ?";

/// What is failed now, by the kind of its failure.
const NOTED: &str = "SELECT task_id FROM task_failures WHERE queue = ? ORDER BY task_id";

type RowSql = (Vec<u8>, String, Option<String>, u8, u32, u32, u32, bool, bool, Option<Vec<u8>>);

/// What the plays share. Each has a queue of its own.
struct Arena {
    runtime: Runtime,
    ground: Ground,
    tools: Tools,
    finisher: Finisher,
    /// A Redis that refuses everything.
    broken: Stream,
}

fn arena() -> &'static Arena {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    ARENA.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (ground, tools, finisher, broken) = runtime.block_on(async {
            let ground = Ground::new().await;
            let (tools, broken) = (ground.tools(), no_stream(&ground.world));
            let (finisher, mut lanes) = Finisher::start(tools.clone());
            lanes.detach_all();
            (ground, tools, finisher, broken)
        });
        Arena { runtime, ground, tools, finisher, broken }
    })
}

pub(super) struct System {
    arena: &'static Arena,
    sql: Conn,
    queue: Arc<str>,
    began: Timestamp,
    ids: Vec<TaskId>,
    workers: Vec<WorkerId>,
    readers: Vec<Reader>,
    inbox: [Vec<Delivered>; 2],
    /// The dispatcher's memory.
    sent: Sent,
    /// Passes of dispatchers. Each is a second after the last, so that it looks at everything.
    passes: i64,
    /// The entries that brought what was won.
    entries: HashMap<Carried, String>,
}

fn to_the_stream() -> Ways {
    Arc::new(|_| taskrunnerx::task::Way::Stream)
}

fn id(bytes: &[u8]) -> TaskId {
    TaskId(uuid::Uuid::from_slice(bytes).unwrap())
}

impl System {
    pub(super) fn begin(model: &Model) -> Self {
        static PLAYS: AtomicU32 = AtomicU32::new(0);
        let arena = arena();
        arena.runtime.block_on(async {
            let mut sql = arena.ground.world.sql().await;
            // A play that failed left its own behind.
            for table in ["tasks", "task_attempts", "task_failures", "queues", "workers"] {
                sql.query_drop(format!("DELETE FROM {table}")).await.unwrap();
            }
            let queue: Arc<str> = format!("play{}", PLAYS.fetch_add(1, Ordering::Relaxed)).into();
            arena.tools.store.ensure_queues(vec![Arc::clone(&queue)]).await.unwrap();
            arena.tools.stream.ensure_group(&queue).await.unwrap();
            let began = arena.tools.store.now().await.unwrap();
            let (ids, workers, readers) = (Vec::new(), Vec::new(), Vec::new());
            let (inbox, sent, passes, entries) = (Default::default(), Sent::default(), 0, HashMap::new());
            let mut system = Self { arena, sql, queue, began, ids, workers, readers, inbox, sent, passes, entries };
            while system.workers.len() < model.hired {
                system.hire().await;
            }
            system
        })
    }

    async fn hire(&mut self) {
        let id = WorkerId::fresh();
        let worker = NewWorker { id, host: "here".into(), pid: 1, queues: "[\"*\"]".into(), slots: 4 };
        self.arena.tools.store.register_worker(worker, DAY).await.unwrap();
        self.workers.push(id);
        self.readers.push(self.arena.tools.stream.reader(id));
    }

    fn nth(&self, id: TaskId) -> Nth {
        self.ids.iter().position(|known| *known == id).unwrap()
    }

    fn carried(&self, delivered: &Delivered) -> Carried {
        let entry = delivered.entry.as_ref().unwrap();
        (self.nth(entry.id), entry.attempt)
    }

    /// Makes a move; `model` is as it should be afterwards.
    pub(super) fn make(&mut self, model: &Model, a_move: &Move) -> Answer {
        let arena = self.arena;
        arena.runtime.block_on(self.play(model, a_move))
    }

    async fn play(&mut self, model: &Model, a_move: &Move) -> Answer {
        let Tools { store, stream, .. } = &self.arena.tools;
        match a_move {
            Move::Submit(new) => self.submit(new).await,
            Move::Dispatch { room } => return Answer::Count(self.dispatch(*room).await),
            Move::Refused { room } => {
                let filled = self.fill(&self.arena.broken, *room).await;
                assert!(matches!(filled, Ok(0) | Err(DispatchError::Stream(_))), "{filled:?}");
            }
            Move::Anew => self.sent = Sent::default(),
            Move::Read { slot, count } => {
                // The reader is the worker's that holds this place now.
                let reader = &mut self.readers[model.workers[*slot]];
                let read = reader.read(&[Arc::clone(&self.queue)], *count, None).await.unwrap();
                let answer = Answer::Entries(read.iter().map(|delivered| self.carried(delivered)).collect());
                self.inbox[*slot].extend(read);
                return answer;
            }
            Move::Claim { slot } => return self.claim(model, *slot).await,
            Move::Stray { worker, claims } => {
                let claims = claims.iter().map(|(nth, attempt)| Claim { id: self.ids[*nth], attempt: *attempt });
                let lost = store.claim(self.workers[*worker], claims.collect()).await.unwrap();
                return Answer::Lost(lost.into_iter().map(|(id, why)| (self.nth(id), why)).collect());
            }
            Move::Finish(said) => return Answer::Counted(self.finish(said).await),
            Move::Release { task } => {
                let Some(worker) = model.tasks[*task].row.worker else { return Answer::Count(0) };
                let running = store.running_under(self.workers[worker], 100).await.unwrap();
                let unknown = running.into_iter().filter(|held| held.id == self.ids[*task]).collect();
                return Answer::Count(rescue::release(&self.arena.tools, unknown).await.unwrap());
            }
            Move::Die { slot } | Move::HandOver { slot } => {
                self.replace(*slot, matches!(a_move, Move::Die { .. }), model).await;
            }
            Move::Orphans => _ = rescue::orphans(&self.arena.tools).await.unwrap(),
            Move::Cancel { task } => {
                let asked = store.cancel(self.ids[*task]).await.unwrap();
                return Answer::Asked { changed: asked.is_some_and(|asked| asked.changed) };
            }
            Move::Retry { task } => {
                let asked = store.retry(self.ids[*task], to_the_stream()).await.unwrap();
                return Answer::Asked { changed: asked.is_some_and(|asked| asked.changed) };
            }
            Move::Run { task } => {
                let asked = store.run_now(self.ids[*task], to_the_stream()).await.unwrap();
                return Answer::Asked { changed: asked.is_some_and(|asked| asked.changed) };
            }
            Move::Delete { task } => {
                let step = store.delete_step(self.ids[*task]).await.unwrap();
                return Answer::Asked { changed: step == DeleteStep::Deleted };
            }
            Move::HandBack { tasks, later } => {
                let ids = tasks.iter().map(|nth| self.ids[*nth]).collect();
                let delay = if *later { HOUR } else { Duration::ZERO };
                return Answer::Count(store.hand_back(ids, delay).await.unwrap());
            }
            Move::Again { task } => {
                let task = store.task(self.ids[*task]).await.unwrap().unwrap();
                stream.append(vec![entry(&task)]).await.unwrap();
            }
            Move::Flush { seen } => {
                let mut redis = self.arena.ground.world.redis().await;
                let _: u64 = redis::cmd("DEL").arg(self.key()).query_async(&mut redis).await.unwrap();
                if *seen {
                    assert!(stream.state(&self.queue).await.unwrap().anew);
                    self.sent.forget_all();
                } else {
                    stream.ensure_group(&self.queue).await.unwrap();
                }
            }
            Move::Lose { unread } => {
                let mut redis = self.arena.ground.world.redis().await;
                let all: Vec<(String, Vec<String>)> =
                    redis::cmd("XRANGE").arg(self.key()).arg("-").arg("+").query_async(&mut redis).await.unwrap();
                // What was read and is not acknowledged stands before.
                let (entry, _) = &all[all.len() - model.unread.len() - 1 + unread];
                let _: u64 = redis::cmd("XDEL").arg(self.key()).arg(entry).query_async(&mut redis).await.unwrap();
            }
            Move::Sweep => return Answer::Count(self.sweep().await),
            Move::Hours => self.hours().await,
        }
        Answer::Nothing
    }

    fn key(&self) -> String {
        format!("{}:{{{}}}", self.arena.ground.world.prefix, self.queue)
    }

    async fn submit(&mut self, new: &New) {
        let Tools { store, stream, .. } = &self.arena.tools;
        let task = NewTask {
            queue: Arc::clone(&self.queue),
            priority: new.priority,
            when: if new.delayed { When::After(HOUR) } else { When::Now },
            max_attempts: new.max_attempts,
            backoff: Backoff::fixed(if new.patient { HOUR } else { Duration::ZERO }),
            expires_in: new.mortal.then_some(HOUR),
            ..noop()
        };
        let direct = new.entry != Way::Closed;
        let task = only(only(store.insert_tasks(vec![vec![Insert { task, direct }]]).await).unwrap());
        if task.dispatched_at.is_some() && new.entry == Way::Open {
            stream.append(vec![entry(&task)]).await.unwrap();
        }
        self.ids.push(task.id);
    }

    async fn dispatch(&mut self, room: usize) -> usize {
        let Tools { store, stream, .. } = &self.arena.tools;
        let promoted = store.promote_due(Arc::clone(&self.queue)).await.unwrap();
        self.sent.forget(&promoted);
        self.fill(stream, room).await.unwrap()
    }

    async fn fill(&mut self, stream: &Stream, room: usize) -> Result<usize, DispatchError> {
        let tools = Tools { stream: stream.clone(), ..self.arena.tools.clone() };
        let store = &tools.store;
        self.passes += 1;
        let now = store.now().await.unwrap() + chrono::TimeDelta::seconds(self.passes);
        let state = self.arena.tools.stream.state(&self.queue).await.unwrap();
        let filled = dispatch::fill(&tools, &self.queue, &mut self.sent, &state, room, now).await;
        filled.map(|filled| filled.added)
    }

    async fn claim(&mut self, model: &Model, slot: usize) -> Answer {
        let Answer::Won { offered, .. } = &model.answer else { panic!("{:?}", model.answer) };
        let (mut wanted, mut dropped): (Vec<(Entry, String)>, Vec<String>) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for delivered in std::mem::take(&mut self.inbox[slot]) {
            let carried = self.carried(&delivered);
            if offered.contains(&carried) && seen.insert(carried.0) {
                wanted.push((delivered.entry.unwrap(), delivered.entry_id));
            } else {
                dropped.push(delivered.entry_id);
            }
        }
        let offered = wanted.iter().map(|(entry, _)| (self.nth(entry.id), entry.attempt)).collect();
        let claimings = claim::claim(&self.arena.tools, self.workers[model.workers[slot]], wanted).await.unwrap();
        dropped.extend(claimings.done.into_iter().map(|(_, entry_id)| entry_id));
        self.arena.tools.stream.acknowledge(&self.queue, dropped).await.unwrap();
        let mut won = Vec::new();
        for claim in claimings.won {
            let nth = self.nth(claim.claimed.id);
            self.entries.insert((nth, claim.claimed.attempt), claim.entry_id);
            won.push(nth);
        }
        Answer::Won { offered, won }
    }

    fn counted(&self) -> HashMap<&'static str, u64> {
        let finished = &self.arena.tools.metrics.tasks_finished;
        let words = Reason::ALL.into_iter().map(Reason::as_str).chain(["completed", "retried"]);
        words.map(|word| (word, finished.with_label_values(&[&*self.queue, "noop", word]).get())).collect()
    }

    /// As what it counts; None: it was discarded, and counted as that.
    async fn finish(&self, said: &Said) -> Option<&'static str> {
        let fenced = || self.arena.tools.metrics.tasks_fenced.get();
        let before = (self.counted(), fenced());
        let outcome = match said.how {
            How::Success => Outcome::Success(None),
            How::Retryable => Outcome::Retryable("no luck".into()),
            How::Permanent => Outcome::Permanent("never".into()),
            How::TimedOut => Outcome::TimedOut(HOUR),
            How::Cancelled => Outcome::Cancelled,
            How::Interrupted => Outcome::Interrupted,
        };
        let claimed = Claimed {
            id: self.ids[said.task],
            attempt: said.attempt,
            worker: self.workers[said.worker],
            name: "noop".into(),
            queue: Arc::clone(&self.queue),
            payload: "null".into(),
            timeout: HOUR,
            max_attempts: 1,
            run_at: self.began,
        };
        let entry_id = self.entries.get(&(said.task, said.attempt)).cloned().unwrap_or_else(|| "0-1".into());
        self.arena.finisher.finish(Ended { claimed: Arc::new(claimed), outcome, entry_id }).await.unwrap();
        let after = self.counted();
        let risen: Vec<&str> =
            after.into_iter().filter(|(word, n)| *n > before.0[word]).map(|(word, _)| word).collect();
        let discarded = usize::try_from(fenced() - before.1).unwrap();
        assert_eq!(risen.len() + discarded, 1, "each is counted once: {risen:?}");
        risen.first().copied()
    }

    async fn replace(&mut self, slot: usize, died: bool, model: &Model) {
        self.hire().await;
        assert_eq!(model.workers[slot], self.workers.len() - 1);
        // Whoever held this place: the one live worker that the model has no more.
        let live = self.arena.tools.store.live_workers().await.unwrap();
        let is_gone = |id: &WorkerId| model.workers.iter().all(|worker| self.workers[*worker] != *id);
        let gone = live.into_iter().map(|worker| worker.id).find(is_gone).unwrap();
        if died {
            let query = "UPDATE workers SET lease_until = NOW(6) - INTERVAL 1 SECOND WHERE id = ?";
            self.sql.exec_drop(query, (gone.0.as_bytes(),)).await.unwrap();
        } else {
            rescue::hand_over(&self.arena.tools, gone).await.unwrap();
        }
        rescue::pass(&self.arena.tools).await.unwrap();
        self.inbox[slot].clear();
    }

    /// Says how many rows it moved.
    async fn sweep(&mut self) -> usize {
        let Tools { store, stream, metrics, .. } = &self.arena.tools;
        let mut state = stream.state(&self.queue).await.unwrap();
        // Younger than everything of this play, however slow the machine.
        state.oldest_unread = state.oldest_unread.map(|_| self.began);
        let later = store.now().await.unwrap() + chrono::TimeDelta::hours(1);
        let before = self.sent.len();
        let total = dispatch::sweep(store, &self.queue, &mut self.sent, &state, later, metrics).await.unwrap();
        let forgotten = before - self.sent.len();
        assert_eq!(forgotten, if state.unread == 0 { before } else { 0 });
        total - forgotten
    }

    async fn hours(&mut self) {
        let queue = (&*self.queue,);
        let waiting = "UPDATE tasks SET run_at = run_at - INTERVAL 2 HOUR, position = position - 7200000000 \
                       WHERE queue = ? AND lane = 1";
        self.sql.exec_drop(waiting, queue).await.unwrap();
        let mortal = "UPDATE tasks SET expires_at = expires_at - INTERVAL 2 HOUR WHERE queue = ?";
        self.sql.exec_drop(mortal, queue).await.unwrap();
    }

    async fn rows(&mut self) -> Vec<Row> {
        let mut histories: HashMap<TaskId, BTreeMap<u32, String>> = HashMap::new();
        let history: Vec<(Vec<u8>, u32, String)> = self.sql.exec(HISTORY, (&*self.queue,)).await.unwrap();
        for (task, attempt, outcome) in history {
            histories.entry(id(&task)).or_default().insert(attempt, outcome);
        }
        let rows: Vec<RowSql> = self.sql.exec(ROWS, (&*self.queue,)).await.unwrap();
        let worker = |bytes: Vec<u8>| self.workers.iter().position(|id| id.0.as_bytes()[..] == bytes[..]).unwrap();
        let row = |(task, status, reason, lane, attempt, forgiven, crashes, dispatched, cancel, owner): RowSql| Row {
            status: Status::parse(&status).unwrap(),
            reason: reason.map(|reason| Reason::parse(&reason).unwrap()),
            lane,
            attempt,
            forgiven,
            crashes,
            dispatched,
            cancel,
            worker: owner.map(worker),
            history: histories.remove(&id(&task)).unwrap_or_default(),
        };
        rows.into_iter().map(row).collect()
    }

    /// Every row is as the model says, and so is what nobody has read.
    pub(super) fn matches(&mut self, model: &Model, a_move: &Move) {
        let arena = self.arena;
        arena.runtime.block_on(async {
            let expected: Vec<&Row> = model.tasks.iter().filter(|task| !task.gone).map(|task| &task.row).collect();
            assert_eq!(self.rows().await.iter().collect::<Vec<_>>(), expected, "after {a_move:?}");
            let wrong: Vec<String> = self.sql.query(INCONSISTENT).await.unwrap();
            assert!(wrong.is_empty(), "after {a_move:?}: {wrong:#?}");
            let noted: Vec<Vec<u8>> = self.sql.exec(NOTED, (&*self.queue,)).await.unwrap();
            let failed =
                model.tasks.iter().zip(&self.ids).filter(|(task, _)| !task.gone && task.row.status == Status::Failed);
            let failed: Vec<TaskId> = failed.map(|(_, id)| *id).collect();
            assert_eq!(noted.iter().map(|bytes| id(bytes)).collect::<Vec<_>>(), failed, "after {a_move:?}");
            arena.tools.outbox.flush().await;
            let state = arena.tools.stream.state(&self.queue).await.unwrap();
            assert_eq!(state.unread, u64::try_from(model.unread.len()).unwrap(), "after {a_move:?}");
        });
    }

    /// With nobody in the way everything ends, and nothing is left in the stream.
    pub(super) fn comes_to_rest(mut self) {
        let arena = self.arena;
        arena.runtime.block_on(async {
            self.sql.query_drop("UPDATE workers SET lease_until = NOW(6) - INTERVAL 1 SECOND").await.unwrap();
            rescue::pass(&arena.tools).await.unwrap();
            rescue::orphans(&arena.tools).await.unwrap();
            self.hire().await;
            let (worker, mut reader) = (self.workers[self.workers.len() - 1], self.readers.pop().unwrap());
            let mut rounds = 0;
            while self.rows().await.iter().any(|row| !row.status.is_terminal()) {
                assert!(rounds < 20, "it does not come to rest: {:?}", self.rows().await);
                rounds += 1;
                self.round(worker, &mut reader).await;
            }
            // What came twice is read, and claimed in vain.
            self.round(worker, &mut reader).await;
            arena.tools.outbox.flush().await;
            let mut redis = arena.ground.world.redis().await;
            let left: u64 = redis::cmd("XLEN").arg(self.key()).query_async(&mut redis).await.unwrap();
            assert_eq!(left, 0, "nothing stays in the stream");
        });
    }

    async fn round(&mut self, worker: WorkerId, reader: &mut Reader) {
        self.hours().await;
        self.sweep().await;
        self.dispatch(100).await;
        let read = reader.read(&[Arc::clone(&self.queue)], 100, None).await.unwrap();
        let mut offered: Vec<(Entry, String)> = Vec::new();
        for delivered in read {
            let entry = delivered.entry.unwrap();
            if offered.iter().any(|(known, _)| known.id == entry.id) {
                self.arena.tools.outbox.acknowledge(delivered.queue, vec![delivered.entry_id]);
            } else {
                offered.push((entry, delivered.entry_id));
            }
        }
        let claimings = claim::claim(&self.arena.tools, worker, offered).await.unwrap();
        for (queue, entry_id) in claimings.done {
            self.arena.tools.outbox.acknowledge(queue, vec![entry_id]);
        }
        for won in claimings.won {
            let (claimed, entry_id) = (Arc::new(won.claimed), won.entry_id);
            self.arena.finisher.finish(Ended { claimed, outcome: Outcome::Success(None), entry_id }).await.unwrap();
        }
    }
}
