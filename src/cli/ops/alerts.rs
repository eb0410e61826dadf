//! What is worth telling somebody, as rules for Prometheus. Each has its section in docs/operations.md.
//!
//! A rule looks at the whole installation, not at one process: which of them is ill stands in the dashboard.

use super::query::{Scope, Series};
use crate::store::StoreError;
use crate::stream::StreamError;
use crate::task::schedule::Outcome as Fire;
use crate::task::{Reason, Status};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::label::{KIND, OUTCOME, QUEUE, ROLE, ROUTE, SCHEDULE, STATUS};

/// How soon somebody must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Now: work stands still, or is refused.
    Critical,
    /// Today: work is late, or something wears out.
    Warning,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

struct Alert {
    name: &'static str,
    expr: String,
    /// How long it must be so.
    hold: &'static str,
    severity: Severity,
    summary: &'static str,
    description: &'static str,
}

/// The rules as a file for Prometheus. `runbooks`: where docs/operations.md can be read.
pub(super) fn rules(metrics: &Metrics, scope: &Scope, runbooks: &str) -> String {
    let mut text = "# Made by `taskrunnerx ops alerts`, from the definitions of its metrics.\ngroups:\n  - name: taskrunnerx\n    rules:\n".to_owned();
    for alert in alerts(metrics, scope) {
        let Alert { name, expr, hold, severity, summary, description } = alert;
        let runbook = format!("{runbooks}#{}", name.to_ascii_lowercase());
        text.push_str(&format!(
            "      - alert: {name}\n        expr: {}\n        for: {hold}\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: {}\n          description: {}\n          runbook_url: {}\n",
            quoted(&expr),
            severity.word(),
            quoted(summary),
            quoted(description),
            quoted(&runbook),
        ));
    }
    text
}

/// A text of YAML, whatever is in it. The texts have no line ends.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// How tasks end that did not do what they were to do. A cancelled one was meant to end.
pub(super) fn failed() -> Vec<&'static str> {
    Reason::ALL.into_iter().filter(|reason| *reason != Reason::Cancelled).map(Reason::as_str).collect()
}

/// How tasks end: an attempt that will be repeated is no end.
pub(super) fn ended() -> Vec<&'static str> {
    let reasons = Reason::ALL.into_iter().map(Reason::as_str);
    std::iter::once(Status::Completed.as_str()).chain(reasons).collect()
}

/// The kinds of errors that say how the database is. The others say what was asked of it.
fn ill_database() -> [&'static str; 4] {
    let text = String::new;
    [
        StoreError::Unavailable(text()).kind(),
        StoreError::Lost(text()).kind(),
        StoreError::TimedOut.kind(),
        StoreError::Unexpected(text()).kind(),
    ]
}

/// The kinds of errors that say how Redis is. A group that is not there is made, as each new queue's is.
fn ill_redis() -> [&'static str; 4] {
    let text = String::new;
    [
        StreamError::Unavailable(text()).kind(),
        StreamError::OutOfMemory(text()).kind(),
        StreamError::NotReady(text()).kind(),
        StreamError::Unexpected(text()).kind(),
    ]
}

fn alerts(metrics: &Metrics, scope: &Scope) -> Vec<Alert> {
    let mut all = liveness(metrics, scope);
    all.extend(lateness(metrics, scope));
    all.extend(repairs(metrics, scope));
    all.extend(servers(metrics, scope));
    all
}

/// Whether anybody is there to do the work.
fn liveness(metrics: &Metrics, scope: &Scope) -> Vec<Alert> {
    let workers = scope.series(&metrics.workers).with(KIND, "process");
    vec![
        Alert {
            name: "TaskRunnerXDown",
            expr: format!("absent({})", scope.series(&metrics.build)),
            hold: "2m",
            severity: Severity::Critical,
            summary: "No process of Task Runner X answers Prometheus",
            description: "Nothing is accepted and nothing runs, or Prometheus cannot reach any of the processes.",
        },
        Alert {
            name: "TaskRunnerXNoApi",
            expr: format!("absent({})", scope.series(&metrics.roles).with(ROLE, "api")),
            hold: "2m",
            severity: Severity::Critical,
            summary: "No process with the role api answers Prometheus",
            description: "Nothing is accepted, or Prometheus cannot reach the processes that accept. What was accepted goes on.",
        },
        Alert {
            name: "TaskRunnerXNoWorker",
            expr: format!("max({workers}) == 0"),
            hold: "1m",
            severity: Severity::Critical,
            summary: "No worker process lives",
            description: "Tasks are accepted and stored, and none is started. Workers outside get no work from queues that nobody dispatches.",
        },
        Alert {
            name: "TaskRunnerXNoScheduler",
            // In an outage of the database nobody can look, and nobody can count the workers: that is another alert.
            expr: format!("time() - max({}) > 60 and max({workers})", scope.series(&metrics.scheduler_last_pass)),
            hold: "2m",
            severity: Severity::Critical,
            summary: "No scheduler has looked for what is due for over a minute",
            description: "No schedule fires and nothing is purged. What comes due meanwhile is caught up with as each schedule says.",
        },
    ]
}

/// Whether the work is done in time, and well.
fn lateness(metrics: &Metrics, scope: &Scope) -> Vec<Alert> {
    let finished = scope.series(&metrics.tasks_finished);
    // A batch that fails at once is the beginning of its series.
    let failures = finished.clone().with_any(OUTCOME, &failed()).added("15m");
    let ends = finished.clone().with_any(OUTCOME, &ended()).added("15m");
    let (failures, ends) = (finished.sum_by(QUEUE, &failures), finished.sum_by(QUEUE, &ends));
    let oldest = scope.series(&metrics.queue_oldest);
    let fires =
        scope.series(&metrics.schedule_fires).with_any(OUTCOME, &[Fire::Refused.as_str(), Fire::Failed.as_str()]);
    vec![
        Alert {
            name: "TaskRunnerXQueueAge",
            expr: format!("{} > 300", oldest.max_by(QUEUE)),
            hold: "5m",
            severity: Severity::Warning,
            summary: "Queue {{ $labels.queue }}: a task has waited for {{ $value | humanizeDuration }}",
            description: "The oldest task that could run has waited for more than five minutes: too few workers, none that serves the queue, or a pause.",
        },
        Alert {
            name: "TaskRunnerXFailureRatio",
            expr: format!("{failures} / {ends} > 0.1 and {failures} > 5"),
            hold: "5m",
            severity: Severity::Warning,
            summary: "Queue {{ $labels.queue }}: {{ $value | humanizePercentage }} of the tasks fail",
            description: "More than a tenth of the tasks that ended within 15 minutes have failed for good, and more than five.",
        },
        Alert {
            name: "TaskRunnerXScheduleOverdue",
            expr: format!("max({}) > 60", scope.series(&metrics.schedule_lag)),
            hold: "2m",
            severity: Severity::Warning,
            summary: "A schedule is overdue by {{ $value | humanizeDuration }}",
            description: "Schedulers live, and the next instant of a schedule is in no ledger a minute after it has come.",
        },
        Alert {
            name: "TaskRunnerXScheduleNotFired",
            expr: format!("{} > 0", fires.sum_by(SCHEDULE, &fires.added("15m"))),
            hold: "0m",
            severity: Severity::Warning,
            summary: "Schedule {{ $labels.schedule }}: {{ $value }} instants without a task",
            description: "Its instants come, and its task is not accepted any more or the database does not take it.",
        },
    ]
}

/// What the program mends by itself, and should not have to mend again and again: the windows are shorter than the time
/// for which it must be so, so that one event is no alert. One that is large enough is an alert of its own.
fn repairs(metrics: &Metrics, scope: &Scope) -> Vec<Alert> {
    let (moved, starts) = (scope.series(&metrics.tasks_undispatched), scope.series(&metrics.task_wait).part("count"));
    let any = |series: Series| format!("sum({}) > 0", series.increase("10m"));
    let (moved, starts) = (format!("sum({})", moved.increase("10m")), format!("sum({})", starts.increase("10m")));
    // Where nothing has ever started there is no such series: then all of it is too much.
    let more_than = |count: u32| format!("{moved} > {count} unless {moved} <= 0.1 * {starts}");
    vec![
        Alert {
            name: "TaskRunnerXResultsFenced",
            expr: any(scope.series(&metrics.tasks_fenced)),
            hold: "15m",
            severity: Severity::Warning,
            summary: "Results are discarded again and again: their tasks belong to other attempts",
            description: "Workers stand still for longer than their lease, and their tasks run twice. Nothing is recorded twice.",
        },
        Alert {
            name: "TaskRunnerXTasksRescued",
            expr: any(scope.series(&metrics.tasks_rescued)),
            hold: "15m",
            severity: Severity::Warning,
            summary: "Tasks are taken over from dead workers again and again",
            description: "Workers die or lose their lease while tasks run: each such task is delayed by a lease, and has spent an attempt.",
        },
        Alert {
            name: "TaskRunnerXTasksRedispatched",
            expr: more_than(100),
            hold: "15m",
            severity: Severity::Warning,
            summary: "{{ $value | humanize }} tasks within 10 minutes were put back into the backlog",
            description: "More than a tenth of what starts has to be dispatched again, and goes on so: Redis loses its contents, or workers read more than they can start.",
        },
        Alert {
            name: "TaskRunnerXRedispatchSpike",
            expr: more_than(1000),
            hold: "1m",
            severity: Severity::Warning,
            summary: "{{ $value | humanize }} tasks within 10 minutes were put back into the backlog",
            description: "More than a thousand, and more than a tenth of what started, had to be dispatched again: most likely Redis was emptied or restarted without its data. Nothing is lost, and all of it is late.",
        },
    ]
}

/// How those are on whom all depends, and what clients see. The windows are shorter than the time for which it must be so,
/// so that a server may be restarted.
fn servers(metrics: &Metrics, scope: &Scope) -> Vec<Alert> {
    let requests = scope.series(&metrics.http_requests).like(ROUTE, "/api/.*");
    let errors = requests.clone().like(STATUS, "5..").rate("2m");
    vec![
        Alert {
            name: "TaskRunnerXCertificateExpires",
            expr: format!("min({} > 0) - time() < 14 * 86400", scope.series(&metrics.tls_not_after)),
            hold: "1h",
            severity: Severity::Warning,
            summary: "The certificate of a listener expires in {{ $value | humanizeDuration }}",
            description: "Whatever renews it has not done so in time. Once it has expired, clients refuse to connect.",
        },
        Alert {
            name: "TaskRunnerXDatabaseErrors",
            expr: format!(
                "sum({}) > 0",
                scope.series(&metrics.store_errors).with_any(KIND, &ill_database()).rate("2m")
            ),
            hold: "5m",
            severity: Severity::Critical,
            summary: "MySQL does not answer as it should: {{ $value | humanize }} errors a second",
            description: "While the database is away submissions are answered 503 and nothing is started. What was accepted is there when it is back.",
        },
        Alert {
            name: "TaskRunnerXRedisErrors",
            expr: format!("sum({}) > 0", scope.series(&metrics.stream_errors).with_any(KIND, &ill_redis()).rate("2m")),
            hold: "5m",
            severity: Severity::Warning,
            summary: "Redis does not answer as it should: {{ $value | humanize }} errors a second",
            description: "Tasks are accepted and stored. They start late, or not before Redis is back.",
        },
        Alert {
            name: "TaskRunnerXServerErrors",
            expr: format!("sum({errors}) / sum({}) > 0.05", requests.rate("2m")),
            hold: "5m",
            severity: Severity::Critical,
            summary: "{{ $value | humanizePercentage }} of the requests are answered with a server error",
            description: "More than a twentieth of the calls of the API got a 5xx: 503 while the database is away or a process starts, 500 for a fault of the program.",
        },
    ]
}
