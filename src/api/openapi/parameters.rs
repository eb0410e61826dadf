//! Parameters of paths and queries, and headers of requests.

use super::super::{failures, idempotency, journal, listing, parameters, schedule_fires, schedules, waiting, workers};
use super::words::{StatusWord, instant, list, of, queue_name, span, string, uuid, whole, word};
use crate::task::name;
use std::time::Duration;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{RefOr, Required};

macro_rules! params {
    ($(#[doc = $about:literal])* $type:ident: $($parameter:expr),+ $(,)?) => {
        $(#[doc = $about])*
        pub(in crate::api) struct $type;
        impl IntoParams for $type {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$($parameter),+]
            }
        }
    };
}

params!(
    /// A task's id, in the path.
    TaskPath: path("id", "The task's id.", uuid("")),
);
params!(
    /// A worker's id, in the path.
    WorkerPath: path("id", "The worker's id, as its first claim gave it.", uuid("")),
);
params!(
    /// A key's id, in the path.
    KeyPath: path("id", "The key's id.", uuid("")),
);
params!(
    /// A queue's name, in the path.
    QueuePath: path("queue", "The queue's name.", queue_name("")),
);
params!(
    /// A schedule's name, in the path.
    SchedulePath: path("name", "The schedule's name.", word(name::MAX_NAME, "")),
);
params!(
    /// `GET /api/schedules`.
    ScheduleFilter:
    query("limit", &format!("At most so many. Default: {}.", schedules::DEFAULT_LIMIT), whole(1, schedules::MAX_LIMIT, "")),
    query("cursor", CURSOR, string().pattern(Some(schedules::LIST_CURSOR)).build()),
);
params!(
    /// `GET /api/schedules/{name}/fires`.
    FireFilter:
    query("limit", &format!("At most so many. Default: {}.", schedules::DEFAULT_LIMIT), whole(1, schedules::MAX_LIMIT, "")),
    query("cursor", CURSOR, string().pattern(Some(schedule_fires::CURSOR)).build()),
);
params!(
    /// `GET /api/schedules/{name}/next`.
    NextFilter: query("n", &format!("So many. Default: {}.", schedule_fires::DEFAULT_NEXT), whole(1, schedule_fires::MAX_NEXT, "")),
);
params!(
    /// `GET /api/tasks`.
    TaskFilter:
    several("status", "In one of these states.", of::<StatusWord>()),
    several("queue", "In one of these queues.", queue_name("")),
    several("name", "Of one of these task types.", word(name::MAX_NAME, "")),
    several("tag", "With one of these tags.", word(name::MAX_NAME, "")),
    several("id", "One of these.", uuid("")),
    query("created_after", "Accepted after this time.", instant("")),
    query("created_before", "Accepted before this time.", instant("")),
    query("limit", &format!("At most so many. Default: {}.", listing::DEFAULT_LIMIT), whole(1, listing::MAX_LIMIT, "")),
    query("cursor", CURSOR, string().pattern(Some(listing::CURSOR)).build()),
);
params!(
    /// `GET /api/workers`.
    WorkerFilter:
    query("limit", &format!("At most so many. Default: {}.", workers::DEFAULT_LIMIT), whole(1, u32::try_from(workers::MAX_LIMIT).unwrap_or(u32::MAX), "")),
    query("cursor", CURSOR, string().pattern(Some(workers::CURSOR)).build()),
);
params!(
    /// `GET /api/tasks/{id}`.
    Wait: query("wait", "Wait so long for the task's end: seconds or a duration, at most 60s.", span(Duration::ZERO, waiting::MOST, "")),
);
params!(
    /// Submissions.
    Prefer: header("Prefer", "`wait=30`: answer when the task has ended, or after so many seconds; at most 60. What is no such preference is ignored.", string().build()),
);
params!(
    /// Submissions.
    IdempotencyKey: header("Idempotency-Key", "A request that is repeated with the same key is answered as the first time; for another body it is refused. Any 1 to 255 visible ASCII characters, bare or in double quotes.", string().pattern(Some(idempotency::KEY)).build()),
);
params!(
    /// Where answers have tags.
    IfNoneMatch: header("If-None-Match", "The `ETag` of an earlier answer: 304 where it is so still.", string().build()),
);
params!(
    /// `GET /api/tasks/{id}/logs`.
    LogFilter:
    query("attempt", "Of this attempt only.", whole(1, u32::MAX, "")),
    query("limit", &format!("At most so many lines. Default: {}.", journal::DEFAULT_LIMIT), whole(1, journal::MAX_LIMIT, "")),
    query("cursor", CURSOR, string().pattern(Some(journal::CURSOR)).build()),
);
params!(
    /// `GET /api/failures`.
    FailureFilter:
    up_to(failures::MAX_QUEUES, "queue", "With tasks in one of these queues.", queue_name("")),
    several("name", "Of one of these task types.", word(name::MAX_NAME, "")),
    query(
        "limit",
        &format!("At most so many. Default: {}.", failures::DEFAULT_LIMIT),
        whole(1, u32::try_from(failures::MAX_LIMIT).unwrap_or(u32::MAX), "")
    ),
    query("cursor", CURSOR, string().pattern(Some(failures::CURSOR)).build()),
);
params!(
    /// `GET /api/events`.
    MoveFilter:
    several("queue", "In one of these queues.", queue_name("")),
    several("name", "Of one of these task types.", word(name::MAX_NAME, "")),
    several("status", "Into one of these states.", of::<StatusWord>()),
);
params!(
    /// Where a stream of events goes on.
    LastEvent: header("Last-Event-ID", "The id of the last event that came; browsers send it by themselves.", string().pattern(Some(journal::CURSOR)).build()),
);

const CURSOR: &str = "Where the next page begins: the `next_cursor` of the one before, as it was given.";

fn parameter(place: ParameterIn, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    let mut schema = schema.into();
    // What it is about is said once.
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.description = None;
    }
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
    parameter.description(Some(about)).schema(Some(schema))
}

fn path(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(ParameterIn::Path, name, about, schema).build()
}

fn query(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(ParameterIn::Query, name, about, schema).build()
}

fn header(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(ParameterIn::Header, name, about, schema).build()
}

/// Several values: comma-separated, or the parameter again and again.
fn several(name: &str, about: &str, of: impl Into<RefOr<Schema>>) -> Parameter {
    up_to(parameters::MAX_VALUES, name, about, of)
}

/// The same, at most so many.
fn up_to(most: usize, name: &str, about: &str, of: impl Into<RefOr<Schema>>) -> Parameter {
    let mut items = of.into();
    if let RefOr::T(Schema::Object(object)) = &mut items {
        object.description = None;
    }
    let mut values = list(items, 1, most, "");
    values.description = None;
    let about = format!("{about} Several: comma-separated.");
    let parameter = parameter(ParameterIn::Query, name, &about, Schema::Array(values));
    parameter.style(Some(ParameterStyle::Form)).explode(Some(false)).build()
}
