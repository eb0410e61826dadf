//! `POST /api/tasks`, `POST /api/tasks/bulk`, `GET /api/tasks/{id}` and `POST /api/tasks/{id}/cancel`.

use super::caller::Caller;
use super::openapi::{BulkSubmission, IdempotencyKey, IfNoneMatch, Prefer, ResumeRequest, Submission, TaskPath, Wait};
use super::problem::Problem;
use super::task_json::TaskJson;
use super::{BODY_SLACK, Services, State, body, etag, idempotency, waiting};
use crate::lifecycle::cancel::{self, Cancellation};
use crate::lifecycle::submit::{self, Receipt, SubmitError};
use crate::store::tasks::Idempotency;
use crate::task::{Fault, NewTask, Scope, Status, Task, TaskId, Way, submission};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderValue, LOCATION};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use std::sync::Arc;
use std::time::Duration;

/// The warning about a task whose expiry does not come after the instant at which it is due.
const NEVER_RUNS: &str = "the task expires before it is due, and will be cancelled without having run: expires_in is \
                          counted from its acceptance, and not from the instant of delay or run_at";
/// A bulk submission with so many faults is not looked at any further: its answer stays short.
const MAX_FAULTS: usize = 100;

/// Accepts a task: 201 when it is committed. 200 with the task that is there where a key says that it is.
#[utoipa::path(
    post, path = "/api/tasks", tag = "Tasks", operation_id = "submitTask",
    summary = "Submit a task",
    description = "The task is accepted when this is answered with 201: it is committed, and runs however often anything restarts. With an `Idempotency-Key` the request may be repeated: it is answered as the first time. With a `unique_key` that a task of this type holds, it is answered with that task. With `Prefer: wait=N` or `?wait=N` it is answered when the task has ended.",
    params(IdempotencyKey, Prefer, Wait),
    request_body = Submission,
    responses(
        (
            status = 201, description = "Accepted. It has `warnings` where no live worker serves its queue, and where it expires before it is due.", body = TaskJson,
            headers(
                ("Location" = String, description = "Where the task is: `/api/tasks/{id}`."),
                ("Preference-Applied" = String, description = "`wait=N`: it was waited for, and this is the task as it was then."),
            ),
        ),
        (
            status = 200, description = "The task was there: it holds the `unique_key`, or this request was answered before. Of a holder, a key without the scope `read` gets `payload`, `result`, `last_error`, `progress_note` and `metadata` as null.", body = TaskJson,
            headers(
                ("Location" = String, description = "Where the task is: `/api/tasks/{id}`."),
                ("Preference-Applied" = String, description = "`wait=N`: it was waited for, and this is the task as it was then."),
                ("Idempotency-Replayed" = String, description = "`true`: the `Idempotency-Key` was there."),
            ),
        ),
        (status = 409, description = "The first request with this `Idempotency-Key` is in flight."),
        (status = 410, description = "The first request's task, or the one that holds the `unique_key`, is purged."),
    )
)]
pub(super) async fn submit(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let asked = waiting::asked(&request)?;
    let bytes = body::read_beside_parameters(&request, payload, services.max_payload + BODY_SLACK).await?;
    let task = admit(services, &caller, body::text(&bytes)?, "").map_err(|refused| match refused {
        Refused::Unreadable(error) => body::unreadable(&error),
        Refused::Outside(faults) => Problem::restricted(faults),
        Refused::Faults(faults) => Problem::invalid(faults),
    })?;
    let outside = caller.outside(&task.queue, &task.name, "");
    if !outside.is_empty() {
        return Err(Problem::restricted(outside));
    }
    let key = idempotency::of(&request, caller.identity(), &bytes, services.retain_keys)?;
    let receipt = submit_tasks(services, vec![task], key).await?;
    let [task] = receipt.tasks.as_slice() else { return Err(Problem::internal(&"one task was submitted")) };
    see_all(&caller, &receipt, |_| "/unique_key".to_owned())?;
    tracing::Span::current().record("task.id", tracing::field::display(task.id));
    let warnings = warnings(&state, services, task).await;
    let mut answer = answer(&receipt);
    answer.insert_header((LOCATION, format!("/api/tasks/{}", task.id)));
    // What stands in the address was asked for; the other is a preference.
    let preferred = if asked.is_none() { waiting::preferred(request.headers()) } else { None };
    if let Some(wait) = asked.or(preferred.map(Duration::from_secs))
        && let Some(ended) = waiting::end_of_accepted(services, task, wait).await
    {
        if let Some(seconds) = preferred {
            answer.insert_header((waiting::PREFERENCE_APPLIED, format!("wait={seconds}")));
        }
        return Ok(answer.json(shown(&caller, &receipt, 0, ended.as_ref().unwrap_or(task), warnings)));
    }
    Ok(answer.json(shown(&caller, &receipt, 0, task, warnings)))
}

/// Without a key, nobody is asked about any.
async fn submit_tasks(
    services: &Services,
    tasks: Vec<NewTask>,
    key: Option<Idempotency>,
) -> Result<Receipt, SubmitError> {
    if key.is_some() || tasks.iter().any(|task| task.unique.is_some()) {
        return services.submitter.submit_keyed(tasks, key).await;
    }
    let tasks = services.submitter.submit(tasks).await?;
    Ok(Receipt { created: tasks.len(), tasks, held: Vec::new(), repeated: false })
}

/// A unique key is its task type's, whatever the queue: 409 where one is held by a task that is not there for this
/// caller.
fn see_all(caller: &Caller, receipt: &Receipt, place: impl Fn(usize) -> String) -> Result<(), Problem> {
    let places = receipt.tasks.iter().enumerate().filter(|(_, task)| !caller.sees(&task.queue, &task.name));
    let held = "is held by a task outside of what this key may see";
    let errors: Vec<Fault> = places.take(MAX_FAULTS).map(|(n, _)| Fault::at(&place(n), held)).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::held_outside(errors, receipt.created)) }
}

/// A task of a receipt. One that is another's, perhaps, since it holds a unique key, is told of without what it is about
/// where the caller may not read.
fn shown<'a>(caller: &Caller, receipt: &Receipt, place: usize, task: &'a Task, warnings: Vec<String>) -> TaskJson<'a> {
    let json = TaskJson::new(task, warnings);
    let hidden = receipt.held.contains(&place) && caller.needs(Scope::Read).is_err();
    if hidden { json.without_contents() } else { json }
}

/// 201 where something was made; a repeated request's answer says that it is one.
fn answer(receipt: &Receipt) -> HttpResponseBuilder {
    let mut response = if receipt.created > 0 { HttpResponse::Created() } else { HttpResponse::Ok() };
    if receipt.repeated {
        response.insert_header((idempotency::REPLAYED, "true"));
    }
    response
}

/// Tasks, in the order in which they were asked for.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Tasks)]
pub(super) struct TasksJson<'a> {
    tasks: Vec<TaskJson<'a>>,
}

/// Accepts many tasks, all or none: 201 when they are committed, 200 when all of them were there already.
#[utoipa::path(
    post, path = "/api/tasks/bulk", tag = "Tasks", operation_id = "submitTasks",
    summary = "Submit many tasks",
    description = "All are accepted, or none: with one fault in one of them none is. Keys as for one task.",
    params(IdempotencyKey),
    request_body = BulkSubmission,
    responses(
        (status = 201, description = "All are accepted, or hold their `unique_key`.", body = TasksJson),
        (
            status = 200, description = "All were there: each holds its `unique_key`, or this request was answered before.", body = TasksJson,
            headers(("Idempotency-Replayed" = String, description = "`true`: the `Idempotency-Key` was there.")),
        ),
        (status = 409, description = "The first request with this `Idempotency-Key` is in flight."),
        (status = 410, description = "A task of the first request, or one that holds a `unique_key`, is purged."),
    )
)]
pub(super) async fn submit_bulk(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(&request, payload, services.bulk.body).await?;
    let mut fields = body::fields(&bytes)?;
    let texts = fields.items("tasks", services.bulk.tasks, "submissions").unwrap_or_default();
    let mut faults = fields.finish();
    let (mut tasks, mut outside) = (Vec::with_capacity(texts.len()), Vec::new());
    for (n, text) in texts.into_iter().enumerate() {
        if faults.len() + outside.len() >= MAX_FAULTS {
            break;
        }
        let pointer = format!("/tasks/{n}");
        match admit(services, &caller, text.get(), &pointer) {
            Ok(task) => tasks.push(task),
            Err(Refused::Outside(more)) => outside.extend(more),
            Err(Refused::Unreadable(_)) => faults.push(Fault::at(&pointer, "is no object; takes a submission")),
            Err(Refused::Faults(more)) => faults.extend(more),
        }
    }
    // Of a task type that this caller may not use nothing else is told.
    if !outside.is_empty() {
        return Err(Problem::restricted(outside));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let places = tasks.iter().enumerate();
    let outside = places.filter_map(|(n, task)| caller.outside_queue(&task.queue, &format!("/tasks/{n}/queue")));
    let outside: Vec<Fault> = outside.take(MAX_FAULTS).collect();
    if !outside.is_empty() {
        return Err(Problem::restricted(outside));
    }
    let queues: Vec<Arc<str>> = tasks.iter().map(|task| Arc::clone(&task.queue)).collect();
    let key = idempotency::of(&request, caller.identity(), &bytes, services.retain_keys)?;
    let receipt = submit_tasks(services, tasks, key).await.map_err(|error| match &error {
        SubmitError::TooManyQueues { queue, .. } => {
            let n = queues.iter().position(|named| named == queue).unwrap_or(0);
            Problem::invalid(vec![Fault::at(&format!("/tasks/{n}/queue"), &error)])
        }
        SubmitError::HolderGone { index, .. } => Problem::gone_holder(&format!("/tasks/{index}/unique_key"), &error),
        _ => error.into(),
    })?;
    see_all(&caller, &receipt, |n| format!("/tasks/{n}/unique_key"))?;
    let mut answers = Vec::with_capacity(receipt.tasks.len());
    for (place, task) in receipt.tasks.iter().enumerate() {
        let warnings = warnings(&state, services, task).await;
        answers.push(shown(&caller, &receipt, place, task, warnings));
    }
    Ok(answer(&receipt).json(TasksJson { tasks: answers }))
}

/// Why a submission was not admitted.
enum Refused {
    /// No JSON object.
    Unreadable(serde_json::Error),
    /// Its type is not one that this caller may use: nothing is said of what that takes, or of whether it is there.
    Outside(Vec<Fault>),
    Faults(Vec<Fault>),
}

/// Reads a submission, with every fault at once; `pointer` says where in the body it stands.
fn admit(services: &Services, caller: &Caller, text: &str, pointer: &str) -> Result<NewTask, Refused> {
    let (submission, mut faults) = submission::read(text, services.max_payload).map_err(Refused::Unreadable)?;
    // A name that could not be read has its fault already.
    let named = !submission.name.is_empty();
    if let Some(fault) = caller.outside_name(&submission.name, &format!("{pointer}/name")).filter(|_| named) {
        // Which queue it would have by itself is not told.
        let queue = submission.queue.as_deref();
        let queue = queue.and_then(|queue| caller.outside_queue(queue, &format!("{pointer}/queue")));
        return Err(Refused::Outside([fault].into_iter().chain(queue).collect()));
    }
    let sees = |name: &str| caller.sees_name(name);
    match submit::admit(submission, &services.tools.registry, &services.defaults, &sees) {
        Err(found) if named => faults.splice(0..0, found).for_each(drop),
        Ok(task) if faults.is_empty() => return Ok(task),
        _ => {}
    }
    Err(Refused::Faults(faults.into_iter().map(|fault| fault.within(pointer)).collect()))
}

/// What keeps it from starting, as things are.
async fn warnings(state: &State, services: &Services, task: &Task) -> Vec<String> {
    let mut warnings = Vec::new();
    let (queue, way) = (&*task.queue, services.tools.registry.way(&task.name));
    if !state.serving.serves(&services.tools.store, queue, way).await {
        warnings.push(match way {
            Way::Stream | Way::Held => format!("no live worker serves the queue {queue}; the task waits until one does"),
            Way::Outside => {
                let name = &task.name;
                format!(
                    "no live worker claims from the queue {queue}, and tasks of the type {name} are run by workers outside; the task waits until one claims it"
                )
            }
        });
    }
    if task.status == Status::Scheduled && task.attempt == 0 && task.expires_at.is_some_and(|at| at <= task.run_at) {
        warnings.push(NEVER_RUNS.to_owned());
    }
    warnings
}

/// One task; with `?wait=` when it has ended, or the wait has. 304 where the client has it as it is.
#[utoipa::path(
    get, path = "/api/tasks/{id}", tag = "Tasks", operation_id = "getTask",
    summary = "Get a task",
    params(TaskPath, Wait, IfNoneMatch),
    responses(
        (
            status = 200, description = "The task.", body = TaskJson,
            headers(("ETag" = String, description = "What it is like; for `If-None-Match`.")),
        ),
        (
            status = 304, description = "It is as the client has it.",
            headers(("ETag" = String, description = "The same.")),
        ),
    )
)]
pub(super) async fn get(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    let wait = waiting::asked(&request)?;
    tracing::Span::current().record("task.id", tracing::field::display(id));
    let mut task = visible(services, &caller, id).await?;
    if let Some(wait) = wait
        && !task.status.is_terminal()
    {
        let waiter = services.waits.begin(id).map_err(|full| Problem::unavailable(full.to_string()))?;
        task = waiting::end_of(services, id, waiter, wait).await?.ok_or_else(|| no_such_task(id))?;
    }
    let tag = etag::of(&task);
    // To be kept, but asked for again each time.
    let headers = [(ETAG, tag.clone()), (CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))];
    let known = etag::is_known(request.headers(), &tag);
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    headers.into_iter().for_each(|header| _ = answer.insert_header(header));
    Ok(if known { answer.finish() } else { answer.json(TaskJson::new(&task, Vec::new())) })
}

/// A task that is there for this caller. Its queue and its type never change: what may be seen now may be so later.
pub(super) async fn visible(services: &Services, caller: &Caller, id: TaskId) -> Result<Task, Problem> {
    let task = services.lookup.task(id).await?;
    task.filter(|task| caller.sees(&task.queue, &task.name)).ok_or_else(|| no_such_task(id))
}

/// Stops a task: 200 when it is cancelled, 202 when it runs and its worker has yet to end it,
/// 409 when it has completed or failed.
#[utoipa::path(
    post, path = "/api/tasks/{id}/cancel", tag = "Tasks", operation_id = "cancelTask",
    summary = "Cancel a task",
    params(TaskPath),
    request_body = Option<ResumeRequest>,
    responses(
        (status = 200, description = "It is cancelled, now or since earlier.", body = TaskJson),
        (status = 202, description = "It runs, and its worker is told to end it.", body = TaskJson),
        (status = 409, description = "It has completed or failed."),
    )
)]
pub(super) async fn cancel(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (services, id) = aimed(&state, &caller, &request, &id, payload).await?;
    match cancel::cancel(&services.tools, id).await? {
        Cancellation::Cancelled(task) => Ok(HttpResponse::Ok().json(TaskJson::new(&task, Vec::new()))),
        Cancellation::Requested(task) => Ok(HttpResponse::Accepted().json(TaskJson::new(&task, Vec::new()))),
        Cancellation::TooLate(task) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!("task {id} is {}; only a task that waits or runs can be cancelled", task.status),
        )),
        Cancellation::Unknown => Err(no_such_task(id)),
    }
}

/// What each verb on one task begins with: it says nothing else, and its task is there for this caller.
pub(super) async fn aimed<'a>(
    state: &'a State,
    caller: &Caller,
    request: &HttpRequest,
    id: &str,
    payload: Payload,
) -> Result<(&'a Services, TaskId), Problem> {
    let (services, id) = (state.services()?, parse_id(id)?);
    body::nothing(request, payload).await?;
    tracing::Span::current().record("task.id", tracing::field::display(id));
    if caller.is_restricted() {
        visible(services, caller, id).await?;
    }
    Ok((services, id))
}

pub(super) fn no_such_task(id: TaskId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no task {id}; it may have been purged"))
}

pub(super) fn parse_id(text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|fault| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the task id {} {fault}", crate::task::name::quoted(text)),
        )
    })
}
