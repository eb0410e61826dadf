//! What is to be done, out of the options: checked, and with request bodies that are made once.

use crate::task::name;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::ops::RangeInclusive;

/// Tasks of one run: what is kept of each is some 64 bytes.
const TASKS: RangeInclusive<u32> = 1..=10_000_000;
/// Connections at once.
const CONNECTIONS: RangeInclusive<u32> = 1..=4_096;
/// Tasks a second of an open loop.
const RATE: RangeInclusive<u32> = 1..=1_000_000;
/// Tasks of one bulk request: the server's own limit.
const BULK: RangeInclusive<u32> = 1..=1_000;
/// Bytes of a payload: 1 MiB, the server's own limit.
const PAYLOAD_BYTES: RangeInclusive<u32> = 2..=1_048_576;
/// Bytes of a bulk request: 16 MiB, the server's own limit.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Tasks of a closed loop where nothing is said.
const DEFAULT_TASKS: u32 = 20_000;
/// In an open loop each connection has its turn within this time: the daemon closes one that has sent nothing for
/// five seconds.
const TURN_SECONDS: u32 = 2;
/// Seconds that an open loop lasts where nothing is said.
const DEFAULT_SECONDS: u32 = 10;
/// Connections where nothing is said: of single submissions, and of bulk submissions.
const DEFAULT_CONNECTIONS: (u32, u32) = (256, 16);
/// Tasks a request of a drain, where how fast they are submitted is not what is measured.
const DEFAULT_DRAIN_BULK: u32 = 100;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// How fast tasks are accepted; ends with the last 201
    Submit,
    /// How fast a backlog is worked off: the queue is paused while it is filled, and the clock starts when it is resumed
    Drain,
    /// How fast tasks come through while more are submitted; ends when all are terminal
    Sustained,
}

impl Phase {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Phase::Submit => "submit",
            Phase::Drain => "drain",
            Phase::Sustained => "sustained",
        }
    }
}

/// What the command line said.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) phase: Phase,
    pub(super) tasks: Option<u32>,
    pub(super) concurrency: Option<u32>,
    pub(super) rate: Option<u32>,
    pub(super) bulk: Option<u32>,
    pub(super) name: String,
    pub(super) queue: String,
    pub(super) payload: Option<String>,
    pub(super) payload_bytes: Option<u32>,
}

/// A run that can be done.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) phase: Phase,
    pub(super) tasks: u32,
    pub(super) connections: u32,
    /// Tasks a second; None: a closed loop.
    pub(super) rate: Option<u32>,
    /// Tasks a request; 1: single submissions.
    pub(super) bulk: u32,
    pub(super) name: String,
    pub(super) queue: String,
    /// JSON text.
    pub(super) payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Task<'a> {
    name: &'a str,
    queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

impl Plan {
    /// All that is wrong, a line each.
    pub(super) fn new(asked: Asked) -> Result<Self, String> {
        let Asked { phase, tasks, concurrency, rate, bulk, name, queue, payload, payload_bytes } = asked;
        let mut faults = Vec::new();
        let mut within = |flag: &str, value: u32, range: RangeInclusive<u32>| {
            if !range.contains(&value) {
                faults.push(format!("--{flag}: got {value}; takes {} to {}", range.start(), range.end()));
            }
            value
        };
        let bulk = within("bulk", bulk.unwrap_or(if phase == Phase::Drain { DEFAULT_DRAIN_BULK } else { 1 }), BULK);
        let rate = rate.map(|rate| within("rate", rate, RATE));
        let default_tasks = rate.map_or(DEFAULT_TASKS, |rate| rate.saturating_mul(DEFAULT_SECONDS).min(*TASKS.end()));
        let tasks = within("tasks", tasks.unwrap_or(default_tasks), TASKS);
        let (single, several) = DEFAULT_CONNECTIONS;
        let default_connections = if bulk == 1 { single } else { several };
        let connections = within("concurrency", concurrency.unwrap_or(default_connections), CONNECTIONS);
        // Requests take turns on the connections, and servers close one that is idle for long.
        let busy = |rate: u32| rate.saturating_mul(TURN_SECONDS).div_ceil(bulk.max(1)).max(1);
        let connections = rate.map_or(connections, |rate| connections.min(busy(rate)));
        let filler = payload_bytes.map(|bytes| within("payload-bytes", bytes, PAYLOAD_BYTES));
        for (flag, text, max) in [("name", &name, name::MAX_NAME), ("queue", &queue, name::MAX_QUEUE)] {
            if let Err(fault) = name::check(text, max) {
                faults.push(format!("--{flag}: {fault}"));
            }
        }
        // A JSON string of that many bytes, its quotes included.
        let filler = filler
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(|n| format!("\"{}\"", "x".repeat(n.saturating_sub(2))));
        let payload = match payload.or(filler).map(RawValue::from_string).transpose() {
            Ok(payload) => payload,
            Err(error) => {
                faults.push(format!("--payload: not JSON: {error}"));
                None
            }
        };
        let plan = Self { phase, tasks, connections, rate, bulk, name, queue, payload };
        if faults.is_empty() && bulk > 1 && plan.body(bulk.min(tasks)).len() > MAX_BODY_BYTES {
            faults.push(format!(
                "--bulk: {bulk} tasks with such a payload are more than {MAX_BODY_BYTES} bytes a request"
            ));
        }
        if faults.is_empty() { Ok(plan) } else { Err(faults.join("\n")) }
    }

    pub(super) fn requests(&self) -> u32 {
        self.tasks.div_ceil(self.bulk)
    }

    /// How many tasks the request with this number has: the last one has what is left.
    pub(super) fn tasks_of(&self, request: u32) -> u32 {
        self.tasks.saturating_sub(request.saturating_mul(self.bulk)).min(self.bulk)
    }

    /// The body of a request with so many tasks.
    pub(super) fn body(&self, tasks: u32) -> Bytes {
        let task = Task { name: &self.name, queue: &self.queue, payload: self.payload.as_deref() };
        let task = serde_json::to_string(&task).unwrap_or_default();
        if self.bulk == 1 {
            return task.into();
        }
        let count = usize::try_from(tasks).unwrap_or(0);
        format!("{{\"tasks\":[{}]}}", vec![task.as_str(); count].join(",")).into()
    }

    /// Bytes of a payload.
    pub(super) fn payload_len(&self) -> usize {
        self.payload.as_ref().map_or(0, |payload| payload.get().len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::bench) fn asked() -> Asked {
        Asked {
            phase: Phase::Sustained,
            tasks: None,
            concurrency: None,
            rate: None,
            bulk: None,
            name: "noop".to_owned(),
            queue: "bench".to_owned(),
            payload: None,
            payload_bytes: None,
        }
    }

    #[test]
    fn what_is_not_said_depends_on_what_is() {
        let plan = Plan::new(asked()).unwrap();
        assert_eq!((plan.tasks, plan.connections, plan.bulk, plan.rate), (20_000, 256, 1, None));
        let plan = Plan::new(Asked { rate: Some(20), ..asked() }).unwrap();
        assert_eq!((plan.tasks, plan.rate, plan.connections), (200, Some(20), 40));
        let plan = Plan::new(Asked { rate: Some(20), bulk: Some(100), concurrency: Some(8), ..asked() }).unwrap();
        assert_eq!(plan.connections, 1, "a request every five seconds");
        let plan = Plan::new(Asked { rate: Some(5_000), concurrency: Some(8), ..asked() }).unwrap();
        assert_eq!(plan.connections, 8);
        let plan = Plan::new(Asked { phase: Phase::Drain, ..asked() }).unwrap();
        assert_eq!((plan.bulk, plan.connections), (100, 16));
        let plan = Plan::new(Asked { phase: Phase::Drain, bulk: Some(1), ..asked() }).unwrap();
        assert_eq!((plan.bulk, plan.connections), (1, 256));
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_bounds() {
        let wrong = Asked {
            tasks: Some(0),
            concurrency: Some(5_000),
            rate: Some(0),
            bulk: Some(1_001),
            name: "a b".to_owned(),
            queue: String::new(),
            payload: Some("{".to_owned()),
            ..asked()
        };
        let faults = Plan::new(wrong).unwrap_err();
        for flag in ["tasks", "concurrency", "rate", "bulk", "name", "queue", "payload"] {
            assert!(faults.contains(&format!("--{flag}: ")), "{flag} in {faults}");
        }
        let large = Asked { bulk: Some(100), payload_bytes: Some(1 << 20), ..asked() };
        assert!(Plan::new(large).unwrap_err().contains("bytes a request"));
    }

    #[test]
    fn the_last_request_has_what_is_left() {
        let plan = Plan::new(Asked { tasks: Some(250), bulk: Some(100), ..asked() }).unwrap();
        assert_eq!(plan.requests(), 3);
        assert_eq!([0, 1, 2, 3].map(|i| plan.tasks_of(i)), [100, 100, 50, 0]);
        let plan = Plan::new(Asked { tasks: Some(2), ..asked() }).unwrap();
        assert_eq!((plan.requests(), plan.tasks_of(1)), (2, 1));
    }

    #[test]
    fn bodies_are_what_the_server_takes() {
        let plan = Plan::new(Asked { payload: Some("{\"ms\": 9007199254740993}".to_owned()), ..asked() }).unwrap();
        assert_eq!(plan.body(1), r#"{"name":"noop","queue":"bench","payload":{"ms": 9007199254740993}}"#);
        let plan = Plan::new(Asked { bulk: Some(2), ..asked() }).unwrap();
        let one = r#"{"name":"noop","queue":"bench"}"#;
        assert_eq!(plan.body(2), format!(r#"{{"tasks":[{one},{one}]}}"#));
        assert_eq!(plan.body(1), format!(r#"{{"tasks":[{one}]}}"#));
        let plan = Plan::new(Asked { payload_bytes: Some(10), ..asked() }).unwrap();
        assert_eq!((plan.payload_len(), plan.payload.unwrap().get()), (10, "\"xxxxxxxx\""));
    }
}
