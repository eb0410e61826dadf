//! What the dashboard shows: first how it is, then where to look further.

use super::alerts::{ended, failed};
use super::dashboard::{Kind, OVER, Panel, Row};
use super::query::{Scope, Series};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::label::{KIND, METHOD, NAME, OP, OUTCOME, QUEUE, ROUTE, SCHEDULE, STATUS, VERSION};
use crate::telemetry::metrics::process;

/// Of the dashboard's variable.
const CHOSEN: &str = "$queue";

pub(super) fn rows(metrics: &Metrics, scope: &Scope) -> Vec<Row> {
    vec![
        overview(metrics, scope),
        tasks(metrics, scope),
        queues(metrics, scope),
        workers(metrics, scope),
        schedules(metrics, scope),
        servers(metrics, scope),
        http(metrics, scope),
        processes(metrics, scope),
    ]
}

/// A legend that is a label's value.
fn of(label: &str) -> String {
    format!("{{{{{label}}}}}")
}

fn number(title: &'static str, about: &'static str, unit: &'static str, expr: String) -> Panel {
    let targets = vec![(expr, String::new())];
    Panel { title, about, kind: Kind::Stat, unit, width: 4, thresholds: None, targets }
}

/// How many a second, for each value of the label.
fn rates(title: &'static str, about: &'static str, series: &Series, by: &str) -> Panel {
    lines(title, about, "ops", vec![(series.sum_by(by, &series.rate(OVER)), of(by))])
}

fn lines(title: &'static str, about: &'static str, unit: &'static str, targets: Vec<(String, String)>) -> Panel {
    Panel { title, about, kind: Kind::Lines, unit, width: 8, thresholds: None, targets }
}

impl Panel {
    fn stacked(self) -> Self {
        Self { kind: Kind::Stacked, ..self }
    }

    fn half(self) -> Self {
        Self { width: 12, ..self }
    }

    fn yellow_and_red_from(self, yellow: f64, red: f64) -> Self {
        Self { thresholds: Some((yellow, red)), ..self }
    }
}

/// `a / b`, and nothing where there is nothing to divide by.
fn ratio(a: &str, b: &str) -> String {
    format!("{a} / ({b} > 0)")
}

fn sum_rate(series: &Series) -> String {
    format!("sum({})", series.rate(OVER))
}

fn overview(metrics: &Metrics, scope: &Scope) -> Row {
    let finished = scope.series(&metrics.tasks_finished).like(QUEUE, CHOSEN);
    let (bad, all) = (finished.clone().with_any(OUTCOME, &failed()), finished.with_any(OUTCOME, &ended()));
    let oldest = scope.series(&metrics.queue_oldest).like(QUEUE, CHOSEN);
    let workers = scope.series(&metrics.workers).with(KIND, "process");
    let (busy, slots) = (scope.series(&metrics.worker_busy), scope.series(&metrics.worker_slots));
    let panels = vec![
        number(
            "Submitted",
            "Tasks accepted a second.",
            "ops",
            sum_rate(&scope.series(&metrics.tasks_submitted).like(QUEUE, CHOSEN)),
        ),
        number("Ended", "Tasks that ended a second, whatever they came to.", "ops", sum_rate(&all)),
        number(
            "Failed",
            "The share of the tasks that ended by failing for good.",
            "percentunit",
            ratio(&sum_rate(&bad), &sum_rate(&all)),
        )
        .yellow_and_red_from(0.02, 0.1),
        number(
            "Oldest task",
            "How long the task that has waited longest has been ready to run.",
            "s",
            format!("max({oldest})"),
        )
        .yellow_and_red_from(60.0, 300.0),
        number("Worker processes", "Those whose lease holds.", "short", format!("max({workers})")),
        number(
            "Slots in use",
            "How much of what the workers may run at once they are running.",
            "percentunit",
            ratio(&format!("sum({busy})"), &format!("sum({slots})")),
        )
        .yellow_and_red_from(0.8, 0.95),
    ];
    Row { title: "Overview", panels }
}

fn tasks(metrics: &Metrics, scope: &Scope) -> Row {
    let submitted = scope.series(&metrics.tasks_submitted).like(QUEUE, CHOSEN);
    let finished = scope.series(&metrics.tasks_finished).like(QUEUE, CHOSEN);
    let (wait, run) =
        (scope.series(&metrics.task_wait).like(QUEUE, CHOSEN), scope.series(&metrics.task_run).like(QUEUE, CHOSEN));
    let quantiles = |series: &Series| -> Vec<(String, String)> {
        let of = |(quantile, legend): (&str, &str)| (series.clone().quantile(quantile, OVER, &[]), legend.to_owned());
        [("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99")].map(of).into()
    };
    let panels = vec![
        rates("Submissions by task type", "Tasks accepted a second: their rows are committed.", &submitted, NAME)
            .half()
            .stacked(),
        rates(
            "Attempts by outcome",
            "What attempts came to, a second. A retried one will be repeated.",
            &finished,
            OUTCOME,
        )
        .half()
        .stacked(),
        lines("Wait", "From being ready to run to the start.", "s", quantiles(&wait)),
        lines("Run time", "How long handlers ran.", "s", quantiles(&run)),
        lines(
            "Run time by task type, p99",
            "How long handlers ran.",
            "s",
            vec![(run.quantile("0.99", OVER, &[NAME]), of(NAME))],
        ),
    ];
    Row { title: "Tasks", panels }
}

fn queues(metrics: &Metrics, scope: &Scope) -> Row {
    let depth = scope.series(&metrics.queue_depth).like(QUEUE, CHOSEN);
    let oldest = scope.series(&metrics.queue_oldest).like(QUEUE, CHOSEN);
    let wait = scope.series(&metrics.task_wait).like(QUEUE, CHOSEN);
    let by_both = depth.sum_of_max(STATUS, QUEUE);
    let queued = depth.clone().with(STATUS, crate::task::Status::Queued.as_str());
    let panels = vec![
        lines("Live tasks by state", "Of the chosen queues together.", "short", vec![(by_both, of(STATUS))]).stacked(),
        lines("Queued by queue", "Ready to run, and not started.", "short", vec![(queued.max_by(QUEUE), of(QUEUE))]),
        lines(
            "Oldest task by queue",
            "How long the oldest queued task has been ready to run.",
            "s",
            vec![(oldest.max_by(QUEUE), of(QUEUE))],
        ),
        lines(
            "Wait by queue, p99",
            "From being ready to run to the start.",
            "s",
            vec![(wait.quantile("0.99", OVER, &[QUEUE]), of(QUEUE))],
        ),
        lines(
            "Put back into the backlog",
            "The stream had lost them, or no slot could take them: a second.",
            "ops",
            vec![(sum_rate(&scope.series(&metrics.tasks_undispatched)), "redispatched".to_owned())],
        ),
        lines(
            "Taken over and discarded",
            "Tasks of dead workers that were taken over, and results that came too late: a second. Normally none.",
            "ops",
            vec![
                (sum_rate(&scope.series(&metrics.tasks_rescued)), "rescued".to_owned()),
                (sum_rate(&scope.series(&metrics.tasks_fenced)), "fenced".to_owned()),
            ],
        ),
    ];
    Row { title: "Queues", panels }
}

fn workers(metrics: &Metrics, scope: &Scope) -> Row {
    let workers = scope.series(&metrics.workers);
    let (busy, slots) = (scope.series(&metrics.worker_busy), scope.series(&metrics.worker_slots));
    let lines_of = scope.series(&metrics.task_log_lines);
    let panels = vec![
        lines(
            "Live workers",
            "Those whose lease holds: processes, and workers outside.",
            "short",
            vec![(workers.max_by(KIND), of(KIND))],
        ),
        lines(
            "Slots",
            "What the workers may run at once, and what they are running.",
            "short",
            vec![(format!("sum({slots})"), "slots".to_owned()), (format!("sum({busy})"), "busy".to_owned())],
        ),
        rates(
            "Lines that attempts log",
            "A second. Some are dropped where they come faster than they can be written.",
            &lines_of,
            OUTCOME,
        ),
    ];
    Row { title: "Workers", panels }
}

fn schedules(metrics: &Metrics, scope: &Scope) -> Row {
    let fires = scope.series(&metrics.schedule_fires);
    let success = scope.series(&metrics.schedule_last_success);
    let (pass, lag) = (scope.series(&metrics.scheduler_last_pass), scope.series(&metrics.schedule_lag));
    let panels = vec![
        rates("Instants by outcome", "Due instants recorded in the ledger, a second.", &fires, OUTCOME).stacked(),
        lines(
            "Since the last task of each schedule",
            "How long ago each schedule submitted a task.",
            "s",
            vec![(format!("time() - {}", success.max_by(SCHEDULE)), of(SCHEDULE))],
        ),
        lines(
            "Lag",
            "How far behind the most overdue schedule is, and how long ago a scheduler looked. Both are near nothing.",
            "s",
            vec![
                (format!("max({lag})"), "lag".to_owned()),
                (format!("time() - max({pass})"), "since a look".to_owned()),
            ],
        ),
    ];
    Row { title: "Schedules", panels }
}

fn servers(metrics: &Metrics, scope: &Scope) -> Row {
    let seconds = scope.series(&metrics.store_seconds);
    let rows = scope.series(&metrics.store_batch_rows);
    let (store, stream) = (scope.series(&metrics.store_errors), scope.series(&metrics.stream_errors));
    let operations = seconds.clone().part("count").rate(OVER);
    let mean = format!(
        "{} / {}",
        rows.sum_by(OP, &rows.clone().part("sum").rate(OVER)),
        rows.sum_by(OP, &rows.clone().part("count").rate(OVER))
    );
    let panels = vec![
        lines(
            "Errors",
            "Operations that failed, a second: of MySQL and of Redis, by kind.",
            "ops",
            vec![
                (store.sum_by(KIND, &store.rate(OVER)), format!("MySQL {}", of(KIND))),
                (stream.sum_by(KIND, &stream.rate(OVER)), format!("Redis {}", of(KIND))),
            ],
        ),
        lines(
            "Operations on MySQL",
            "A second, by what they do.",
            "ops",
            vec![(seconds.sum_by(OP, &operations), of(OP))],
        )
        .stacked(),
        lines(
            "Time of an operation on MySQL, p99",
            "With the wait for a connection.",
            "s",
            vec![(seconds.quantile("0.99", OVER, &[OP]), of(OP))],
        ),
        lines(
            "Rows in a batch",
            "On average. They grow with the load: that is what carries it.",
            "short",
            vec![(mean, of(OP))],
        )
        .half(),
        lines(
            "Waiting clients",
            "Streams of events that are open, and requests that wait for a task to end.",
            "short",
            vec![
                (format!("sum({})", scope.series(&metrics.event_streams)), "streams".to_owned()),
                (format!("sum({})", scope.series(&metrics.waiting_requests)), "waits".to_owned()),
            ],
        )
        .half(),
    ];
    Row { title: "MySQL and Redis", panels }
}

fn http(metrics: &Metrics, scope: &Scope) -> Row {
    let requests = scope.series(&metrics.http_requests);
    let seconds = scope.series(&metrics.http_seconds);
    let refused = scope.series(&metrics.http_refused);
    let p99 = seconds.like(ROUTE, "/api/.*").quantile("0.99", OVER, &[METHOD, ROUTE]);
    let panels = vec![
        rates("Answers by status", "A second.", &requests, STATUS).stacked(),
        lines(
            "Time to answer, p99",
            "By route. Requests that wait for a task count with their wait.",
            "s",
            vec![(p99, format!("{} {}", of(METHOD), of(ROUTE)))],
        ),
        rates(
            "Refused for who asks",
            "A second: without a key, with a wrong one, without the scope, or too often.",
            &refused,
            KIND,
        ),
    ];
    Row { title: "HTTP", panels }
}

/// By instance. The names are every program's, so they are taken where ours stand beside them.
fn processes(metrics: &Metrics, scope: &Scope) -> Row {
    let ours = scope.series(&metrics.build);
    let and_ours = |expr: String| ours.beside(&expr, VERSION);
    let instance = || of("instance");
    let panels = vec![
        lines("CPU", "Cores in use.", "short", vec![(and_ours(scope.process(process::CPU).rate(OVER)), instance())]),
        lines("Memory", "Resident.", "bytes", vec![(and_ours(scope.process(process::MEMORY).to_string()), instance())]),
        lines(
            "Open files",
            "The share of those that it may open: connections too.",
            "percentunit",
            vec![(
                and_ours(format!("{} / {}", scope.process(process::OPEN_FILES), scope.process(process::MAX_FILES))),
                instance(),
            )],
        ),
        lines(
            "Age and version",
            "Since the start of each process.",
            "s",
            vec![(
                and_ours(format!("(time() - {})", scope.process(process::STARTED))),
                format!("{} {}", instance(), of(VERSION)),
            )],
        )
        .half(),
        lines(
            "Certificate",
            "How long it is valid still, of listeners that speak HTTPS.",
            "s",
            vec![(format!("({} > 0) - time()", scope.series(&metrics.tls_not_after)), instance())],
        )
        .half(),
    ];
    Row { title: "Processes", panels }
}
