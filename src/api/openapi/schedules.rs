//! Bodies that are about schedules: `PUT /api/schedules/{name}` and `…/backfill`.

use super::super::schedules::MAX_MANAGER;
use super::requests::Submission;
use super::words::{
    flag, instant, named, not_both, object, of, one_of, optional, span, string, text, whole, with_rule,
};
use crate::store::queues::MAX_REASON;
use crate::task::cron::MAX_EXPRESSION_BYTES;
use crate::task::duration;
use crate::task::schedule::{
    MAX_CATCH_UP, MAX_EVERY, MAX_FAILURES, MAX_FIRES, MAX_JITTER, MIN_EVERY, Misfire, Overlap,
};
use serde_json::json;
use std::borrow::Cow;
use std::time::Duration;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AllOfBuilder, Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// A name, and not that of the configuration.
const MANAGER: &str = "^(?!config$)[A-Za-z0-9][A-Za-z0-9._:-]*$";

/// `PUT /api/schedules/{name}`.
pub(in crate::api) struct ScheduleRequest;

impl PartialSchema for ScheduleRequest {
    fn schema() -> RefOr<Schema> {
        RefOr::T(schedule().into())
    }
}

impl ToSchema for ScheduleRequest {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ScheduleRequest")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Submission::name().into_owned(), Submission::schema()));
    }
}

fn schedule() -> Object {
    let custom = |format: &str| string().format(Some(SchemaFormat::Custom(format.to_owned())));
    let cron = custom("taskrunnerx-cron").max_length(Some(MAX_EXPRESSION_BYTES)).description(Some(
        "Five fields as in crontab(5), six with seconds first, or `@hourly`, `@daily` and so on. Not beside `every`.",
    ));
    let zone = custom("taskrunnerx-timezone")
        .description(Some("The IANA time zone of the cron expression. Default: `UTC`. Not beside `every`."));
    let manager = string().min_length(Some(1)).max_length(Some(MAX_MANAGER)).pattern(Some(MANAGER));
    let misfire: Vec<&str> = Misfire::ALL.iter().map(|one| one.as_str()).collect();
    let overlap: Vec<&str> = Overlap::ALL.iter().map(|one| one.as_str()).collect();
    let fields = vec![
        ("cron", optional(cron.build())),
        (
            "every",
            optional(span(
                MIN_EVERY,
                MAX_EVERY,
                "An interval in place of a cron expression, counted from `starts_at`, or else from 1970: one of an hour falls on whole hours.",
            )),
        ),
        ("timezone", optional(zone.build())),
        ("task", task()),
        (
            "misfire",
            optional(one_of(
                &misfire,
                "What becomes of instants that no scheduler was there for: none fires, one for all of them, or each. Default: `once`.",
            )),
        ),
        (
            "catch_up",
            optional(span(
                Duration::ZERO,
                MAX_CATCH_UP,
                "How far back such instants are looked at one by one; those before are counted. Default: 1d.",
            )),
        ),
        (
            "overlap",
            optional(one_of(
                &overlap,
                "What becomes of an instant while the task of an earlier one has not ended: it fires, it is skipped, one waits for that end, or that task is cancelled. Default: `allow`.",
            )),
        ),
        (
            "jitter",
            optional(span(
                Duration::ZERO,
                MAX_JITTER,
                "Each task starts up to so much later than its instant. Default: not at all.",
            )),
        ),
        ("starts_at", optional(instant("Nothing is due before it."))),
        ("ends_at", optional(instant("Nothing is due at or after it."))),
        (
            "max_fires",
            optional(whole(1, MAX_FIRES, "It ends after so many fires. Those by hand and by backfill do not count.")),
        ),
        (
            "pause_after_failures",
            optional(whole(1, MAX_FAILURES, "It pauses when so many of its tasks in a row have failed.")),
        ),
        (
            "managed_by",
            optional(manager.description(Some("Who manages it: a word for whoever looks. Default: `api`.")).build()),
        ),
    ];
    let object = object("What is submitted when. One of `cron` and `every` must be there.", &["task"], fields);
    let there = json!({"not": {"type": "null"}});
    let either = |one: &str| json!({"required": [one], "properties": {one: there}});
    let rules = json!([
        {"anyOf": [either("cron"), either("every")]},
        not_both("cron", "every"),
        not_both("timezone", "every"),
    ]);
    with_rule(object, "allOf", rules)
}

/// A submission without a time of its own.
fn task() -> Schema {
    let never = |about: &str| ObjectBuilder::new().schema_type(Type::Null).description(Some(about)).build();
    let untimed = ObjectBuilder::new()
        .property("run_at", never("The schedule says when."))
        .property("delay", never("The schedule says when."))
        .build();
    let all = AllOfBuilder::new().item(of::<Submission>()).item(untimed);
    Schema::AllOf(all.description(Some("What is submitted.")).build())
}

/// `POST /api/schedules/{name}/pause`.
pub(in crate::api) struct SchedulePause;
named!(
    SchedulePause,
    "SchedulePause",
    object(
        "Both may be left out, and so may the body.",
        &[],
        vec![
            ("reason", optional(text(Some(MAX_REASON), "Why, for whoever looks at the schedule."))),
            (
                "resume_in",
                optional(span(Duration::from_millis(1), duration::MAX, "It resumes by itself this long from now."))
            ),
        ]
    )
);

/// `POST /api/schedules/{name}/backfill`.
pub(in crate::api) struct BackfillRequest;
named!(
    BackfillRequest,
    "BackfillRequest",
    object(
        "A range of instants that have passed, at most 1,000 of them.",
        &["from", "to"],
        vec![
            ("from", instant("The first instant that is in the range.").into()),
            ("to", instant("The first that is not; what has not come yet is left out in any case.").into()),
            ("dry_run", optional(flag("Only say which instants there are."))),
        ]
    )
);
