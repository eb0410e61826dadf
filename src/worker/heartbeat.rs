//! The heartbeat: renews the worker's lease, and compares what the rows say with what it holds:
//! which of it is to be cancelled, and what it does not know.

use super::incarnation::Life;
use crate::lifecycle::rescue;
use crate::stream::CancelInbox;
use crate::task::TaskId;
use crate::telemetry::Episode;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::lease::Moment;

/// Beats in one lease.
const BEATS: u32 = 3;
/// Wait before a failed beat is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// Rows compared at a beat, beyond the slots.
const SPARE_ROWS: u32 = 1000;

/// Beats until stopped. Returns earlier when the lease is lost: declared dead by another, or
/// not to be trusted any more.
pub(super) async fn run(life: Arc<Life>, cancels: CancelInbox, stop: CancellationToken) -> Result<(), LeaseLost> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        // Watched apart from the beat: a beat may hang for as long as the database does.
        () = life.lease.expired() => Err(LeaseLost::Expired),
        dead = renew(&life) => Err(dead),
        // Beside the renewals, so that a slow comparison does not delay them.
        never = compare(&life) => match never {},
        never = heed(&life, cancels) => match never {},
    }
}

/// Why an incarnation ends before it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LeaseLost {
    #[error("it could not be renewed in time")]
    Expired,
    #[error("another process declared this worker dead")]
    DeclaredDead,
}

async fn renew(life: &Life) -> LeaseLost {
    let trouble = Episode::new("heartbeat");
    let rhythm = life.lease.length() / BEATS;
    loop {
        let (sent, began) = (Moment::now(), Instant::now());
        let wait = match life.parts.tools.store.renew_worker(life.id, life.lease.length()).await {
            Ok(true) => {
                life.lease.renewed(sent);
                trouble.succeeded();
                rhythm.saturating_sub(began.elapsed())
            }
            Ok(false) => return LeaseLost::DeclaredDead,
            Err(error) => {
                trouble.failed(&error);
                RETRY_WAIT.min(rhythm)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Cancels as notices come; what they miss the comparison finds.
async fn heed(life: &Life, mut cancels: CancelInbox) -> Infallible {
    while let Some(notice) = cancels.next().await {
        life.held.cancel(notice.id, notice.attempt);
    }
    std::future::pending().await
}

/// Rows that say `running` under this worker and that it does not know.
#[derive(Default)]
struct Unknown {
    /// At one beat: perhaps they have just ended.
    once: HashSet<Key>,
    /// At more, so they are being released. Held for as long as that is in doubt: an entry that
    /// comes twice must not begin an attempt that is being given back.
    releasing: HashSet<Key>,
}

/// An attempt.
type Key = (TaskId, u32);

/// Compares at every beat, for as long as the heartbeat lasts.
async fn compare(life: &Life) -> Infallible {
    let mut unknown = Unknown::default();
    loop {
        tokio::time::sleep(life.lease.length() / BEATS).await;
        unknown = reconcile(life, unknown).await;
    }
}

/// Cancels what is marked so: its notice may have been lost. Releases rows that say `running`
/// under this worker and that it does not know, at this beat and at the one before: claims that
/// committed after their answers were lost. Says what is unknown now.
async fn reconcile(life: &Life, before: Unknown) -> Unknown {
    let limit = life.parts.settings.concurrency.saturating_add(SPARE_ROWS);
    let Ok(rows) = life.parts.tools.store.running_under(life.id, limit).await else {
        return before;
    };
    let mut unknown = Unknown::default();
    let mut again = Vec::new();
    for row in rows {
        let attempt = row.standing.attempt;
        if row.cancel_requested {
            life.held.cancel(row.id, attempt);
        }
        let key = (row.id, attempt);
        let take = || life.held.take(row.id, attempt.saturating_sub(1)).is_none();
        if before.releasing.contains(&key) || before.once.contains(&key) && take() {
            unknown.releasing.insert(key);
            again.push(row);
        } else if !life.held.contains(row.id) {
            unknown.once.insert(key);
        }
    }
    before.releasing.difference(&unknown.releasing).for_each(|(id, _)| life.held.release(*id));
    if again.is_empty() {
        return unknown;
    }
    match rescue::release(&life.parts.tools, again).await {
        Ok(_) => unknown.releasing.drain().for_each(|(id, _)| life.held.release(id)),
        Err(error) => tracing::warn!(%error, "unknown tasks could not be released; the next beat tries again"),
    }
    unknown
}
