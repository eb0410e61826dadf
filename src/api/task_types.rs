//! `GET /api/task-types`: what can be submitted, and what a submission that says little gets.

use super::State;
use super::caller::Caller;
use super::problem::Problem;
use crate::executor::TaskType;
use crate::lifecycle::submit::{DEFAULT_QUEUE, Defaults};
use crate::task::duration;
use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct TaskTypesJson<'a> {
    task_types: Vec<TaskTypeJson<'a>>,
}

#[derive(Serialize)]
struct TaskTypeJson<'a> {
    name: &'a str,
    /// `rust`, `command`, `http` or `pull`.
    executor: &'static str,
    queue: &'a str,
    priority: u8,
    timeout: String,
    max_attempts: u32,
    backoff: Box<RawValue>,
    /// Attempts at once, over all workers.
    concurrency: Option<u32>,
    /// The JSON Schema of its payloads.
    schema: Option<&'a Value>,
}

impl<'a> TaskTypeJson<'a> {
    fn new(task_type: &'a TaskType, wide: &Defaults) -> serde_json::Result<Self> {
        let own = &task_type.defaults;
        Ok(Self {
            name: &task_type.name,
            executor: task_type.executor(),
            queue: own.queue.as_deref().unwrap_or(DEFAULT_QUEUE),
            priority: own.priority.unwrap_or(0),
            timeout: duration::format(own.timeout.unwrap_or(wide.timeout)),
            max_attempts: own.max_attempts.unwrap_or(wide.max_attempts),
            backoff: RawValue::from_string(own.backoff.unwrap_or(wide.backoff).to_json())?,
            concurrency: task_type.concurrency,
            schema: task_type.schema.as_ref().map(|schema| schema.json()),
        })
    }
}

/// Every task type, by name.
pub(super) async fn list(state: Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let types = services.tools.registry.all();
    let seen = types.iter().filter(|one| caller.sees_name(&one.name));
    let task_types = seen.map(|one| TaskTypeJson::new(one, &services.defaults)).collect::<Result<_, _>>();
    let task_types = task_types.map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().json(TaskTypesJson { task_types }))
}
