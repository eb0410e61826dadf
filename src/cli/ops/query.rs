//! PromQL over the series that there are. Names and labels are those of the definitions (`telemetry::metrics`): one that
//! is renamed there is renamed here, and a label that a series does not have is found by the tests.

use crate::telemetry::metrics::{Described, describe};
use prometheus::core::Collector;
use std::fmt;

/// What [`Described::kind`] says of a series that has parts.
const HISTOGRAM: &str = "histogram";

/// Where several installations share a Prometheus: the labels of this one, which every selector names.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope(Vec<Matcher>);

/// `LABEL=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matcher {
    label: String,
    value: String,
}

/// `--selector`.
pub(super) fn matcher(text: &str) -> Result<Matcher, String> {
    let wrong = || "takes LABEL=VALUE, such as job=taskrunnerx".to_owned();
    let (label, value) = text.split_once('=').ok_or_else(wrong)?;
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) || !word(label) {
        return Err(wrong());
    }
    // It stands in quotes of PromQL, of YAML and of JSON, and in the templates of alerts.
    if value.is_empty() || value.contains(|c: char| c.is_control() || "\"\\{}$'".contains(c)) {
        return Err(format!("{}; the value is a text without quotes, braces, $ and \\", wrong()));
    }
    Ok(Matcher { label: label.to_owned(), value: value.to_owned() })
}

impl Scope {
    pub(super) const fn new(matchers: Vec<Matcher>) -> Self {
        Self(matchers)
    }

    /// A series of ours.
    pub(super) fn series<C: Collector>(&self, collector: &C) -> Series {
        let Described { name, kind, labels, .. } = describe(collector).unwrap_or(Described {
            name: String::new(),
            kind: "",
            labels: vec![],
            help: String::new(),
        });
        Series { name, kind, labels, matchers: self.matchers() }
    }

    /// A series that every process has, whatever it is.
    pub(super) fn process(&self, name: &str) -> Series {
        Series { name: name.to_owned(), kind: "", labels: vec![], matchers: self.matchers() }
    }

    fn matchers(&self) -> Vec<String> {
        self.0.iter().map(|Matcher { label, value }| format!("{label}=\"{value}\"")).collect()
    }
}

/// A series, narrowed down.
#[derive(Debug, Clone)]
pub(super) struct Series {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    matchers: Vec<String>,
}

impl Series {
    fn matching(mut self, label: &str, relation: &str, value: &str) -> Self {
        self.matchers.push(format!("{}{relation}\"{value}\"", self.known(label)));
        self
    }

    pub(super) fn with(self, label: &str, value: &str) -> Self {
        self.matching(label, "=", value)
    }

    /// One of these values.
    pub(super) fn with_any(self, label: &str, values: &[&str]) -> Self {
        self.matching(label, "=~", &values.join("|"))
    }

    /// A value that matches this, all of it.
    pub(super) fn like(self, label: &str, pattern: &str) -> Self {
        self.matching(label, "=~", pattern)
    }

    /// The part of a histogram: `bucket`, `sum` or `count`.
    pub(super) fn part(mut self, part: &str) -> Self {
        debug_assert!(self.kind == HISTOGRAM, "{} is no histogram", self.name);
        self.name = format!("{}_{part}", self.name);
        self
    }

    /// Of a counter: how many a second, over this time.
    pub(super) fn rate(&self, over: &str) -> String {
        format!("rate({self}[{over}])")
    }

    /// Of a counter: how many more, over this time.
    pub(super) fn increase(&self, over: &str) -> String {
        format!("increase({self}[{over}])")
    }

    /// The same, with a series that was not there before: its first event is its beginning, and no increase.
    /// A Prometheus that has just begun counts what was before it, too.
    pub(super) fn added(&self, over: &str) -> String {
        // Of ten minutes: a series that a failed scrape has interrupted was there.
        format!("(({self} unless last_over_time({self}[10m] offset {over})) or {})", self.increase(over))
    }

    /// This quantile of a histogram over a time, for each value of these labels; without any, of all together.
    pub(super) fn quantile(self, quantile: &str, over: &str, by: &[&str]) -> String {
        let by: String = by.iter().map(|label| format!(", {}", self.known(label))).collect();
        format!("histogram_quantile({quantile}, sum by (le{by}) ({}))", self.part("bucket").rate(over))
    }

    /// The sum of what is made of this series, for each value of the label.
    pub(super) fn sum_by(&self, by: &str, of: &str) -> String {
        format!("sum by ({}) ({of})", self.known(by))
    }

    /// The largest for each value of the label.
    pub(super) fn max_by(&self, by: &str) -> String {
        format!("max by ({}) ({self})", self.known(by))
    }

    /// The sum for each value of the label, where several processes tell the same of each value of `each`.
    pub(super) fn sum_of_max(&self, by: &str, each: &str) -> String {
        let (by, each) = (self.known(by), self.known(each));
        format!("sum by ({by}) (max by ({each}, {by}) ({self}))")
    }

    /// What is made of another series, where this one stands beside it, with this one's label.
    pub(super) fn beside(&self, of: &str, label: &str) -> String {
        format!("{of} * on (job, instance) group_left ({}) {self}", self.known(label))
    }

    /// A label that this series has.
    fn known<'a>(&self, label: &'a str) -> &'a str {
        debug_assert!(self.labels.iter().any(|known| known == label), "{} has no label {label}", self.name);
        label
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.matchers.is_empty() { Ok(()) } else { write!(f, "{{{}}}", self.matchers.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use crate::telemetry::metrics::label::{OP, QUEUE, STATUS};

    #[test]
    fn a_query_has_the_names_and_labels_of_the_definitions() {
        let metrics = Metrics::new().unwrap();
        let scope = Scope::new(vec![matcher("job=trx").unwrap()]);
        let depth = scope.series(&metrics.queue_depth).with(QUEUE, "mail");
        assert_eq!(depth.max_by(QUEUE), r#"max by (queue) (taskrunnerx_queue_depth{job="trx", queue="mail"})"#);
        assert_eq!(
            Scope::default().series(&metrics.task_wait).quantile("0.9", "5m", &[QUEUE]),
            "histogram_quantile(0.9, sum by (le, queue) (rate(taskrunnerx_task_wait_seconds_bucket[5m])))"
        );
        assert_eq!(
            Scope::default().series(&metrics.task_run).quantile("0.5", "1m", &[]),
            "histogram_quantile(0.5, sum by (le) (rate(taskrunnerx_task_run_seconds_bucket[1m])))"
        );
        assert_eq!(
            Scope::default().series(&metrics.queue_depth).sum_of_max(STATUS, QUEUE),
            "sum by (status) (max by (queue, status) (taskrunnerx_queue_depth))"
        );
    }

    #[test]
    #[should_panic(expected = "taskrunnerx_queue_depth has no label op")]
    fn a_label_that_a_series_does_not_have_is_found() {
        let metrics = Metrics::new().unwrap();
        let _ = Scope::default().series(&metrics.queue_depth).with(OP, "x");
    }

    /// Each way in which a label or a part comes into an expression.
    #[test]
    fn what_a_series_does_not_have_is_found_wherever_it_is_asked_for() {
        let ways: [fn(Series) -> String; 9] = [
            |depth| depth.clone().with(OP, "x").to_string(),
            |depth| depth.with_any(OP, &["x"]).to_string(),
            |depth| depth.like(OP, "x").to_string(),
            |depth| depth.sum_by(OP, "x"),
            |depth| depth.max_by(OP),
            |depth| depth.sum_of_max(OP, QUEUE),
            |depth| depth.sum_of_max(QUEUE, OP),
            |depth| depth.beside("x", OP),
            |depth| depth.quantile("0.5", "1m", &[]),
        ];
        let metrics = Metrics::new().unwrap();
        for (n, way) in ways.into_iter().enumerate() {
            let depth = Scope::default().series(&metrics.queue_depth);
            assert!(std::panic::catch_unwind(|| way(depth)).is_err(), "{n}");
        }
        let wait = Scope::default().series(&metrics.task_wait);
        assert!(std::panic::catch_unwind(|| wait.quantile("0.5", "1m", &[OP])).is_err());
    }

    #[test]
    fn a_selector_is_one_label_with_one_value() {
        assert_eq!(matcher("job=a b").unwrap(), Matcher { label: "job".to_owned(), value: "a b".to_owned() });
        for wrong in ["", "job", "=x", "1a=x", "a-b=x", "job=", "job=\"x\"", "job={{x}}", "job=a\nb", "job=~x\\"] {
            assert!(matcher(wrong).unwrap_err().contains("takes LABEL=VALUE"), "{wrong}");
        }
    }
}
