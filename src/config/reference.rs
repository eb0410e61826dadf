//! Every key there is, as a page for people has it: `docs/reference/configuration.md` is made from this.
//!
//! Names, forms and defaults are those that loading uses, since it is loading itself that is asked; only what a key is
//! for is said here. A test wants a line for every key, and no line for a key that is gone.

use super::environment::{Environment, variable_of};
use super::file::File;
use super::layers::{Asked, Layers};
use super::{Config, Flags};

/// A key, as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The full key; `NAME` stands for the name of a task type or schedule.
    pub key: String,
    /// The forms and the range that it takes.
    pub takes: String,
    /// What is in force where nobody says anything; in parentheses where that is no value. None: see `does`.
    pub default: Option<String>,
    /// The environment variables that set it; none for what stands in the file alone.
    pub variables: Vec<String>,
    /// The flag that sets it.
    pub flag: Option<&'static str>,
    /// What it is for.
    pub does: &'static str,
}

/// Has every table in which keys are looked for.
const EVERY_TABLE: &str = "[tasks.NAME.http]\n[schedules.NAME.task]\n";

/// Every key, in the order of [`Config::effective`], then those of a task type and of a schedule.
#[must_use]
pub fn reference() -> Vec<Described> {
    let environment = Environment::default();
    let file = File { table: EVERY_TABLE.parse().unwrap_or_default(), origin: String::new() };
    let mut layers = Layers::new(&environment, Some(&file)).describing();
    // The tables are empty, so there are faults, and nothing is done with them.
    Config::read(&mut layers, &Flags::default(), |_, _| Ok(()));
    let described = |Asked { key, takes, default, flag, shared_variable }: Asked| {
        let does = DOES.iter().find(|(known, _)| *known == key).map_or("", |(_, does)| *does);
        let own = default.is_some().then(|| variable_of(&key));
        let variables = own.into_iter().chain(shared_variable.map(str::to_owned)).collect();
        Described { key, takes, default, variables, flag, does }
    };
    layers.take_asked().into_iter().map(described).collect()
}

const DOES: &[(&str, &str)] = &[
    ("roles", "What this process does"),
    ("bind", "Where it listens. Every process has its listener, if only for the open endpoints"),
    ("database_url", "MySQL or MariaDB. Needed by every role"),
    ("redis_url", "Redis or Valkey. Needed by every role"),
    ("database.pool", "Connections to the database that this process keeps"),
    ("redis_prefix", "What every key in Redis begins with: installations that share a Redis need different ones"),
    ("api_key", "The first administrator's key. Without any key only this machine is served"),
    ("worker.concurrency", "Tasks that this process runs at once. For tasks of milliseconds rather 256"),
    ("worker.queues", "The queues that it serves"),
    (
        "worker.lease",
        "How long a worker counts as alive after its last sign of life: what a dead one ran starts again after it",
    ),
    ("worker.drain_timeout", "How long a stop waits for tasks that run; what takes longer runs again elsewhere"),
    ("worker.sweep_interval", "How often tasks are looked for that Redis has lost"),
    ("scheduler.heartbeat", "When the built-in task `heartbeat` runs, which shows that the whole way works"),
    ("defaults.max_attempts", "Attempts that a task has in all"),
    ("defaults.timeout", "How long one attempt may take"),
    ("defaults.backoff", "The wait between attempts"),
    ("retention.completed", "How long completed tasks are kept"),
    ("retention.failed", "How long failed and cancelled tasks are kept"),
    ("retention.fires", "How long it is kept what schedules have fired"),
    ("retention.idempotency", "How long a repeated request with an `Idempotency-Key` is answered with its first tasks"),
    ("limits.payload", "The largest payload of a task"),
    (
        "limits.result",
        "The largest result. What a program or a call gives beyond it is cut; a longer one of a function fails its task",
    ),
    ("limits.bulk", "Tasks in one bulk submission"),
    ("limits.bulk_body", "The largest body of a bulk submission"),
    ("limits.queues", "Queues that there may be"),
    (
        "limits.rate",
        "Requests a second, and at once, that each key may send to this process; a key may have its own limit",
    ),
    ("tls.cert", "The certificate with which the listener speaks HTTPS: [TLS](../how-to/tls.md)"),
    ("tls.key", "The private key of that certificate; both are read again when they change"),
    ("http.allow_private", "Addresses that are not public and may be called all the same by task types with `http`"),
    ("metrics.require_key", "Whether `/metrics` wants a key"),
    ("log.format", "How log lines are written, on standard error"),
    ("log.level", "Which log lines are written"),
    ("tasks.NAME.command", "Makes it a type that is a program: [task types](../task-types.md#commands)"),
    ("tasks.NAME.http.url", "Makes it a type that is a call: [task types](../task-types.md#http-calls)"),
    ("tasks.NAME.http.method", "The method of the call; `POST` unless said otherwise"),
    ("tasks.NAME.http.headers", "Headers that the call has beside its own"),
    ("tasks.NAME.http.secret", "What the call is signed with; none: it is not signed"),
    ("tasks.NAME.http.connect_timeout", "Look-up, connection and TLS; 10 s unless said otherwise"),
    ("tasks.NAME.http.response_timeout", "From the beginning until the answer's headers; 30 s unless said otherwise"),
    ("tasks.NAME.http.total_timeout", "From the beginning to the answer's end; 60 s unless said otherwise"),
    ("tasks.NAME.pull", "Makes it a type that workers outside run: [pull workers](../how-to/pull-workers.md)"),
    ("tasks.NAME.cwd", "The program's working directory; else the process's own"),
    ("tasks.NAME.env", "Variables that the program gets beside its own"),
    ("tasks.NAME.user", "The user that the program runs as; needs root"),
    ("tasks.NAME.memory", "Address space of each of the program's processes"),
    ("tasks.NAME.cpu", "Processor time of each of the program's processes"),
    ("tasks.NAME.files", "Open files of each of the program's processes"),
    ("tasks.NAME.schema", "What payloads must fit; others are refused at submission"),
    ("tasks.NAME.concurrency", "Attempts of the type at once, over all workers and queues"),
    ("tasks.NAME.queue", "The queue of a task of the type that names none; else `default`"),
    ("tasks.NAME.timeout", "In place of `defaults.timeout`"),
    ("tasks.NAME.max_attempts", "In place of `defaults.max_attempts`"),
    ("tasks.NAME.backoff", "In place of `defaults.backoff`"),
    ("tasks.NAME.priority", "The priority of a task of the type that names none; else 0. Higher first"),
    ("schedules.NAME.starts_at", "Nothing is due before it"),
    ("schedules.NAME.ends_at", "Nothing is due at or after it"),
    ("schedules.NAME.cron", "When it fires"),
    ("schedules.NAME.every", "In place of `cron`: an interval, counted from `starts_at`, else from 1970"),
    ("schedules.NAME.timezone", "The time zone of `cron`; UTC unless said otherwise"),
    ("schedules.NAME.task", "What it submits"),
    ("schedules.NAME.misfire", "Which instants fire that no scheduler was there for; `once` unless said otherwise"),
    ("schedules.NAME.catch_up", "How far back those are looked at one by one; a day unless said otherwise"),
    (
        "schedules.NAME.overlap",
        "What becomes of an instant while the task of an earlier one has not ended; `allow` unless said otherwise",
    ),
    ("schedules.NAME.jitter", "Each task starts up to so much later than its instant"),
    ("schedules.NAME.max_fires", "It ends after so many fires"),
    ("schedules.NAME.pause_after_failures", "It pauses when so many of its tasks in a row have failed"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described_and_nothing_else() {
        let keys = reference();
        let silent: Vec<&str> = keys.iter().filter(|key| key.does.is_empty()).map(|key| key.key.as_str()).collect();
        assert!(silent.is_empty(), "DOES lacks {silent:?}");
        let known = |name: &str| keys.iter().any(|key| key.key == name);
        let gone: Vec<&str> = DOES.iter().map(|(name, _)| *name).filter(|name| !known(name)).collect();
        assert!(gone.is_empty(), "DOES has {gone:?}, and nobody asks for them");
    }

    #[test]
    fn a_key_is_described_with_all_that_sets_it() {
        let keys = reference();
        let of = |name: &str| keys.iter().find(|key| key.key == name).expect("a key");
        assert_eq!((of("roles").flag, of("roles").default.as_deref()), (Some("--role"), Some("all")));
        assert_eq!(of("log.level").variables, ["TASKRUNNERX_LOG__LEVEL", "RUST_LOG"]);
        assert_eq!(of("database_url").variables, ["DATABASE_URL"]);
        assert_eq!(of("worker.lease").default.as_deref(), Some("15s"));
        assert!(of("tasks.NAME.queue").takes.starts_with("a queue name"));
        assert!(of("tasks.NAME.queue").variables.is_empty());
    }
}
