//! Processes of the daemon, in this one: each with an outbox, wake-ups and gates of its own,
//! all of them with the same seam between them and the servers.

use super::weather::Script;
use crate::guards::Ground;
use crate::harness::eventually;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use taskrunnerx::lifecycle::Tools;
use taskrunnerx::lifecycle::fire::Firing;
use taskrunnerx::lifecycle::submit::{Defaults, Submitter};
use taskrunnerx::scheduler::{self, ScheduleSpec};
use taskrunnerx::seam::Seam;
use taskrunnerx::store::Store;
use taskrunnerx::store::tasks::Retention;
use taskrunnerx::stream::{Gates, Outbox, Stream, Wakes};
use taskrunnerx::task::{Backoff, TaskId};
use taskrunnerx::worker::{self, Served, Settings};
use taskrunnerx::{Registry, TaskError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Short, so that what waits for two beats of it does not take long.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const DAY: Duration = Duration::from_secs(86_400);

/// The attempts that handlers began: how often each.
pub(super) type Starts = Arc<Mutex<HashMap<(TaskId, u32), u32>>>;

/// How an attempt of a `play` goes, by its number; the last one stands for those that follow.
/// Its result is its attempt number.
#[derive(serde::Deserialize)]
struct Part {
    plan: Vec<String>,
}

/// The registry with `play`, which notes what it starts.
fn registry(starts: &Starts) -> Registry {
    let mut registry = Registry::new();
    let starts = Arc::clone(starts);
    registry.register("play", move |context, part: Part| {
        *starts.lock().unwrap().entry((context.task_id(), context.attempt())).or_default() += 1;
        async move {
            let nth = usize::try_from(context.attempt()).unwrap_or(usize::MAX).min(part.plan.len());
            match part.plan[nth - 1].as_str() {
                "fail" => Err(TaskError::retryable("no luck")),
                "give up" => Err(TaskError::permanent("never")),
                "hang" => std::future::pending().await,
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(context.attempt())
                }
                "long" => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    Ok(context.attempt())
                }
                _ => Ok(context.attempt()),
            }
        }
    });
    registry
}

pub(super) struct Crew {
    store: Store,
    stream: Stream,
    registry: Arc<Registry>,
    metrics: taskrunnerx::telemetry::Metrics,
    pub(super) starts: Starts,
    stop: CancellationToken,
    services: JoinSet<()>,
    ready: Arc<tokio::sync::Semaphore>,
    awaited: u32,
}

impl Crew {
    /// Nobody yet, behind this seam.
    pub(super) fn new(ground: &Ground, seam: Arc<dyn Seam>) -> Self {
        let metrics = ground.world.metrics.clone();
        let store = Store::new(&ground.world.database_url, Some(8), metrics.clone()).unwrap();
        let starts = Starts::default();
        Self {
            store: store.with_seam(Arc::clone(&seam)),
            stream: ground.stream().with_seam(seam),
            registry: Arc::new(registry(&starts)),
            metrics,
            starts,
            stop: CancellationToken::new(),
            services: JoinSet::new(),
            ready: Arc::new(tokio::sync::Semaphore::new(0)),
            awaited: 0,
        }
    }

    /// A process's tools and gates.
    pub(super) fn tools(&self) -> (Tools, Gates) {
        let gates = Gates::default();
        let tools = Tools {
            store: self.store.clone(),
            outbox: Outbox::start(self.stream.clone(), gates.clone()).0,
            stream: self.stream.clone(),
            wakes: Wakes::default(),
            journal: Arc::new(taskrunnerx::executor::Silent),
            registry: Arc::clone(&self.registry),
            metrics: self.metrics.clone(),
        };
        (tools, gates)
    }

    fn up(&mut self) -> impl Fn() + Send + Sync + 'static {
        self.awaited += 1;
        let ready = Arc::clone(&self.ready);
        move || ready.add_permits(1)
    }

    /// One more process with the worker's role, and this many slots.
    pub(super) fn hire(&mut self, concurrency: u32) {
        let settings = Settings {
            concurrency,
            queues: Served::All,
            lease: LEASE,
            drain_timeout: Duration::from_secs(10),
            sweep_interval: Duration::from_millis(200),
            max_result: 1 << 20,
        };
        let parts = worker::Parts { tools: self.tools().0, settings };
        let (up, stop) = (self.up(), self.stop.clone());
        self.services.spawn(worker::run(parts, stop, up));
    }

    /// One more process with the scheduler's role.
    pub(super) fn schedule(&mut self, schedules: Vec<ScheduleSpec>, stop: CancellationToken) {
        let defaults =
            Defaults { max_attempts: 5, timeout: Duration::from_secs(60), backoff: Backoff::fixed(Duration::ZERO) };
        let parts = scheduler::Parts {
            firing: Firing::new(self.tools().0, defaults, 1 << 20),
            retention: Retention { completed: DAY, failed: DAY },
            retain_fires: DAY,
            schedules,
        };
        let up = self.up();
        self.services.spawn(scheduler::run(parts, stop, up));
    }

    /// One more process that takes submissions.
    pub(super) fn submitter(&mut self) -> Submitter {
        let (tools, gates) = self.tools();
        let (watch, stop) = (gates.clone(), self.stop.clone());
        let stream = tools.stream.clone();
        self.services.spawn(async move { stream.watch_gates(watch, stop).await });
        let (submitter, mut lanes) = Submitter::start(tools, gates, 100);
        // They end with the submitter.
        lanes.detach_all();
        submitter
    }

    /// Waits until everybody is up.
    pub(super) async fn ready(&self) {
        self.ready.acquire_many(self.awaited).await.unwrap().forget();
    }

    /// Stops everybody, and waits until they have drained.
    pub(super) async fn dismiss(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.unwrap();
        }
    }

    /// How often a handler began: in all, and the attempts that began twice.
    pub(super) fn begun(&self) -> (usize, Vec<(TaskId, u32)>) {
        let starts = self.starts.lock().unwrap();
        (starts.len(), starts.iter().filter(|(_, times)| **times > 1).map(|(key, _)| *key).collect())
    }
}

/// A database, a script of faults, and a crew behind it.
pub(super) struct Stage {
    pub(super) ground: Ground,
    pub(super) script: Arc<Script>,
    pub(super) crew: Crew,
}

impl Stage {
    /// With one worker of this many slots, or with none.
    pub(super) async fn new(slots: u32) -> Self {
        let ground = Ground::new().await;
        let script = Arc::new(Script::default());
        let mut crew = Crew::new(&ground, script.clone());
        if slots > 0 {
            crew.hire(slots);
            crew.ready().await;
        }
        Self { ground, script, crew }
    }
}

/// Of a schedule of every second: each instant that fired has its task and no other has one, each task of a schedule has
/// its instant, and there is no hole between the first and the last.
pub(super) async fn fired_once(ground: &mut Ground) {
    let unfired = "SELECT COUNT(*) FROM tasks t LEFT JOIN schedule_fires f ON f.task_id = t.id \
                   WHERE (t.schedule IS NULL) <> (f.task_id IS NULL)";
    assert_eq!(ground.number(unfired).await, 0, "each task of a schedule has its row in the ledger");
    let taskless = "SELECT COUNT(*) FROM schedule_fires f LEFT JOIN tasks t ON t.id = f.task_id \
                    WHERE (f.outcome IN ('fired', 'caught_up')) <> (t.id IS NOT NULL) \
                    OR (f.task_id IS NULL) <> (t.id IS NULL)";
    assert_eq!(ground.number(taskless).await, 0, "a row of the ledger has a task if it fired, and only then");
    let shared = "SELECT COUNT(task_id) - COUNT(DISTINCT task_id) FROM schedule_fires";
    assert_eq!(ground.number(shared).await, 0, "no task stands for two instants");
    let holes = "SELECT CAST(COALESCE(TIMESTAMPDIFF(SECOND, MIN(COALESCE(since, fire_at)), MAX(fire_at)) + 1 \
                 - SUM(instants), 0) AS SIGNED) FROM schedule_fires";
    let holes: i64 = ground.sql.query_first(holes).await.unwrap().unwrap();
    assert_eq!(holes, 0, "no instant is missing");
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until no queue's stream holds anything.
pub(super) async fn until_streams_are_empty(ground: &Ground, queues: &[&str]) {
    let mut redis = ground.world.redis().await;
    for queue in queues {
        let key = format!("{}:{{{queue}}}", ground.world.prefix);
        eventually(&format!("the stream of {queue} is empty"), async || {
            let left: u64 = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
    }
}
