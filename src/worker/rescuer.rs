//! The rescuer's rhythm: every worker, every second; but not right after an outage.

use super::lease::Moment;
use crate::lifecycle::{Tools, rescue};
use crate::telemetry::Episode;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Time between passes.
const INTERVAL: Duration = Duration::from_secs(1);
/// A pass this late means that this process, or the database, stood still.
const GAP: Duration = Duration::from_secs(4);

/// An answer that takes longer than this part of the lease is a slow one.
const SLOW_PART: u32 = 3;

/// Passes every second until stopped.
///
/// It holds off for one lease after its own start, after a pass that failed or a slow answer, and
/// after a gap in its passes: while the database was away nobody could renew, and workers that live get the
/// time to do so.
pub(super) async fn run(tools: Tools, lease: Duration, stop: CancellationToken) {
    let trouble = Episode::new("rescue");
    let mut hold_off = Instant::now() + lease;
    // On the clock that runs during suspend.
    let mut last = Moment::now();
    let mut orphans_at = hold_off;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let now = Instant::now();
        if Moment::now().since(last) > GAP {
            hold_off = now + lease;
        }
        last = Moment::now();
        // A database that answers slowly has kept everybody's renewals waiting too. Asked while
        // holding off as well: an outage may begin then, and end just after.
        let asked = Instant::now();
        if tools.store.now().await.is_err() || asked.elapsed() > lease / SLOW_PART {
            hold_off = Instant::now() + lease;
            last = Moment::now();
            continue;
        }
        if now < hold_off {
            continue;
        }
        let with_orphans = now >= orphans_at;
        let result = async {
            rescue::pass(&tools).await?;
            if with_orphans {
                rescue::orphans(&tools).await?;
                if tools.registry.has_outside() {
                    rescue::overdue(&tools, lease).await?;
                }
            }
            Ok::<(), crate::store::StoreError>(())
        };
        match result.await {
            Ok(()) => {
                trouble.succeeded();
                if with_orphans {
                    orphans_at = now + lease;
                }
            }
            Err(error) => {
                trouble.failed(&error);
                hold_off = Instant::now() + lease;
            }
        }
        last = Moment::now();
    }
}
