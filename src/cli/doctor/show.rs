//! The report for people: a table for each group, a summary at the end.

use super::check::{Check, Report, Status};
use super::words;
use crate::cli::terminal::Style;
use std::fmt::Write;

/// A longer name pushes its detail to the right.
const NAME_WIDTH: usize = 30;

/// A status in its colour.
fn word(style: Style, status: Status) -> String {
    let code = match status {
        Status::Ok => "32",
        Status::Note => "36",
        Status::Unknown => "35",
        Status::Warning => "33;1",
        Status::Error => "31;1",
    };
    style.paint(code, &format!("{:7}", status.word()))
}

/// The whole report.
pub(super) fn table(report: &Report, style: Style) -> String {
    let longest = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let names = longest.min(NAME_WIDTH);
    let mut text = String::new();
    let mut group = None;
    for check in &report.checks {
        if group.replace(check.group) != Some(check.group) {
            let gap = if text.is_empty() { "" } else { "\n" };
            line(&mut text, &format!("{gap}{}", style.paint("1", check.group.title())));
        }
        row(&mut text, check, names, style);
    }
    line(&mut text, &format!("\n{}", summary(report)));
    text
}

fn row(text: &mut String, check: &Check, names: usize, style: Style) {
    let indent = 2 + 7 + 2 + names + 2;
    let room = style.width.map(|width| width.saturating_sub(indent));
    let mut details = wrapped(&check.detail, room).into_iter();
    let first = details.next().unwrap_or_default();
    line(text, &format!("  {}  {:names$}  {first}", word(style, check.status), check.name));
    for more in details {
        line(text, &format!("{:indent$}{more}", ""));
    }
    if let Some(advice) = &check.advice {
        let room = room.map(|room| room.saturating_sub(3));
        for (i, part) in wrapped(advice, room).into_iter().enumerate() {
            let arrow = if i == 0 { "-> " } else { "   " };
            line(text, &format!("{:indent$}{arrow}{}", "", style.paint("1", &part)));
        }
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Lines of at most `room` characters, broken at spaces; a longer word stays whole.
fn wrapped(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else { return vec![text.to_owned()] };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= room => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn summary(report: &Report) -> String {
    let counted = |status: Status, one: &str, many: &str| match report.count(status) {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let parts = [
        counted(Status::Error, "error", "errors"),
        counted(Status::Warning, "warning", "warnings"),
        counted(Status::Unknown, "unknown", "unknown"),
        counted(Status::Note, "note", "notes"),
    ];
    let found: Vec<String> = parts.into_iter().flatten().collect();
    let all = words::counted(report.checks.len(), "check");
    if found.is_empty() { format!("{all}: all is well") } else { format!("{all}: {}", found.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::check::Group;
    use super::*;

    fn report() -> Report {
        let check = |group, name: &str, status, detail: &str, advice: Option<&str>| Check {
            group,
            name: name.to_owned(),
            status,
            detail: detail.to_owned(),
            advice: advice.map(str::to_owned),
        };
        let checks = vec![
            check(Group::Database, "connection", Status::Ok, "it answers", None),
            check(Group::Redis, "role", Status::Error, "it is a replica of another", Some("use its primary instead")),
        ];
        Report { checks, unreachable: false }
    }

    #[test]
    fn a_pipe_gets_one_line_a_detail_without_colour() {
        let text = table(&report(), Style { colour: false, width: None });
        let expected = "Database\n  ok       connection  it answers\n\nRedis\n  error    role        it is a replica of another\n\
                        \u{20}                      -> use its primary instead\n\n2 checks: 1 error\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_terminal_gets_colours_and_lines_that_fit() {
        let text = table(&report(), Style { colour: true, width: Some(40) });
        assert!(text.contains("\u{1b}[31;1merror  \u{1b}[0m  role        it is a replica\n"), "{text:?}");
        assert!(text.contains(&format!("\n{:23}of another\n", "")), "{text:?}");
    }

    #[test]
    fn a_report_without_findings_says_so() {
        let mut report = report();
        report.checks.truncate(1);
        assert!(table(&report, Style { colour: false, width: None }).ends_with("\n1 check: all is well\n"));
    }
}
