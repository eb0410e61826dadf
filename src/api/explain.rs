//! `GET /api/tasks/{id}/explain`: why a task does not run, or what became of it, in words and in fields.

use super::caller::Caller;
use super::openapi::{Span, StatusWord, TaskPath};
use super::parameters::{self, Pairs};
use super::problem::Problem;
use super::task_json::Time;
use super::tasks::{no_such_task, parse_id, visible};
use super::{Services, State};
use crate::lifecycle::explain::{self, Cause, Explanation, Fields, Next};
use crate::task::duration;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

/// Why a task does not run, or what became of it.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Explanation)]
pub(super) struct ExplanationJson {
    #[schema(value_type = StatusWord)]
    status: &'static str,
    /// One sentence: the cause that matters most.
    summary: String,
    /// The one that matters most comes first.
    causes: Vec<CauseJson>,
    /// Null: nothing will happen by itself, or nobody knows.
    next: Option<NextJson>,
}

/// What comes next, and when, where that is known.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = NextStep)]
struct NextJson {
    at: Option<Time>,
    detail: String,
}

/// One cause. Behind `detail` stand the fields that its code has.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Cause)]
struct CauseJson {
    code: &'static str,
    detail: String,
    #[serde(flatten)]
    fields: FieldsJson,
}

/// What a cause's sentence says, for programs: those of these that its code has.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = CauseFields)]
struct FieldsJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
    /// From now until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Span>)]
    r#in: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Span>)]
    took: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead_is_more: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_note: Option<String>,
}

impl From<Fields> for FieldsJson {
    fn from(fields: Fields) -> Self {
        // Destructured, so that a new field cannot be forgotten here.
        let Fields {
            since,
            until,
            wait,
            took,
            by,
            reason,
            attempt,
            max_attempts,
            outcome,
            error,
            queue,
            name,
            priority,
            ahead,
            ahead_is_more,
            window,
            in_flight,
            limit,
            workers,
            slots,
            task_id,
            worker_id,
            host,
            lease_until,
            progress,
            progress_note,
        } = fields;
        Self {
            since: since.map(Time),
            until: until.map(Time),
            r#in: wait.map(duration::format),
            took: took.map(duration::format),
            by,
            reason,
            attempt,
            max_attempts,
            outcome,
            error,
            queue,
            name,
            priority,
            ahead,
            ahead_is_more,
            window,
            in_flight,
            limit,
            workers,
            slots,
            task_id,
            worker_id,
            host,
            lease_until: lease_until.map(Time),
            progress,
            progress_note,
        }
    }
}

impl From<Cause> for CauseJson {
    fn from(Cause { code, detail, fields }: Cause) -> Self {
        Self { code: code.as_str(), detail, fields: fields.into() }
    }
}

impl From<Explanation> for ExplanationJson {
    fn from(Explanation { status, summary, causes, next }: Explanation) -> Self {
        let next = next.map(|Next { at, detail }| NextJson { at: at.map(Time), detail });
        let causes = causes.into_iter().map(CauseJson::from).collect();
        Self { status: status.as_str(), summary, causes, next }
    }
}

/// Explains a task.
#[utoipa::path(
    get, path = "/api/tasks/{id}/explain", tag = "Tasks", operation_id = "explainTask",
    summary = "Explain a task",
    description = "Why it does not run (it is delayed, it waits behind others, its queue is paused, no worker serves it, it backs off after an error), or what became of it; in words and in fields.",
    params(TaskPath),
    responses((status = 200, description = "The explanation.", body = ExplanationJson))
)]
pub(super) async fn explain(
    state: Data<State>,
    caller: Caller,
    id: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    parameters::none(&query)?;
    if caller.is_restricted() {
        visible(services, &caller, id).await?;
    }
    let mut found = explain::explain(&services.tools, &services.lookup, id).await?.ok_or_else(|| no_such_task(id))?;
    if caller.is_restricted() {
        hide_others(services, &caller, &mut found).await;
    }
    Ok(HttpResponse::Ok().json(ExplanationJson::from(found)))
}

/// A unique key is for a type: who holds it may be in a queue that this caller must not see.
async fn hide_others(services: &Services, caller: &Caller, found: &mut Explanation) {
    for cause in &mut found.causes {
        let Some(Ok(other)) = cause.fields.task_id.as_deref().map(str::parse) else { continue };
        if visible(services, caller, other).await.is_err() {
            cause.fields.task_id = None;
            cause.detail = "another task has its unique key, so it cannot be retried".to_owned();
        }
    }
}
