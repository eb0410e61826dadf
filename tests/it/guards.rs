//! Every fence, sweep and unique key, each with a test that fails when it is taken out. Most
//! call the store and the stream directly; an operator's connection beside them holds locks,
//! kills connections and leaves rows as a crash would have.

mod cancel;
mod claim;
mod contention;
mod dispatch;
mod expire;
mod failures;
mod finish;
mod hold;
mod insert;
mod journal;
mod keys;
mod lease;
mod lookup;
mod pause;
mod proxy;
mod pull;
mod purge;
mod schedules;
mod stream;
mod verbs;
mod workers;

use crate::harness::{World, eventually};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::Registry;
use taskrunnerx::lifecycle::Tools;
use taskrunnerx::store::Store;
use taskrunnerx::store::tasks::{Claim, Insert};
use taskrunnerx::store::workers::NewWorker;
use taskrunnerx::stream::{Entry, Gates, Outbox, Stream, Wakes};
use taskrunnerx::task::{Backoff, NewTask, Task, TaskId, WorkerId};

const MINUTE: Duration = Duration::from_secs(60);

/// The queue of these tests.
pub(crate) fn queue() -> Arc<str> {
    "default".into()
}

/// A `noop` that is eligible at once.
pub(crate) fn noop() -> NewTask {
    NewTask {
        name: "noop".into(),
        way: taskrunnerx::task::Way::Stream,
        queue: queue(),
        priority: 0,
        payload: "null".into(),
        when: taskrunnerx::task::When::Now,
        timeout: MINUTE,
        max_attempts: 5,
        backoff: Backoff::fixed(Duration::from_millis(1)),
        expires_in: None,
        schedule: None,
        tags: Vec::new(),
        metadata: None,
        unique: None,
    }
}

/// An id in a statement.
pub(crate) fn key(id: TaskId) -> String {
    format!("UNHEX('{}')", id.0.simple())
}

/// The one of a group of one.
pub(crate) fn only<T>(group: Vec<T>) -> T {
    let [one] = <[T; 1]>::try_from(group).unwrap_or_else(|group| panic!("{} of one", group.len()));
    one
}

fn first_attempt(ids: &[TaskId]) -> Vec<Claim> {
    ids.iter().map(|id| Claim { id: *id, attempt: 0 }).collect()
}

/// A database, the store on it, and the operator's connection.
pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) sql: Conn,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let (store, sql) = (world.store().await, world.sql().await);
        Self { world, store, sql }
    }

    pub(crate) async fn insert(&self, task: NewTask, direct: bool, count: usize) -> Vec<TaskId> {
        let batch = vec![vec![Insert { task, direct }]; count];
        self.store.insert_tasks(batch).await.into_iter().map(|group| only(group.unwrap()).id).collect()
    }

    /// Tasks in the backlog.
    async fn backlog(&self, count: usize) -> Vec<TaskId> {
        self.insert(noop(), false, count).await
    }

    /// Tasks whose rows say that they are in the stream.
    pub(crate) async fn dispatched(&self, count: usize) -> Vec<TaskId> {
        self.insert(noop(), true, count).await
    }

    /// Tasks that a worker owns, attempt 1.
    async fn running(&self, worker: WorkerId, count: usize) -> Vec<TaskId> {
        let ids = self.dispatched(count).await;
        assert!(self.store.claim(worker, first_attempt(&ids)).await.unwrap().is_empty());
        ids
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.store.task(id).await.unwrap().unwrap()
    }

    /// Changes a row behind the program's back.
    pub(crate) async fn set(&mut self, id: TaskId, assignments: &str) {
        self.sql.query_drop(format!("UPDATE tasks SET {assignments} WHERE id = {}", key(id))).await.unwrap();
    }

    /// A row with all its columns.
    async fn row(&mut self, id: TaskId) -> Vec<Value> {
        let query = format!("SELECT * FROM tasks WHERE id = {}", key(id));
        self.sql.query_first::<Row, _>(query).await.unwrap().unwrap().unwrap()
    }

    pub(crate) async fn number(&mut self, query: &str) -> u64 {
        self.sql.query_first(query).await.unwrap().unwrap()
    }

    /// Waits until this many statements wait for rows that others have locked.
    pub(crate) async fn until_blocked(&mut self, count: usize) {
        eventually("statements wait for locks", async || (self.blocked().await == count).then_some(())).await;
    }

    async fn blocked(&mut self) -> usize {
        let sessions = sessions(&mut self.sql).await;
        let ours: Vec<u64> = self.sql.query(format!("SELECT id FROM {sessions} WHERE db = DATABASE()")).await.unwrap();
        // Not `innodb_trx`: the server does not refresh it while it is being looked at.
        let (_, _, text): (String, String, String) =
            self.sql.query_first("SHOW ENGINE INNODB STATUS").await.unwrap().unwrap();
        let waits = |part: &&str| {
            let is_ours = |id: &u64| part.contains(&format!(" thread id {id},"));
            part.contains("\nLOCK WAIT ") && ours.iter().any(is_ours)
        };
        text.split("---TRANSACTION").filter(waits).count()
    }

    /// Waits until a statement waits for a whole table; gives its connection.
    async fn until_shut_out(&mut self) -> u64 {
        let sessions = sessions(&mut self.sql).await;
        let query = format!(
            "SELECT id FROM {sessions} WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%'"
        );
        eventually("a statement waits for the table", async || self.sql.query_first(&query).await.unwrap()).await
    }

    /// A worker's row; a lease of zero has run out when this returns.
    pub(crate) async fn register(&self, lease: Duration) -> WorkerId {
        let id = WorkerId::fresh();
        let worker = NewWorker { id, host: "here".into(), pid: 1, queues: "[\"*\"]".into(), slots: 4 };
        self.store.register_worker(worker, lease).await.unwrap();
        id
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::new(&self.world.redis_url, &self.world.prefix, self.world.metrics.clone()).unwrap()
    }

    pub(crate) fn tools(&self) -> Tools {
        let stream = self.stream();
        Tools {
            store: self.store.clone(),
            outbox: Outbox::start(stream.clone(), Gates::default()).0,
            stream,
            wakes: Wakes::default(),
            journal: Arc::new(taskrunnerx::executor::Silent),
            registry: Arc::new(Registry::new()),
            metrics: self.world.metrics.clone(),
        }
    }
}

/// Where the server's sessions are looked up: columns `id`, `db`, `state` and `info`. MySQL cannot
/// show its `processlist` while a statement with binary values is in it.
pub(crate) async fn sessions(sql: &mut Conn) -> &'static str {
    let version: String = sql.query_first("SELECT VERSION()").await.unwrap().unwrap();
    if version.contains("MariaDB") {
        "information_schema.processlist"
    } else {
        "(SELECT processlist_id AS id, processlist_db AS db, processlist_state AS state, processlist_info AS info \
         FROM performance_schema.threads) s"
    }
}

/// A Redis that nobody can reach.
pub(crate) fn no_stream(world: &World) -> Stream {
    Stream::new("redis+unix:///nowhere/redis.sock", "none", world.metrics.clone()).unwrap()
}

/// The entry of a task, as its dispatcher would write it.
pub(crate) fn entry(task: &Task) -> Entry {
    Entry {
        queue: Arc::clone(&task.queue),
        id: task.id,
        name: Arc::clone(&task.name),
        attempt: task.attempt,
        max_attempts: task.max_attempts,
        timeout: task.timeout,
        run_at: task.run_at,
        dispatched_at: task.dispatched_at.unwrap_or(task.created_at),
        payload: Some(Arc::clone(&task.payload)),
    }
}
