//! The heartbeat: renews the worker's lease, and compares what the rows say with what it holds:
//! which of it is to be cancelled, and what it does not know.

use super::incarnation::Life;
use crate::lifecycle::rescue;
use crate::store::StoreError;
use crate::store::tasks::Held;
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
/// Rows compared at a beat, beyond the slots: more than outcomes may wait to be recorded.
const SPARE_ROWS: u32 = 4096;

/// Beats until stopped. Returns earlier when the lease is lost: declared dead by another, or
/// not to be trusted any more.
pub(super) async fn run(life: Arc<Life>, cancels: CancelInbox, stop: CancellationToken) -> Result<(), LeaseLost> {
    let mut releasing = Releasing { life: &life, keys: HashSet::new() };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        // Watched apart from the beat: a beat may hang for as long as the database does.
        () = life.lease.expired() => Err(LeaseLost::Expired),
        dead = renew(&life) => Err(dead),
        // Beside the renewals, so that a slow comparison does not delay them.
        never = compare(&life, &mut releasing) => match never {},
        never = heed(&life, cancels) => match never {},
    };
    if ended.is_err() {
        // Before anything is let go of: from here on no claim starts what it wins.
        life.lease.revoke();
    }
    ended
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

/// An attempt.
type Key = (TaskId, u32);

/// Attempts that are being given back, held for as long as that is in doubt: an entry that comes
/// twice must not begin one of them. Dropped with the heartbeat, after which nothing begins.
struct Releasing<'a> {
    life: &'a Life,
    keys: HashSet<Key>,
}

impl Releasing<'_> {
    /// Holds an attempt; false if it is held otherwise.
    fn hold(&mut self, (id, attempt): Key) -> bool {
        let entry = attempt.saturating_sub(1);
        self.keys.contains(&(id, attempt))
            || self.life.held.take(id, entry).is_none() && self.keys.insert((id, attempt))
    }

    /// Lets go of what is not to be kept.
    fn keep(&mut self, kept: impl Fn(&Key) -> bool) {
        for key in self.keys.extract_if(|key| !kept(key)) {
            self.life.held.release(key.0);
        }
    }
}

impl Drop for Releasing<'_> {
    fn drop(&mut self) {
        self.keep(|_| false);
    }
}

/// Compares at every beat, for as long as the heartbeat lasts.
async fn compare(life: &Life, releasing: &mut Releasing<'_>) -> Infallible {
    let trouble = Episode::new("comparing rows with what is held");
    // What was unknown at the beat before: perhaps it had just ended.
    let mut unknown = HashSet::new();
    loop {
        tokio::time::sleep(life.lease.length() / BEATS).await;
        match reconcile(life, &mut unknown, releasing).await {
            Ok(()) => trouble.succeeded(),
            Err(error) => trouble.failed(&error),
        }
    }
}

/// Cancels what is marked so: its notice may have been lost. Releases rows that say `running`
/// under this worker and that it does not know, at this beat and at the one before: claims that
/// committed after their answers were lost.
async fn reconcile(life: &Life, unknown: &mut HashSet<Key>, releasing: &mut Releasing<'_>) -> Result<(), StoreError> {
    let limit = life.parts.settings.concurrency.saturating_add(SPARE_ROWS);
    let rows = life.parts.tools.store.running_under(life.id, limit).await?;
    let key = |row: &Held| (row.id, row.standing.attempt);
    for row in rows.iter().filter(|row| row.standing.cancel_requested) {
        life.held.cancel(row.id, row.standing.attempt);
    }
    let running: HashSet<Key> = rows.iter().map(key).collect();
    releasing.keep(|key| running.contains(key));
    let unknown_before = std::mem::take(unknown);
    let mut again = Vec::new();
    for row in rows {
        let key = key(&row);
        if (releasing.keys.contains(&key) || unknown_before.contains(&key)) && releasing.hold(key) {
            again.push(row);
        } else if !life.held.contains(row.id) {
            unknown.insert(key);
        }
    }
    if !again.is_empty() {
        rescue::release(&life.parts.tools, again).await?;
        releasing.keep(|_| false);
    }
    Ok(())
}
