//! What a service manager hears (systemd's `Type=notify`): that the process is ready, that it stops, that it lives.
//! Without one there is no `NOTIFY_SOCKET`, and nothing is sent.

use crate::telemetry::Episode;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Of the drain's end: interrupted attempts are recorded, tasks handed over, the last words sent.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(15);

pub(super) fn waiting() {
    tell(&[NotifyState::Status("waiting for the database")]);
}

pub(super) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("ready on {address}"))]);
}

/// It may take that long, whatever the unit's own limit: a drain that somebody has made long is not cut off.
pub(super) fn stopping(drain: Duration) {
    let microseconds = u32::try_from((drain + AFTER_THE_DRAIN).as_micros()).unwrap_or(u32::MAX);
    let more = NotifyState::ExtendTimeoutUsec(microseconds);
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what runs"), more]);
}

/// The watchdog is told twice in each of its intervals: what goes wrong does so again and again.
static TROUBLE: Episode = Episode::new("telling the service manager how this process is");

/// A failure costs no more than what the manager then thinks of the process, which it will say itself.
fn tell(states: &[NotifyState<'_>]) {
    match sd_notify::notify(states) {
        Ok(()) => TROUBLE.succeeded(),
        Err(error) => TROUBLE.failed(&error),
    }
}

/// Says twice in the watchdog's interval that this process lives, until dropped. It is a task of the runtime as all
/// others are: where these are not polled any more, the manager hears nothing, and starts the process again.
pub(super) struct Watchdog(Option<JoinHandle<()>>);

impl Watchdog {
    pub(super) fn start() -> Self {
        Self(sd_notify::watchdog_enabled().map(|interval| {
            tokio::spawn(async move {
                let mut beats = tokio::time::interval(interval / 2);
                beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    beats.tick().await;
                    tell(&[NotifyState::Watchdog]);
                }
            })
        }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(beats) = &self.0 {
            beats.abort();
        }
    }
}
