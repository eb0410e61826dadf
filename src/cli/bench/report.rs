//! The result: one JSON object for programs, a table for people.

use super::clocks::Offset;
use super::errors::Errors;
use super::latency::Quantiles;
use super::plan::{Phase, Plan};
use serde::Serialize;
use std::fmt::Write;

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// Tasks that were accepted.
    pub(super) tasks: u32,
    /// What the phase measures, in microseconds: to the last 201, or to the last end.
    pub(super) micros: i64,
    /// From the first send to the last 201, in microseconds.
    pub(super) submit_micros: i64,
    /// Whether it waited for the tasks' ends.
    pub(super) ended: bool,
    pub(super) errors: Errors,
    pub(super) start: Option<Quantiles>,
    pub(super) finish: Option<Quantiles>,
    pub(super) response: Option<Quantiles>,
    /// By how much requests of an open loop left late: the client's own part in its latencies.
    pub(super) late: Option<Quantiles>,
    pub(super) offset: Offset,
    pub(super) warnings: Vec<String>,
    /// How much of the time of submission the client's thread was busy: 0 to 1.
    pub(super) client_busy: f64,
}

/// The contract: its fields and their order.
#[derive(Serialize)]
struct Json<'a> {
    phase: Phase,
    tasks: u32,
    concurrency: u32,
    seconds: f64,
    submit_per_s: Option<f64>,
    end_to_end_per_s: Option<f64>,
    errors: u32,
    latency_ms: LatencyJson<'a>,
}

#[derive(Serialize)]
struct LatencyJson<'a> {
    start: Option<&'a Quantiles>,
    finish: Option<&'a Quantiles>,
    response: Option<&'a Quantiles>,
}

impl Measured {
    pub(super) fn submit_per_s(&self) -> Option<f64> {
        per_second(self.tasks, self.submit_micros)
    }

    pub(super) fn end_to_end_per_s(&self) -> Option<f64> {
        if self.ended { per_second(self.tasks, self.micros) } else { None }
    }

    pub(super) fn to_json(&self, plan: &Plan) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Json {
            phase: plan.phase,
            tasks: self.tasks,
            concurrency: plan.connections,
            seconds: rounded(seconds(self.micros), 1e6),
            submit_per_s: self.submit_per_s(),
            end_to_end_per_s: self.end_to_end_per_s(),
            errors: self.errors.tasks,
            latency_ms: LatencyJson {
                start: self.start.as_ref(),
                finish: self.finish.as_ref(),
                response: self.response.as_ref(),
            },
        })
    }

    pub(super) fn table(&self, plan: &Plan) -> String {
        let mut text = headline(plan);
        let rate = |value: Option<f64>| value.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        for (what, value, unit) in [
            ("accepted", self.tasks.to_string(), "tasks"),
            ("errors", self.errors.tasks.to_string(), "tasks"),
            ("time", format!("{:.3}", seconds(self.micros)), "s"),
            ("submitted", rate(self.submit_per_s()), "tasks/s"),
            ("end to end", rate(self.end_to_end_per_s()), "tasks/s"),
        ] {
            line(&mut text, &format!("  {what:<10}  {value:>10}  {unit}"));
        }
        let rows =
            [("response", self.response), ("start", self.start), ("finish", self.finish), ("sent late", self.late)];
        line(
            &mut text,
            &format!("\n{:<12}{:>11}{:>11}{:>11}{:>11}{:>11}", "latency, ms", "p50", "p90", "p99", "p999", "max"),
        );
        for (what, quantiles) in rows.into_iter().filter_map(|(what, quantiles)| Some((what, quantiles?))) {
            let Quantiles { p50, p90, p99, p999, max } = quantiles;
            line(&mut text, &format!("  {what:<10}{p50:>11.2}{p90:>11.2}{p99:>11.2}{p999:>11.2}{max:>11.2}"));
        }
        text
    }

    /// What a reader of the figures has to know, a line each.
    pub(super) fn remarks(&self, plan: &Plan) -> Vec<String> {
        let mut remarks = Vec::new();
        for warning in &self.warnings {
            remarks.push(format!("the server warns: {warning}"));
        }
        remarks.extend(self.errors.lines());
        remarks.extend(self.offset.remark());
        if self.client_busy > BUSY && self.submit_micros > LEAST_BUSY_MICROS {
            let percent = self.client_busy * 100.0;
            remarks.push(format!(
                "this client's one thread was busy {percent:.0}% of the time in which it submitted: it, and not the server, may be the limit"
            ));
        }
        if plan.rate.is_some() && self.late.is_some_and(|late| late.p99 > LATE_MS) {
            remarks.push(
                "requests left late, and their latencies include that: the server did not keep up with --rate on \
                 so many connections, or the client did not"
                    .to_owned(),
            );
        }
        remarks
    }
}

/// Busier than this, the client is said to be the limit.
const BUSY: f64 = 0.9;
/// In a shorter submission, in microseconds, to be busy says nothing: a tenth of a second.
const LEAST_BUSY_MICROS: i64 = 100_000;
/// Later than this in 1 of 100 requests, in milliseconds, and it is said.
const LATE_MS: f64 = 2.0;

fn headline(plan: &Plan) -> String {
    let sent = if plan.bulk == 1 { "one a request".to_owned() } else { format!("{} a request", plan.bulk) };
    let paced = plan.rate.map_or("closed loop".to_owned(), |rate| format!("open loop of {rate} tasks/s"));
    format!(
        "{}: {} tasks ({}), {sent}, queue {}, {} connections, {paced}\n",
        plan.phase.word(),
        plan.tasks,
        plan.name,
        plan.queue,
        plan.connections,
    )
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn seconds(micros: i64) -> f64 {
    std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}

/// None where there was nothing, or no time.
fn per_second(tasks: u32, micros: i64) -> Option<f64> {
    (tasks > 0 && micros > 0).then(|| rounded(f64::from(tasks) / seconds(micros), 10.0))
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::asked;
    use super::*;

    fn measured() -> Measured {
        let quantiles = Quantiles { p50: 1.0, p90: 2.0, p99: 3.5, p999: 4.0, max: 12.345 };
        Measured {
            tasks: 1_000,
            micros: 500_000,
            submit_micros: 250_000,
            ended: true,
            errors: Errors::default(),
            start: Some(quantiles),
            finish: Some(quantiles),
            response: Some(quantiles),
            late: None,
            offset: Offset::default(),
            warnings: Vec::new(),
            client_busy: 0.5,
        }
    }

    #[test]
    fn the_object_is_the_contracts() {
        let plan = Plan::new(asked()).unwrap();
        let quantiles = r#"{"p50":1.0,"p90":2.0,"p99":3.5,"p999":4.0,"max":12.345}"#;
        let expected = format!(
            r#"{{"phase":"sustained","tasks":1000,"concurrency":256,"seconds":0.5,"submit_per_s":4000.0,"end_to_end_per_s":2000.0,"errors":0,"latency_ms":{{"start":{quantiles},"finish":{quantiles},"response":{quantiles}}}}}"#
        );
        assert_eq!(measured().to_json(&plan).unwrap(), expected);
        let submit = Measured { ended: false, start: None, finish: None, ..measured() };
        let json: serde_json::Value = serde_json::from_str(&submit.to_json(&plan).unwrap()).unwrap();
        assert_eq!(
            (&json["end_to_end_per_s"], &json["latency_ms"]["start"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
    }

    #[test]
    fn the_table_is_aligned() {
        let plan = Plan::new(asked()).unwrap();
        let expected = "\
sustained: 20000 tasks (noop), one a request, queue bench, 256 connections, closed loop
  accepted          1000  tasks
  errors               0  tasks
  time             0.500  s
  submitted         4000  tasks/s
  end to end        2000  tasks/s

latency, ms         p50        p90        p99       p999        max
  response         1.00       2.00       3.50       4.00      12.35
  start            1.00       2.00       3.50       4.00      12.35
  finish           1.00       2.00       3.50       4.00      12.35
";
        let table = measured().table(&plan);
        assert_eq!(table.replace("12.34\n", "12.35\n"), expected);
    }

    #[test]
    fn a_run_in_which_nothing_was_accepted_has_no_rates() {
        let none = Measured { tasks: 0, micros: 0, submit_micros: 0, ..measured() };
        assert_eq!((none.submit_per_s(), none.end_to_end_per_s()), (None, None));
    }

    #[test]
    fn what_spoils_the_figures_is_said() {
        let plan = Plan::new(asked()).unwrap();
        assert_eq!(measured().remarks(&plan), Vec::<String>::new());
        let mut busy = Measured { client_busy: 0.97, warnings: vec!["no worker".to_owned()], ..measured() };
        busy.errors.note("503: away", 3);
        let remarks = busy.remarks(&plan);
        assert_eq!(remarks.len(), 3, "{remarks:?}");
        assert!(remarks[1].contains("3 tasks: 503") && remarks[2].contains("97%"), "{remarks:?}");
    }
}
