//! How the process and its servers are, as last seen; [`monitor`] looks.
//!
//! A server's setting that may lose accepted tasks makes the process `degraded`: it works, and does not keep its
//! promise. One that only costs time is a warning.

mod monitor;

pub use monitor::monitor;

use crate::telemetry::Hazard;
use std::sync::{PoisonError, RwLock};

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
    database: Seat,
    redis: Seat,
}

/// What was last seen of a server.
#[derive(Debug, Clone)]
struct Seat {
    /// Err: why not.
    state: Result<(), String>,
    /// As of the last look at its settings.
    hazards: Vec<Hazard>,
}

/// What is known of the process's health.
#[derive(Debug)]
pub struct Health {
    seen: RwLock<Seen>,
}

/// How the process and its parts are.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Health)]
pub(super) struct Report {
    /// `ok`, `degraded` or `down`.
    status: &'static str,
    version: &'static str,
    roles: Vec<&'static str>,
    parts: Parts,
}

/// Each part.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = HealthParts)]
struct Parts {
    process: Part,
    database: Part,
    redis: Part,
}

/// How a part is.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = HealthPart)]
struct Part {
    /// `ok`, `down`, `starting` or `stopping`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// A sentence for each dangerous setting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Part {
    const fn new(status: &'static str) -> Self {
        Self { status, detail: None, warnings: Vec::new() }
    }
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
        let unknown = || Seat { state: Err("not connected yet".to_owned()), hazards: Vec::new() };
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
        self.change(|seen| seen.database.state = state);
    }

    /// What the last look at Redis showed.
    pub fn redis(&self, state: Result<(), String>) {
        self.change(|seen| seen.redis.state = state);
    }

    /// The dangerous settings that the last look at the database's showed.
    fn database_hazards(&self, hazards: Vec<Hazard>) {
        self.change(|seen| seen.database.hazards = hazards);
    }

    /// The dangerous settings that the last look at Redis's showed.
    fn redis_hazards(&self, hazards: Vec<Hazard>) {
        self.change(|seen| seen.redis.hazards = hazards);
    }

    /// Whether the process does its work; if not, why.
    pub(super) fn readiness(&self) -> Result<(), String> {
        let seen = self.seen();
        match seen.phase {
            Phase::Starting => Err("this process is still starting".to_owned()),
            Phase::Stopping => Err("this process is stopping".to_owned()),
            Phase::Running => seen.database.state.map_err(|why| format!("the database cannot be reached: {why}")),
        }
    }

    /// The process's roles.
    pub(super) fn roles(&self) -> Vec<&'static str> {
        self.seen().roles
    }

    pub(super) fn report(&self) -> Report {
        let Seen { phase, roles, database, redis } = self.seen();
        let process = match phase {
            Phase::Starting => Part::new("starting"),
            Phase::Running => Part::new("ok"),
            Phase::Stopping => Part::new("stopping"),
        };
        let loses_tasks = [&database, &redis].iter().any(|seat| seat.hazards.iter().any(|hazard| hazard.loses_tasks));
        let status = match (&database.state, &redis.state, phase) {
            (Err(_), _, _) => "down",
            (Ok(()), Err(_), _) | (Ok(()), Ok(()), Phase::Starting | Phase::Stopping) => "degraded",
            (Ok(()), Ok(()), Phase::Running) if loses_tasks => "degraded",
            (Ok(()), Ok(()), Phase::Running) => "ok",
        };
        let part = |seat: Seat| match seat.state {
            Ok(()) => Part { warnings: seat.hazards.iter().map(Hazard::to_string).collect(), ..Part::new("ok") },
            // Of a server that is away nobody knows how it will come back.
            Err(why) => Part { detail: Some(why), ..Part::new("down") },
        };
        let parts = Parts { process, database: part(database), redis: part(redis) };
        Report { status, version: env!("CARGO_PKG_VERSION"), roles, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(super) fn hazard(setting: &'static str, loses_tasks: bool) -> Hazard {
        let (risk, remedy) = ("it may cost".to_owned(), "mend it".to_owned());
        Hazard { setting, value: "2".to_owned(), risk, remedy, loses_tasks }
    }

    fn running() -> Health {
        let health = Health::new(vec!["api"]);
        health.database(Ok(()));
        health.redis(Ok(()));
        health.running();
        health
    }

    fn report(health: &Health) -> Value {
        serde_json::to_value(health.report()).unwrap()
    }

    #[test]
    fn without_warnings_the_report_has_no_such_field() {
        let part = json!({"status": "ok"});
        let expected = json!({
            "status": "ok", "version": env!("CARGO_PKG_VERSION"), "roles": ["api"],
            "parts": {"process": part, "database": part, "redis": part}
        });
        assert_eq!(report(&running()), expected);
    }

    #[test]
    fn only_a_setting_that_may_lose_accepted_tasks_degrades() {
        let health = running();
        health.redis_hazards(vec![hazard("maxmemory-policy", false)]);
        let found = report(&health);
        assert_eq!(found["status"], "ok");
        assert_eq!(
            found["parts"]["redis"],
            json!({"status": "ok", "warnings": ["maxmemory-policy is 2: it may cost; mend it"]})
        );
        health.database_hazards(vec![hazard("flush", true), hazard("sync", true)]);
        let found = report(&health);
        assert_eq!((&found["status"], &found["parts"]["database"]["status"]), (&json!("degraded"), &json!("ok")));
        assert_eq!(found["parts"]["database"]["warnings"].as_array().unwrap().len(), 2);
        assert!(health.readiness().is_ok(), "it works");
        // What is known of a server that is away may not be so when it is back.
        health.database(Err("gone".to_owned()));
        let found = report(&health);
        assert_eq!(
            (&found["status"], &found["parts"]["database"]),
            (&json!("down"), &json!({"status": "down", "detail": "gone"}))
        );
    }
}
