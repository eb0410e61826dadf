//! One life of a worker under one id: register, run, and either drain or be fenced.

use super::heartbeat::LeaseLost;
use super::held::Held;
use super::lease::{Lease, Moment};
use super::pace::Freed;
use super::queues::Queues;
use super::{Parts, Served, consume, dispatcher, heartbeat};
use crate::executor::STOP_GRACE;
use crate::lifecycle::execute::Stop;
use crate::lifecycle::finish::Finisher;
use crate::lifecycle::rescue;
use crate::store::workers::NewWorker;
use crate::stream::{CancelInbox, CancelNotices};
use crate::task::WorkerId;
use crate::telemetry::Episode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Wait between tries to register, and to hand over.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// After a drain's time is over: for interrupted attempts to be recorded, and for tasks to be handed over.
pub(super) const RECORD_LIMIT: Duration = Duration::from_secs(10);
/// Outcomes that may wait to be recorded beyond the slots; more, and no more is claimed.
const UNRECORDED: usize = 2048;

/// What the services of one incarnation share.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) id: WorkerId,
    pub(super) parts: Arc<Parts>,
    pub(super) finisher: Finisher,
    pub(super) lease: Lease,
    pub(super) held: Held,
    /// Attempts that may run at once.
    pub(super) slots: Arc<Semaphore>,
    pub(super) freed: Freed,
    /// Tasks that may be held at once: running, and waiting to be recorded.
    pub(super) unrecorded: Arc<Semaphore>,
    pub(super) served: watch::Receiver<Queues>,
    /// Trouble with claims: their tasks come back by the sweep or the heartbeat.
    pub(super) claiming: Episode,
}

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Stopped, and nothing is left.
    Drained,
    /// The lease was lost: everything was dropped.
    Fenced,
}

pub(super) struct Incarnation {
    life: Arc<Life>,
    cancels: CancelInbox,
}

impl Incarnation {
    /// Registers, trying until the database takes it; each time under a new id: the row of a try
    /// whose answer was lost has a lease that runs from then, and may be declared dead before
    /// this one ends. None: stopped first.
    pub(super) async fn begin(
        parts: &Arc<Parts>,
        finisher: &Finisher,
        served: watch::Receiver<Queues>,
        cancels: &CancelNotices,
        stop: &CancellationToken,
    ) -> Option<Self> {
        let trouble = Episode::new("registering the worker");
        let concurrency = usize::try_from(parts.settings.concurrency).unwrap_or(usize::MAX >> 4);
        loop {
            let (id, sent) = (WorkerId::fresh(), Moment::now());
            let registered = parts.tools.store.register_worker(row(id, parts), parts.settings.lease);
            match registered.await {
                Ok(()) => {
                    trouble.succeeded();
                    tracing::info!(worker.id = %id, slots = concurrency, "worker registered");
                    let life = Life {
                        id,
                        parts: Arc::clone(parts),
                        finisher: finisher.clone(),
                        lease: Lease::new(parts.settings.lease, sent),
                        held: Held::default(),
                        slots: Arc::new(Semaphore::new(concurrency)),
                        freed: Freed::default(),
                        unrecorded: Arc::new(Semaphore::new(concurrency + UNRECORDED)),
                        served,
                        claiming: Episode::new("claims"),
                    };
                    return Some(Self { life: Arc::new(life), cancels: cancels.subscribe() });
                }
                Err(error) => trouble.failed(&error),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY_WAIT) => {}
            }
        }
    }

    /// Serves until stopped (then drains) or until the lease is lost: then drops everything, and
    /// what remains to be handed over goes on in `handing_over`.
    pub(super) async fn run(self, stop: &CancellationToken, handing_over: &mut JoinSet<()>) -> Ended {
        let Self { life, cancels } = self;
        let (reading, beating, dispatching) = (stop.child_token(), CancellationToken::new(), stop.child_token());
        let mut heartbeat = tokio::spawn(heartbeat::run(Arc::clone(&life), cancels, beating.clone()));
        let mut consumer = tokio::spawn(consume::run(Arc::clone(&life), reading.clone()));
        let dispatchers = tokio::spawn(dispatcher::run(Arc::clone(&life), dispatching.clone()));
        let lost = tokio::select! {
            // First: the consumer ends once this is so.
            biased;
            () = stop.cancelled() => {
                // Another worker takes the queues over at once; what runs here may take its time.
                let (lost, ()) = tokio::join!(
                    drain(&life, &mut consumer, &mut heartbeat),
                    give_up_queues(&life, dispatchers),
                );
                lost
            }
            ended = &mut heartbeat => Some(lost(ended)),
            _ = &mut consumer => Some("its consumer broke off".to_owned()),
        };
        beating.cancel();
        reading.cancel();
        dispatching.cancel();
        if let Some(why) = lost {
            // In this order: a claim that is under way drops what it wins from here on, and what
            // was started before is stopped.
            life.lease.revoke();
            let tasks = life.held.stop_all(Stop::Fenced);
            tracing::error!(worker.id = %life.id, tasks, "this worker lost its lease and stops what it runs: {why}");
            // They are dropped at once; this only waits for them to be gone.
            let _ = tokio::time::timeout(STOP_GRACE * 2, life.held.empty()).await;
            handing_over.spawn(hand_over(life, consumer));
            return Ended::Fenced;
        }
        leave(&life).await;
        Ended::Drained
    }
}

fn row(id: WorkerId, parts: &Parts) -> NewWorker {
    let queues = match &parts.settings.queues {
        Served::All => vec!["*"],
        Served::Only(names) => names.iter().map(|name| &**name).collect(),
    };
    NewWorker {
        id,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: std::process::id(),
        queues: serde_json::to_string(&queues).unwrap_or_default(),
        slots: parts.settings.concurrency,
    }
}

fn lost(ended: Result<Result<(), LeaseLost>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Err(why)) => why.to_string(),
        Ok(Ok(())) => "its heartbeat was stopped".to_owned(),
        Err(error) => format!("its heartbeat broke off: {error}"),
    }
}

/// Waits for what runs, up to the drain's limit, then interrupts the rest. Some: the lease
/// was lost meanwhile.
async fn drain(
    life: &Life,
    consumer: &mut JoinHandle<()>,
    heartbeat: &mut JoinHandle<Result<(), LeaseLost>>,
) -> Option<String> {
    let limit = life.parts.settings.drain_timeout;
    let finished = async {
        let at_rest = async {
            // What it was claiming is held after this.
            let _ = consumer.await;
            life.held.empty().await;
        };
        if tokio::time::timeout(limit, at_rest).await.is_err() {
            let tasks = life.held.stop_all(Stop::Interrupted);
            tracing::warn!(tasks, "the drain's time is over: interrupting what still runs");
            if tokio::time::timeout(RECORD_LIMIT, life.held.empty()).await.is_err() {
                tracing::error!("some outcomes could not be recorded; their tasks will be rescued");
            }
        }
    };
    tokio::select! {
        () = finished => None,
        ended = heartbeat => Some(lost(ended)),
    }
}

async fn give_up_queues(life: &Life, dispatchers: JoinHandle<()>) {
    let _ = dispatchers.await;
    if let Err(error) = life.parts.tools.store.release_queues(life.id).await {
        tracing::warn!(%error, "dispatcher leases could not be given up; they run out by themselves");
    }
}

/// What a lost lease has stopped is eligible again as soon as the database answers. Once nothing
/// is held: until then a handler may not have ended yet, or an outcome is still on its way.
async fn hand_over(life: Arc<Life>, consumer: JoinHandle<()>) {
    life.held.empty().await;
    let trouble = Episode::new("handing tasks over after a lost lease");
    loop {
        match rescue::hand_over(&life.parts.tools, life.id).await {
            Ok(tasks) => {
                trouble.succeeded();
                tracing::info!(worker.id = %life.id, tasks, "handed over what a lost lease had stopped");
                break;
            }
            Err(error) => trouble.failed(&error),
        }
        tokio::time::sleep(RETRY_WAIT).await;
    }
    // Whatever a rescuer may have cleared before: a read that was under way has come back since.
    if !consumer.is_finished() {
        let _ = consumer.await;
    }
    while !rescue::clear_entries(&life.parts.tools, life.id).await.unwrap_or(false) {
        tokio::time::sleep(RETRY_WAIT).await;
    }
}

/// Leaves nothing behind: consumers, then the worker's row. Where that fails the row stays, is
/// declared dead, and whoever rescues does the rest.
async fn leave(life: &Life) {
    let store = &life.parts.tools.store;
    let queues = life.served.borrow().clone();
    for queue in queues.iter() {
        if let Err(error) = life.parts.tools.stream.clear_consumer(queue, life.id).await {
            tracing::warn!(%error, "the worker's consumer could not be removed; it will be declared dead");
            return;
        }
    }
    let left = async {
        // Claims that committed after their answers were lost, and that no beat has found any more.
        let unknown = store.running_under(life.id, 1000).await?;
        if !unknown.is_empty() && life.held.is_empty() {
            rescue::release(&life.parts.tools, unknown).await?;
        }
        store.running_under(life.id, 1).await
    };
    match left.await {
        Ok(rows) if rows.is_empty() => {
            if let Err(error) = store.remove_worker(life.id).await {
                tracing::warn!(%error, "the worker's row could not be removed; it will be declared dead");
            }
        }
        Ok(_) => tracing::warn!("tasks still say running under this worker; they will be rescued"),
        Err(error) => tracing::warn!(%error, "the worker's row could not be removed; it will be declared dead"),
    }
}
