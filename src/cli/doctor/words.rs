//! Sizes and spans as people read them.

pub(super) use crate::cli::words::counted;
use chrono::TimeDelta;
use std::time::Duration;

/// `"0.42 ms"`, `"120 ms"`, `"1.4 s"`.
pub(super) fn millis(span: Duration) -> String {
    let ms = span.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

/// `"900 bytes"`, `"64 KiB"`, `"5.1 MiB"`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if tenth == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenth} {name}") };
        }
    }
    format!("{bytes} bytes")
}

/// `"4 s"`, `"12 min"`, `"5 h"`, `"3 days"`; of a negative span its length.
pub(super) fn age(span: TimeDelta) -> String {
    let seconds = span.num_seconds().abs();
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!(
            [420, 120_000, 1_440_000].map(|us| millis(Duration::from_micros(us))),
            ["0.42 ms", "120 ms", "1.4 s"]
        );
        assert_eq!([900, 65_536, 5_347_737, 16 << 20].map(size), ["900 bytes", "64 KiB", "5 MiB", "16 MiB"]);
        assert_eq!(size(5_500_000), "5.2 MiB");
        assert_eq!(
            [4, 119, 720, 18_000, 300_000, -4].map(|s| age(TimeDelta::seconds(s))),
            ["4 s", "119 s", "12 min", "5 h", "3 days", "4 s"]
        );
        assert_eq!((counted(1_usize, "task"), counted(0_u64, "task")), ("1 task".to_owned(), "0 tasks".to_owned()));
    }
}
