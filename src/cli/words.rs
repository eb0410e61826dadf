//! How durations and times are said to people. The API's own words stay as they are with `--json`.

use crate::client::PauseRow;
use crate::task::duration;
use std::time::Duration;

/// The units that a person counts in, in seconds, largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// The two largest units of a duration: `3m 12s`, `2d 4h`; below ten seconds with what is behind the point.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 10 {
        let millis = duration.as_millis();
        return if millis < 1000 { format!("{millis}ms") } else { format!("{:.1}s", duration.as_secs_f64()) };
    }
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 || !parts.is_empty() {
            parts.push((count, unit));
        }
    }
    let shown = parts.iter().take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// A duration as the API gives it, for a person; any other text as it stands.
pub(super) fn span_of(text: &str) -> String {
    duration::parse(text).map_or_else(|_| text.to_owned(), span)
}

/// A time as the API gives it, to the second.
pub(super) fn time(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, fraction)) if fraction.ends_with('Z') => format!("{seconds}Z"),
        _ => text.to_owned(),
    }
}

/// `"1 task"`, `"3 tasks"`.
pub(super) fn counted<N: TryInto<u64>>(n: N, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Since when something is paused, by whom, until when and why.
pub(super) fn pause(pause: &PauseRow) -> String {
    let PauseRow { since, reason, by, resume_at } = pause;
    let mut text = format!("since {}", time(since));
    text.extend(by.iter().map(|by| format!(" by {by}")));
    text.extend(resume_at.iter().map(|at| format!(" until {}", time(at))));
    text.extend(reason.iter().map(|reason| format!(": {reason}")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let said = |millis| span(Duration::from_millis(millis));
        assert_eq!([said(0), said(250), said(9_949), said(12_345)], ["0ms", "250ms", "9.9s", "12s"]);
        assert_eq!([said(192_000), said(3_600_000), said(3_612_000)], ["3m 12s", "1h", "1h"]);
        assert_eq!(said((2 * 86_400 + 4 * 3_600 + 5 * 60) * 1000), "2d 4h");
        assert_eq!([span_of("3m12s345ms"), span_of("unlimited")], ["3m 12s", "unlimited"]);
    }

    #[test]
    fn times_are_said_to_the_second() {
        assert_eq!(time("2026-11-25T23:56:03.123456Z"), "2026-11-25T23:56:03Z");
        assert_eq!(time("2026-11-25T23:56:03Z"), "2026-11-25T23:56:03Z");
    }
}
