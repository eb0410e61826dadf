//! `[worker]`: how much this process runs, of which queues, and how it proves that it is alive.

use std::time::Duration;

use super::form::{List, Span, Whole, Why, why};
use super::layers::{Key, Layers};
use crate::task::name::{self, MAX_QUEUE};

const DEFAULT_CONCURRENCY: u16 = 64;
const DEFAULT_LEASE: Duration = Duration::from_secs(15);
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Tasks that run at the same time, 1 to 10,000.
    pub concurrency: u16,
    /// The queues it serves.
    pub queues: Queues,
    /// How long it counts as alive after its last sign of life, 1 s to 1 h.
    pub lease: Duration,
    /// How long a shutdown waits for running tasks, up to 1 h.
    pub drain_timeout: Duration,
    /// The pause between two looks at the database for work that nobody announced, 50 ms to 1 min.
    pub sweep_interval: Duration,
}

/// Which queues a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    /// `*`: every queue there is or will be.
    All,
    /// These, in the order given, each once; at least one.
    Named(Vec<String>),
}

const QUEUES: List<Queues> = List {
    takes: "`*` for every queue, or names of 1 to 64 characters of A-Z a-z 0-9 . _ : - that start with a letter or \
            digit (a comma list; in the file also a list)",
    read: read_queues,
    show: show_queues,
};

pub(super) fn read(layers: &mut Layers) -> Worker {
    let span = |min, max| Span { min, max };
    Worker {
        concurrency: layers.value(Key::new("worker.concurrency"), &Whole { min: 1, max: 10_000 }, DEFAULT_CONCURRENCY),
        queues: layers.value(Key::new("worker.queues"), &QUEUES, Queues::All),
        lease: layers.value(Key::new("worker.lease"), &span(Duration::from_secs(1), HOUR), DEFAULT_LEASE),
        drain_timeout: layers.value(
            Key::new("worker.drain_timeout"),
            &span(Duration::ZERO, HOUR),
            DEFAULT_DRAIN_TIMEOUT,
        ),
        sweep_interval: layers.value(
            Key::new("worker.sweep_interval"),
            &span(Duration::from_millis(50), Duration::from_secs(60)),
            DEFAULT_SWEEP_INTERVAL,
        ),
    }
}

fn read_queues(names: Vec<String>) -> Result<Queues, Why> {
    if names.iter().any(|name| name == "*") {
        return if names.len() == 1 { Ok(Queues::All) } else { why("has names beside `*`, which means all") };
    }
    let mut queues: Vec<String> = Vec::new();
    for name in names {
        if name::check(&name, MAX_QUEUE).is_err() {
            return why("has an entry that is no queue name");
        }
        if !queues.contains(&name) {
            queues.push(name);
        }
    }
    if queues.is_empty() { why("names no queue") } else { Ok(Queues::Named(queues)) }
}

fn show_queues(queues: &Queues) -> String {
    match queues {
        Queues::All => "*".to_owned(),
        Queues::Named(names) => names.join(","),
    }
}
