//! Every cause, and combinations of them.

use super::*;

pub(super) type Change = fn(&mut Facts);

/// One case: a state, a place, what else is so, the codes, and words of the summary and of what comes next.
pub(super) type Case = (Status, Stand, Change, &'static [&'static str], &'static str, Option<&'static str>);

pub(super) fn waiting() -> Vec<Case> {
    use Stand::{Backlog, Flight, Held, Outside, Until};
    use Status::{Queued, Scheduled};
    let hour = Until(after(3600));
    vec![
        (Scheduled, hour, |_| {}, &["scheduled"], "delayed until 2030-01-01 13:00:00 UTC, which is in 1h", Some("due")),
        (Scheduled, Until(after(-1)), |_| {}, &["scheduled"], "moves it into the backlog within moments", Some("due")),
        // Read while it moved.
        (Scheduled, Backlog, |_| {}, &["scheduled"], "was delayed until", Some("due")),
        (
            Scheduled,
            hour,
            |f| {
                (f.task.attempt, f.task.forgiven) = (3, 1);
                let last = PastAttempt {
                    attempt: 3,
                    worker_id: None,
                    started_at: None,
                    finished_at: now(),
                    outcome: "error".to_owned(),
                    error: Some("no route\nto host".to_owned()),
                };
                f.last = Some(last);
            },
            &["backing_off"],
            "attempt 2 of 5 failed (no route […]); the next one may start at 2030-01-01 13:00:00 UTC, which is in 1h",
            Some("due"),
        ),
        (Scheduled, hour, |f| paused(f, None), &["scheduled", "queue_paused"], "delayed until", Some("due")),
        (
            Scheduled,
            hour,
            |f| f.roster.workers.clear(),
            &["scheduled", "no_worker"],
            "delayed until",
            Some("enters the backlog"),
        ),
        (Scheduled, hour, |f| f.kind = None, &["scheduled", "unknown_type"], "delayed until", Some("due")),
        (
            Queued,
            Until(after(5)),
            |_| {},
            &["handed_back"],
            "lacks the task type mail; it is offered again in 5s",
            Some("offered"),
        ),
        (Queued, Until(after(5)), |f| f.kind = None, &["handed_back", "unknown_type"], "gave it back", Some("offered")),
        (Queued, Backlog, |_| {}, &["backlog"], "it is the first in the backlog of queue q (priority 0", None),
        (Queued, Backlog, |f| f.ahead = Some(1), &["backlog"], "1 task stands before it in the backlog", None),
        (Queued, Backlog, |f| f.ahead = Some(7), &["backlog"], "7 tasks stand before it in the backlog", None),
        (
            Queued,
            Backlog,
            |f| f.ahead = Some(MAX_AHEAD + 1),
            &["backlog"],
            "more than 10000 tasks stand before it",
            None,
        ),
        (
            Queued,
            Backlog,
            |f| {
                f.ahead = Some(7);
                f.stream = Ok(StreamState { unread: 8, ..StreamState::default() });
            },
            &["backlog"],
            "it should be in the stream already, and waits for a free slot",
            None,
        ),
        (Queued, Backlog, |f| f.task.expires_at = Some(after(9)), &["backlog"], "the first", Some("it expires")),
        (
            Queued,
            Backlog,
            |f| paused(f, None),
            &["queue_paused", "backlog"],
            "queue q was paused by ann 1m ago (a check), until somebody resumes it",
            None,
        ),
        (
            Queued,
            Backlog,
            |f| paused(f, Some(90)),
            &["queue_paused", "backlog"],
            "it resumes by itself at 2030-01-01 12:01:30 UTC, which is in 1m30s",
            Some("ends by itself"),
        ),
        (
            Queued,
            Backlog,
            |f| f.roster.workers.clear(),
            &["no_worker", "backlog"],
            "no live worker process serves queue q",
            None,
        ),
        // One that does not live, one of another queue, and one outside.
        (
            Queued,
            Backlog,
            |f| {
                let other = WorkerRow { queues: r#"["other"]"#.to_owned(), ..worker(10) };
                let dead = WorkerRow { dead_at: Some(now()), ..worker(10) };
                f.roster.workers = vec![worker(-1), dead, other, outside(r#"["q"]"#)];
            },
            &["no_worker", "backlog"],
            "no live worker process",
            None,
        ),
        (
            Queued,
            Backlog,
            |f| f.queue.as_mut().unwrap().dispatcher = None,
            &["no_dispatcher", "backlog"],
            "no worker process dispatches queue q at the moment",
            None,
        ),
        (Queued, Backlog, |f| f.kind = None, &["unknown_type", "backlog"], "knows no task type mail", None),
        (
            Queued,
            Backlog,
            |f| f.stream = Err("connection refused".to_owned()),
            &["redis_down", "backlog"],
            "Redis does not answer (connection refused)",
            None,
        ),
        (
            Queued,
            Backlog,
            |f| {
                paused(f, None);
                f.roster.workers.clear();
                f.kind = None;
                f.stream = Err("away".to_owned());
            },
            &["queue_paused", "no_worker", "unknown_type", "redis_down", "backlog"],
            "was paused",
            None,
        ),
        (
            Queued,
            Flight,
            |f| f.task.dispatched_at = Some(after(-3)),
            &["dispatched"],
            "in the stream of queue q since 3s, and waits for a free slot",
            None,
        ),
        // A pause holds back what is not in the stream yet.
        (Queued, Flight, |f| paused(f, None), &["dispatched"], "in the stream", None),
        (Queued, Flight, |f| f.roster.workers.clear(), &["no_worker", "dispatched"], "no live worker", None),
        (Queued, Flight, |f| f.stream = Err("away".to_owned()), &["redis_down", "dispatched"], "Redis", None),
        (
            Queued,
            Held,
            |f| f.kind = Some(Kind { way: Way::Held, limit: Some((2, 2)) }),
            &["type_limited"],
            "its type mail runs at most 2 attempts at once, and 2 are in flight over all queues",
            None,
        ),
        (
            Queued,
            Held,
            |f| f.kind = Some(Kind { way: Way::Held, limit: Some((1, 0)) }),
            &["type_limited"],
            "at most 1 attempt at once, and 0 are in flight: its dispatcher lets the next one go",
            None,
        ),
        (Queued, Held, |_| {}, &["type_limited"], "which this process does not know (any more)", None),
        (
            Queued,
            Held,
            |f| {
                f.kind = Some(Kind { way: Way::Held, limit: Some((2, 2)) });
                paused(f, None);
                f.roster.workers.clear();
            },
            &["queue_paused", "no_worker", "type_limited"],
            "was paused",
            None,
        ),
        (
            Queued,
            Outside,
            |_| {},
            &["waits_for_pull_worker"],
            "by workers outside: no live one claims from this queue",
            None,
        ),
        (
            Queued,
            Outside,
            |f| {
                f.roster.workers = vec![outside(r#"["q"]"#), outside(r#"["other"]"#)];
                f.ahead = Some(3);
            },
            &["waits_for_pull_worker"],
            "1 live one claims from this queue, and 3 tasks stand before it",
            None,
        ),
        // Neither a process of ours nor Redis has a part in it.
        (
            Queued,
            Outside,
            |f| {
                f.roster.workers.clear();
                f.stream = Err("away".to_owned());
            },
            &["waits_for_pull_worker"],
            "no live one",
            None,
        ),
        (Queued, Outside, |f| paused(f, None), &["queue_paused", "waits_for_pull_worker"], "was paused", None),
        // About to be set aside.
        (
            Queued,
            Backlog,
            |f| f.kind = Some(Kind { way: Way::Outside, limit: None }),
            &["waits_for_pull_worker"],
            "by workers outside",
            None,
        ),
    ]
}

pub(super) fn others() -> Vec<Case> {
    use Stand::{Done, Flight};
    use Status::{Cancelled, Completed, Failed, Running};
    vec![
        (Running, Flight, runs, &["running"], "attempt 1 of 5 runs since 5s on host1", Some("timed out")),
        (
            Running,
            Flight,
            |f| {
                runs(f);
                (f.task.progress, f.task.progress_note) = (Some(0.42), Some("reading".to_owned()));
            },
            &["running"],
            "on host1, 42 % done (reading)",
            Some("timed out"),
        ),
        (
            Running,
            Flight,
            |f| {
                runs(f);
                f.task.cancel_requested_at = Some(after(-2));
            },
            &["running", "cancel_requested"],
            "attempt 1 of 5 runs",
            Some("ends cancelled"),
        ),
        (
            Running,
            Flight,
            |f| {
                runs(f);
                f.roster.workers[0].lease_until = after(-1);
                f.roster.workers.push(worker(10));
            },
            &["worker_lost", "running"],
            "the lease of its worker on host1 ran out at 2030-01-01 11:59:59 UTC",
            Some("a worker process takes it over"),
        ),
        (
            Running,
            Flight,
            |f| {
                runs(f);
                f.roster.workers[0].dead_at = Some(after(-1));
            },
            &["worker_lost", "running"],
            "was declared dead at 2030-01-01 11:59:59 UTC",
            Some("as soon as a worker process runs: none does"),
        ),
        (
            Running,
            Flight,
            |f| {
                runs(f);
                f.roster.workers = vec![worker(10)];
            },
            &["worker_lost", "running"],
            "its worker is not there any more",
            Some("finds it"),
        ),
        (
            Completed,
            Done,
            |f| {
                runs(f);
                f.task.finished_at = Some(now());
            },
            &["completed"],
            "it completed at 2030-01-01 12:00:00 UTC, in attempt 1 of 5, after 5s",
            None,
        ),
        (
            Failed,
            Done,
            |f| {
                (f.task.attempt, f.task.reason, f.task.finished_at) = (5, Some(Reason::Error), Some(now()));
                f.task.last_error = Some("no route".to_owned());
            },
            &["failed"],
            "it failed for good at 2030-01-01 12:00:00 UTC in attempt 5 of 5, with its last attempt: no route",
            None,
        ),
        (Failed, Done, |f| f.task.reason = Some(Reason::Permanent), &["failed"], "no other attempt mends", None),
        (
            Failed,
            Done,
            |f| {
                f.task.unique_key = Some("k".into());
                f.holder = Some(Holder { id: f.task.id, until: now() });
            },
            &["failed", "unique_key_held"],
            "it failed for good",
            None,
        ),
        (Failed, Done, |f| f.task.reason = Some(Reason::Timeout), &["failed"], "exceeded its timeout", None),
        (Failed, Done, |f| f.task.reason = Some(Reason::Poisoned), &["failed"], "3 workers died", None),
        (Cancelled, Done, |f| f.task.reason = Some(Reason::Cancelled), &["cancelled"], "before it had started", None),
        (
            Cancelled,
            Done,
            |f| (f.task.attempt, f.task.reason) = (2, Some(Reason::Cancelled)),
            &["cancelled"],
            "in attempt 2 of 5",
            None,
        ),
        (
            Cancelled,
            Done,
            |f| (f.task.reason, f.task.expires_at) = (Some(Reason::Expired), Some(now())),
            &["expired"],
            "had not started before it expired (2030-01-01 12:00:00 UTC)",
            None,
        ),
    ]
}
