//! A definition from its JSON.

use super::{
    CATCH_UP, Definition, MAX_CATCH_UP, MAX_EVERY, MAX_FAILURES, MAX_FIRES, MAX_JITTER, MIN_EVERY, Misfire, Overlap,
    Rhythm,
};
use crate::task::cron::{Cron, CronFault};
use crate::task::fields::{Fault, Fields, got};
use crate::task::submission::{self, bounded, instant};
use crate::task::{Submission, Timestamp, When};
use std::time::Duration;

const DEFAULT_ZONE: &str = "UTC";
/// What of a submission a schedule's task cannot have, and why.
const NOT_HERE: &str = "is not for a schedule's task: the schedule says when";

/// A definition that was read, with its task taken apart.
#[derive(Debug, Clone)]
pub struct Read {
    pub definition: Definition,
    pub task: Submission,
}

/// Reads `{cron or every, timezone?, task, misfire?, catch_up?, overlap?, jitter?, starts_at?, ends_at?, max_fires?,
/// pause_after_failures?}` out of an object's fields, and leaves the others. None: `fields` has the faults.
///
/// `max_payload`: in bytes, of the task's payload.
pub fn read(fields: &mut Fields<'_>, max_payload: usize) -> Option<Read> {
    read_admitted(fields, max_payload, |_| Vec::new())
}

/// The same, with what else is wrong with the task: `admits` says it, as of the task alone.
pub fn read_admitted(
    fields: &mut Fields<'_>,
    max_payload: usize,
    admits: impl Fn(&Submission) -> Vec<Fault>,
) -> Option<Read> {
    let starts_at = fields.take("starts_at", instant);
    let ends_at = fields.take("ends_at", instant);
    if let (Some(starts_at), Some(ends_at)) = (starts_at, ends_at)
        && ends_at <= starts_at
    {
        fields.fault("/ends_at", "is not after starts_at; nothing would ever be due");
    }
    let rhythm = rhythm(fields, starts_at);
    let task = task(fields, max_payload, admits);
    let short = |most| move |text: &str| bounded(text, Duration::ZERO, most);
    let misfire = fields.take("misfire", |text| word(text, Misfire::ALL, Misfire::as_str));
    let catch_up = fields.take("catch_up", short(MAX_CATCH_UP));
    let overlap = fields.take("overlap", |text| word(text, Overlap::ALL, Overlap::as_str));
    let jitter = fields.take("jitter", short(MAX_JITTER));
    let max_fires = fields.number("max_fires", 1..=MAX_FIRES);
    let pause_after_failures = fields.number("pause_after_failures", 1..=MAX_FAILURES);
    let (text, task) = task?;
    let definition = Definition {
        rhythm: rhythm?,
        task: text,
        misfire: misfire.unwrap_or_default(),
        catch_up: catch_up.unwrap_or(CATCH_UP),
        overlap: overlap.unwrap_or_default(),
        jitter: jitter.unwrap_or_default(),
        starts_at,
        ends_at,
        max_fires,
        pause_after_failures,
    };
    Some(Read { definition, task })
}

impl Definition {
    /// Reads a definition that is kept as [`Definition::to_json`] wrote it.
    ///
    /// # Errors
    /// Everything that is wrong with it, for people.
    pub fn from_json(text: &str, max_payload: usize) -> Result<Read, String> {
        let mut fields = Fields::read(text).map_err(|error| error.to_string())?;
        let found = read(&mut fields, max_payload);
        let faults = fields.finish();
        match found {
            Some(found) if faults.is_empty() => Ok(found),
            _ => {
                let each: Vec<String> =
                    faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect();
                Err(each.join("; "))
            }
        }
    }
}

fn rhythm(fields: &mut Fields<'_>, starts_at: Option<Timestamp>) -> Option<Rhythm> {
    let cron = fields.string("cron", |_| Ok::<(), String>(()));
    let every = fields.take("every", |text| bounded(text, MIN_EVERY, MAX_EVERY));
    let zone = fields.string("timezone", |_| Ok::<(), String>(()));
    match (cron, every) {
        (Some(_), Some(_)) => {
            fields.fault("/every", "stands beside cron; takes one of the two");
            None
        }
        (Some(cron), None) => match Cron::parse(&cron, zone.as_deref().unwrap_or(DEFAULT_ZONE)) {
            Ok(cron) => Some(Rhythm::Cron(cron)),
            Err(faults) => {
                for fault in faults {
                    let pointer = if matches!(fault, CronFault::UnknownZone { .. }) { "/timezone" } else { "/cron" };
                    fields.fault(pointer, fault);
                }
                None
            }
        },
        (None, Some(interval)) => {
            if zone.is_some() {
                fields.fault("/timezone", "stands beside every; an interval is the same in every zone");
                return None;
            }
            Some(Rhythm::Every { interval, anchor: starts_at.unwrap_or(Timestamp::UNIX_EPOCH) })
        }
        (None, None) => {
            if !fields.has_fault("/cron") && !fields.has_fault("/every") {
                fields.fault("/cron", "is missing; takes a cron expression, or every an interval");
            }
            None
        }
    }
}

/// The task as it stands, and as it was read.
fn task(
    fields: &mut Fields<'_>,
    max_payload: usize,
    admits: impl Fn(&Submission) -> Vec<Fault>,
) -> Option<(String, Submission)> {
    let Some(text) = fields.raw("task") else {
        fields.fault("/task", "is missing; takes an object as for POST /api/tasks: name, payload, queue and so on");
        return None;
    };
    let (submission, mut faults) = match submission::read(text, max_payload) {
        Ok(found) => found,
        Err(_) => {
            fields.fault("/task", got(text, "an object as for POST /api/tasks"));
            return None;
        }
    };
    if submission.when.is_some() {
        let pointer = if matches!(submission.when, Some(When::At(_))) { "/run_at" } else { "/delay" };
        faults.push(Fault::at(pointer, NOT_HERE));
    }
    // A name that could not be read has its fault already.
    if !submission.name.is_empty() {
        faults.extend(admits(&submission));
    }
    if faults.is_empty() {
        return Some((text.to_owned(), submission));
    }
    for fault in faults {
        fields.add(fault.within("/task"));
    }
    None
}

fn word<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let takes = || all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
    let word: String = serde_json::from_str(text).map_err(|_| got(text, &takes()))?;
    all.iter().copied().find(|one| name(*one) == word).ok_or_else(|| got(text, &takes()))
}
