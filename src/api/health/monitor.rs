//! The looks at the servers: at each every second, so that the answers are immediate even while one hangs, and at
//! its settings at the start, after each reconnect, and every minute, since they change at run time.

use super::Health;
use crate::store::Store;
use crate::stream::Stream;
use crate::telemetry::{Episode, Hazard, HazardLog};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A server that has not answered within this time counts as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks at a server's settings.
const SETTINGS_INTERVAL: Duration = Duration::from_mins(1);

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
    use crate::api::health::tests::hazard;

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
