//! Fire: a schedule's instant has come, and exactly one scheduler submits its task.

use super::Tools;
use super::submit::hand_over;
use crate::store::StoreError;
use crate::store::schedules::{Due, Fire};
use crate::task::cron::Cron;
use crate::task::{NewTask, Task, Timestamp};

/// The instant that follows a fire: the first one after now, so that a schedule which was
/// missed for a while fires once for what it missed.
#[must_use]
pub fn following(cron: &Cron, fire_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    cron.next_after(fire_at.max(now))
}

/// Records the fire and submits its task, in one transaction. None: another scheduler did.
///
/// # Errors
/// When the database cannot be reached; the next look finds the schedule as it then is.
pub async fn fire(
    tools: &Tools,
    due: &Due,
    next_fire_at: Option<Timestamp>,
    task: NewTask,
) -> Result<Option<Task>, StoreError> {
    let fire = Fire { schedule: due.name.clone(), version: due.version, fire_at: due.fire_at, next_fire_at, task };
    let fired = tools.store.fire(fire).await?;
    if let Some(task) = &fired {
        hand_over(std::iter::once(task), tools);
    }
    Ok(fired)
}
