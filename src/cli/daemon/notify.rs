//! What a service manager hears (systemd's `Type=notify`): that the process is ready, that it stops, that it lives.
//! Without one there is no `NOTIFY_SOCKET`, and nothing is sent.

use crate::telemetry::Episode;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

pub(super) fn waiting() {
    tell(&[NotifyState::Status("waiting for the database")]);
}

pub(super) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("ready on {address}"))]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what runs")]);
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
