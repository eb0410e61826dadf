//! What an expression means (`reading`), what is refused (`faults`), what the clocks do to it
//! (`clocks`), and all of it at once against a second implementation that only walks
//! (`reference`), and against a third with another zone database (`ten_years`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "a test may panic"
)]

mod clocks;
mod faults;
mod reading;
mod reference;
mod ten_years;

use chrono::{DateTime, Utc};

use super::Cron;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str) -> Cron {
    Cron::parse(expression, zone).unwrap_or_else(|faults| panic!("{expression}: {faults:?}"))
}

/// The fires strictly after `after`, at most `count`, as RFC 3339.
fn fires(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = cron(expression, zone);
    std::iter::successors(cron.next_after(utc(after)), |at| cron.next_after(*at))
        .take(count)
        .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        .collect()
}
