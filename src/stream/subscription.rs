//! The one subscription of a worker process: wake-ups and cancel notices from every other.

use super::cancel::CancelNotices;
use super::connection::Stream;
use super::error::StreamError;
use super::wake::Wakes;
use crate::telemetry::Episode;
use futures_util::StreamExt;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Wait between tries to subscribe.
const RETRY_WAIT: Duration = Duration::from_secs(1);

impl Stream {
    /// Passes wake-ups and cancel notices of other processes on to this one's, until stopped.
    pub async fn listen(&self, wakes: Wakes, cancels: CancelNotices, stop: CancellationToken) {
        let trouble = Episode::new("redis subscription");
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.subscribe(&wakes, &cancels, &trouble) => ended,
            };
            if let Err(error) = ended {
                self.count(&error);
                trouble.failed(&error);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_WAIT) => {}
            }
        }
    }

    async fn subscribe(&self, wakes: &Wakes, cancels: &CancelNotices, trouble: &Episode) -> Result<(), StreamError> {
        let mut subscription = self.client.get_async_pubsub().await?;
        let cancel_channel = self.cancel_channel();
        subscription.subscribe(&[self.wake_channel(), cancel_channel.clone()]).await?;
        trouble.succeeded();
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            let Ok(text) = message.get_payload::<String>() else { continue };
            if message.get_channel_name() != cancel_channel {
                wakes.wake(&text);
            } else if let Ok(notice) = text.parse() {
                cancels.pass_on(notice);
            }
        }
        Ok(())
    }
}
