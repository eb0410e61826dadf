//! Every metric the program has. Names and labels are a contract (docs and dashboards build
//! on them); labels are bounded. The help of each says which role has it.

use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// What every name begins with.
const PREFIX: &str = "taskrunnerx";

/// Seconds from half a millisecond to ten minutes: waits and run times.
const SPAN_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// Seconds of one call: a statement, a request.
const CALL_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Rows in one batch.
const ROW_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The names of the labels: the dashboard and the alerts ask by the same ones.
pub mod label {
    pub const KIND: &str = "kind";
    pub const METHOD: &str = "method";
    pub const NAME: &str = "name";
    pub const OP: &str = "op";
    pub const OUTCOME: &str = "outcome";
    pub const QUEUE: &str = "queue";
    pub const ROLE: &str = "role";
    pub const ROUTE: &str = "route";
    pub const SCHEDULE: &str = "schedule";
    pub const STATUS: &str = "status";
    pub const VERSION: &str = "version";
}

use label::{KIND, METHOD, NAME, OP, OUTCOME, QUEUE, ROLE, ROUTE, SCHEDULE, STATUS, VERSION};

/// The process's own metrics, which have no prefix: those that the dashboard shows.
pub mod process {
    pub const CPU: &str = "process_cpu_seconds_total";
    pub const MEMORY: &str = "process_resident_memory_bytes";
    pub const OPEN_FILES: &str = "process_open_fds";
    pub const MAX_FILES: &str = "process_max_fds";
    pub const STARTED: &str = "process_start_time_seconds";
}

/// A series, as it is described: `docs/reference/metrics.md` is made from these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: Vec<String>,
    /// What it is, and in parentheses the roles that have it.
    pub help: String,
}

/// A process's metrics: one value, made at start, shared by every part.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    described: Arc<[Described]>,
    pub build: IntGaugeVec,
    pub roles: IntGaugeVec,
    pub tasks_submitted: IntCounterVec,
    pub tasks_finished: IntCounterVec,
    pub task_wait: HistogramVec,
    pub task_run: HistogramVec,
    pub queue_depth: IntGaugeVec,
    pub queue_oldest: GaugeVec,
    pub worker_slots: IntGauge,
    pub worker_busy: IntGauge,
    pub workers: IntGaugeVec,
    pub tasks_fenced: IntCounter,
    pub tasks_rescued: IntCounter,
    pub tasks_undispatched: IntCounter,
    pub task_log_lines: IntCounterVec,
    pub event_streams: IntGauge,
    pub waiting_requests: IntGauge,
    pub store_batch_rows: HistogramVec,
    pub store_seconds: HistogramVec,
    pub store_errors: IntCounterVec,
    pub stream_errors: IntCounterVec,
    pub schedule_fires: IntCounterVec,
    pub schedule_last_success: GaugeVec,
    pub schedule_lag: prometheus::Gauge,
    pub scheduler_last_pass: prometheus::Gauge,
    pub http_requests: IntCounterVec,
    pub http_seconds: HistogramVec,
    pub http_refused: IntCounterVec,
    pub tls_not_after: prometheus::Gauge,
}

/// Collects what is registered, so that each metric stands in one expression.
struct Maker {
    registry: Registry,
    described: RefCell<Vec<Described>>,
}

impl Maker {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> prometheus::Result<C> {
        let collector = made?;
        self.registry.register(Box::new(collector.clone()))?;
        self.described.borrow_mut().extend(describe(&collector));
        Ok(collector)
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.keep(IntCounter::new(name, help))
    }
    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.keep(IntGauge::new(name, help))
    }
    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

impl Metrics {
    /// A fresh set under the prefix `taskrunnerx`, with the process's own metrics beside it.
    ///
    /// # Errors
    /// Only if two metrics here had one name: a mistake that the first start shows.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some(PREFIX.to_owned()), None)?;
        let m = Maker { registry: registry.clone(), described: RefCell::default() };
        let build = m.keep(IntGaugeVec::new(
            Opts::new("build_info", "1, with the version of this binary (all roles)"),
            &[VERSION],
        ))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let roles = m.keep(IntGaugeVec::new(
            Opts::new("role_info", "1 for each role of this process: api, worker, scheduler (all roles)"),
            &[ROLE],
        ))?;
        Ok(Self {
            tasks_submitted: m.counters(
                "tasks_submitted_total",
                "Tasks accepted: their rows are committed (api, scheduler)",
                &[QUEUE, NAME],
            )?,
            tasks_finished: m.counters(
                "tasks_finished_total",
                "Attempts whose outcome was recorded; outcome is completed, retried or a reason (worker; api: cancels, and attempts of workers outside)",
                &[QUEUE, NAME, OUTCOME],
            )?,
            task_wait: m.histograms(
                "task_wait_seconds",
                "Time from being eligible to the start of the attempt (worker; api: of workers outside)",
                &[QUEUE],
                SPAN_BUCKETS,
            )?,
            task_run: m.histograms(
                "task_run_seconds",
                "Time a handler ran (worker; api: of workers outside)",
                &[QUEUE, NAME],
                SPAN_BUCKETS,
            )?,
            queue_depth: m.keep(IntGaugeVec::new(
                Opts::new("queue_depth", "Live tasks by state (worker: the process that dispatches the queue; all roles: of a queue that nobody dispatches)"),
                &[QUEUE, STATUS],
            ))?,
            queue_oldest: m.keep(GaugeVec::new(
                Opts::new(
                    "queue_oldest_seconds",
                    "How long the oldest queued task has been eligible (worker: the process that dispatches the queue; all roles: of a queue that nobody dispatches)",
                ),
                &[QUEUE],
            ))?,
            worker_slots: m.gauge("worker_slots", "Attempts this process may run at once (worker)")?,
            worker_busy: m.gauge("worker_busy", "Attempts this process is running (worker)")?,
            workers: m.keep(IntGaugeVec::new(
                Opts::new(
                    "workers",
                    "Workers whose lease holds, as the database has them; kind is process, or pull for those outside (all roles)",
                ),
                &[KIND],
            ))?,
            tasks_fenced: m
                .counter("tasks_fenced_total", "Outcomes discarded because another attempt owns the task (worker; api: of workers outside)")?,
            tasks_rescued: m.counter(
                "tasks_rescued_total",
                "Tasks taken over from workers that died or lost their lease (worker)",
            )?,
            tasks_undispatched: m.counter(
                "tasks_undispatched_total",
                "Tasks put back into the backlog because the stream had lost them or no slot could take them (worker)",
            )?,
            task_log_lines: m.counters(
                "task_log_lines_total",
                "Lines that attempts logged; outcome is written or dropped (api: pull workers' attempts; worker)",
                &[OUTCOME],
            )?,
            event_streams: m.gauge("event_streams", "Streams of events that clients have open (api)")?,
            waiting_requests: m.gauge("waiting_requests", "Requests that wait for a task to end (api)")?,
            store_batch_rows: m.histograms(
                "store_batch_rows",
                "Rows in one batch (all roles)",
                &[OP],
                ROW_BUCKETS,
            )?,
            store_seconds: m.histograms(
                "store_seconds",
                "Time of one database operation, waiting for a connection included (all roles)",
                &[OP],
                CALL_BUCKETS,
            )?,
            store_errors: m.counters("store_errors_total", "Database operations that failed (all roles)", &[KIND])?,
            stream_errors: m.counters("stream_errors_total", "Redis operations that failed (all roles)", &[KIND])?,
            schedule_fires: m.counters(
                "schedule_fires_total",
                "Instants recorded in the ledger; one that waits counts as waiting and again as what it becomes, one that is \
                 filled later also as backfill (api: what requests record, such as run and backfill; scheduler)",
                &[SCHEDULE, OUTCOME],
            )?,
            schedule_last_success: m.keep(GaugeVec::new(
                Opts::new(
                    "schedule_last_success_timestamp_seconds",
                    "When the schedule last submitted its task (api: run and backfill; scheduler)",
                ),
                &[SCHEDULE],
            ))?,
            schedule_lag: m.keep(prometheus::Gauge::new(
                "schedule_lag_seconds",
                "How far behind the most overdue schedule was at the last pass (scheduler)",
            ))?,
            scheduler_last_pass: m.keep(prometheus::Gauge::new(
                "scheduler_last_pass_timestamp_seconds",
                "When the cron ticker last looked for what is due, by the process's own clock; 0: never in this process (scheduler)",
            ))?,
            http_requests: m.counters(
                "http_requests_total",
                "Requests answered (all roles)",
                &[METHOD, ROUTE, STATUS],
            )?,
            http_seconds: m.histograms(
                "http_request_seconds",
                "Time to answer a request (all roles)",
                &[METHOD, ROUTE],
                CALL_BUCKETS,
            )?,
            http_refused: m.counters(
                "http_refused_total",
                "Requests refused for who asks; kind is no_key, bad_key, expired_key, foreign, scope, restricted or rate (all roles)",
                &[KIND],
            )?,
            tls_not_after: m.keep(prometheus::Gauge::new(
                "tls_not_after_timestamp_seconds",
                "When the certificate of this process's listener expires; 0: it has none, or one whose end cannot be read (all roles)",
            ))?,
            build,
            roles,
            described: m.described.take().into(),
            registry,
        })
    }

    /// Every series that any role has, also while nothing is in it.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// How deep a queue is, by state, and how long its oldest queued task has been eligible.
    pub fn show_queue(&self, queue: &str, by_status: [(&str, u64); 3], oldest: Duration) {
        for (status, count) in by_status {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.queue_depth.with_label_values(&[queue, status]).set(count);
        }
        self.queue_oldest.with_label_values(&[queue]).set(oldest.as_secs_f64());
    }

    /// Another process says it from now on, or nobody: it is not there any more.
    pub fn forget_queue(&self, queue: &str) {
        for status in ["scheduled", "queued", "running"] {
            let _ = self.queue_depth.remove_label_values(&[queue, status]);
        }
        let _ = self.queue_oldest.remove_label_values(&[queue]);
    }

    /// The text exposition format of everything gathered now.
    ///
    /// # Errors
    /// When a collector cannot be encoded.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut families = self.registry.gather();
        families.extend(process_families());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// What a collector gathers: one family each, which has its kind before it has any values. None: nothing.
#[must_use]
pub fn describe<C: Collector>(collector: &C) -> Option<Described> {
    let (descs, families) = (collector.desc(), collector.collect());
    let (desc, family) = (descs.first()?, families.first()?);
    let name = format!("{PREFIX}_{}", desc.fq_name);
    Some(Described { name, kind: kind(family), labels: desc.variable_labels.clone(), help: desc.help.clone() })
}

fn kind(family: &MetricFamily) -> &'static str {
    match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "untyped",
    }
}

/// The process's own metrics under their usual names (`process_cpu_seconds_total` and so on).
#[cfg(target_os = "linux")]
fn process_families() -> Vec<MetricFamily> {
    use std::sync::OnceLock;
    static PROCESS: OnceLock<prometheus::process_collector::ProcessCollector> = OnceLock::new();
    PROCESS.get_or_init(prometheus::process_collector::ProcessCollector::for_self).collect()
}

#[cfg(not(target_os = "linux"))]
fn process_families() -> Vec<MetricFamily> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_once_and_renders() {
        let metrics = Metrics::new().unwrap();
        metrics.tasks_submitted.with_label_values(&["default", "noop"]).inc();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("taskrunnerx_tasks_submitted_total{name=\"noop\",queue=\"default\"} 1"), "{text}");
        assert!(text.contains("taskrunnerx_build_info{version="));
    }

    #[test]
    fn every_metric_is_described_before_it_has_a_value_under_the_name_that_it_renders() {
        let metrics = Metrics::new().unwrap();
        let of = |name: &str| metrics.described().iter().find(|series| series.name == name).unwrap();
        let wait = of("taskrunnerx_task_wait_seconds");
        assert_eq!((wait.kind, wait.labels.as_slice()), ("histogram", &["queue".to_owned()][..]));
        assert_eq!(
            (of("taskrunnerx_worker_busy").kind, of("taskrunnerx_tasks_fenced_total").kind),
            ("gauge", "counter")
        );
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let rendered = text.lines().filter_map(|line| line.strip_prefix("# HELP taskrunnerx_")).count();
        assert!(rendered > 5, "{text}");
        for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').unwrap();
            assert!(name.starts_with("process_") || of(name).help == help, "{line}");
        }
    }
}
