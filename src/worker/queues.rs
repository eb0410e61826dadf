//! Which queues this worker serves, kept up to date.

use super::{Parts, Served};
use crate::telemetry::Episode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often new queues are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Least time between two looks.
const LEAST: Duration = Duration::from_millis(50);

/// The served queues, sorted.
pub(super) type Queues = Arc<[Arc<str>]>;

/// Starts the watch; the receiver begins with no queues.
pub(super) fn watch(
    parts: &Arc<Parts>,
    stop: CancellationToken,
    services: &mut JoinSet<()>,
) -> watch::Receiver<Queues> {
    let (sender, receiver) = watch::channel(Queues::from([]));
    let parts = Arc::clone(parts);
    services.spawn(async move {
        let trouble = Episode::new("looking for queues");
        loop {
            match look(&parts).await {
                Ok(queues) => {
                    trouble.succeeded();
                    sender.send_if_modified(|known| {
                        let changed = *known != queues;
                        *known = queues;
                        changed
                    });
                }
                Err(error) => trouble.failed(&error),
            }
            // A wake-up may be of a new queue; many of them must not make this a hot loop.
            let woken = async {
                tokio::time::sleep(LEAST).await;
                parts.tools.wakes.other().await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
                () = woken => {}
            }
        }
    });
    receiver
}

async fn look(parts: &Parts) -> Result<Queues, crate::store::StoreError> {
    match &parts.settings.queues {
        Served::All => Ok(parts.tools.store.queue_names().await?.into()),
        Served::Only(names) => {
            // They must be there for the dispatcher's lease.
            parts.tools.store.ensure_queues(names.clone()).await?;
            Ok(names.clone().into())
        }
    }
}
