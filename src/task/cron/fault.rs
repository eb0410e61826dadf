//! What can be wrong with a cron expression or its zone, in words that say what to write instead.

use std::fmt;

/// Most bytes an expression may have: what the column that keeps it holds.
pub const MAX_EXPRESSION_BYTES: usize = 255;

/// The fields as a person writes them.
const FIELDS: &str = "5 fields (minute hour day-of-month month day-of-week), 6 fields (second first), \
     or one of @hourly @daily @midnight @weekly @monthly @yearly @annually";

/// How a field's values combine.
const FORMS: &str = "alone, as a range a-b, a step */n, a-b/n or a/n, or a list a,b";

/// One field of a cron expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CronField {
    /// 0-59; the optional first field.
    Second,
    /// 0-59.
    Minute,
    /// 0-23.
    Hour,
    /// 1-31.
    DayOfMonth,
    /// 1-12 or JAN-DEC.
    Month,
    /// 0-7 or SUN-SAT; both 0 and 7 are Sunday.
    DayOfWeek,
}

impl CronField {
    /// The smallest and the largest number accepted, as in crontab(5).
    pub(super) const fn bounds(self) -> (u32, u32) {
        match self {
            CronField::Second | CronField::Minute => (0, 59),
            CronField::Hour => (0, 23),
            CronField::DayOfMonth => (1, 31),
            CronField::Month => (1, 12),
            CronField::DayOfWeek => (0, 7),
        }
    }

    /// The longest step that can reach a second value. A longer one (`*/90` minutes) would fire
    /// once a round, which is never what its author meant.
    pub(super) const fn longest_step(self) -> u32 {
        match self {
            CronField::Second | CronField::Minute => 59,
            CronField::Hour => 23,
            CronField::DayOfMonth => 30,
            CronField::Month => 11,
            // 0 and 7 are the same day, so a step of 7 reaches nothing new.
            CronField::DayOfWeek => 6,
        }
    }

    /// The names accepted besides numbers, with the number each stands for.
    pub(super) const fn names(self) -> &'static [(&'static str, u32)] {
        match self {
            CronField::Second | CronField::Minute | CronField::Hour | CronField::DayOfMonth => &[],
            CronField::Month => &[
                ("JAN", 1),
                ("FEB", 2),
                ("MAR", 3),
                ("APR", 4),
                ("MAY", 5),
                ("JUN", 6),
                ("JUL", 7),
                ("AUG", 8),
                ("SEP", 9),
                ("OCT", 10),
                ("NOV", 11),
                ("DEC", 12),
            ],
            CronField::DayOfWeek => {
                &[("SUN", 0), ("MON", 1), ("TUE", 2), ("WED", 3), ("THU", 4), ("FRI", 5), ("SAT", 6)]
            }
        }
    }

    /// Whether this is one of the two fields that choose a day.
    pub(super) const fn chooses_day(self) -> bool {
        matches!(self, CronField::DayOfMonth | CronField::DayOfWeek)
    }

    /// The accepted values, for a person to read.
    const fn accepted(self) -> &'static str {
        match self {
            CronField::Second | CronField::Minute => "0-59",
            CronField::Hour => "0-23",
            CronField::DayOfMonth => "1-31",
            CronField::Month => "1-12 or JAN-DEC",
            CronField::DayOfWeek => "0-7 or SUN-SAT (0 and 7 are Sunday)",
        }
    }
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CronField::Second => "second",
            CronField::Minute => "minute",
            CronField::Hour => "hour",
            CronField::DayOfMonth => "day of month",
            CronField::Month => "month",
            CronField::DayOfWeek => "day of week",
        })
    }
}

/// One reason why a schedule is refused. Its `Display` names the field, what it got and what is
/// accepted; `got` is always the user's own text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CronFault {
    /// Nothing but white space.
    #[error("the cron expression is empty; accepted are {FIELDS}")]
    Empty,
    /// More than [`MAX_EXPRESSION_BYTES`]; not read any further.
    #[error("the cron expression has {bytes} bytes; at most {MAX_EXPRESSION_BYTES} are accepted")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Neither five nor six fields.
    #[error("the cron expression has {count} {}; accepted are {FIELDS}", if *count == 1 { "field" } else { "fields" })]
    FieldCount {
        /// How many fields it has.
        count: usize,
    },
    /// A word with `@` that stands for nothing, such as `@reboot`.
    #[error("the cron expression {got:?} is unknown; accepted are {FIELDS}")]
    UnknownAlias {
        /// The word.
        got: String,
    },
    /// Neither a number nor a name of that field.
    #[error("{field}: {got:?} cannot be read; accepted are {}, {FORMS}", field.accepted())]
    Unreadable {
        /// Where.
        field: CronField,
        /// The item, or the whole field if an item is empty.
        got: String,
    },
    /// A number that the field does not have.
    #[error("{field}: {got:?} is out of range; accepted are {}", field.accepted())]
    OutOfRange {
        /// Where.
        field: CronField,
        /// The item.
        got: String,
    },
    /// A range whose end lies before its start. crontab(5) has no wrap-around.
    #[error(
        "{field}: the range {got:?} ends before it starts; accepted are rising ranges within {}, \
         so write it as a list of two",
        field.accepted()
    )]
    Backwards {
        /// Where.
        field: CronField,
        /// The item.
        got: String,
    },
    /// A step that is no number, zero, or too long to reach a second value.
    #[error("{field}: the step of {got:?} is not usable; accepted are steps of 1 to {}", field.longest_step())]
    Step {
        /// Where.
        field: CronField,
        /// The item.
        got: String,
    },
    /// `L`, `W` or `#`, which some schedulers know and crontab(5) does not.
    #[error("{field}: {mark} in {got:?} is not supported; accepted are {}, {FORMS}", field.accepted())]
    Unsupported {
        /// Where.
        field: CronField,
        /// The item.
        got: String,
        /// The mark itself.
        mark: char,
    },
    /// `?` elsewhere than alone in a field that chooses a day.
    #[error(
        "{field}: ? in {got:?} is misplaced; it is accepted only alone, as day of month or day of week, \
         where it means *"
    )]
    QuestionMark {
        /// Where.
        field: CronField,
        /// The field.
        got: String,
    },
    /// Every field is good, and no date has them all, such as 30 February.
    #[error(
        "the cron expression {got:?} never fires: none of its months has such a day; \
         accepted are days that at least one of the months has"
    )]
    NeverFires {
        /// The expression.
        got: String,
    },
    /// The evaluator refused what this module wrote for it. Not expected: it is an error rather
    /// than a panic so that a mistake here costs one schedule, not the process.
    #[error("the cron expression {got:?} cannot be evaluated: {reason}")]
    NotEvaluable {
        /// The expression.
        got: String,
        /// The evaluator's words.
        reason: String,
    },
    /// A zone that the IANA database does not have. Names are case-sensitive.
    #[error(
        "the time zone {got:?} is unknown; accepted are IANA names, {}",
        nearest.map_or_else(|| "such as Europe/Berlin or UTC".to_owned(), |name| format!("the nearest is {name:?}"))
    )]
    UnknownZone {
        /// The name, cut to 64 characters.
        got: String,
        /// The name that was probably meant.
        nearest: Option<&'static str>,
    },
}
