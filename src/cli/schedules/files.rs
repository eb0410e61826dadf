//! Files that say which schedules there are to be: TOML as in the configuration, or the same as JSON.

use super::written::key;
use crate::cli::input::{STDIN, text};
use crate::config::json::from_toml;
use crate::task::fields::Fields;
use crate::task::name::{self, MAX_NAME};
use crate::task::schedule::{self, Definition};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// The one table that these files have.
const SECTION: &str = "schedules";
const TAKES: &str = "takes [schedules.NAME] tables, or as JSON {\"schedules\": {NAME: {...}}}";

/// Reads all files; a schedule may stand in one of them.
///
/// # Errors
/// All that is wrong with them, each with its file and key.
pub(super) async fn read(paths: &[String]) -> Result<BTreeMap<String, Definition>, Vec<String>> {
    let mut found: BTreeMap<String, (Definition, &str)> = BTreeMap::new();
    let mut faults = Vec::new();
    for path in paths {
        let shown = if path == STDIN { "standard input" } else { path };
        let parsed = match text(path).await {
            Ok(text) => parse(&text),
            Err(error) => Err(vec![format!("cannot be read: {error}")]),
        };
        match parsed {
            Ok(schedules) => {
                for (name, definition) in schedules {
                    match found.entry(name) {
                        Entry::Vacant(place) => _ = place.insert((definition, shown)),
                        Entry::Occupied(earlier) => faults.push(format!(
                            "{shown}: schedules.{} stands in {} too",
                            key(earlier.key()),
                            earlier.get().1
                        )),
                    }
                }
            }
            Err(these) => faults.extend(these.into_iter().map(|fault| format!("{shown}: {fault}"))),
        }
    }
    let schedules = found.into_iter().map(|(name, (definition, _))| (name, definition)).collect();
    if faults.is_empty() { Ok(schedules) } else { Err(faults) }
}

/// The schedules of one text.
///
/// # Errors
/// All that is wrong with it, each with its key.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Definition>, Vec<String>> {
    let mut faults = Vec::new();
    // No TOML begins like that.
    let entries = if text.trim_start().starts_with('{') {
        from_json(text, &mut faults)
    } else {
        from_toml_tables(text, &mut faults)
    };
    let mut schedules = BTreeMap::new();
    for (name, definition) in entries {
        let place = format!("{SECTION}.{}", key(&name));
        if let Err(fault) = name::check(&name, MAX_NAME) {
            faults.push(format!("{place}: {fault}"));
        }
        match read_one(&definition) {
            Ok(definition) => {
                if schedules.insert(name, definition).is_some() {
                    faults.push(format!("{place}: stands twice"));
                }
            }
            Err(these) => faults.extend(these.into_iter().map(|fault| format!("{place}{fault}"))),
        }
    }
    if faults.is_empty() { Ok(schedules) } else { Err(faults) }
}

/// Names and their definitions as JSON.
type Entries = Vec<(String, String)>;

fn from_toml_tables(text: &str, faults: &mut Vec<String>) -> Entries {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (line, last) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default());
            let column = last.chars().count() + 1;
            faults.push(format!("line {line}, column {column}: is not TOML: {}", error.message()));
            return Vec::new();
        }
    };
    faults.extend(table.keys().filter(|name| *name != SECTION).map(|name| unknown(name)));
    let schedules = match table.get(SECTION) {
        None => return Vec::new(),
        Some(toml::Value::Table(schedules)) => schedules,
        Some(_) => {
            faults.push(format!("{SECTION}: is no table; {TAKES}"));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for (name, value) in schedules {
        match from_toml(value) {
            Ok(value) => entries.push((name.clone(), value.to_string())),
            Err(_) => faults.push(format!("{SECTION}.{}: holds nan or inf, which JSON does not have", key(name))),
        }
    }
    entries
}

fn from_json(text: &str, faults: &mut Vec<String>) -> Entries {
    let Members(members) = match serde_json::from_str(text) {
        Ok(members) => members,
        Err(error) => {
            faults.push(format!("is not JSON: {error}"));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for (name, value) in members {
        if name != SECTION {
            faults.push(unknown(&name));
            continue;
        }
        match serde_json::from_str::<Members<'_>>(value.get()) {
            Ok(Members(schedules)) => {
                entries.extend(schedules.into_iter().map(|(name, value)| (name, value.get().to_owned())));
            }
            Err(_) => faults.push(format!("{SECTION}: is no object; {TAKES}")),
        }
    }
    entries
}

fn unknown(name: &str) -> String {
    format!("{}: is not for these files; {TAKES}", key(name))
}

/// An object's members in their order, also those that stand twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// By the code by which the server reads it. Each fault has its place, which goes on behind the schedule's.
fn read_one(json: &str) -> Result<Definition, Vec<String>> {
    let mut fields = Fields::read(json).map_err(|error| vec![format!(": is no definition: {error}")])?;
    // What a payload may be at most only the server knows.
    let read = schedule::read(&mut fields, usize::MAX);
    let faults = fields.finish();
    match read {
        Some(read) if faults.is_empty() => Ok(read.definition),
        _ => Err(faults.iter().map(|fault| format!("{}: {}", fault.dotted(), fault.detail)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse(text).unwrap_err()
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "[schedules.a]\ncron = \"@daily\"\nstarts_at = 2026-01-31T10:00:00Z\ntask = { name = \"x\" }\n";
        let json =
            r#"{"schedules": {"a": {"cron": "@daily", "starts_at": "2026-01-31T10:00:00Z", "task": {"name":"x"}}}}"#;
        let text = |text: &str| parse(text).unwrap().remove("a").unwrap().to_json();
        assert_eq!(text(toml), text(json));
        assert!(parse("").unwrap().is_empty() && parse("{}").unwrap().is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_key() {
        let found = faults("[schedules.a]\nevery = \"5m\"\n[schedules.a]\n");
        assert_eq!(found.len(), 1, "a table may stand once: {found:?}");
        assert!(found[0].starts_with("line 3, column "), "{found:?}");
        let found = faults(
            "[tasks.x]\ncommand = [\"x\"]\n\
             [schedules.a]\ncron = \"61 * * * *\"\ntimezone = \"Europe/Berlinn\"\n\
             task = { name = \"a b\", priority = 77 }\n\
             [schedules.\"b c\"]\nevery = \"5m\"\ntask = { name = \"x\" }\nmisfires = \"all\"\n\
             [schedules.d]\nevery = inf\n[schedules.e]\n",
        );
        let places: Vec<&str> = found.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
        for place in [
            "tasks",
            "schedules.d",
            "schedules.a.cron",
            "schedules.a.timezone",
            "schedules.a.task.name",
            "schedules.a.task.priority",
            "schedules.\"b c\"",
            "schedules.\"b c\".misfires",
            "schedules.e.cron",
            "schedules.e.task",
        ] {
            assert!(places.contains(&place), "{place} is not in {found:#?}");
        }
        assert_eq!(found.len(), 10, "{found:#?}");
    }

    #[test]
    fn json_says_its_faults_too() {
        let found = faults(
            r#"{"schedules": {"a": 7, "b": {"every": "1s", "task": {"name": "x"}}, "b": {"every": "1s", "task": {"name": "x"}}}, "x": 1}"#,
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("x: is not for these files"), "{found:#?}");
        assert!(found[1].starts_with("schedules.a: is no definition"), "{found:#?}");
        assert_eq!(found[2], "schedules.b: stands twice");
        assert!(faults("{")[0].starts_with("is not JSON: "));
        assert!(faults(r#"{"schedules": []}"#)[0].starts_with("schedules: is no object"));
    }

    #[tokio::test]
    async fn a_schedule_stands_in_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let table = |name: &str| format!("[schedules.{name}]\nevery = \"5m\"\ntask = {{ name = \"x\" }}\n");
        let paths = [file("a.toml", &table("a")), file("b.toml", &table("b"))];
        assert_eq!(read(&paths).await.unwrap().len(), 2);
        let more = [&paths[..], &[file("c.toml", &table("a")), "/no/such/file".to_owned()]].concat();
        let found = read(&more).await.unwrap_err();
        assert_eq!(found[0], format!("{}: schedules.a stands in {} too", more[2], paths[0]));
        assert!(found[1].starts_with("/no/such/file: cannot be read: "), "{found:?}");
    }
}
