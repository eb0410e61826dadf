//! `[tasks.NAME]`: defaults for a task type of this binary, in place of the type's own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::defaults::{BackoffForm, MAX_ATTEMPTS, TIMEOUT};
use super::entries::{Entry, entries};
use super::form::{Whole, Why, Word};
use super::layers::Layers;
use crate::task::backoff::Backoff;
use crate::task::name::{self, MAX_QUEUE};

const SECTION: &str = "tasks";

/// Keys that make a task type of their own, which only a binary can in this version.
const EXECUTOR_KEYS: [&str; 7] = ["command", "concurrency", "cwd", "env", "http", "pull", "schema"];
const UNSUPPORTED: &str = "not supported by this version: only task types built into this binary can be configured";

/// The queue of a task.
pub(super) const QUEUE: Word<String> = Word {
    takes: "a queue name: 1 to 64 characters of A-Z a-z 0-9 . _ : - that start with a letter or digit",
    read: read_queue,
    show: String::clone,
};

/// Higher first.
const PRIORITY: Whole<u8> = Whole { min: 0, max: 9 };

/// What a `[tasks.NAME]` gives; `None` leaves it to the type, and then to `[defaults]`.
///
/// Whether there is such a type only the registry knows, so that is checked where it is at hand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskDefaults {
    /// The queue that its tasks go to.
    pub queue: Option<String>,
    /// The time one attempt may take, 1 ms to 30 d.
    pub timeout: Option<Duration>,
    /// Attempts in all, 1 to 1,000.
    pub max_attempts: Option<u32>,
    /// The wait between attempts.
    pub backoff: Option<Backoff>,
    /// 0 to 9, higher first.
    pub priority: Option<u8>,
}

pub(super) fn read(layers: &mut Layers) -> BTreeMap<String, TaskDefaults> {
    let mut tasks = BTreeMap::new();
    for mut entry in entries(layers, SECTION) {
        tasks.insert(entry.name.to_owned(), settings(layers, &mut entry));
        entry.refuse_others(layers, &EXECUTOR_KEYS, UNSUPPORTED);
    }
    tasks
}

/// What a task type's table and a schedule's task have in common.
pub(super) fn settings<'a>(layers: &mut Layers<'a>, entry: &mut Entry<'a>) -> TaskDefaults {
    TaskDefaults {
        queue: entry.optional(layers, "queue", &QUEUE),
        timeout: entry.optional(layers, "timeout", &TIMEOUT),
        max_attempts: entry.optional(layers, "max_attempts", &MAX_ATTEMPTS),
        backoff: entry.optional(layers, "backoff", &BackoffForm),
        priority: entry.optional(layers, "priority", &PRIORITY),
    }
}

fn read_queue(text: &str) -> Result<String, Why> {
    name::check(text, MAX_QUEUE).map(|()| text.to_owned()).or(Err(None))
}
