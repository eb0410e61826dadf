//! One example for each body and answer, by the name of its schema. A test holds each against its schema.

use serde_json::{Value, json};

pub(super) const TASK: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
pub(super) const WORKER: &str = "01901640-11c2-7a4e-9d0a-3f6f2a0c7b55";
const FINGERPRINT: &str = "00c0ffee00c0ffee";
const CREATED: &str = "2030-01-31T12:00:00.000000Z";
const STARTED: &str = "2030-01-31T12:00:00.021345Z";
const FINISHED: &str = "2030-01-31T12:00:01.480210Z";

/// The example of this component; None: it needs none, or has none yet.
pub(super) fn of(component: &str) -> Option<Value> {
    Some(match component {
        "Submission" => {
            json!({"name": "echo", "payload": {"to": "ann@example.com"}, "queue": "mail", "delay": "10m", "max_attempts": 3, "tags": ["welcome"]})
        }
        "BulkSubmission" => {
            json!({"tasks": [{"name": "echo", "payload": 1}, {"name": "echo", "payload": 2, "priority": 9}]})
        }
        "PauseRequest" => json!({"reason": "the mail server is being moved", "resume_in": "1h"}),
        "ResumeRequest" => json!({}),
        "ClaimRequest" => json!({"queues": ["video"], "max": 1, "wait": "30s"}),
        "Heartbeat" => {
            json!({"tasks": [{"id": TASK, "attempt": 1, "progress": 0.4, "progress_note": "encoding", "logs": ["pass 2 of 5"]}]})
        }
        "CompleteRequest" => json!({"worker_id": WORKER, "attempt": 1, "result": {"frames": 1024}}),
        "FailRequest" => json!({"worker_id": WORKER, "attempt": 1, "error": "no such file: in.mp4", "permanent": true}),
        "Task" => task(),
        "Tasks" => json!({"tasks": [task()]}),
        "TaskPage" => json!({"tasks": [task()], "next_cursor": format!("b1.{TASK}")}),
        "Attempts" => json!({"attempts": [{
            "attempt": 1, "worker_id": WORKER, "started_at": STARTED, "finished_at": FINISHED, "outcome": "success", "error": null
        }]}),
        "LogPage" => json!({"logs": [{"attempt": 1, "at": STARTED, "line": "pass 2 of 5"}], "next_cursor": null}),
        "Claimed" => json!({"worker_id": WORKER, "lease_duration": "15s", "tasks": [claimed()]}),
        "Heard" => json!({"cancel": [], "lost": [TASK]}),
        "CancelMany" => json!({"filter": {"queue": "mail", "tag": "welcome"}, "dry_run": true}),
        "RetryMany" => json!({"filter": {"fingerprint": FINGERPRINT}}),
        "Done" => {
            json!({"matched": 120, "changed": 120, "held": 0, "dry_run": false, "complete": true, "next_cursor": null})
        }
        "Failures" => json!({"failures": [{
            "fingerprint": FINGERPRINT, "name": "echo", "message": "connection refused (10.0.0.7:25)", "count": 120,
            "count_capped": false, "first_seen": CREATED, "last_seen": FINISHED, "task_ids": [TASK]
        }], "next_cursor": null}),
        "Explanation" => json!({
            "status": "queued", "summary": "queue mail is paused since 2030-01-31T12:00:00Z by key",
            "causes": [{"code": "queue_paused", "detail": "queue mail is paused", "since": CREATED, "queue": "mail", "by": "key"}],
            "next": null
        }),
        "Workers" => json!({"workers": [{
            "id": WORKER, "host": "worker-1", "pid": 4711, "kind": "process", "queues": ["*"], "slots": 64, "running": 3,
            "status": "live", "started_at": CREATED, "lease_until": FINISHED, "dead_at": null
        }], "next_cursor": null}),
        "Stats" => json!({
            "tasks": {"scheduled": 3, "queued": 120, "running": 3}, "oldest_age": "4m12s",
            "recent": {"since": CREATED, "accepted": 500, "completed": 370, "failed": 3, "cancelled": 1},
            "queues": {"total": 2, "paused": 1}, "workers": {"live": 1, "processes": 1, "pull": 0, "slots": 64, "busy": 3},
            "process": {"version": env!("CARGO_PKG_VERSION"), "roles": ["api", "worker", "scheduler"], "uptime": "3d4h"}
        }),
        "KeyRequest" => {
            json!({"name": "billing", "scopes": ["submit", "read"], "queues": ["mail"], "expires_in": "90d"})
        }
        "RotateRequest" => json!({"overlap": "1h"}),
        "Key" => {
            let secret = json!({"key": "trx_the-secret-that-is-shown-once"});
            secret
                .as_object()
                .into_iter()
                .flatten()
                .chain(key().as_object().into_iter().flatten())
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        }
        "Keys" => json!({"keys": [key()]}),
        "ScheduleRequest" => json!({
            "cron": "30 2 * * *", "timezone": "Europe/Berlin", "task": {"name": "echo", "queue": "mail"},
            "misfire": "once", "overlap": "skip", "jitter": "5m", "pause_after_failures": 3
        }),
        "SchedulePause" => json!({"reason": "the mail server is being moved", "resume_in": "1h"}),
        "BackfillRequest" => json!({"from": "2030-01-01T00:00:00Z", "to": "2030-02-01T00:00:00Z", "dry_run": true}),
        "Schedule" => schedule(),
        "SchedulePage" => json!({"schedules": [schedule()], "next_cursor": null}),
        "Fires" => json!({"fires": [{
            "schedule": "nightly", "fire_at": CREATED, "outcome": "fired", "task_id": TASK, "recorded_at": STARTED,
            "instants": 1, "since": null
        }], "next_cursor": null}),
        "NextFires" => json!({"next": ["2030-02-01T01:30:00.000000Z", "2030-02-02T01:30:00.000000Z"]}),
        "Backfilled" => json!({"dry_run": true, "instants": ["2030-01-01T01:30:00.000000Z"], "tasks": []}),
        "Queue" => queue(),
        "Queues" => json!({"queues": [queue()]}),
        "TaskTypes" => json!({"task_types": [{
            "name": "echo", "executor": "rust", "queue": "default", "priority": 0, "timeout": "10m", "max_attempts": 5, "backoff": backoff(),
            "concurrency": null, "schema": null
        }]}),
        "Health" => {
            let ok = json!({"status": "ok"});
            json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "roles": ["api", "worker", "scheduler"], "parts": {"process": ok, "database": ok, "redis": ok}})
        }
        _ => return None,
    })
}

fn backoff() -> Value {
    json!({"kind": "exponential", "base": "1s", "factor": 2, "max": "1h", "jitter": "full"})
}

/// The task that the example submission became.
fn task() -> Value {
    let to = json!({"to": "ann@example.com"});
    json!({
        "id": TASK, "name": "echo", "queue": "mail", "priority": 0, "status": "completed", "reason": null,
        "payload": to, "attempt": 1, "max_attempts": 3, "timeout": "10m", "backoff": backoff(), "run_at": CREATED,
        "expires_at": null, "created_at": CREATED, "started_at": STARTED, "finished_at": FINISHED, "worker_id": WORKER,
        "result": to, "last_error": null, "progress": null, "progress_note": null, "tags": ["welcome"],
        "metadata": null, "unique_key": null, "schedule": null, "cancel_requested_at": null
    })
}

/// A task as a worker outside gets it.
fn claimed() -> Value {
    json!({
        "id": TASK, "name": "transcode", "queue": "video", "priority": 0, "status": "running", "reason": null,
        "payload": {"file": "in.mp4"}, "attempt": 1, "max_attempts": 3, "timeout": "10m", "backoff": backoff(),
        "run_at": CREATED, "expires_at": null, "created_at": CREATED, "started_at": STARTED, "finished_at": null,
        "worker_id": WORKER, "result": null, "last_error": null, "progress": null, "progress_note": null, "tags": [],
        "metadata": null, "unique_key": null, "schedule": null, "cancel_requested_at": null, "deadline": "2030-01-31T12:10:00.021345Z"
    })
}

fn key() -> Value {
    json!({
        "id": WORKER, "name": "billing", "scopes": ["submit", "read"], "queues": ["mail"], "names": null,
        "rate_limit": null, "created_at": CREATED, "created_by": "root", "expires_at": "2030-05-01T12:00:00.000000Z",
        "last_used_at": null, "revoked_at": null, "previous_until": null
    })
}

fn queue() -> Value {
    json!({
        "name": "mail", "pause": {"since": CREATED, "reason": "the mail server is being moved", "by": "key", "resume_at": FINISHED},
        "depths": {"scheduled": 3, "queued": 120, "running": 0}, "oldest_age": "4m12s", "rates": {"started": 0.0}, "served": true,
        "dispatcher": WORKER, "created_at": CREATED
    })
}

/// What the example request made, after its first fire.
fn schedule() -> Value {
    json!({
        "name": "nightly", "cron": "30 2 * * *", "every": null, "timezone": "Europe/Berlin",
        "task": {"name": "echo", "queue": "mail"}, "misfire": "once", "catch_up": "1d", "overlap": "skip",
        "jitter": "5m", "starts_at": null, "ends_at": null, "max_fires": null, "pause_after_failures": 3,
        "managed_by": "api", "version": 1, "pause": null, "next_fire_at": "2030-02-01T01:30:00.000000Z",
        "waiting_fire_at": null, "fires": 1, "last_fire_at": CREATED, "last_outcome": "fired",
        "last_task": {
            "id": TASK, "status": "completed", "reason": null, "finished_at": FINISHED, "result": {"sent": 12},
            "last_error": null
        },
        "created_at": CREATED, "updated_at": CREATED
    })
}
