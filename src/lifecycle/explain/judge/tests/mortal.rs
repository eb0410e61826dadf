//! What waits and expires.

use super::cases::Case;
use super::*;

pub(super) fn mortal() -> Vec<Case> {
    use Stand::{Backlog, Until};
    use Status::{Queued, Scheduled};
    let hour = Until(after(3600));
    vec![
        // Before it is due, before it is offered again, before the pause ends; and after.
        (
            Scheduled,
            hour,
            |f| f.task.expires_at = Some(after(3600)),
            &["scheduled"],
            "which is in 1h; but it expires before that, at 2030-01-01 13:00:00 UTC, which is in 1h",
            Some("it expires: if it has not started by then"),
        ),
        (
            Scheduled,
            hour,
            |f| f.task.expires_at = Some(after(3601)),
            &["scheduled"],
            "which is in 1h.",
            Some("it is due"),
        ),
        (
            Scheduled,
            hour,
            |f| (f.task.attempt, f.task.expires_at) = (1, Some(after(60))),
            &["backing_off"],
            "it expires before that, at 2030-01-01 12:01:00 UTC",
            Some("it expires"),
        ),
        (
            Queued,
            Until(after(5)),
            |f| f.task.expires_at = Some(after(4)),
            &["handed_back"],
            "it is offered again in 5s; but it expires before that",
            Some("it expires"),
        ),
        (
            Queued,
            Backlog,
            |f| {
                paused(f, Some(90));
                f.task.expires_at = Some(after(30));
            },
            &["queue_paused", "backlog"],
            "which is in 1m30s; but it expires before that, at 2030-01-01 12:00:30 UTC, which is in 30s",
            Some("it expires"),
        ),
        (
            Queued,
            Backlog,
            |f| {
                paused(f, Some(90));
                f.task.expires_at = Some(after(91));
            },
            &["queue_paused", "backlog"],
            "which is in 1m30s.",
            Some("ends by itself"),
        ),
        // Its expiry has passed.
        (
            Queued,
            Backlog,
            |f| {
                paused(f, Some(90));
                f.task.expires_at = Some(after(-2));
            },
            &["expired", "queue_paused", "backlog"],
            "The task will not start: it has expired (2030-01-01 11:59:58 UTC, 2s ago) and will be cancelled within moments",
            Some("it is cancelled, with the reason expired"),
        ),
        (
            Scheduled,
            hour,
            |f| {
                f.roster.workers.clear();
                f.task.expires_at = Some(now());
            },
            &["expired", "scheduled", "no_worker"],
            "will be cancelled as soon as a worker process runs",
            Some("it is cancelled"),
        ),
    ]
}
