//! Bodies that mean many tasks: `POST /api/tasks/cancel` and `/retry`.

use super::super::selection::{CURSOR, MAX_VALUES, possible};
use super::words::{
    flag, instant, named, not_empty, object, one_of, optional, queue_name, some, string, uuid, whole, with_rule, word,
};
use crate::lifecycle::bulk::Verb;
use crate::task::{Status, name};
use serde_json::json;
use utoipa::openapi::schema::Object;

/// `POST /api/tasks/cancel`.
pub(in crate::api) struct CancelMany;
named!(CancelMany, "CancelMany", many(Verb::Cancel));

/// `POST /api/tasks/retry`.
pub(in crate::api) struct RetryMany;
named!(RetryMany, "RetryMany", many(Verb::Retry));

fn many(verb: Verb) -> Object {
    let cursor = string()
        .pattern(Some(CURSOR))
        .description(Some("The `next_cursor` of an earlier answer: goes on from there."))
        .build();
    let fields = vec![
        ("filter", optional(filter(verb))),
        ("all", optional(flag("Every task that it can be done to, in place of a filter."))),
        ("dry_run", optional(flag("Only count."))),
        ("limit", optional(whole(1, u32::MAX, "At most so many tasks."))),
        ("cursor", optional(cursor)),
    ];
    let object = object("Which tasks: those of a filter, or all.", &[], fields);
    // Nobody means everything by a slip.
    let filtered =
        json!({"required": ["filter"], "properties": {"filter": {"type": "object"}, "all": {"enum": [false, null]}}});
    let all = json!({"required": ["all"], "properties": {"all": {"const": true}, "filter": {"type": "null"}}});
    with_rule(object, "oneOf", json!([filtered, all]))
}

fn filter(verb: Verb) -> Object {
    let states: Vec<&str> = possible(verb).iter().copied().map(Status::as_str).collect();
    let usual = match verb {
        Verb::Cancel => "In one of these states. Default: any of them.",
        Verb::Retry => "In one of these states. Default: `failed`.",
    };
    let named = |about: &str| optional(some(word(name::MAX_NAME, "A name."), MAX_VALUES, about));
    let mut fields = vec![
        ("status", optional(some(one_of(&states, "A state."), MAX_VALUES, usual))),
        ("queue", optional(some(queue_name("A queue."), MAX_VALUES, "In one of these queues."))),
        ("name", named("Of one of these task types.")),
        ("tag", named("With one of these tags.")),
        ("id", optional(some(uuid("An id."), MAX_VALUES, "One of these."))),
        ("created_after", optional(instant("Accepted after this time."))),
        ("created_before", optional(instant("Accepted before this time."))),
    ];
    if verb == Verb::Retry {
        let print = string().pattern(Some("^[0-9a-f]{16}$")).description(Some("A kind of failure.")).build();
        fields.push(("fingerprint", optional(some(print, MAX_VALUES, "Of one of these kinds of failures."))));
    }
    not_empty(object("The tasks for which all of these hold; at least one.", &[], fields))
}
