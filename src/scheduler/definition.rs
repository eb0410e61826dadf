//! A schedule of the configuration, ready for the table.

use crate::store::schedules::Definition;
use crate::task::Timestamp;
use crate::task::cron::Cron;

/// What fires when.
#[derive(Debug, Clone)]
pub struct ScheduleSpec {
    pub name: String,
    pub cron: Cron,
    /// The task to submit: JSON as `POST /api/tasks` takes it.
    pub task: String,
}

impl ScheduleSpec {
    /// The row for it; its first instant is the first after now.
    pub(super) fn definition(&self, now: Timestamp) -> Definition {
        Definition {
            name: self.name.clone(),
            cron: self.cron.expression().to_owned(),
            timezone: self.cron.zone().to_owned(),
            task: self.task.clone(),
            next_fire_at: self.cron.next_after(now),
        }
    }
}
