use super::super::{Code, Explanation, Facts, Kind};
use super::judge;
use crate::store::queues::{Pause, QueueRow};
use crate::store::roster::{Roster, WorkerRow};
use crate::store::tasks::{Holder, MAX_AHEAD, PastAttempt, Stand};
use crate::stream::StreamState;
use crate::task::{Backoff, Reason, Status, Task, TaskId, Timestamp, Way, WorkerId};
use chrono::TimeDelta;
use std::collections::HashSet;
use std::time::Duration;

fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    now() + TimeDelta::seconds(seconds)
}

fn worker(lease: i64) -> WorkerRow {
    WorkerRow {
        id: WorkerId::fresh(),
        host: "host1".to_owned(),
        pid: 7,
        queues: r#"["*"]"#.to_owned(),
        slots: 4,
        started_at: after(-3600),
        lease_until: after(lease),
        dead_at: None,
    }
}

fn outside(queues: &str) -> WorkerRow {
    WorkerRow { pid: 0, queues: queues.to_owned(), ..worker(10) }
}

fn task(status: Status) -> Task {
    Task {
        id: TaskId(uuid::Uuid::now_v7()),
        name: "mail".into(),
        queue: "q".into(),
        priority: 0,
        status,
        reason: None,
        payload: "null".into(),
        attempt: 0,
        forgiven: 0,
        max_attempts: 5,
        timeout: Duration::from_secs(60),
        backoff: Backoff::default(),
        run_at: now(),
        expires_at: None,
        dispatched_at: None,
        worker_id: None,
        cancel_requested_at: None,
        created_at: after(-100),
        started_at: None,
        finished_at: None,
        schedule: None,
        tags: Vec::new(),
        metadata: None,
        result: None,
        last_error: None,
        progress: None,
        progress_note: None,
        unique_key: None,
    }
}

/// A task in this state and place where everything else is as it should be.
fn facts(status: Status, stand: Stand) -> Facts {
    let live = worker(10);
    let queue = QueueRow { name: "q".into(), created_at: after(-9999), dispatcher: Some(live.id), pause: None };
    Facts {
        now: now(),
        task: task(status),
        stand,
        ahead: matches!(stand, Stand::Backlog | Stand::Outside).then_some(0),
        queue: Some(queue),
        roster: Roster { now: now(), workers: vec![live] },
        stream: Ok(StreamState::default()),
        kind: Some(Kind { way: Way::Stream, limit: None }),
        last: None,
        holder: None,
    }
}

fn paused(facts: &mut Facts, resume: Option<i64>) {
    let pause = Pause {
        since: after(-60),
        reason: Some("a check".to_owned()),
        by: Some("ann".to_owned()),
        resume_at: resume.map(after),
    };
    facts.queue.as_mut().unwrap().pause = Some(pause);
}

fn runs(facts: &mut Facts) {
    let id = facts.roster.workers[0].id;
    (facts.task.worker_id, facts.task.started_at, facts.task.attempt) = (Some(id), Some(after(-5)), 1);
}

fn codes(explanation: &Explanation) -> Vec<&'static str> {
    explanation.causes.iter().map(|cause| cause.code.as_str()).collect()
}

type Change = fn(&mut Facts);

/// One case: a state, a place, what else is so, the codes, and words of the summary and of what comes next.
type Case = (Status, Stand, Change, &'static [&'static str], &'static str, Option<&'static str>);

fn waiting() -> Vec<Case> {
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

fn others() -> Vec<Case> {
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

#[test]
fn every_cause_and_combinations_of_them_are_told_in_words_and_codes() {
    let mut seen = HashSet::new();
    for (n, (status, stand, change, expected, words, next)) in waiting().into_iter().chain(others()).enumerate() {
        let mut facts = facts(status, stand);
        change(&mut facts);
        let told = judge(&facts);
        assert_eq!(codes(&told), expected, "case {n}: {}", told.summary);
        assert!(told.summary.contains(words), "case {n}: {}", told.summary);
        assert!(told.summary.ends_with('.') && !told.summary.contains(".."), "case {n}: {}", told.summary);
        match (&told.next, next) {
            (None, None) => {}
            (Some(told), Some(words)) => assert!(told.detail.contains(words), "case {n}: {}", told.detail),
            (told, _) => panic!("case {n}: next is {told:?}"),
        }
        assert_eq!(told.status, status);
        seen.extend(told.causes.iter().map(|cause| cause.code));
    }
    let unseen: Vec<Code> = Code::ALL.into_iter().filter(|code| !seen.contains(code)).collect();
    assert_eq!(unseen, [], "no case has these");
}

#[test]
fn what_the_words_say_the_fields_say_too() {
    let mut waits = facts(Status::Queued, Stand::Backlog);
    paused(&mut waits, Some(90));
    (waits.ahead, waits.task.priority) = (Some(MAX_AHEAD + 1), 3);
    waits.stream = Ok(StreamState { unread: 5, pending: 2, ..StreamState::default() });
    let told = judge(&waits);
    let pause = &told.causes[0].fields;
    assert_eq!((pause.since, pause.until), (Some(after(-60)), Some(after(90))));
    assert_eq!((pause.by.as_deref(), pause.reason.as_deref()), (Some("ann"), Some("a check")));
    assert_eq!(pause.wait, Some(Duration::from_secs(90)));
    let place = &told.causes[1].fields;
    assert_eq!((place.ahead, place.ahead_is_more, place.priority), (Some(MAX_AHEAD), Some(true), Some(3)));
    assert_eq!((place.window, place.in_flight, place.workers, place.slots), (Some(5), Some(2), Some(1), Some(4)));
    assert_eq!(told.next.as_ref().unwrap().at, Some(after(90)));

    let mut running = facts(Status::Running, Stand::Flight);
    runs(&mut running);
    let told = judge(&running);
    let fields = &told.causes[0].fields;
    assert_eq!((fields.since, fields.until, fields.host.as_deref()), (Some(after(-5)), Some(after(55)), Some("host1")));
    assert_eq!(fields.worker_id, running.task.worker_id.map(|id| id.to_string()));
    assert_eq!(told.next.unwrap().at, Some(after(55)));
}

#[test]
fn words_for_programs_are_distinct() {
    let words: HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words.len(), Code::ALL.len());
}
