//! A schedule as TOML that reads back as the same schedule.

use super::tree::Json;
use crate::task::schedule::Definition;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a definition has beside its task, in the order in which a person would write it.
pub(super) const FIELDS: [&str; 11] = [
    "cron",
    "every",
    "timezone",
    "starts_at",
    "ends_at",
    "misfire",
    "catch_up",
    "overlap",
    "jitter",
    "max_fires",
    "pause_after_failures",
];
/// Of a task, the first and the last.
const FIRST: &str = "name";
const LAST: &str = "payload";
/// Parsers of TOML refuse what is nested deeper than about 80, the tables around it included.
const MAX_DEPTH: usize = 64;

/// `[schedules.NAME]` and its task.
///
/// # Errors
/// What TOML cannot hold: each value, by its path.
pub(super) fn schedule(name: &str, definition: &Definition) -> Result<String, Vec<String>> {
    let broken = |why: String| vec![why];
    let Json::Object(mut members) = Json::read(&definition.to_json()).map_err(broken)? else {
        return Err(broken("it is no object".to_owned()));
    };
    let task = match members.remove("task") {
        Some(Json::Object(task)) => task,
        _ => BTreeMap::new(),
    };
    let mut writer = Writer { text: String::new(), faults: Vec::new() };
    let table = format!("schedules.{}", key(name));
    writer.line(&format!("[{table}]"));
    for field in FIELDS {
        writer.member(field, field, members.get(field));
    }
    writer.line(&format!("\n[{table}.task]"));
    let others = task.keys().map(String::as_str).filter(|field| ![FIRST, LAST].contains(field));
    for field in [FIRST].into_iter().chain(others).chain([LAST]) {
        writer.member(field, &format!("task.{field}"), task.get(field));
    }
    if writer.faults.is_empty() { Ok(writer.text) } else { Err(writer.faults) }
}

struct Writer {
    text: String,
    faults: Vec<String>,
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A member of the table; null is as good as not there.
    fn member(&mut self, name: &str, path: &str, value: Option<&Json>) {
        let Some(value) = value.filter(|value| **value != Json::Null) else { return };
        self.text.push_str(&format!("{} = ", key(name)));
        self.value(path, value, 0);
        self.text.push('\n');
    }

    fn value(&mut self, path: &str, value: &Json, depth: usize) {
        if depth > MAX_DEPTH {
            return self.faults.push(format!("{path} is nested too deep for TOML"));
        }
        match value {
            Json::Null => self.faults.push(format!("{path} is null, which TOML does not have")),
            Json::Flag(flag) => self.text.push_str(if *flag { "true" } else { "false" }),
            Json::Number(number) => match number.as_toml() {
                Some(number) => self.text.push_str(number),
                None => self.faults.push(format!("{path} is a number with more digits than TOML keeps")),
            },
            Json::Text(text) => self.text.push_str(&string(text)),
            Json::List(items) => {
                self.text.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.text.push_str(if i > 0 { ", " } else { "" });
                    self.value(&format!("{path}.{i}"), item, depth + 1);
                }
                self.text.push(']');
            }
            Json::Object(members) if members.is_empty() => self.text.push_str("{}"),
            Json::Object(members) => {
                for (i, (name, member)) in members.iter().enumerate() {
                    self.text.push_str(if i > 0 { ", " } else { "{ " });
                    self.text.push_str(&format!("{} = ", key(name)));
                    self.value(&format!("{path}.{name}"), member, depth + 1);
                }
                self.text.push_str(" }");
            }
        }
    }
}

/// Bare where TOML allows it, else in quotes.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A text in the quotes in which it is easiest to read.
pub(super) fn string(text: &str) -> String {
    let literal = text.contains(['"', '\\']) && !text.contains('\'') && !text.chars().any(char::is_control);
    if literal { format!("'{text}'") } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a string cannot fail.
            c if c.is_control() => _ = write!(quoted, "\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::{diff, files};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn definition(value: &Value) -> Definition {
        Definition::from_json(&value.to_string(), usize::MAX).unwrap().definition
    }

    /// As `apply` would read it.
    fn back(toml: &str) -> Vec<(String, Definition)> {
        let read = files::parse(toml).unwrap_or_else(|faults| panic!("{faults:?}\n{toml}"));
        read.into_iter().collect()
    }

    #[test]
    fn a_schedule_is_written_as_a_person_would() {
        let value = json!({"cron": "0 3 * * *", "timezone": "Europe/Berlin", "misfire": "all",
            "task": {"payload": {"to": "a b", "say": "\"hi\"", "n": [1, 2.5]}, "queue": "mail", "name": "send"}});
        let expected = "[schedules.nightly]\ncron = \"0 3 * * *\"\ntimezone = \"Europe/Berlin\"\nmisfire = \"all\"\n\n\
                        [schedules.nightly.task]\nname = \"send\"\nqueue = \"mail\"\n\
                        payload = { n = [1, 2.5], say = '\"hi\"', to = \"a b\" }\n";
        assert_eq!(schedule("nightly", &definition(&value)).unwrap(), expected);
        let text = schedule("a.b:c", &definition(&json!({"every": "5m", "task": {"name": "x"}}))).unwrap();
        assert_eq!(text, "[schedules.\"a.b:c\"]\nevery = \"5m\"\n\n[schedules.\"a.b:c\".task]\nname = \"x\"\n");
    }

    #[test]
    fn what_toml_does_not_have_is_said_by_its_path() {
        let task = r#"{"name": "x", "payload": {"a": [1, null], "b": 12345678901234567890123}, "metadata": null}"#;
        let text = format!(r#"{{"every": "5m", "task": {task}}}"#);
        let definition = Definition::from_json(&text, usize::MAX).unwrap().definition;
        assert_eq!(
            schedule("x", &definition).unwrap_err(),
            [
                "task.payload.a.1 is null, which TOML does not have",
                "task.payload.b is a number with more digits than TOML keeps"
            ]
        );
    }

    #[test]
    fn what_is_written_is_not_nested_deeper_than_what_is_read() {
        let nested = |depth: usize| {
            let payload = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let text = format!(r#"{{"every": "5m", "task": {{"name": "x", "payload": {payload}}}}}"#);
            Definition::from_json(&text, usize::MAX).unwrap().definition
        };
        let deepest = nested(MAX_DEPTH + 1);
        let read = back(&schedule("x", &deepest).unwrap());
        assert!(diff::changes(&deepest, &read[0].1).is_empty());
        assert!(schedule("x", &nested(MAX_DEPTH + 2)).is_err());
    }

    fn payload() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has it", |n| n.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn schedules() -> impl Strategy<Value = Value> {
        let rhythm = prop_oneof![
            (0..60_u32, 0..24_u32)
                .prop_map(|(m, h)| json!({"cron": format!("{m} {h} * * 1-5"), "timezone": "Asia/Kolkata"})),
            (1..100_000_u64).prop_map(|n| json!({"every": format!("{n}s")})),
        ];
        let policy = (
            prop_oneof![Just("skip"), Just("once"), Just("all")],
            prop_oneof![Just("allow"), Just("skip"), Just("queue_one"), Just("cancel_running")],
            proptest::option::of(0..86_400_000_u64),
            proptest::option::of(1..1000_u32),
            proptest::option::of(0..1_000_000_000_u32),
        );
        (rhythm, policy, payload(), "[a-z][a-z.:_-]{0,9}").prop_map(|(mut value, policy, payload, name)| {
            let (misfire, overlap, jitter, max_fires, micros) = policy;
            let task = json!({"name": name, "payload": payload, "tags": [name], "max_attempts": 3});
            value["task"] = task;
            value["misfire"] = misfire.into();
            value["overlap"] = overlap.into();
            value["jitter"] = jitter.map(|ms| format!("{ms}ms")).into();
            value["max_fires"] = max_fires.into();
            value["starts_at"] = micros.map(|micros| format!("2026-01-31T12:00:00.{:06}Z", micros / 1000)).into();
            value
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same(value in schedules(), name in "[a-zA-Z0-9][a-zA-Z0-9._:-]{0,20}") {
            let definition = definition(&value);
            let toml = schedule(&name, &definition).unwrap();
            let read = back(&toml);
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].0, &name);
            let changes = diff::changes(&definition, &read[0].1);
            prop_assert!(changes.is_empty(), "{changes:?}\n{toml}");
        }
    }
}
