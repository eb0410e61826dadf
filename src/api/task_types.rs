//! `GET /api/task-types`: what can be submitted, and what a submission that says little gets.

use super::State;
use super::caller::Caller;
use super::openapi::Span;
use super::parameters::{self, Pairs};
use super::problem::Problem;
use super::task_json::Rule;
use crate::executor::TaskType;
use crate::lifecycle::submit::{DEFAULT_QUEUE, Defaults};
use crate::task::duration;
use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Every task type, by name.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TaskTypes)]
pub(super) struct TaskTypesJson<'a> {
    task_types: Vec<TaskTypeJson<'a>>,
}

/// A task type, with what a submission that says little gets.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TaskType)]
struct TaskTypeJson<'a> {
    name: &'a str,
    /// `rust`, `command`, `http` or `pull`.
    executor: &'static str,
    queue: &'a str,
    priority: u8,
    #[schema(value_type = Span)]
    timeout: String,
    max_attempts: u32,
    #[schema(value_type = Rule)]
    backoff: Box<RawValue>,
    /// Attempts at once, over all workers.
    concurrency: Option<u32>,
    /// The JSON Schema of its payloads.
    #[schema(value_type = Option<Object>)]
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
#[utoipa::path(
    get, path = "/api/task-types", tag = "Tasks", operation_id = "listTaskTypes",
    summary = "List task types",
    description = "What can be submitted, with the defaults of each and the JSON Schema of its payloads where it has one.",
    responses((status = 200, description = "Every task type, by name.", body = TaskTypesJson))
)]
pub(super) async fn list(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    parameters::none(&query)?;
    let services = state.services()?;
    let types = services.tools.registry.all();
    let seen = types.iter().filter(|one| caller.sees_name(&one.name));
    let task_types = seen.map(|one| TaskTypeJson::new(one, &services.defaults)).collect::<Result<_, _>>();
    let task_types = task_types.map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().json(TaskTypesJson { task_types }))
}
