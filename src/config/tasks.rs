//! `[tasks.NAME]`: a task type of its own, or defaults for one of this binary, in place of the type's own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::defaults::{BackoffForm, MAX_ATTEMPTS, TIMEOUT};
use super::entries::{Entry, entries};
use super::executors::{self, Executor};
use super::form::{Whole, Why, Word};
use super::layers::Layers;
use super::reach::AllowPrivate;
use super::schema::{Schema, SchemaConfig};
use crate::task::backoff::Backoff;
use crate::task::name::{self, MAX_QUEUE};

const SECTION: &str = "tasks";

/// The queue of a task.
pub(super) const QUEUE: Word<String> = Word {
    takes: "a queue name: 1 to 64 characters of A-Z a-z 0-9 . _ : - that start with a letter or digit",
    read: read_queue,
    show: String::clone,
};

/// Attempts of one type at once, over all workers.
const CONCURRENCY: Whole<u32> = Whole { min: 1, max: 10_000 };
/// Higher first.
const PRIORITY: Whole<u8> = Whole { min: 0, max: 9 };

/// A `[tasks.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskConfig {
    pub defaults: TaskDefaults,
    /// Who runs it. None: the table is about a type of this binary.
    pub executor: Option<Executor>,
    /// What its payloads must fit.
    pub schema: Option<SchemaConfig>,
    /// Attempts at once, over all workers, 1 to 10,000.
    pub concurrency: Option<u32>,
}

/// What a submission that says nothing gets; `None` leaves it to the type, and then to `[defaults]`.
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

pub(super) fn read(layers: &mut Layers, allow_private: &AllowPrivate) -> BTreeMap<String, TaskConfig> {
    let mut tasks = BTreeMap::new();
    for mut entry in entries(layers, SECTION) {
        let executor = executors::read(layers, &mut entry, allow_private);
        let schema = entry.optional(layers, "schema", &Schema);
        let concurrency = entry.optional(layers, "concurrency", &CONCURRENCY);
        if concurrency.is_some() && executor == Some(Executor::Pull) {
            entry.fault(layers, "concurrency", "does not go with `pull`: a worker outside claims as many as it wants");
        }
        let defaults = settings(layers, &mut entry);
        tasks.insert(entry.name.to_owned(), TaskConfig { defaults, executor, schema, concurrency });
        entry.refuse_others(layers, &[], "");
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
