//! What a run has shown, in a form that can be pasted into the documentation.

use crate::faults::Happened;
use std::collections::BTreeMap;
use std::time::Duration;

/// Lines of a report, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Report {
    title: String,
    lines: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new(title: impl ToString) -> Self {
        Self { title: title.to_string(), lines: Vec::new() }
    }

    pub(crate) fn add(&mut self, what: impl ToString, value: impl ToString) -> &mut Self {
        self.lines.push((what.to_string(), value.to_string()));
        self
    }

    /// The faults by kind.
    pub(crate) fn add_faults(&mut self, happened: &[Happened]) {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for fault in happened {
            *counts.entry(fault.kind).or_default() += 1;
        }
        self.add("faults", format!("{} of {} kinds", happened.len(), counts.len()));
        for (kind, count) in counts {
            self.add(format!("- {}", kind.words()), count);
        }
    }

    pub(crate) fn print(&self) {
        let mut text = format!("\n### {}\n\n| | |\n|---|---|\n", self.title);
        for (what, value) in &self.lines {
            text.push_str(&format!("| {what} | {value} |\n"));
        }
        println!("{text}");
    }
}

/// As `1.23 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// The largest, and the one in the middle.
pub(crate) fn worst_and_median(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times.last().copied().unwrap_or_default(), times.get(times.len() / 2).copied().unwrap_or_default())
}
