//! Bodies that are about keys: `POST /api/keys` and `/api/keys/{id}/rotate`.

use super::super::keys::{MAX_NAMES, MAX_RATE, MIN_LIFE};
use super::words::{ScopeWord, list, named, object, of, optional, queue_name, span, string, whole, with_rule, word};
use crate::store::api_keys::{MAX_KEY_NAME, MAX_SPAN};
use crate::task::{Scope, duration, name};
use serde_json::json;
use std::time::Duration;
use utoipa::openapi::schema::Object;

/// One line with something in it, and no blanks around it.
const TITLE: &str =
    r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$";

/// `POST /api/keys`.
pub(in crate::api) struct KeyRequest;
named!(KeyRequest, "KeyRequest", key());

fn key() -> Object {
    let title = string().min_length(Some(1)).max_length(Some(MAX_KEY_NAME)).pattern(Some(TITLE));
    let fields = vec![
        ("name", title.description(Some("Whose it is, for lists and logs.")).build().into()),
        ("scopes", list(of::<ScopeWord>(), 1, Scope::ALL.len(), "What it may do.").into()),
        ("queues", optional(list(queue_name("A queue."), 1, MAX_NAMES, "Only in these queues. Left out: in all."))),
        (
            "names",
            optional(list(
                word(name::MAX_NAME, "A task type."),
                1,
                MAX_NAMES,
                "Only with these task types. Left out: with all.",
            )),
        ),
        ("expires_in", optional(span(MIN_LIFE, MAX_SPAN, "It works for this long. Left out: until it is revoked."))),
        (
            "rate_limit",
            optional(whole(1, MAX_RATE, "Requests a second of one process. Left out: as `limits.rate` says.")),
        ),
    ];
    let object = object("A key that is to be made.", &["name", "scopes"], fields);
    let admin =
        json!({"required": ["scopes"], "properties": {"scopes": {"contains": {"const": Scope::Admin.as_str()}}}});
    let whole = json!({"properties": {"queues": {"type": "null"}, "names": {"type": "null"}}});
    // Such a key could make one that is not restricted.
    with_rule(object, "allOf", json!([{"if": admin, "then": whole}]))
}

/// `POST /api/keys/{id}/rotate`.
pub(in crate::api) struct RotateRequest;
named!(
    RotateRequest,
    "RotateRequest",
    object(
        "May be left out, and so may the body.",
        &[],
        vec![(
            "overlap",
            optional(span(
                Duration::ZERO,
                duration::MAX.min(MAX_SPAN),
                "The secret before works on for so long. Default: not at all."
            ))
        )],
    )
);
