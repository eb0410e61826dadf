//! `[retention]`: how long finished tasks and the schedules' ledger stay in the database.

use std::time::Duration;

use super::form::Span;
use super::layers::{Key, Layers};
use crate::task::duration;

const DAY: u64 = 86_400;
const RETENTION: Span = Span { min: Duration::from_secs(1), max: duration::MAX };

/// `[retention]`, each at least 1 s
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Completed tasks.
    pub completed: Duration,
    /// Failed and cancelled tasks.
    pub failed: Duration,
    /// What schedules fired.
    pub fires: Duration,
    /// Idempotency keys: the time in which a repeated request is answered with its first tasks.
    pub idempotency: Duration,
}

pub(super) fn read(layers: &mut Layers) -> Retention {
    let mut days = |key, days: u64| layers.value(Key::new(key), &RETENTION, Duration::from_secs(days * DAY));
    Retention {
        completed: days("retention.completed", 7),
        failed: days("retention.failed", 30),
        fires: days("retention.fires", 90),
        idempotency: days("retention.idempotency", 1),
    }
}
