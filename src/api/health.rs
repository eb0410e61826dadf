//! How the process and its servers are, looked at every second so that the answers are
//! immediate even while a server hangs.
//!
//! A server's settings are looked at too, at the start, after each reconnect, and every minute,
//! since they change at run time. One that may lose accepted tasks makes the process
//! `degraded`: it works, and does not keep its promise. One that only costs time is a warning.

use crate::store::Store;
use crate::stream::Stream;
use crate::telemetry::{Episode, Hazard, HazardLog};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that has not answered within this time counts as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks at a server's settings.
const SETTINGS_INTERVAL: Duration = Duration::from_mins(1);

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

/// Looks at both servers every second until stopped.
pub async fn monitor(health: &Health, store: &Store, stream: &Stream, stop: CancellationToken) {
    let (mut database, mut redis) =
        (Settings::new("database", "database settings"), Settings::new("redis", "redis settings"));
    loop {
        let looks = async {
            tokio::join!(
                async {
                    let state = within(store.ping()).await;
                    database.server_is(state.is_ok());
                    health.database(state);
                    if let Some(hazards) = database.look(store.hazards()).await {
                        health.database_hazards(hazards);
                    }
                },
                async {
                    let state = within(stream.ping()).await;
                    redis.server_is(state.is_ok());
                    health.redis(state);
                    if let Some(hazards) = redis.look(stream.hazards()).await {
                        health.redis_hazards(hazards);
                    }
                },
            )
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn within<T, E: ToString>(work: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_LIMIT, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// When a server's settings are looked at, and what is logged of them.
struct Settings {
    log: HazardLog,
    trouble: Episode,
    answers: bool,
    /// None: at the next look.
    due: Option<Instant>,
}

impl Settings {
    /// `subject` begins the log lines about the settings, `looking` those about looks that fail.
    const fn new(subject: &'static str, looking: &'static str) -> Self {
        Self { log: HazardLog::new(subject), trouble: Episode::new(looking), answers: false, due: None }
    }

    /// What a look at the server showed: one that is back may be another one.
    fn server_is(&mut self, answers: bool) {
        if answers && !self.answers {
            self.due = None;
        }
        self.answers = answers;
    }

    fn is_due(&self, now: Instant) -> bool {
        self.answers && self.due.is_none_or(|due| now >= due)
    }

    /// Looks if it is time to. None: not looked, or no answer; then what was seen before stands.
    async fn look<E: ToString>(&mut self, look: impl Future<Output = Result<Vec<Hazard>, E>>) -> Option<Vec<Hazard>> {
        if !self.is_due(Instant::now()) {
            return None;
        }
        let seen = within(look).await;
        // After a failure too: it may be for good, and may have cost a connection.
        self.due = Some(Instant::now() + SETTINGS_INTERVAL);
        match seen {
            Ok(hazards) => {
                self.trouble.succeeded();
                self.log.saw(&hazards);
                Some(hazards)
            }
            Err(why) => {
                self.trouble.failed(&why);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn hazard(setting: &'static str, loses_tasks: bool) -> Hazard {
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

    #[test]
    fn settings_are_due_at_first_after_a_reconnect_and_after_the_interval() {
        let (mut settings, now) = (Settings::new("database", "database settings"), Instant::now());
        assert!(!settings.is_due(now), "before it answers there is nothing to ask");
        settings.server_is(true);
        assert!(settings.is_due(now));
        settings.due = Some(now + SETTINGS_INTERVAL);
        settings.server_is(true);
        assert!(!settings.is_due(now) && settings.is_due(now + SETTINGS_INTERVAL));
        settings.server_is(false);
        assert!(!settings.is_due(now + SETTINGS_INTERVAL));
        settings.server_is(true);
        assert!(settings.is_due(now));
    }

    #[tokio::test]
    async fn a_look_that_fails_is_noted_and_not_repeated_before_the_interval_or_a_reconnect() {
        let mut settings = Settings::new("database", "database settings");
        settings.server_is(true);
        assert_eq!(settings.look(async { Err("no such view") }).await, None);
        assert!(settings.trouble.is_failing());
        assert!(!settings.is_due(Instant::now()) && settings.is_due(Instant::now() + SETTINGS_INTERVAL));
        let found = vec![hazard("flush", true)];
        assert_eq!(settings.look(async { Ok::<_, String>(found.clone()) }).await, None, "not yet");
        settings.server_is(false);
        settings.server_is(true);
        assert_eq!(settings.look(async { Ok::<_, String>(found.clone()) }).await, Some(found.clone()));
        assert!(!settings.trouble.is_failing());
    }
}
