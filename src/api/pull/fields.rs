//! What the bodies of workers outside say, field by field: every fault is named at once, with its place.

use super::{MAX_LINES, MAX_NAMED, MAX_QUEUES};
use crate::lifecycle::pull::Named;
use crate::task::fields::{Fields, got, whole};
use crate::task::{Fault, WorkerId, name};
use serde_json::value::RawValue;
use std::str::FromStr;
use std::sync::Arc;

/// A heartbeat with so many faults is not looked at any further.
const MAX_FAULTS: usize = 100;

const ID: &str = "a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91";
const ATTEMPT: &str = "the number of the attempt, as the claim gave it";

/// The attempt that is reported on. None: there is a fault.
pub(super) fn whose(fields: &mut Fields<'_>) -> Option<(WorkerId, u32)> {
    let worker = required(fields, "worker_id", ID, |text| id(text).ok());
    worker.zip(required(fields, "attempt", ATTEMPT, attempt))
}

fn attempt(text: &str) -> Option<u32> {
    whole(text).filter(|number| *number > 0)
}

pub(super) fn id<T: FromStr>(text: &str) -> Result<T, String> {
    serde_json::from_str::<String>(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| got(text, ID))
}

/// Takes a field that must be there.
pub(super) fn required<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    takes: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let fault = match fields.raw_or_null(name) {
        None => format!("is missing; takes {takes}"),
        Some(text) => match read(text) {
            Some(value) => return Some(value),
            None => got(text, takes),
        },
    };
    fields.fault(&format!("/{name}"), fault);
    None
}

pub(super) fn queues(fields: &mut Fields<'_>) -> Vec<Arc<str>> {
    let mut queues: Vec<Arc<str>> = Vec::new();
    for (n, item) in fields.items("queues", MAX_QUEUES, "queue names").unwrap_or_default().into_iter().enumerate() {
        let checked = match serde_json::from_str::<String>(item.get()) {
            Ok(queue) => name::check(&queue, name::MAX_QUEUE).map(|()| queue).map_err(|fault| fault.to_string()),
            Err(_) => Err(got(item.get(), "a queue's name")),
        };
        match checked {
            Ok(queue) if queues.iter().any(|known| **known == *queue) => {}
            Ok(queue) => queues.push(queue.into()),
            Err(fault) => fields.fault(&format!("/queues/{n}"), fault),
        }
    }
    queues
}

/// The attempts that a heartbeat names; an idle worker names none.
pub(super) fn named(fields: &mut Fields<'_>) -> Vec<Named> {
    let takes =
        format!("a list of at most {MAX_NAMED} objects with id, attempt and perhaps progress, progress_note and logs");
    let read =
        |text: &str| serde_json::from_str::<Vec<Box<RawValue>>>(text).ok().filter(|list| list.len() <= MAX_NAMED);
    let items = required(fields, "tasks", &takes, read).unwrap_or_default();
    let mut named = Vec::with_capacity(items.len());
    let mut faults: Vec<Fault> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        match one_named(item.get()) {
            Ok(one) => named.push(one),
            Err(more) => faults.extend(more.into_iter().map(|fault| fault.within(&format!("/tasks/{n}")))),
        }
        if faults.len() >= MAX_FAULTS {
            break;
        }
    }
    for Fault { pointer, detail } in faults {
        fields.fault(pointer.trim_start_matches('#'), detail);
    }
    named
}

fn one_named(text: &str) -> Result<Named, Vec<Fault>> {
    let Ok(mut fields) = Fields::read(text) else {
        return Err(vec![Fault::at(
            "",
            got(text, "an object with id, attempt and perhaps progress, progress_note and logs"),
        )]);
    };
    let id = required(&mut fields, "id", ID, |text| id(text).ok());
    let attempt = required(&mut fields, "attempt", ATTEMPT, attempt);
    let progress = fields.take("progress", |text| {
        let fraction = serde_json::from_str::<f64>(text).ok().filter(|fraction| (0.0..=1.0).contains(fraction));
        fraction.ok_or_else(|| got(text, "a number from 0 to 1"))
    });
    let progress_note = fields.take("progress_note", |text| {
        serde_json::from_str::<String>(text).map_err(|_| got(text, "a text, beside a progress"))
    });
    if progress_note.is_some() && progress.is_none() {
        fields.fault("/progress_note", "goes with a progress, and there is none".to_owned());
    }
    let logs = fields.take("logs", |text| {
        let lines = serde_json::from_str::<Vec<String>>(text).ok().filter(|lines| lines.len() <= MAX_LINES);
        lines.ok_or_else(|| got(text, &format!("a list of at most {MAX_LINES} texts, each a line")))
    });
    match (fields.finish(), id, attempt) {
        (faults, Some(id), Some(attempt)) if faults.is_empty() => {
            Ok(Named { id, attempt, progress, progress_note, logs: logs.unwrap_or_default() })
        }
        (faults, ..) => Err(faults),
    }
}
