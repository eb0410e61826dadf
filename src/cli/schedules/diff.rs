//! What has to be done so that the server has what files say.

use super::tree::Json;
use super::written::FIELDS;
use crate::cli::table::Tone;
use crate::cli::terminal::{Style, harmless};
use crate::cli::words::counted;
use crate::client::{ClientError, Reply};
use crate::task::duration;
use crate::task::schedule::{CATCH_UP, Definition, Misfire, Overlap};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Who manages what `apply` puts.
pub(super) const BY_FILE: &str = "file";
const BY_CONFIG: &str = "config";
/// A value is shown up to here.
const SHOWN: usize = 200;

/// A schedule as the server has it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) name: String,
    /// None: the server cannot read what is kept, or this program not what the server says.
    pub(super) definition: Option<Definition>,
    pub(super) managed_by: String,
}

impl Kept {
    /// From what the server says of a schedule.
    pub(super) fn read(mut schedule: HashMap<String, Box<RawValue>>) -> Result<Self, String> {
        let mut text = |key: &str| {
            let value = schedule.remove(key).ok_or_else(|| format!("the answer has no {key}"))?;
            serde_json::from_str::<String>(value.get()).map_err(|error| format!("the answer's {key}: {error}"))
        };
        let (name, managed_by) = (text("name")?, text("managed_by")?);
        let mut members: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
        members.extend(FIELDS.into_iter().chain(["task"]).filter_map(|field| Some((field, schedule.remove(field)?))));
        let json = serde_json::to_string(&members).map_err(|error| error.to_string())?;
        let definition = Definition::from_json(&json, usize::MAX).ok().map(|read| read.definition);
        Ok(Self { name, definition, managed_by })
    }

    pub(super) fn of(reply: &Reply) -> Result<Self, ClientError> {
        Self::read(reply.read()?).map_err(ClientError::Broken)
    }

    pub(super) fn is_configured(&self) -> bool {
        self.managed_by == BY_CONFIG
    }

    pub(super) fn is_filed(&self) -> bool {
        self.managed_by == BY_FILE
    }
}

/// A field that differs; its values as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) old: Option<Box<Raw>>,
    pub(super) new: Option<Box<Raw>>,
}

/// JSON text that can be compared.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Raw(Box<RawValue>);

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Raw {}

/// What is done about one schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Change(Vec<Change>),
    Nothing,
    /// It is in no file any more.
    Prune,
    /// The configuration manages it.
    Leave,
}

impl Action {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change(_) => "change",
            Self::Nothing => "none",
            Self::Prune => "prune",
            Self::Leave => "conflict",
        }
    }
}

/// What is to be done about a schedule that a file has.
pub(super) fn action(kept: Option<&Kept>, wanted: &Definition) -> Action {
    let Some(kept) = kept else { return Action::Create };
    if kept.is_configured() {
        return Action::Leave;
    }
    let mut found = match &kept.definition {
        Some(definition) => changes(definition, wanted),
        None => between(&BTreeMap::new(), &fields(wanted)),
    };
    if !kept.is_filed() {
        let (old, new) = (raw(&json_text(&kept.managed_by)), raw(&json_text(BY_FILE)));
        found.push(Change { field: "managed_by".to_owned(), old, new });
    }
    if found.is_empty() { Action::Nothing } else { Action::Change(found) }
}

/// The fields that differ, defaults filled in.
pub(super) fn changes(old: &Definition, new: &Definition) -> Vec<Change> {
    between(&fields(old), &fields(new))
}

fn between(old: &BTreeMap<Place, String>, new: &BTreeMap<Place, String>) -> Vec<Change> {
    let places: std::collections::BTreeSet<&Place> = old.keys().chain(new.keys()).collect();
    let differs = |place: &&Place| match (old.get(*place), new.get(*place)) {
        (Some(old), Some(new)) => !(old == new || mean_the_same(old, new)),
        (old, new) => old != new,
    };
    let change = |place: &Place| Change {
        field: place.1.clone(),
        old: old.get(place).and_then(|text| raw(text)),
        new: new.get(place).and_then(|text| raw(text)),
    };
    places.into_iter().filter(differs).map(change).collect()
}

/// What cannot be read means nothing that is known, and is never the same as anything.
fn mean_the_same(old: &str, new: &str) -> bool {
    matches!((Json::read(old), Json::read(new)), (Ok(old), Ok(new)) if old == new)
}

/// In the order in which a definition is written, the task last.
type Place = (usize, String);

/// Each field of a definition as JSON, with the defaults that it leaves out; the task's one by one.
fn fields(definition: &Definition) -> BTreeMap<Place, String> {
    let kept = definition.to_json();
    let mut members: HashMap<String, Box<RawValue>> = serde_json::from_str(&kept).unwrap_or_default();
    let task = members.remove("task");
    let mut found = BTreeMap::new();
    let defaults = [
        ("misfire", json_text(Misfire::default().as_str())),
        ("overlap", json_text(Overlap::default().as_str())),
        ("catch_up", json_text(&duration::format(CATCH_UP))),
        ("jitter", json_text("0s")),
    ];
    for (order, field) in FIELDS.into_iter().enumerate() {
        let default = || defaults.iter().find(|(name, _)| *name == field).map(|(_, text)| text.clone());
        if let Some(text) = members.get(field).map(|value| value.get().to_owned()).or_else(default) {
            found.insert((order, field.to_owned()), text);
        }
    }
    let task: HashMap<String, Box<RawValue>> =
        task.and_then(|task| serde_json::from_str(task.get()).ok()).unwrap_or_default();
    let given = task.into_iter().filter(|(_, value)| value.get() != "null");
    found.extend(given.map(|(key, value)| ((FIELDS.len(), format!("task.{key}")), value.get().to_owned())));
    found
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn raw(text: &str) -> Option<Box<Raw>> {
    RawValue::from_string(text.to_owned()).ok().map(|raw| Box::new(Raw(raw)))
}

/// A schedule and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) action: Action,
    /// Why it was not done.
    pub(super) refused: Option<String>,
}

impl Step {
    /// For people, without a line's end at its end; None: there is nothing to say.
    pub(super) fn render(&self, style: Style) -> Option<String> {
        let (sign, tone) = match (&self.refused, &self.action) {
            (_, Action::Nothing) => return None,
            (Some(_), _) | (None, Action::Leave) => ("!", Tone::Bad),
            (None, Action::Create) => ("+", Tone::Good),
            (None, Action::Change(_)) => ("~", Tone::Waiting),
            (None, Action::Prune) => ("-", Tone::Bad),
        };
        let mut lines = vec![style.paint(tone.code(), &format!("{sign} {}", self.name))];
        if let Action::Change(changes) = &self.action {
            lines.extend(changes.iter().map(|change| {
                let Change { field, old, new } = change;
                format!("    {field}: {} -> {}", shown(old.as_deref()), shown(new.as_deref()))
            }));
        }
        if self.action == Action::Leave {
            lines.push("    the configuration manages it; it is left as it is".to_owned());
        }
        lines.extend(self.refused.iter().map(|why| format!("    refused: {}", harmless(why))));
        Some(lines.join("\n"))
    }
}

fn shown(value: Option<&Raw>) -> String {
    let Some(Raw(value)) = value else { return "(none)".to_owned() };
    let text = harmless(value.get());
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// How many of each, for people.
pub(super) fn summary(steps: &[Step], dry_run: bool) -> String {
    let count = |word: &str| steps.iter().filter(|step| step.refused.is_none() && step.action.word() == word).count();
    let done = if dry_run {
        [("create", "to create"), ("change", "to change"), ("prune", "to remove"), ("none", "unchanged")]
    } else {
        [("create", "created"), ("change", "changed"), ("prune", "removed"), ("none", "unchanged")]
    };
    let refused = steps.iter().filter(|step| step.refused.is_some()).count();
    let all = done.into_iter().map(|(word, said)| (count(word), said));
    let all = all.chain([(count("conflict"), "left to the configuration"), (refused, "refused")]);
    let said: Vec<String> = all.filter(|(n, _)| *n > 0).map(|(n, said)| format!("{n} {said}")).collect();
    if said.is_empty() {
        "nothing to do".to_owned()
    } else {
        format!("{}: {}", counted(steps.len(), "schedule"), said.join(", "))
    }
}

/// For programs.
pub(super) fn to_json(steps: &[Step], dry_run: bool) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        name: &'a str,
        action: &'static str,
        changes: &'a [Change],
        refused: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Whole<'a> {
        dry_run: bool,
        schedules: Vec<Line<'a>>,
    }
    let schedules = steps
        .iter()
        .map(|step| Line {
            name: &step.name,
            action: step.action.word(),
            changes: if let Action::Change(changes) = &step.action { changes } else { &[] },
            refused: step.refused.as_deref(),
        })
        .collect();
    serde_json::to_string(&Whole { dry_run, schedules }).unwrap_or_default() // plain fields, and values that are JSON
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn definition(value: &Value) -> Definition {
        Definition::from_json(&value.to_string(), usize::MAX).unwrap().definition
    }

    fn kept(definition: Option<&Value>, managed_by: &str) -> Kept {
        let mut answer = definition.cloned().unwrap_or_else(|| json!({"cron": null, "every": null, "task": null}));
        answer["name"] = "a".into();
        answer["managed_by"] = managed_by.into();
        answer["next_fire_at"] = Value::Null;
        Kept::read(serde_json::from_value(answer).unwrap()).unwrap()
    }

    fn said(action: Action) -> String {
        let step = Step { name: "a".to_owned(), action, refused: None };
        step.render(Style::PLAIN).unwrap_or_default()
    }

    #[test]
    fn each_field_that_changes_is_told_with_what_it_was() {
        let old = json!({"cron": "0 3 * * *", "timezone": "UTC", "misfire": "once", "catch_up": "1d",
            "overlap": "allow", "jitter": "0s", "task": {"name": "x", "payload": {"n": 1.50}, "queue": "mail"}});
        let new = json!({"cron": "0 4 * * *", "misfire": "all",
            "task": {"payload": {"n": 1.5}, "name": "x", "timeout": "1m"}});
        let found = action(Some(&kept(Some(&old), "api")), &definition(&new));
        assert_eq!(
            said(found),
            "~ a\n    cron: \"0 3 * * *\" -> \"0 4 * * *\"\n    misfire: \"once\" -> \"all\"\n    \
             task.queue: \"mail\" -> (none)\n    task.timeout: (none) -> \"1m\"\n    managed_by: \"api\" -> \"file\""
        );
    }

    #[test]
    fn what_is_the_same_is_left_and_so_is_what_the_configuration_has() {
        let full = json!({"cron": null, "every": "5m", "timezone": null, "misfire": "once", "catch_up": "1d",
            "overlap": "allow", "jitter": "0s", "starts_at": null, "max_fires": null, "task": {"name": "x"}});
        let short = definition(&json!({"every": "300s", "task": {"name": "x", "payload": null}}));
        assert_eq!(action(Some(&kept(Some(&full), "file")), &short), Action::Nothing);
        assert_eq!(action(Some(&kept(Some(&full), "config")), &short), Action::Leave);
        assert_eq!(action(None, &short), Action::Create);
        assert_eq!(said(Action::Nothing), "");
    }

    #[test]
    fn values_that_are_too_deep_to_be_read_are_not_the_same() {
        let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(200), "]".repeat(200));
        let of = |payload: &str| BTreeMap::from([((0, "task.payload".to_owned()), payload.to_owned())]);
        assert!(Json::read(&nested("1")).is_err());
        let changes = between(&of(&nested("1")), &of(&nested("2")));
        assert_eq!(changes.len(), 1, "{changes:?}");
    }

    #[test]
    fn what_the_server_cannot_read_is_put_anew() {
        let wanted = definition(&json!({"every": "5m", "task": {"name": "x"}}));
        let Action::Change(changes) = action(Some(&kept(None, "file")), &wanted) else { panic!("not a change") };
        assert!(changes.iter().all(|change| change.old.is_none()), "{changes:?}");
        assert!(changes.iter().any(|change| change.field == "every"), "{changes:?}");
    }

    #[test]
    fn programs_get_the_values_as_json() {
        let step =
            |action, refused: Option<&str>| Step { name: "a".to_owned(), action, refused: refused.map(str::to_owned) };
        let change = Change { field: "max_fires".to_owned(), old: None, new: raw("7") };
        let steps =
            [step(Action::Change(vec![change]), None), step(Action::Create, Some("no")), step(Action::Leave, None)];
        let value: Value = serde_json::from_str(&to_json(&steps, true)).unwrap();
        let expected = json!({"dry_run": true, "schedules": [
            {"name": "a", "action": "change", "refused": null,
             "changes": [{"field": "max_fires", "old": null, "new": 7}]},
            {"name": "a", "action": "create", "refused": "no", "changes": []},
            {"name": "a", "action": "conflict", "refused": null, "changes": []}]});
        assert_eq!(value, expected);
        assert_eq!(summary(&steps, true), "3 schedules: 1 to change, 1 left to the configuration, 1 refused");
        assert_eq!(summary(&[], false), "nothing to do");
    }

    #[test]
    fn long_values_are_shortened_and_none_is_a_command_to_the_terminal() {
        let change = |new: &str| Change { field: "task.payload".to_owned(), old: None, new: raw(new) };
        let text = said(Action::Change(vec![change(&json_text(&"x".repeat(1000)))]));
        assert!(text.len() < 300 && text.ends_with('…'), "{text}");
        let text = said(Action::Change(vec![change("{\n\"a\": \"\u{9b}2J\"}")]));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\u{9b}'));
    }
}
