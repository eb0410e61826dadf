mod cases;
mod mortal;

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

#[test]
fn every_cause_and_combinations_of_them_are_told_in_words_and_codes() {
    let mut seen = HashSet::new();
    for (n, (status, stand, change, expected, words, next)) in
        cases::waiting().into_iter().chain(cases::others()).chain(mortal::mortal()).enumerate()
    {
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
