//! SIGTERM and SIGINT: the first drains, the second ends the process at once. SIGHUP reads the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Says when the process is told to read its configuration again: SIGHUP.
pub(super) struct Hangups(Option<Signal>);

impl Hangups {
    pub(super) fn listen() -> Self {
        match signal(SignalKind::hangup()) {
            Ok(hangup) => Self(Some(hangup)),
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be handled: the configuration will not be read again");
                Self(None)
            }
        }
    }

    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(hangup) => _ = hangup.recv().await,
            None => std::future::pending().await,
        }
    }
}

/// The exit code of a process that was told twice.
const EXIT_AT_ONCE: i32 = 130;

/// A token that is cancelled by the first signal.
#[must_use]
pub fn stop_on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => {
            tokio::spawn(wait(terminate, interrupt, token));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be handled: a stop will not drain");
        }
    }
    stop
}

async fn wait(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("told to stop; a second signal ends the process at once");
    stop.cancel();
    next(&mut terminate, &mut interrupt).await;
    tracing::warn!("told to stop twice: ending at once; running tasks will be rescued");
    std::process::exit(EXIT_AT_ONCE);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
