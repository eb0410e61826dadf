//! `[schedules.NAME]`: what is submitted when, from the file.

use std::time::Duration;

use super::CheckCron;
use super::entries::{Entry, entries};
use super::form::{Form, Given, Size, Why, Word, Wrong, why};
use super::json;
use super::layers::Layers;
use super::secret::masked_url;
use super::tasks::{TaskDefaults, settings};
use crate::task::backoff::Backoff;
use crate::task::name::{self, MAX_NAME, quoted};

const SECTION: &str = "schedules";
const DEFAULT_ZONE: &str = "UTC";
const TASK_TAKES: &str = "a table of name and, where wanted, payload, queue, priority, timeout, max_attempts, backoff";

/// Keys that schedules have over REST and not here.
const REST_KEYS: [&str; 7] = ["ends_at", "every", "jitter", "max_fires", "misfire", "overlap", "starts_at"];
const REST_TASK_KEYS: [&str; 8] =
    ["delay", "expires_in", "metadata", "run_at", "tags", "unique_for", "unique_key", "wait"];
const UNSUPPORTED: &str = "not supported by this version for a schedule in the file";

const CRON: Word<String> =
    Word { takes: r#"a cron expression such as "0 30 3 * * *" (seconds first)"#, read: filled, show: String::clone };
const ZONE: Word<String> =
    Word { takes: r#"a time zone such as "UTC" or "Europe/Berlin""#, read: filled, show: String::clone };
const TASK_NAME: Word<String> = Word {
    takes: "a task name: 1 to 128 characters of A-Z a-z 0-9 . _ : - that start with a letter or digit",
    read: read_task_name,
    show: String::clone,
};

/// One `[schedules.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleConfig {
    /// The NAME.
    pub name: String,
    /// A cron expression that was checked together with the zone.
    pub cron: String,
    /// The time zone that the expression is in.
    pub timezone: String,
    /// What each fire submits.
    pub task: ScheduledTask,
}

/// The task that a schedule submits; `None` as on submission leaves it to the type, and then to `[defaults]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledTask {
    /// The task type. Whether there is one only the registry knows.
    pub name: String,
    /// JSON text, at most `limits.payload` bytes.
    pub payload: Option<String>,
    /// The queue.
    pub queue: Option<String>,
    /// 0 to 9, higher first.
    pub priority: Option<u8>,
    /// The time one attempt may take, 1 ms to 30 d.
    pub timeout: Option<Duration>,
    /// Attempts in all, 1 to 1,000.
    pub max_attempts: Option<u32>,
    /// The wait between attempts.
    pub backoff: Option<Backoff>,
}

/// Those that are whole, by name; any other has left its faults.
pub(super) fn read(layers: &mut Layers, max_payload: usize, check_cron: CheckCron) -> Vec<ScheduleConfig> {
    let mut schedules = Vec::new();
    for mut entry in entries(layers, SECTION) {
        let cron = entry.required(layers, "cron", &CRON);
        let timezone = entry.optional(layers, "timezone", &ZONE).unwrap_or_else(|| DEFAULT_ZONE.to_owned());
        if let Some(Err(faults)) = cron.as_ref().map(|cron| check_cron(cron, &timezone)) {
            let got = format!("got {} in {}", shown(cron.as_deref().unwrap_or_default()), shown(&timezone));
            for fault in faults {
                entry.fault(layers, "cron", format!("{got}: {}", masked_url(&fault)));
            }
        }
        let task =
            entry.required_table(layers, "task", TASK_TAKES).and_then(|task| read_task(layers, task, max_payload));
        if let (Some(cron), Some(task)) = (cron, task) {
            schedules.push(ScheduleConfig { name: entry.name.to_owned(), cron, timezone, task });
        }
        entry.refuse_others(layers, &REST_KEYS, UNSUPPORTED);
    }
    schedules
}

fn read_task<'a>(layers: &mut Layers<'a>, mut entry: Entry<'a>, max_payload: usize) -> Option<ScheduledTask> {
    let name = entry.required(layers, "name", &TASK_NAME);
    let payload = entry.optional(layers, "payload", &Payload { max: max_payload });
    let TaskDefaults { queue, timeout, max_attempts, backoff, priority } = settings(layers, &mut entry);
    entry.refuse_others(layers, &REST_TASK_KEYS, UNSUPPORTED);
    Some(ScheduledTask { name: name?, payload, queue, priority, timeout, max_attempts, backoff })
}

/// Any TOML value, kept as JSON text.
struct Payload {
    /// Bytes of that text.
    max: usize,
}

impl Form for Payload {
    type Value = String;

    fn takes(&self) -> String {
        let max = Size { min: 0, max: self.max }.show(&self.max);
        format!("any value that JSON has, up to limits.payload ({max}) as JSON text")
    }

    fn read(&self, given: &Given) -> Result<String, Vec<Wrong>> {
        let text = match given {
            Given::Text(text) => Ok(text.clone()),
            Given::Typed(value) => json::from_toml(value).map(|value| value.to_string()),
        };
        match text {
            Ok(text) if text.len() <= self.max => Ok(text),
            Ok(text) => Err(vec![Wrong::Unfit(Some(format!("is {} bytes as JSON text", text.len())))]),
            Err(json::NotJson) => {
                Err(vec![Wrong::Unfit(Some("holds nan or inf, which JSON does not have".to_owned()))])
            }
        }
    }

    /// Its size only: a payload may hold what is nobody's business.
    fn show(&self, value: &String) -> String {
        format!("({} bytes of JSON)", value.len())
    }
}

fn shown(text: &str) -> String {
    quoted(&masked_url(text))
}

fn filled(text: &str) -> Result<String, Why> {
    let text = text.trim();
    if text.is_empty() { why("is empty") } else { Ok(text.to_owned()) }
}

fn read_task_name(text: &str) -> Result<String, Why> {
    name::check(text, MAX_NAME).map(|()| text.to_owned()).or(Err(None))
}
