//! Which tasks a request about many of them means: `filter` in a body, with the words that `GET /api/tasks` has.

use super::parameters::{instant, named, status};
use crate::lifecycle::bulk::{Ask, Verb};
use crate::store::tasks::{Filter, Selection};
use crate::task::fields::{Fields, got};
use crate::task::{Fault, Fingerprint, Status, TaskId, name};
use std::fmt;

/// Values of one field of a filter.
pub(super) const MAX_VALUES: usize = 500;
/// Tells a cursor from other text.
const CURSOR_PREFIX: &str = "s1.";
/// What a cursor looks like: the prefix and an id.
pub(super) const CURSOR: &str = r"^s1\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
/// `limit` where there is none.
const NO_LIMIT: u64 = u64::MAX;

/// Reads a body. `retry` may name kinds of failures.
pub(super) fn read(verb: Verb, text: &str) -> Result<Ask, Refused> {
    let mut fields = Fields::read(text).map_err(Refused::Unreadable)?;
    let filter = fields.raw("filter");
    let all = fields.take("all", boolean).unwrap_or(false);
    let dry_run = fields.take("dry_run", boolean).unwrap_or(false);
    let limit = fields.number("limit", 1..=u32::MAX).map_or(NO_LIMIT, u64::from);
    let after = fields.take("cursor", |text| {
        let id = string(text).ok().and_then(|text| text.strip_prefix(CURSOR_PREFIX)?.parse().ok());
        id.ok_or_else(|| got(text, "the next_cursor of an earlier answer, as it was given"))
    });
    let (selection, more) = match filter {
        None => (Selection::default(), Vec::new()),
        Some(text) => selection(verb, text),
    };
    let there = |word: &str| format!("stands in the filter: {{\"filter\": {{\"{word}\": ...}}}}");
    fields.misplaced(FILTER_WORDS, there);
    if matches!(verb, Verb::Retry) {
        fields.misplaced(&["fingerprint"], there);
    }
    match (all, filter) {
        (true, Some(_)) => fields.fault("/all", "stands beside a filter; takes one of the two"),
        (false, None) => fields.fault("", EMPTY),
        (false, Some(_)) if more.is_empty() && selection == Selection::default() => fields.fault("/filter", EMPTY),
        _ => {}
    }
    let faults: Vec<Fault> = fields.finish().into_iter().chain(more).collect();
    if !faults.is_empty() {
        return Err(Refused::Faults(faults));
    }
    let mut selection = selection;
    if selection.filter.statuses.is_empty() {
        selection.filter.statuses = usual(verb).to_vec();
    }
    Ok(Ask { verb, selection, dry_run, limit, after })
}

/// What every filter has, and its body has not.
const FILTER_WORDS: &[&str] = &["status", "queue", "name", "tag", "id", "created_after", "created_before"];

/// Nobody cancels everything by a slip.
const EMPTY: &str = "means every task; takes a filter with at least one field, or \"all\": true in its place";

/// Why a body was not taken.
pub(super) enum Refused {
    /// No JSON object.
    Unreadable(serde_json::Error),
    Faults(Vec<Fault>),
}

/// The states that a verb may find a task in.
pub(super) fn possible(verb: Verb) -> &'static [Status] {
    match verb {
        Verb::Cancel => &[Status::Scheduled, Status::Queued, Status::Running],
        Verb::Retry => &[Status::Failed, Status::Cancelled],
    }
}

/// Those that are meant where none is named. What somebody cancelled is queued again only where somebody says so.
fn usual(verb: Verb) -> &'static [Status] {
    match verb {
        Verb::Cancel => possible(verb),
        Verb::Retry => &[Status::Failed],
    }
}

fn selection(verb: Verb, text: &str) -> (Selection, Vec<Fault>) {
    let Ok(mut fields) = Fields::read(text) else {
        return (Selection::default(), vec![Fault::at("/filter", got(text, "an object of fields"))]);
    };
    let allowed = |word: &str| {
        let possible = possible(verb);
        status(word).ok().filter(|status| possible.contains(status)).ok_or_else(|| {
            let words: Vec<&str> = possible.iter().map(|status| status.as_str()).collect();
            got(&name::quoted(word), &words.join(", "))
        })
    };
    let filter = Filter {
        statuses: several(&mut fields, "status", allowed),
        queues: several(&mut fields, "queue", |word| named(word, name::MAX_QUEUE)),
        names: several(&mut fields, "name", |word| named(word, name::MAX_NAME)),
        tags: several(&mut fields, "tag", |word| named(word, name::MAX_NAME)),
        ids: several(&mut fields, "id", |word| {
            word.parse::<TaskId>().map_err(|fault| format!("{} {fault}", name::quoted(word)))
        }),
        created_after: fields.take("created_after", |text| instant(&string(text)?)),
        created_before: fields.take("created_before", |text| instant(&string(text)?)),
    };
    let fingerprints = match verb {
        Verb::Cancel => Vec::new(),
        Verb::Retry => several(&mut fields, "fingerprint", |word| {
            word.parse::<Fingerprint>().map_err(|fault| format!("{} {fault}", name::quoted(word)))
        }),
    };
    let faults = fields.finish().into_iter().map(|fault| fault.within("/filter")).collect();
    (Selection { filter, fingerprints }, faults)
}

/// A field that is a string, or a list of them.
fn several<T, E: fmt::Display>(
    fields: &mut Fields<'_>,
    field: &'static str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let taken = fields.take(field, |text| {
        let words: Vec<String> = match string(text) {
            Ok(word) => vec![word],
            Err(_) => serde_json::from_str(text).map_err(|_| got(text, "a string, or a list of strings"))?,
        };
        if !(1..=MAX_VALUES).contains(&words.len()) {
            return Err(format!("has {} values; takes 1 to {MAX_VALUES}", words.len()));
        }
        words.iter().map(|word| read(word).map_err(|fault| fault.to_string())).collect()
    });
    taken.unwrap_or_default()
}

fn string(text: &str) -> Result<String, String> {
    serde_json::from_str(text).map_err(|_| got(text, "a string"))
}

fn boolean(text: &str) -> Result<bool, String> {
    serde_json::from_str(text).map_err(|_| got(text, "true or false"))
}

/// Where the next request goes on.
pub(super) fn cursor(after: TaskId) -> String {
    format!("{CURSOR_PREFIX}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(verb: Verb, text: &str) -> Vec<String> {
        match read(verb, text) {
            Ok(_) => Vec::new(),
            Err(Refused::Unreadable(error)) => vec![error.to_string()],
            Err(Refused::Faults(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
        }
    }

    #[test]
    fn a_field_is_a_string_or_a_list_and_means_what_the_listing_means() {
        let id: TaskId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let text = format!(
            r#"{{"filter": {{"queue": "a", "name": ["b", "c"], "tag": "d", "id": "{id}", "status": "queued",
                "created_after": "2026-01-01T00:00:00Z"}}, "dry_run": true, "limit": 7, "cursor": "{}"}}"#,
            cursor(id)
        );
        let Ok(ask) = read(Verb::Cancel, &text) else { panic!("{text}") };
        let filter = &ask.selection.filter;
        assert_eq!(
            (&filter.queues[..], &filter.names[..]),
            (&["a".to_owned()][..], &["b".to_owned(), "c".to_owned()][..])
        );
        assert_eq!((&filter.tags[..], &filter.ids[..]), (&["d".to_owned()][..], &[id][..]));
        assert_eq!((&filter.statuses[..], filter.created_after.is_some()), (&[Status::Queued][..], true));
        assert_eq!((ask.dry_run, ask.limit, ask.after), (true, 7, Some(id)));
    }

    #[test]
    fn what_names_no_state_means_all_that_live_or_all_that_failed() {
        let Ok(ask) = read(Verb::Retry, r#"{"filter": {"fingerprint": "00c0ffee00c0ffee"}}"#) else { panic!() };
        assert_eq!(ask.selection.filter.statuses, [Status::Failed]);
        assert_eq!(ask.selection.fingerprints, [Fingerprint(0x00c0_ffee_00c0_ffee)]);
        let Ok(ask) = read(Verb::Cancel, r#"{"all": true}"#) else { panic!() };
        assert_eq!(ask.selection.filter.statuses, [Status::Scheduled, Status::Queued, Status::Running]);
        assert_eq!((ask.dry_run, ask.limit, ask.after), (false, u64::MAX, None));
    }

    #[test]
    fn nothing_means_everything_only_where_it_is_said() {
        for verb in [Verb::Cancel, Verb::Retry] {
            for (text, pointers) in [
                ("{}", vec!["#"]),
                (r#"{"all": false}"#, vec!["#"]),
                (r#"{"filter": {}}"#, vec!["#/filter"]),
                (r#"{"filter": {"queue": null}}"#, vec!["#/filter"]),
                (r#"{"filter": null}"#, vec!["#"]),
                (r#"{"filter": {"queue": "a"}, "all": true}"#, vec!["#/all"]),
                (r#"{"all": true}"#, vec![]),
                (r#"{"filter": {"queue": []}}"#, vec!["#/filter/queue"]),
            ] {
                assert_eq!(faults(verb, text), pointers, "{text}");
            }
        }
    }

    #[test]
    fn a_filters_word_outside_of_it_is_sent_there() {
        for verb in [Verb::Cancel, Verb::Retry] {
            let Err(Refused::Faults(found)) = read(verb, r#"{"status": "failed", "colour": 1}"#) else { panic!() };
            let of = |pointer: &str| found.iter().find(|fault| fault.pointer == pointer).unwrap();
            assert_eq!(of("#/status").detail, r#"stands in the filter: {"filter": {"status": ...}}"#);
            assert!(of("#/colour").detail.ends_with("(known: filter, all, dry_run, limit, cursor)"));
        }
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let text = r#"{"filter": {"status": "completed", "queue": [1], "name": "a b", "id": ["x"], "created_before": 3,
                       "fingerprint": "00c0ffee00c0ffee", "colour": "red"}, "dry_run": 1, "limit": 0, "cursor": "b1.x", "more": 1}"#;
        let mut found = faults(Verb::Cancel, text);
        found.sort();
        let expected = [
            "#/cursor",
            "#/dry_run",
            "#/filter/colour",
            "#/filter/created_before",
            "#/filter/fingerprint",
            "#/filter/id",
            "#/filter/name",
            "#/filter/queue",
            "#/filter/status",
            "#/limit",
            "#/more",
        ];
        assert_eq!(found, expected);
        assert_eq!(faults(Verb::Retry, r#"{"filter": {"status": "running", "fingerprint": "x"}}"#).len(), 2);
        assert_eq!(faults(Verb::Retry, r#"{"filter": "failed"}"#), ["#/filter"]);
    }
}
