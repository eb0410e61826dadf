//! Request bodies. They are read field by field, so that every fault is told at once: no type has their shape, and
//! these say it for the specification. A test asks the readers which fields they know (`tests/it/openapi.rs`).

use super::super::pull;
use super::words::{
    any_object, anything, backoff, distinct, flag, instant, list, named, not_both, number, object, only_beside,
    optional, queue_name, span, string, text, uuid, whole, with_rule, word,
};
use crate::config::MAX_BULK;
use crate::store::queues::MAX_REASON;
use crate::task::key::MAX_KEY;
use crate::task::position::MAX_PRIORITY;
use crate::task::submission::{MAX_ATTEMPTS, MAX_TAGS, MAX_TIMEOUT};
use crate::task::{duration, name};
use serde_json::json;
use std::borrow::Cow;
use std::time::Duration;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

const MS: Duration = Duration::from_millis(1);

/// `POST /api/tasks`.
pub(in crate::api) struct Submission;
named!(Submission, "Submission", submission());

fn submission() -> Object {
    let tag = word(name::MAX_NAME, "A tag.");
    let priority =
        whole(0, u32::from(MAX_PRIORITY), "The higher, the earlier within its queue. Default: the type's, else 0.");
    let unique = string()
        .min_length(Some(1))
        .max_length(Some(MAX_KEY))
        .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
        .description(Some(
            "Held by this task: another submission of this type with the same key gets this task, and makes none.",
        ))
        .build();
    let fields = vec![
        ("name", word(name::MAX_NAME, "The task type that is to run: one of `GET /api/task-types`.").into()),
        ("payload", anything("Any JSON value, handed to the task byte for byte; `null` if left out. At most `limits.payload` bytes (1 MiB), and where the type has a schema, one that fits it.").into()),
        ("queue", optional(queue_name("The queue it waits in; the first task of a queue makes it. Default: the type's, else `default`."))),
        ("priority", optional(priority)),
        ("run_at", optional(instant("Not before this time. Not beside `delay`."))),
        ("delay", optional(span(Duration::ZERO, duration::MAX, "Not before this long from now. Not beside `run_at`."))),
        ("timeout", optional(span(MS, MAX_TIMEOUT, "An attempt that takes longer is ended, and counts as failed. Default: the type's, else `defaults.timeout`."))),
        ("max_attempts", optional(whole(1, MAX_ATTEMPTS, "After so many failed attempts the task is `failed`. Default: the type's, else `defaults.max_attempts`."))),
        ("backoff", optional(backoff("How long a failed attempt waits before the next: a rule, or a duration, which means always the same. Default: the type's, else `defaults.backoff`."))),
        ("expires_in", optional(span(MS, duration::MAX, "A task that has not begun this long from now is cancelled, with the reason `expired`."))),
        ("unique_key", optional(unique)),
        ("unique_for", optional(span(MS, duration::MAX, "How long the key is held, from now. Left out: until the task has ended. Goes with a `unique_key`."))),
        ("tags", optional(distinct(list(tag, 0, MAX_TAGS, "Words to find it by, each once.")))),
        ("metadata", optional(any_object("An object that is kept with the task and given back as it was; at most 16 KiB."))),
    ];
    let object = object(
        "A task as it is asked for. Only `name` must be there; what is left out has the default of its type, else that of the configuration.",
        &["name"],
        fields,
    );
    let both = not_both("run_at", "delay");
    with_rule(object, "allOf", json!([both, only_beside("unique_for", "unique_key")]))
}

/// `POST /api/tasks/bulk`.
pub(in crate::api) struct BulkSubmission;

impl PartialSchema for BulkSubmission {
    fn schema() -> RefOr<Schema> {
        let one = RefOr::<Schema>::Ref(Ref::from_schema_name("Submission"));
        let tasks = list(one, 1, MAX_BULK, "The submissions; at most `limits.bulk` (1,000).");
        RefOr::T(object("Many tasks, all or none.", &["tasks"], vec![("tasks", tasks.into())]).into())
    }
}

impl ToSchema for BulkSubmission {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("BulkSubmission")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Submission::name().into_owned(), Submission::schema()));
    }
}

/// `POST /api/queues/{queue}/pause`.
pub(in crate::api) struct PauseRequest;
named!(
    PauseRequest,
    "PauseRequest",
    object(
        "Both may be left out, and so may the body.",
        &[],
        vec![
            ("reason", optional(text(Some(MAX_REASON), "Why, for whoever looks at the queue."))),
            ("resume_in", optional(span(MS, duration::MAX, "The queue resumes by itself this long from now."))),
        ]
    )
);

/// `POST /api/queues/{queue}/resume`, and the other verbs that have nothing to be told.
pub(in crate::api) struct ResumeRequest;
named!(ResumeRequest, "ResumeRequest", object("Nothing to say; the body may be left out.", &[], Vec::new()));

/// `POST /api/workers/claim`.
pub(in crate::api) struct ClaimRequest;
named!(
    ClaimRequest,
    "ClaimRequest",
    object(
        "What a worker asks for.",
        &["queues"],
        vec![
            ("worker_id", optional(uuid("The worker's id, as its first claim gave it. Left out: a new worker."))),
            ("queues", list(queue_name("A queue."), 1, pull::MAX_QUEUES, "The queues to take tasks from.").into()),
            ("max", optional(whole(1, pull::MAX_TASKS, "At most so many tasks. Default: 1."))),
            (
                "wait",
                optional(span(
                    Duration::ZERO,
                    pull::MAX_WAIT,
                    "Wait this long for the first one. Default: not at all."
                ))
            ),
        ]
    )
);

/// `POST /api/workers/{id}/heartbeat`.
pub(in crate::api) struct Heartbeat;
named!(Heartbeat, "Heartbeat", {
    let line = text(None, "A line.");
    let attempt = object(
        "An attempt that the worker has.",
        &["id", "attempt"],
        vec![
            ("id", uuid("The task.").into()),
            ("attempt", attempt().into()),
            ("progress", optional(number(0.0, 1.0, "How far it is."))),
            ("progress_note", optional(text(None, "A word on it; goes with a progress."))),
            (
                "logs",
                optional(list(
                    line,
                    0,
                    pull::MAX_LINES,
                    "What it has to say since the last heartbeat, for the task's log.",
                )),
            ),
        ],
    );
    let attempt = with_rule(attempt, "allOf", json!([only_beside("progress_note", "progress")]));
    let tasks = list(attempt, 0, pull::MAX_NAMED, "The attempts that it has; an idle worker names none.");
    object("A worker lives.", &["tasks"], vec![("tasks", tasks.into())])
});

fn attempt() -> Object {
    whole(1, u32::MAX, "The number of the attempt, as the claim gave it.")
}

fn report(about: &str, required: &[&str], more: Vec<(&str, Schema)>) -> Object {
    let mut fields =
        vec![("worker_id", uuid("The worker, as the claim gave it.").into()), ("attempt", attempt().into())];
    fields.extend(more);
    let required: Vec<&str> = ["worker_id", "attempt"].iter().chain(required).copied().collect();
    object(about, &required, fields)
}

/// `POST /api/tasks/{id}/complete`.
pub(in crate::api) struct CompleteRequest;
named!(
    CompleteRequest,
    "CompleteRequest",
    report(
        "An attempt succeeded.",
        &[],
        vec![("result", anything("Any JSON value, kept byte for byte; at most `limits.result` bytes (1 MiB).").into()),]
    )
);

/// `POST /api/tasks/{id}/fail`.
pub(in crate::api) struct FailRequest;
named!(
    FailRequest,
    "FailRequest",
    report(
        "An attempt failed.",
        &["error"],
        vec![
            ("error", text(None, "What went wrong; kept as the task's `last_error`, up to 8 KiB.").into()),
            ("permanent", optional(flag("Whether another attempt is pointless. Default: false."))),
        ]
    )
);
