//! One example for each problem, of the tasks and keys that the other examples are about. Where a problem has an error type the
//! words are its own; the others are as they were when this was written.

use super::examples::{TASK, WORKER};
use crate::lifecycle::access::AccessError;
use crate::lifecycle::pull::PullError;
use crate::lifecycle::submit::SubmitError;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

/// The example of a problem that is this operation's own; None: it has none of this status.
pub(super) fn of(operation: &str, status: &str) -> Option<Value> {
    let attempt = || {
        format!(
            "attempt 1 of task {TASK} is not (any more) that of worker {WORKER}, or has been reported otherwise: this was not recorded"
        )
    };
    let detail = match (operation, status) {
        ("submitTask" | "submitTasks", "409") => {
            SubmitError::InFlight.to_string()
        }
        ("submitTask" | "submitTasks", "410") => {
            SubmitError::FirstGone(TASK.parse().ok()?).to_string()
        }
        ("cancelTask", _) => format!("task {TASK} is completed; only a task that waits or runs can be cancelled"),
        ("retryTask", _) => {
            format!("task {TASK} is running; only a task that has failed or was cancelled can be retried")
        }
        ("runTask", _) => format!("task {TASK} is running; only one that is scheduled can be made due"),
        ("deleteTask", _) => {
            format!("task {TASK} is running; only a task that has ended can be deleted: cancel it first")
        }
        ("claimTasks" | "heartbeat", _) => {
            PullError::NoLease(WORKER.parse().ok()?).to_string()
        }
        ("completeTask" | "failTask", _) => attempt(),
        ("putSchedule" | "deleteSchedule", _) => {
            "nightly is managed by the configuration; change it there ([schedules.nightly]), and pause it here if you must"
                .to_owned()
        }
        ("nextFires" | "runSchedule" | "backfillSchedule", _) => {
            "the definition of nightly cannot be read by this version: misfire takes once, all or skip; PUT it anew"
                .to_owned()
        }
        ("createKey", _) => AccessError::NoAdmin.to_string(),
        ("rotateKey", _) => AccessError::Over(WORKER.parse().ok()?).to_string(),
        ("revokeKey", _) => {
            AccessError::LastAdmin(WORKER.parse().ok()?).to_string()
        }
        ("isReady", _) => "the database cannot be reached at the moment".to_owned(),
        _ => return None,
    };
    problem(status, &detail)
}

/// That of a problem which many operations have.
pub(super) fn common(status: &str) -> Option<Value> {
    let detail = match status {
        "400" => "the body is not JSON: expected value at line 1 column 1",
        "401" => "a key is needed: Authorization: Bearer <key>",
        "403" => "this needs a key of the scope read; this one has submit",
        "404" => return problem(status, &format!("there is no task {TASK}; it may have been purged")),
        "413" => "the body is larger than 1114112 bytes",
        "415" => "got text/plain; takes application/json (with curl: --json, or -H 'content-type: application/json')",
        "422" => {
            let mut problem = problem(status, "#/priority got 10; takes a whole number from 0 to 9")?;
            let fault = json!({"pointer": "#/priority", "detail": "got 10; takes a whole number from 0 to 9"});
            problem.as_object_mut()?.insert("errors".to_owned(), json!([fault]));
            return Some(problem);
        }
        "429" => "this key has sent more requests than it may in a second; RateLimit-Policy says how many",
        "500" => "internal error; the log has more under this answer's x-request-id",
        "503" => "the database cannot be reached at the moment",
        _ => return None,
    };
    problem(status, detail)
}

fn problem(status: &str, detail: &str) -> Option<Value> {
    let code = StatusCode::from_bytes(status.as_bytes()).ok()?;
    let title = code.canonical_reason()?;
    Some(json!({"type": "about:blank", "title": title, "status": code.as_u16(), "detail": detail}))
}
