//! The words of the specification: what a name, a time, a duration is, each with the limits that its reader checks.

use super::super::task_json::{Id, Raw, Rule, Time};
use crate::task::backoff::{MAX_FACTOR, MIN_FACTOR};
use crate::task::{Reason, Scope, Status, duration, name};
use serde_json::{Value, json};
use std::time::Duration;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Array, ArrayBuilder, Object, ObjectBuilder, Schema, SchemaFormat, SchemaType,
    Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{Number, ToSchema};

/// What names, queues and tags look like.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._:-]*$";
/// Units from the largest to the smallest, each at most once.
const SPAN: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
/// The same, and not zero.
const SOME_SPAN: &str = "^(?=.*[1-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
/// The years that a time may have: from 1970, and before 2250.
const YEARS: &str = "^(19[7-9]|20[0-9]|21[0-9]|22[0-4])[0-9]-";
/// No format of JSON Schema is this one: its `duration` is that of ISO 8601.
const SPAN_FORMAT: &str = "taskrunnerx-duration";

/// Gives a type its schema under a name of its own.
macro_rules! named {
    ($type:ty, $name:literal, $schema:expr) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::RefOr::T(utoipa::openapi::schema::Schema::from($schema))
            }
        }
        impl utoipa::ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($name)
            }
        }
    };
}
pub(super) use named;

named!(Id, "Id", id().build());
named!(Time, "Time", time().build());
named!(
    Raw<'_>,
    "Json",
    anything("Any JSON value, byte for byte as it was given: large numbers and the order of keys are kept.")
);
named!(Rule<'_>, "Backoff", backoff_parts("How long a failed attempt waits before the next.", true));

/// A duration in an answer.
pub(in crate::api) struct Span;
named!(
    Span,
    "Duration",
    span_text().description(Some("A duration: its units from the largest to the smallest, as in `1h30m`.")).build()
);

/// The state of a task.
pub(in crate::api) struct StatusWord;
named!(
    StatusWord,
    "Status",
    words(&Status::ALL.map(Status::as_str))
        .description(Some("Where a task is in its life. `completed`, `failed` and `cancelled` are final."))
        .build()
);

/// What a key may do.
pub(in crate::api) struct ScopeWord;
named!(
    ScopeWord,
    "Scope",
    words(&Scope::ALL.map(Scope::as_str))
        .description(Some("What a key may do. `admin` includes `operate`, which includes `read` and `submit`."))
        .build()
);

/// Why a task ended.
pub(in crate::api) struct ReasonWord;
named!(
    ReasonWord,
    "Reason",
    words(&Reason::ALL.map(Reason::as_str)).description(Some("Why a task ended as it did.")).build()
);

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn id() -> ObjectBuilder {
    string().format(Some(SchemaFormat::Custom("uuid".to_owned()))).description(Some("A UUID in its printed form."))
}

fn time() -> ObjectBuilder {
    string()
        .format(Some(SchemaFormat::Custom("date-time".to_owned())))
        .description(Some("A time as in RFC 3339, in UTC, with microseconds; the database's clock."))
}

fn words(words: &[&str]) -> ObjectBuilder {
    string().enum_values(Some(words.iter().copied()))
}

/// A reference to a component.
pub(super) fn of<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}

/// A UUID.
pub(super) fn uuid(about: &str) -> Object {
    id().description(Some(about)).build()
}

/// A name of at most so many characters.
pub(super) fn word(most: usize, about: &str) -> Object {
    let pattern = string().min_length(Some(1)).max_length(Some(most)).pattern(Some(NAME));
    pattern.description(Some(about)).build()
}

/// A text of at most so many characters.
pub(super) fn text(most: Option<usize>, about: &str) -> Object {
    string().max_length(most).description(Some(about)).build()
}

/// A time that is asked for.
pub(super) fn instant(about: &str) -> Object {
    time().pattern(Some(YEARS)).description(Some(about)).build()
}

fn span_text() -> ObjectBuilder {
    string().min_length(Some(2)).pattern(Some(SPAN)).format(Some(SchemaFormat::Custom(SPAN_FORMAT.to_owned())))
}

/// A duration that is asked for: a text, or a number of seconds.
pub(super) fn span(least: Duration, most: Duration, about: &str) -> Object {
    let (from, to) = (duration::format(least), duration::format(most));
    let about = format!("{about} A duration such as `30s` or `1h30m`, or a number of seconds; from {from} to {to}.");
    span_text()
        .pattern(Some(if least.is_zero() { SPAN } else { SOME_SPAN }))
        .schema_type(SchemaType::from_iter([Type::String, Type::Number]))
        .minimum(Some(seconds(least)))
        .maximum(Some(seconds(most)))
        .description(Some(about))
        .build()
}

/// Whole where it is.
fn seconds(span: Duration) -> Number {
    match (usize::try_from(span.as_secs()), span.subsec_nanos()) {
        (Ok(whole), 0) => Number::UInt(whole),
        _ => Number::Float(span.as_secs_f64()),
    }
}

/// A whole number in a range.
pub(super) fn whole(least: u32, most: u32, about: &str) -> Object {
    let number = |number: u32| Some(f64::from(number));
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(number(least))
        .maximum(number(most))
        .description(Some(about))
        .build()
}

/// A number in a range.
pub(super) fn number(least: f64, most: f64, about: &str) -> Object {
    let range = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(least)).maximum(Some(most));
    range.description(Some(about)).build()
}

pub(super) fn flag(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about)).build()
}

/// Any JSON value.
pub(super) fn anything(about: &str) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(about)).build()
}

/// A JSON object with whatever in it.
pub(super) fn any_object(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(about)).build()
}

/// A list of so many items.
pub(super) fn list(items: impl Into<RefOr<Schema>>, least: usize, most: usize, about: &str) -> Array {
    let list = ArrayBuilder::new().items(items.into()).max_items(Some(most)).description(Some(about));
    if least > 0 { list.min_items(Some(least)).build() } else { list.build() }
}

/// An object of these fields and no others.
pub(super) fn object(about: &str, required: &[&str], fields: Vec<(&str, Schema)>) -> Object {
    let object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(about))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let object = fields.into_iter().fold(object, |object, (name, schema)| object.property(name, schema));
    required.iter().fold(object, |object, name| object.required(*name)).build()
}

/// A field that may be left out; `null` counts as left out.
pub(super) fn optional(schema: impl Into<Schema>) -> Schema {
    let mut schema = schema.into();
    match &mut schema {
        Schema::Object(object) => {
            object.schema_type = or_null(&object.schema_type);
            if let Some(values) = &mut object.enum_values {
                values.push(Value::Null);
            }
        }
        Schema::Array(array) => array.schema_type = or_null(&array.schema_type),
        Schema::AnyOf(any) => any.items.push(ObjectBuilder::new().schema_type(Type::Null).build().into()),
        _ => {}
    }
    schema
}

fn or_null(types: &SchemaType) -> SchemaType {
    match types {
        SchemaType::Type(one) => SchemaType::from_iter([one.clone(), Type::Null]),
        SchemaType::Array(several) => several.iter().cloned().chain([Type::Null]).collect(),
        SchemaType::AnyValue => SchemaType::AnyValue,
    }
}

/// A backoff as it is asked for.
pub(super) fn backoff(about: &str) -> Schema {
    let fixed = span(Duration::ZERO, duration::MAX, "The same delay after every failure, without jitter.");
    let any = AnyOfBuilder::new().item(backoff_parts("A rule; what is left out has its default.", false)).item(fixed);
    Schema::AnyOf(any.description(Some(about)).build())
}

/// A backoff's parts. An answer has all of them.
fn backoff_parts(about: &str, answer: bool) -> Object {
    let part = |schema: Object| if answer { Schema::from(schema) } else { optional(schema) };
    let long = |about: &str| {
        if answer { string_span(about) } else { span(Duration::ZERO, duration::MAX, about) }
    };
    let kind = words(&["exponential", "fixed"]).description(Some("How the delay grows.")).build();
    let jitter = words(&["full", "none"]).description(Some("What randomness does to the delay.")).build();
    let factor = number(MIN_FACTOR, MAX_FACTOR, "What each delay is multiplied by for the next.");
    let fields = vec![
        ("kind", part(kind)),
        ("base", part(long("The first delay, not above `max`; of kind `fixed`, every delay."))),
        ("factor", part(factor)),
        ("max", part(long("The longest delay."))),
        ("jitter", part(jitter)),
    ];
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    object(about, if answer { &names } else { &[] }, fields)
}

fn string_span(about: &str) -> Object {
    span_text().description(Some(about)).build()
}

/// What a queue, a task type and a tag are called.
pub(super) fn queue_name(about: &str) -> Object {
    word(name::MAX_QUEUE, about)
}

/// One, or a list of some.
pub(super) fn some(of: Object, most: usize, about: &str) -> Schema {
    let several = list(of.clone(), 1, most, "Any of these.");
    Schema::AnyOf(AnyOfBuilder::new().item(of).item(several).description(Some(about)).build())
}

/// A word of these.
pub(super) fn one_of(choice: &[&str], about: &str) -> Object {
    words(choice).description(Some(about)).build()
}

/// An object with a further rule.
pub(super) fn with_rule(mut object: Object, keyword: &str, rule: Value) -> Object {
    object.extensions = Some([(keyword, rule)].into_iter().collect());
    object
}

/// At least one of its fields.
pub(super) fn not_empty(object: Object) -> Object {
    let one = |name: &String| json!({"required": [name], "properties": {name: there()}});
    let rule = object.properties.keys().map(one).collect();
    with_rule(object, "anyOf", rule)
}

/// Each of its items once.
pub(super) fn distinct(mut list: Array) -> Array {
    list.unique_items = true;
    list
}

/// Not both of these two fields.
pub(super) fn not_both(one: &str, other: &str) -> Value {
    json!({"not": {"required": [one, other], "properties": {one: there(), other: there()}}})
}

/// The one field only beside the other.
pub(super) fn only_beside(one: &str, other: &str) -> Value {
    json!({"if": {"required": [one], "properties": {one: there()}},
        "then": {"required": [other], "properties": {other: there()}}})
}

fn there() -> Value {
    json!({"not": {"type": "null"}})
}
