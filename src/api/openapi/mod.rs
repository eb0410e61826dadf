//! The specification: OpenAPI 3.1, made from the code.
//!
//! What only a handler knows stands on it (`#[utoipa::path]`); what the bodies are, in [`requests`] and on the types of
//! the answers; the limits in both are the constants that the readers check. What every route has - the scope it
//! needs, the problems that may come, the request's id, HEAD - is added here from the list of routes, so a new route
//! cannot lack it. It says nothing of what one installation has configured, which is `GET /api/task-types`: it is the
//! same for everybody, open, and made once.

mod answers;
mod examples;
mod keys;
mod links;
mod many;
mod parameters;
mod problems;
mod requests;
mod schedules;
#[cfg(test)]
mod tests;
mod words;

pub(super) use keys::{KeyRequest, RotateRequest};
pub(super) use many::{CancelMany, RetryMany};
pub(super) use parameters::{
    FailureFilter, FireFilter, IdempotencyKey, IfNoneMatch, KeyPath, LastEvent, LogFilter, MoveFilter, NextFilter,
    Prefer, QueuePath, ScheduleFilter, SchedulePath, TaskFilter, TaskPath, Wait, WorkerFilter, WorkerPath,
};
pub(super) use requests::{
    BulkSubmission, ClaimRequest, CompleteRequest, FailRequest, Heartbeat, PauseRequest, ResumeRequest, Submission,
};
pub(super) use schedules::{BackfillRequest, SchedulePause, ScheduleRequest};
pub(super) use words::{ReasonWord, ScopeWord, Span, StatusWord};

use super::{
    docs, etag, events, explain, failures, journal, listing, moves, ops, pull, queues, stats, task_types, tasks, verbs,
    workers,
};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Task Runner X",
        description = include_str!("about.md"),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "Tasks", description = "Submit tasks, find them, and change what becomes of them."),
        (name = "Workers", description = "Workers outside, in any language: they claim tasks over REST, and report on them."),
        (name = "Queues", description = "What waits, and whether it may start."),
        (name = "Keys", description = "Who may do what."),
        (name = "Schedules", description = "What is submitted when, and what became of each instant."),
        (name = "Events", description = "Live, as server-sent events."),
        (name = "Process", description = "How this process is. Open, and in every role."),
    ),
    paths(
        tasks::submit, listing::list, tasks::submit_bulk, tasks::get, journal::attempts, journal::logs, tasks::cancel,
        verbs::retry, verbs::run, verbs::delete, verbs::cancel_many, verbs::retry_many, failures::list, explain::explain,
        task_types::list,
        pull::claim, pull::heartbeat, pull::complete, pull::fail, workers::list,
        queues::list, queues::get, queues::pause, queues::resume,
        super::schedules::list, super::schedules::get, super::schedules::put, super::schedules::delete,
        super::schedule_verbs::pause, super::schedule_verbs::resume, super::schedule_verbs::run,
        super::schedule_verbs::backfill,
        super::schedule_fires::fires, super::schedule_fires::next, stats::stats,
        super::keys::list, super::keys::create, super::keys::rotate, super::keys::revoke,
        events::of_task, moves::of_all,
        ops::livez, ops::readyz, ops::health, ops::metrics, serve, docs::page, ops::root,
    ),
)]
struct Specification;

/// The specification.
fn document() -> utoipa::openapi::OpenApi {
    let mut document = Specification::openapi();
    answers::complete(&mut document);
    links::add(&mut document);
    document
}

/// The specification as JSON text, as `GET /api/openapi.json` gives it.
#[doc(hidden)]
pub fn openapi_json() -> &'static str {
    &TEXT.json
}

struct Text {
    json: String,
    etag: HeaderValue,
}

static TEXT: LazyLock<Text> = LazyLock::new(|| {
    // It has no value that JSON does not have.
    let json = serde_json::to_string_pretty(&document()).unwrap_or_default();
    let etag = tag(json.as_bytes());
    Text { json, etag }
});

/// A tag that is the content's own.
pub(super) fn tag(content: &[u8]) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in Sha256::digest(content).iter().take(16) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    // Hexadecimal digits are a header's value.
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// This specification.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "Process", operation_id = "getSpecification", params(IfNoneMatch),
    summary = "This specification",
    description = "OpenAPI 3.1, made from the code. It is the same for every installation of this version.",
    responses(
        (status = 200, description = "The specification.", content_type = "application/json", body = Object, example = json!({"openapi": "3.1.0", "info": {"title": "Task Runner X"}, "paths": {}})),
        (status = 304, description = "The client has it: its `If-None-Match` names this version."),
    )
)]
pub(super) async fn serve(request: HttpRequest) -> HttpResponse {
    let Text { json, etag } = &*TEXT;
    let known = etag::is_known(request.headers(), etag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, etag.clone())).insert_header((CACHE_CONTROL, "no-cache"));
    if known {
        return response.finish();
    }
    response.insert_header((CONTENT_TYPE, "application/json")).body(Bytes::from_static(json.as_bytes()))
}
