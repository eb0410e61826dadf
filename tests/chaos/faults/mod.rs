//! The faults: what they are called, in which order a seed deals them, and what each needs for
//! itself while it lasts.

mod inject;

use crate::form::LEASE;
use crate::handler::now_ms;
use crate::processes::Process;
use crate::rig::Rig;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::io::Write;
use std::sync::{Arc, Mutex as Record};
use std::time::Duration;
use taskrunnerx::cli::dev::servers::Servers;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Faults that may last at the same time.
const TOGETHER: usize = 2;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    WorkerKilled,
    ApiKilled,
    SchedulerKilled,
    WorkerDrained,
    ApiDrained,
    WorkerPaused,
    SchedulerPaused,
    Flushall,
    StreamTrimmed,
    StreamHalved,
    StreamDeleted,
    GroupDestroyed,
    RedisRestarted,
    RedisWiped,
    RedisKilled,
    RedisFrozen,
    RedisCut,
    RedisSlow,
    RedisSwallowed,
    RedisAmbiguous,
    DatabaseKilled,
    DatabaseFrozen,
    DatabaseCut,
    DatabaseSlow,
    DatabaseSwallowed,
    DatabaseAmbiguous,
    ConnectionsKilled,
    DiskFull,
}

/// All that can be had everywhere.
const ALL: [Kind; 27] = [
    Kind::WorkerKilled,
    Kind::ApiKilled,
    Kind::SchedulerKilled,
    Kind::WorkerDrained,
    Kind::ApiDrained,
    Kind::WorkerPaused,
    Kind::SchedulerPaused,
    Kind::Flushall,
    Kind::StreamTrimmed,
    Kind::StreamHalved,
    Kind::StreamDeleted,
    Kind::GroupDestroyed,
    Kind::RedisRestarted,
    Kind::RedisWiped,
    Kind::RedisKilled,
    Kind::RedisFrozen,
    Kind::RedisCut,
    Kind::RedisSlow,
    Kind::RedisSwallowed,
    Kind::RedisAmbiguous,
    Kind::DatabaseKilled,
    Kind::DatabaseFrozen,
    Kind::DatabaseCut,
    Kind::DatabaseSlow,
    Kind::DatabaseSwallowed,
    Kind::DatabaseAmbiguous,
    Kind::ConnectionsKilled,
];

impl Kind {
    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::WorkerKilled => "worker: kill -9",
            Kind::ApiKilled => "api: kill -9",
            Kind::SchedulerKilled => "scheduler: kill -9",
            Kind::WorkerDrained => "worker: SIGTERM and restart",
            Kind::ApiDrained => "api: SIGTERM and restart",
            Kind::WorkerPaused => "worker: SIGSTOP past its lease",
            Kind::SchedulerPaused => "scheduler: SIGSTOP",
            Kind::Flushall => "Redis: FLUSHALL",
            Kind::StreamTrimmed => "Redis: XTRIM MAXLEN 0",
            Kind::StreamHalved => "Redis: XTRIM to half",
            Kind::StreamDeleted => "Redis: DEL of a stream",
            Kind::GroupDestroyed => "Redis: XGROUP DESTROY",
            Kind::RedisRestarted => "Redis: stopped, restarted with its data",
            Kind::RedisWiped => "Redis: stopped, restarted empty",
            Kind::RedisKilled => "Redis: kill -9 and restart",
            Kind::RedisFrozen => "Redis: SIGSTOP",
            Kind::RedisCut => "Redis: connections cut",
            Kind::RedisSlow => "Redis: packets delayed",
            Kind::RedisSwallowed => "Redis: packets swallowed",
            Kind::RedisAmbiguous => "Redis: cut between request and answer",
            Kind::DatabaseKilled => "database: kill -9 and restart",
            Kind::DatabaseFrozen => "database: SIGSTOP",
            Kind::DatabaseCut => "database: connections cut",
            Kind::DatabaseSlow => "database: packets delayed",
            Kind::DatabaseSwallowed => "database: packets swallowed",
            Kind::DatabaseAmbiguous => "database: cut between request and answer",
            Kind::ConnectionsKilled => "database: connections killed by KILL",
            Kind::DiskFull => "database: disk full",
        }
    }

    /// How long it lasts, in milliseconds.
    fn lasts(self) -> std::ops::Range<u64> {
        let lease = u64::try_from(LEASE.as_millis()).unwrap();
        match self {
            Kind::WorkerPaused => lease + 500..lease + 2000,
            Kind::SchedulerPaused => 1000..4000,
            Kind::WorkerKilled | Kind::ApiKilled | Kind::SchedulerKilled => 0..2000,
            Kind::RedisRestarted | Kind::RedisWiped | Kind::RedisKilled | Kind::DatabaseKilled => 0..1500,
            Kind::RedisFrozen | Kind::DatabaseFrozen | Kind::RedisSwallowed | Kind::DatabaseSwallowed => 500..3500,
            Kind::RedisSlow | Kind::DatabaseSlow => 500..2000,
            Kind::RedisAmbiguous | Kind::DatabaseAmbiguous | Kind::DiskFull => 300..1500,
            Kind::WorkerDrained
            | Kind::ApiDrained
            | Kind::Flushall
            | Kind::StreamTrimmed
            | Kind::StreamHalved
            | Kind::StreamDeleted
            | Kind::GroupDestroyed
            | Kind::RedisCut
            | Kind::DatabaseCut
            | Kind::ConnectionsKilled => 0..1,
        }
    }
}

/// One fault to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Which of those it may strike.
    which: usize,
    lasts: Duration,
}

/// Deals every kind once, in random order, and then again.
pub(crate) struct Deck {
    random: StdRng,
    kinds: Vec<Kind>,
    left: Vec<Kind>,
}

impl Deck {
    pub(crate) fn new(seed: u64, more: &[Kind]) -> Self {
        let kinds = ALL.iter().chain(more).copied().collect();
        Self { random: StdRng::seed_from_u64(seed), kinds, left: Vec::new() }
    }

    pub(crate) fn draw(&mut self) -> Fault {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            self.left.shuffle(&mut self.random);
        }
        let kind = self.left.pop().unwrap();
        let (which, lasts) = (self.random.random_range(0..64), self.random.random_range(kind.lasts()));
        Fault { kind, which, lasts: Duration::from_millis(lasts) }
    }

    /// The pause until the next one.
    pub(crate) fn pause(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }
}

/// A fault that was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened {
    pub(crate) kind: Kind,
    /// When everything that it had broken was there again.
    pub(crate) until: u64,
}

/// Who can be struck.
pub(crate) struct Stage {
    pub(crate) rig: Arc<Rig>,
    pub(crate) workers: Vec<Arc<Mutex<Process>>>,
    pub(crate) apis: Vec<Arc<Mutex<Process>>>,
    pub(crate) schedulers: Vec<Arc<Mutex<Process>>>,
    database_wire: Arc<Mutex<()>>,
    redis_wire: Arc<Mutex<()>>,
    room: Arc<Semaphore>,
    pub(crate) happened: Record<Vec<Happened>>,
}

/// What a fault has for itself while it lasts.
enum Hold {
    Process(OwnedMutexGuard<Process>),
    Servers(OwnedMutexGuard<Servers>),
    Wire(OwnedMutexGuard<()>),
}

impl Stage {
    pub(crate) fn new(rig: Rig, workers: Vec<Process>, apis: Vec<Process>, schedulers: Vec<Process>) -> Arc<Self> {
        let share = |processes: Vec<Process>| processes.into_iter().map(|p| Arc::new(Mutex::new(p))).collect();
        Arc::new(Self {
            rig: Arc::new(rig),
            workers: share(workers),
            apis: share(apis),
            schedulers: share(schedulers),
            database_wire: Arc::default(),
            redis_wire: Arc::default(),
            room: Arc::new(Semaphore::new(TOGETHER)),
            happened: Record::default(),
        })
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Arc<Mutex<Process>>> {
        self.workers.iter().chain(&self.apis).chain(&self.schedulers)
    }

    /// Ends the processes and the servers.
    pub(crate) async fn strike_down(self: Arc<Self>) {
        let stage = Arc::try_unwrap(self).unwrap_or_else(|_| panic!("nobody else is on the stage any more"));
        drop((stage.workers, stage.apis, stage.schedulers));
        if let Ok(rig) = Arc::try_unwrap(stage.rig) {
            rig.stop().await;
        }
    }

    /// Begins a fault as soon as what it strikes is whole; it ends by itself.
    pub(crate) async fn strike(self: &Arc<Self>, fault: Fault, under_way: &mut JoinSet<()>) {
        while under_way.try_join_next().map(Result::unwrap).is_some() {}
        let room = Arc::clone(&self.room).acquire_owned().await.unwrap();
        let hold = self.hold(fault).await;
        under_way.spawn_local(Arc::clone(self).last(fault, hold, room));
    }

    async fn hold(&self, fault: Fault) -> Hold {
        let one = |all: &Vec<Arc<Mutex<Process>>>| Arc::clone(&all[fault.which % all.len()]);
        match fault.kind {
            Kind::WorkerKilled | Kind::WorkerDrained | Kind::WorkerPaused => {
                Hold::Process(one(&self.workers).lock_owned().await)
            }
            Kind::ApiKilled | Kind::ApiDrained => Hold::Process(one(&self.apis).lock_owned().await),
            Kind::SchedulerKilled | Kind::SchedulerPaused => Hold::Process(one(&self.schedulers).lock_owned().await),
            Kind::RedisCut | Kind::RedisSlow | Kind::RedisSwallowed | Kind::RedisAmbiguous => {
                Hold::Wire(Arc::clone(&self.redis_wire).lock_owned().await)
            }
            Kind::DatabaseCut | Kind::DatabaseSlow | Kind::DatabaseSwallowed | Kind::DatabaseAmbiguous => {
                Hold::Wire(Arc::clone(&self.database_wire).lock_owned().await)
            }
            Kind::Flushall
            | Kind::StreamTrimmed
            | Kind::StreamHalved
            | Kind::StreamDeleted
            | Kind::GroupDestroyed
            | Kind::RedisRestarted
            | Kind::RedisWiped
            | Kind::RedisKilled
            | Kind::RedisFrozen
            | Kind::DatabaseKilled
            | Kind::DatabaseFrozen
            | Kind::ConnectionsKilled
            | Kind::DiskFull => Hold::Servers(Arc::clone(&self.rig.servers).lock_owned().await),
        }
    }

    async fn last(self: Arc<Self>, fault: Fault, hold: Hold, _room: OwnedSemaphorePermit) {
        let from = now_ms();
        self.note(&format!("{from} begins: {}, number {}, {:?}", fault.kind.words(), fault.which, fault.lasts));
        match hold {
            Hold::Process(mut process) => inject::process(fault, &mut process).await,
            Hold::Servers(mut servers) => inject::servers(fault, &self.rig, &mut servers).await,
            Hold::Wire(_held) => inject::wire(fault, &self.rig).await,
        }
        let until = now_ms();
        self.note(&format!("{until} is over: {}, since {from}", fault.kind.words()));
        self.happened.lock().unwrap().push(Happened { kind: fault.kind, until });
    }

    /// Into the faults' journal: with the daemons' logs beside it, what followed from what.
    fn note(&self, line: &str) {
        let path = self.rig.path("faults");
        let mut journal = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(journal, "{line}").unwrap();
    }
}
