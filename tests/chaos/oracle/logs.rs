//! The rules about logs: an outage is told once, not at every try, and nothing unexpected happens.

use super::Verdict;
use crate::handler::PANIC;
use crate::processes::Life;
use serde_json::Value;
use std::collections::HashMap;

/// Lines a second over a process's life, those left out that tell of one task's attempt each.
const RATE: f64 = 10.0;
/// The same within one second: an outage begins or ends, a dead worker's tasks are taken over.
const PEAK: usize = 150;
/// A process's start and end have their own lines.
const START_AND_END: f64 = 40.0;
/// What there is one of for each attempt or instant: its number follows the load.
const FOR_EACH_TASK: [&str; 4] =
    ["attempt ended", "tasks taken over", "an outcome was discarded", "an instant of a schedule was recorded"];

pub(super) fn judge(lives: &[Life], verdict: &mut Verdict) {
    for life in lives {
        let text = std::fs::read_to_string(&life.log).unwrap_or_default();
        let mut by_second: HashMap<String, usize> = HashMap::new();
        let mut lines = 0_usize;
        for line in text.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                verdict.breach(format!("{}: not an event: {line}", life.log.display()));
                continue;
            };
            let ordered = line.contains(PANIC);
            let bad = event["level"] == "ERROR" && (line.contains("unexpected") || line.contains("panic"));
            if bad && !ordered || line.contains("unexpected database error") || line.contains("unexpected redis error")
            {
                verdict.breach(format!("{}: {line}", life.log.display()));
            }
            if ordered || FOR_EACH_TASK.iter().any(|words| line.contains(words)) {
                continue;
            }
            lines += 1;
            let second = event["timestamp"].as_str().unwrap_or_default().chars().take(19).collect();
            *by_second.entry(second).or_default() += 1;
        }
        let peak = by_second.values().copied().max().unwrap_or(0);
        let lived = life.died.unwrap_or_else(crate::handler::now_ms).saturating_sub(life.born) as f64 / 1000.0;
        let rate = lines as f64 / lived.max(1.0);
        verdict.log_peak = verdict.log_peak.max(peak);
        verdict.log_rate = verdict.log_rate.max(if lived > 5.0 { rate } else { 0.0 });
        if peak > PEAK || lines as f64 > START_AND_END + RATE * lived {
            verdict.breach(format!("{}: {lines} lines in {lived:.0} s, {peak} in one", life.log.display()));
        }
    }
}
