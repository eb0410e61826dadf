//! Where an answer leads to: what a client, or a test that tries everything, can do next with what is in it.

use serde_json::{Value, json};
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{OpenApi, RefOr};

/// From an operation's answer of a status to another operation, whose parameters are in the answer.
struct Way {
    from: &'static str,
    status: &'static str,
    to: &'static str,
    parameters: &'static [(&'static str, &'static str)],
}

const fn way(
    from: &'static str,
    status: &'static str,
    to: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Way {
    Way { from, status, to, parameters }
}

const ID: &[(&str, &str)] = &[("id", "$response.body#/id")];
const FIRST_TASK: &[(&str, &str)] = &[("id", "$response.body#/tasks/0/id")];
const NEXT: (&str, &str) = ("cursor", "$response.body#/next_cursor");
const QUEUE: &[(&str, &str)] = &[("queue", "$response.body#/name")];
const FIRST_QUEUE: &[(&str, &str)] = &[("queue", "$response.body#/queues/0/name")];
const WORKER: &[(&str, &str)] = &[("id", "$response.body#/worker_id")];

const SCHEDULE: &[(&str, &str)] = &[("name", "$response.body#/name")];
const FIRST_SCHEDULE: &[(&str, &str)] = &[("name", "$response.body#/schedules/0/name")];

const WAYS: &[Way] = &[
    way("submitTask", "201", "getTask", ID),
    way("submitTask", "201", "listAttempts", ID),
    way("submitTask", "201", "listLogs", ID),
    way("submitTask", "201", "cancelTask", ID),
    way("submitTasks", "201", "getTask", FIRST_TASK),
    way("submitTasks", "201", "cancelTask", FIRST_TASK),
    way("listTasks", "200", "listTasks", &[NEXT]),
    way("listTasks", "200", "getTask", FIRST_TASK),
    way("listTasks", "200", "listAttempts", FIRST_TASK),
    way("listTasks", "200", "listLogs", FIRST_TASK),
    way("listLogs", "200", "listLogs", &[("id", "$request.path.id"), NEXT]),
    way("submitTask", "201", "runTask", ID),
    way("submitTask", "201", "explainTask", ID),
    way("listTasks", "200", "explainTask", FIRST_TASK),
    way("listWorkers", "200", "listWorkers", &[NEXT]),
    way("cancelTask", "200", "retryTask", ID),
    way("cancelTask", "200", "deleteTask", ID),
    way("retryTask", "200", "cancelTask", ID),
    way("runTask", "200", "getTask", ID),
    way("listFailures", "200", "listFailures", &[NEXT]),
    way("cancelTask", "200", "getTask", ID),
    way("cancelTask", "202", "getTask", ID),
    way("createKey", "201", "rotateKey", ID),
    way("createKey", "201", "revokeKey", ID),
    way("listQueues", "200", "getQueue", FIRST_QUEUE),
    way("listQueues", "200", "pauseQueue", FIRST_QUEUE),
    way("pauseQueue", "200", "resumeQueue", QUEUE),
    way("resumeQueue", "200", "getQueue", QUEUE),
    way("putSchedule", "201", "getSchedule", SCHEDULE),
    way("putSchedule", "201", "runSchedule", SCHEDULE),
    way("putSchedule", "201", "nextFires", SCHEDULE),
    way("putSchedule", "201", "deleteSchedule", SCHEDULE),
    way("listSchedules", "200", "listSchedules", &[NEXT]),
    way("listSchedules", "200", "listFires", FIRST_SCHEDULE),
    way("listSchedules", "200", "pauseSchedule", FIRST_SCHEDULE),
    way("pauseSchedule", "200", "resumeSchedule", SCHEDULE),
    way("listFires", "200", "listFires", &[("name", "$request.path.name"), NEXT]),
    way("runSchedule", "201", "getTask", ID),
    way("claimTasks", "200", "heartbeat", WORKER),
    way("claimTasks", "200", "completeTask", FIRST_TASK),
    way("claimTasks", "200", "failTask", FIRST_TASK),
];

/// The body that goes with a way, where it takes from the answer.
fn body(to: &str) -> Option<Value> {
    let (worker, attempt) = ("$response.body#/worker_id", "$response.body#/tasks/0/attempt");
    match to {
        "heartbeat" => Some(json!({"tasks": []})),
        "completeTask" => Some(json!({"worker_id": worker, "attempt": attempt})),
        "failTask" => Some(json!({"worker_id": worker, "attempt": attempt, "error": "it did not work"})),
        _ => None,
    }
}

/// Adds every way.
pub(super) fn add(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.put].into_iter().flatten() {
            let id = operation.operation_id.clone().unwrap_or_default();
            for way in WAYS.iter().filter(|way| way.from == id) {
                let link = LinkBuilder::new().operation_id(way.to).request_body(body(way.to));
                let parameters = way.parameters.iter();
                let link = parameters.fold(link, |link, (name, value)| link.parameter(*name, *value));
                if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(way.status) {
                    response.links.insert(way.to.to_owned(), RefOr::T(link.build()));
                }
            }
        }
    }
}

/// How many there are.
#[cfg(test)]
pub(super) fn count() -> usize {
    WAYS.len()
}
