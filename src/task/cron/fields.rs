//! From what a person writes to what the evaluator reads.
//!
//! The `cron` crate has a dialect of its own: seconds are compulsory, 1 is Sunday and 0 is
//! refused, day of month and day of week are both required to match. So every field is
//! expanded here, by the rules of crontab(5), into a plain list of numbers, and only those
//! lists reach the crate. No name, range or step of a user ever does.

use std::collections::BTreeSet;
use std::str::FromStr;

use ::cron::Schedule;
use chrono::NaiveDateTime;

use super::fault::{CronFault, CronField, MAX_EXPRESSION_BYTES};

/// The words with `@` and the five fields each stands for, as in crontab(5).
const ALIASES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The matching local times: of one schedule, or of two whose union they are.
///
/// Two if both day fields are restricted. A day then matches either, as in crontab(5); the
/// evaluator only knows "both", so each day field gets a schedule of its own.
#[derive(Clone, Debug)]
pub(super) struct Times(Vec<Schedule>);

impl Times {
    /// The first matching local time strictly after `after`.
    pub(super) fn next_after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // A local time dressed as UTC, which has no gaps: the evaluator never meets a zone.
        let after = after.and_utc();
        self.0.iter().filter_map(|schedule| schedule.after(&after).next()).min().map(|at| at.naive_utc())
    }

    /// What the evaluator was given.
    #[cfg(test)]
    pub(super) fn sources(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// An expression, read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) times: Times,
    /// The hour field begins with `*`: the schedule has a rhythm rather than a time of day.
    pub(super) every_hour: bool,
}

/// Reads an expression; all of its faults at once.
pub(super) fn read(expression: &str) -> Result<Reading, Vec<CronFault>> {
    if expression.len() > MAX_EXPRESSION_BYTES {
        return Err(vec![CronFault::TooLong { bytes: expression.len() }]);
    }
    let expanded = expand_alias(expression.trim()).map_err(|fault| vec![fault])?;
    let words: Vec<&str> = expanded.split_ascii_whitespace().collect();
    let (second, [minute, hour, day, month, weekday]) = match *words.as_slice() {
        [] => return Err(vec![CronFault::Empty]),
        [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
        [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
        _ => return Err(vec![CronFault::FieldCount { count: words.len() }]),
    };

    let mut faults = Vec::new();
    let second = Field::read(CronField::Second, second, &mut faults);
    let minute = Field::read(CronField::Minute, minute, &mut faults);
    let hour = Field::read(CronField::Hour, hour, &mut faults);
    let day = Field::read(CronField::DayOfMonth, day, &mut faults);
    let month = Field::read(CronField::Month, month, &mut faults);
    let weekday = Field::read(CronField::DayOfWeek, weekday, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }

    let schedule = |day: &str, weekday: &str| {
        let text = format!("{} {} {} {day} {} {weekday}", second.list(), minute.list(), hour.list(), month.list());
        Schedule::from_str(&text)
            .map_err(|error| vec![CronFault::NotEvaluable { got: expression.to_owned(), reason: error.to_string() }])
    };
    let times = if day.starred || weekday.starred {
        vec![schedule(&day.list(), &weekday.list())?]
    } else {
        vec![schedule(&day.list(), "*")?, schedule("*", &weekday.list())?]
    };
    Ok(Reading { times: Times(times), every_hour: hour.starred })
}

/// The five fields that a word with `@` stands for; any other expression as it is.
fn expand_alias(expression: &str) -> Result<&str, CronFault> {
    if !expression.starts_with('@') {
        return Ok(expression);
    }
    ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(expression))
        .map(|(_, fields)| *fields)
        .ok_or_else(|| CronFault::UnknownAlias { got: expression.to_owned() })
}

/// One field, expanded.
struct Field {
    /// Numbers as the evaluator counts them.
    values: BTreeSet<u32>,
    /// The field begins with `*`. That, and not whether every value is there, is what vixie
    /// cron goes by: `*/2` is unrestricted and `1-31` is not.
    starred: bool,
    /// Every value is there.
    full: bool,
}

impl Field {
    /// Expands the text of a field; what cannot be read goes to `faults`.
    fn read(field: CronField, text: &str, faults: &mut Vec<CronFault>) -> Field {
        let text = if text == "?" && field.chooses_day() { "*" } else { text };
        let mut values = BTreeSet::new();
        if text.contains('?') {
            faults.push(CronFault::QuestionMark { field, got: text.to_owned() });
        } else {
            for item in text.split(',') {
                match expand_item(field, item) {
                    Ok(numbers) => values.extend(numbers),
                    // An empty item shows nothing: the field around it does.
                    Err(_) if item.is_empty() => faults.push(CronFault::Unreadable { field, got: text.to_owned() }),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if field == CronField::DayOfWeek {
            // crontab(5) counts Sunday as 0 or 7, the evaluator as 1.
            values = values.iter().map(|day| day % 7 + 1).collect();
        }
        let (low, high) = match field {
            CronField::DayOfWeek => (1, 7),
            _ => field.bounds(),
        };
        Field { starred: text.starts_with('*'), full: (low..=high).all(|value| values.contains(&value)), values }
    }

    /// The field for the evaluator: `*` or a list of numbers.
    fn list(&self) -> String {
        if self.full {
            return "*".to_owned();
        }
        let numbers: Vec<String> = self.values.iter().map(u32::to_string).collect();
        numbers.join(",")
    }
}

/// The numbers of one item of a list: `*`, `a`, `a-b`, and each of them with `/n`.
fn expand_item(field: CronField, item: &str) -> Result<impl Iterator<Item = u32> + use<>, CronFault> {
    if let Some(mark) = foreign_mark(field, item) {
        return Err(CronFault::Unsupported { field, got: item.to_owned(), mark });
    }
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (item, None),
    };
    let (low, high) = field.bounds();
    let (start, end) = if base == "*" {
        (low, high)
    } else if let Some((start, end)) = base.split_once('-') {
        read_range(field, item, start, end)?
    } else {
        let start = read_value(field, item, base)?;
        // a/n runs from a to the field's last value, as the evaluator itself reads it.
        (start, if step.is_some() { high } else { start })
    };
    let step = match step {
        Some(step) => read_step(field, item, step)?,
        None => 1,
    };
    let numbers = std::iter::successors(Some(start), move |value| value.checked_add(step));
    Ok(numbers.take_while(move |value| *value <= end))
}

/// The two ends of a range that rises.
fn read_range(field: CronField, item: &str, start: &str, end: &str) -> Result<(u32, u32), CronFault> {
    let first = read_value(field, item, start)?;
    let mut last = read_value(field, item, end)?;
    // By name Sunday has no number, so at the end of a range it is the day after Saturday.
    if end.eq_ignore_ascii_case("SUN") && first > 0 {
        last = 7;
    }
    if first > last {
        return Err(CronFault::Backwards { field, got: item.to_owned() });
    }
    Ok((first, last))
}

/// A number or a name of the field.
fn read_value(field: CronField, item: &str, token: &str) -> Result<u32, CronFault> {
    if let Some(value) = named(field, token) {
        return Ok(value);
    }
    if !is_number(token) {
        return Err(CronFault::Unreadable { field, got: item.to_owned() });
    }
    let (low, high) = field.bounds();
    // Digits that do not fit are out of range too.
    token
        .parse()
        .ok()
        .filter(|value| (low..=high).contains(value))
        .ok_or_else(|| CronFault::OutOfRange { field, got: item.to_owned() })
}

/// The number after a slash.
fn read_step(field: CronField, item: &str, token: &str) -> Result<u32, CronFault> {
    Some(token)
        .filter(|token| is_number(token))
        .and_then(|token| token.parse().ok())
        .filter(|step| (1..=field.longest_step()).contains(step))
        .ok_or_else(|| CronFault::Step { field, got: item.to_owned() })
}

/// The number that a name of the field stands for.
fn named(field: CronField, token: &str) -> Option<u32> {
    field.names().iter().find(|(name, _)| name.eq_ignore_ascii_case(token)).map(|(_, value)| *value)
}

/// Digits alone: `u32::from_str` would also take a plus sign.
fn is_number(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit())
}

/// The mark of another scheduler's dialect in an item (`L`, `15W`, `LW`, `5L`, `FRIL`, `MON#2`):
/// people bring these along, and deserve better than "cannot be read".
fn foreign_mark(field: CronField, item: &str) -> Option<char> {
    if !field.chooses_day() {
        return None;
    }
    if item.contains('#') {
        return Some('#');
    }
    item.split(['-', '/']).filter(|token| named(field, token).is_none()).find_map(|token| {
        let token = token.to_ascii_uppercase();
        let (mark, rest) =
            if let Some(rest) = token.strip_suffix('W') { ('W', rest) } else { ('L', token.strip_suffix('L')?) };
        let known = rest.is_empty() || rest == "L" || is_number(rest) || named(field, rest).is_some();
        known.then_some(mark)
    })
}
