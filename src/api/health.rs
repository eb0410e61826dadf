//! How the process and its servers are, looked at every second so that the answers are
//! immediate even while a server hangs.

use crate::store::Store;
use crate::stream::Stream;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that has not answered within this time counts as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

#[derive(Debug, Clone)]
struct Seen {
    phase: Phase,
    roles: Vec<&'static str>,
    /// Err: why not.
    database: Result<(), String>,
    redis: Result<(), String>,
}

/// What is known of the process's health.
#[derive(Debug)]
pub struct Health {
    seen: RwLock<Seen>,
}

/// The body of `/health`.
#[derive(Debug, serde::Serialize)]
pub(super) struct Report {
    status: &'static str,
    version: &'static str,
    roles: Vec<&'static str>,
    parts: Parts,
}

#[derive(Debug, serde::Serialize)]
struct Parts {
    process: Part,
    database: Part,
    redis: Part,
}

#[derive(Debug, serde::Serialize)]
struct Part {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Report {
    pub(super) fn is_down(&self) -> bool {
        self.status == "down"
    }
}

impl Health {
    /// Of a process that has just begun, with these roles.
    #[must_use]
    pub fn new(roles: Vec<&'static str>) -> Self {
        let unknown = || Err("not connected yet".to_owned());
        let seen = Seen { phase: Phase::Starting, roles, database: unknown(), redis: unknown() };
        Self { seen: RwLock::new(seen) }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every service of this process is up. The servers were reached on the way.
    pub fn running(&self) {
        self.change(|seen| {
            if seen.phase == Phase::Starting {
                seen.phase = Phase::Running;
            }
        });
    }

    /// The process has begun to stop: not ready from here on.
    pub fn stopping(&self) {
        self.change(|seen| seen.phase = Phase::Stopping);
    }

    /// What the last look at the database showed.
    pub fn database(&self, state: Result<(), String>) {
        self.change(|seen| seen.database = state);
    }

    /// What the last look at Redis showed.
    pub fn redis(&self, state: Result<(), String>) {
        self.change(|seen| seen.redis = state);
    }

    /// Whether the process does its work; if not, why.
    pub(super) fn readiness(&self) -> Result<(), String> {
        let seen = self.seen();
        match seen.phase {
            Phase::Starting => Err("this process is still starting".to_owned()),
            Phase::Stopping => Err("this process is stopping".to_owned()),
            Phase::Running => seen.database.map_err(|why| format!("the database cannot be reached: {why}")),
        }
    }

    pub(super) fn report(&self) -> Report {
        let Seen { phase, roles, database, redis } = self.seen();
        let process = match phase {
            Phase::Starting => Part { status: "starting", detail: None },
            Phase::Running => Part { status: "ok", detail: None },
            Phase::Stopping => Part { status: "stopping", detail: None },
        };
        let status = match (&database, &redis, phase) {
            (Err(_), _, _) => "down",
            (Ok(()), Err(_), _) | (Ok(()), Ok(()), Phase::Starting | Phase::Stopping) => "degraded",
            (Ok(()), Ok(()), Phase::Running) => "ok",
        };
        let part = |state: Result<(), String>| match state {
            Ok(()) => Part { status: "ok", detail: None },
            Err(why) => Part { status: "down", detail: Some(why) },
        };
        let parts = Parts { process, database: part(database), redis: part(redis) };
        Report { status, version: env!("CARGO_PKG_VERSION"), roles, parts }
    }
}

/// Looks at both servers every second until stopped.
pub async fn monitor(health: &Health, store: &Store, stream: &Stream, stop: CancellationToken) {
    let late = || "no answer in time".to_owned();
    loop {
        let looks = async {
            tokio::join!(
                tokio::time::timeout(ANSWER_LIMIT, store.ping()),
                tokio::time::timeout(ANSWER_LIMIT, stream.ping()),
            )
        };
        let (database, redis) = tokio::select! {
            () = stop.cancelled() => return,
            looked = looks => looked,
        };
        health.database(database.map_or_else(|_| Err(late()), |r| r.map_err(|e| e.to_string())));
        health.redis(redis.map_or_else(|_| Err(late()), |r| r.map_err(|e| e.to_string())));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
