//! Any JSON as names and values, for answers whose parts a newer server may have more of.

use super::table::{Cell, Tone};
use super::words;
use serde_json::Value;

/// Each value of a JSON object, objects within it under their path: `tasks.queued`.
pub(super) fn flat(value: &Value) -> Vec<(String, Cell)> {
    let mut found = Vec::new();
    walk("", value, &mut found);
    found
}

fn walk(path: &str, value: &Value, found: &mut Vec<(String, Cell)>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(&below(key), value, found)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(i, item)| walk(&below(&label(item, i)), item, found));
        }
        simple => found.push((path.to_owned(), Cell::toned(text(simple), Tone::Plain))),
    }
}

/// What an item of a list is called: by its name, or by its number.
fn label(item: &Value, number: usize) -> String {
    let name = ["name", "queue", "id"].into_iter().find_map(|key| item.get(key)?.as_str());
    name.map_or_else(|| number.to_string(), str::to_owned)
}

/// A value for people: a text without its quotes.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => words::time(text),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::details;
    use super::super::terminal::Style;
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_lists_are_told_by_their_paths() {
        let value =
            json!({"tasks": {"queued": 3}, "queues": [{"name": "mail", "rate": 1.5}], "roles": ["api", "worker"]});
        let fields = flat(&value);
        let fields = fields.iter().map(|(name, cell)| (name.as_str(), cell.clone())).collect();
        let text = details(fields, Style::PLAIN);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            ["queues.mail.name  mail", "queues.mail.rate  1.5", "roles             api,worker", "tasks.queued      3"]
        );
    }
}
