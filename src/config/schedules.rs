//! `[schedules.NAME]`: what is submitted when, from the file.
//!
//! A table is what `PUT /api/schedules/{name}` takes, and is read by the same code.

use super::entries::{Entry, as_toml_key, entries};
use super::error::Effective;
use super::json;
use super::layers::Layers;
use super::secret::masked_url;
use crate::task::duration;
use crate::task::fields::Fields;
use crate::task::schedule::{
    self, MAX_CATCH_UP, MAX_EVERY, MAX_FAILURES, MAX_FIRES, MAX_JITTER, MIN_EVERY, Misfire, Overlap,
};
use std::sync::LazyLock;
use std::time::Duration;

const SECTION: &str = "schedules";
/// Each key of a schedule, and what it takes: for the reference. A test asks the reader which keys it knows.
static KEYS: LazyLock<[(&str, String); 12]> = LazyLock::new(|| {
    let instant = || "a time as in RFC 3339, as text".to_owned();
    let span = |least, most| format!("a duration from {} to {}", duration::format(least), duration::format(most));
    let number = |most| format!("a whole number from 1 to {most}");
    let words = |words: Vec<&str>| words.join(", ");
    [
        ("starts_at", instant()),
        ("ends_at", instant()),
        ("cron", "a cron expression of five fields, of six with seconds first, or such as \"@daily\"".to_owned()),
        ("every", span(MIN_EVERY, MAX_EVERY)),
        ("timezone", "a time zone such as \"UTC\" or \"Europe/Berlin\"".to_owned()),
        ("task", "a table as `POST /api/tasks` takes it, without `run_at` and `delay`".to_owned()),
        ("misfire", words(Misfire::ALL.iter().map(|word| word.as_str()).collect())),
        ("catch_up", span(Duration::ZERO, MAX_CATCH_UP)),
        ("overlap", words(Overlap::ALL.iter().map(|word| word.as_str()).collect())),
        ("jitter", span(Duration::ZERO, MAX_JITTER)),
        ("max_fires", number(MAX_FIRES)),
        ("pause_after_failures", number(MAX_FAILURES)),
    ]
});

/// One `[schedules.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// The NAME.
    pub name: String,
    /// JSON: `task::schedule::Definition`. Whether its task is one that is accepted only the registry knows.
    pub definition: String,
}

/// Those that are whole, by name; any other has left its faults.
pub(super) fn read(layers: &mut Layers, max_payload: usize) -> Vec<ScheduleConfig> {
    entries(layers, SECTION).into_iter().filter_map(|entry| read_one(layers, &entry, max_payload)).collect()
}

fn read_one<'a>(layers: &mut Layers<'a>, entry: &Entry<'a>, max_payload: usize) -> Option<ScheduleConfig> {
    for (key, takes) in &*KEYS {
        layers.asks_for(&entry.path, key, || takes.clone());
    }
    let Ok(value) = json::from_toml(&toml::Value::Table(entry.table.clone())) else {
        layers.faults.push(entry.fault_at("", "holds nan or inf, which JSON does not have"));
        return None;
    };
    let text = value.to_string();
    let mut fields = Fields::read(&text).ok()?; // it is an object
    let read = schedule::read(&mut fields, max_payload);
    let faults = fields.finish();
    if !faults.is_empty() {
        for fault in faults {
            layers.faults.push(entry.fault_at(&fault.dotted(), &masked_url(&fault.detail)));
        }
        return None;
    }
    let definition = read?.definition.to_json();
    show(layers, entry, &value);
    Some(ScheduleConfig { name: entry.name.to_owned(), definition })
}

/// What is in force, key by key. Of a payload its size only: it may hold what is nobody's business.
fn show<'a>(layers: &mut Layers<'a>, entry: &Entry<'a>, value: &serde_json::Value) {
    let mut put = |key: String, value: String| {
        let origin = entry.origin.to_owned();
        layers.effective.push(Effective { key, value, origin, default: "(none)".to_owned() });
    };
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{}.{}", entry.path, as_toml_key(key));
        match value.as_object() {
            None => put(path, shown(value)),
            Some(task) => {
                for (key, value) in task {
                    let value = match key.as_str() {
                        "payload" | "metadata" => format!("({} bytes of JSON)", value.to_string().len()),
                        _ => shown(value),
                    };
                    put(format!("{path}.{}", as_toml_key(key)), value);
                }
            }
        }
    }
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => masked_url(text),
        other => masked_url(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_that_the_reader_knows_is_described() {
        let mut fields = Fields::read(r#"{"zz": 1}"#).expect("an object");
        assert!(schedule::read(&mut fields, 0).is_none());
        let faults = fields.finish();
        let unknown = faults.iter().find(|fault| fault.pointer == "#/zz").expect("a fault");
        let known = unknown.detail.split_once("(known: ").expect("a list").1.trim_end_matches(')');
        assert_eq!(known.split(", ").collect::<Vec<_>>(), KEYS.iter().map(|(key, _)| *key).collect::<Vec<_>>());
    }
}
