//! What a check says, and what all of them together mean for the exit code.

use crate::cli::{EXIT_UNREACHABLE, EXIT_USAGE};

/// How a thing is. The order is that of how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// Worth knowing.
    Note,
    /// It could not be looked at.
    Unknown,
    /// It works, and something is at risk or late.
    Warning,
    /// It does not work.
    Error,
}

impl Status {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Unknown => "unknown",
            Status::Warning => "warning",
            Status::Error => "error",
        }
    }
}

/// What a check is about, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Configuration,
    Database,
    Redis,
    Queues,
    Workers,
    Schedules,
}

impl Group {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Group::Configuration => "Configuration",
            Group::Database => "Database",
            Group::Redis => "Redis",
            Group::Queues => "Queues",
            Group::Workers => "Workers",
            Group::Schedules => "Schedules",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Check {
    pub(super) group: Group,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// The checks of one group as they are made.
#[derive(Debug)]
pub(super) struct Section {
    group: Group,
    pub(super) checks: Vec<Check>,
}

impl Section {
    pub(super) const fn new(group: Group) -> Self {
        Self { group, checks: Vec::new() }
    }

    fn add(&mut self, status: Status, name: &str, detail: impl Into<String>, advice: Option<String>) {
        // One line, whatever a server or a driver had to say.
        let detail = detail.into().replace(char::is_control, " ");
        self.checks.push(Check { group: self.group, name: name.to_owned(), status, detail, advice });
    }

    pub(super) fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.add(Status::Ok, name, detail, None);
    }

    /// A note that asks for nothing.
    pub(super) fn remark(&mut self, name: &str, detail: impl Into<String>) {
        self.add(Status::Note, name, detail, None);
    }

    pub(super) fn note(&mut self, name: &str, detail: impl Into<String>, advice: impl Into<String>) {
        self.add(Status::Note, name, detail, Some(advice.into()));
    }

    pub(super) fn unknown(&mut self, name: &str, detail: impl Into<String>) {
        self.add(Status::Unknown, name, detail, None);
    }

    pub(super) fn warning(&mut self, name: &str, detail: impl Into<String>, advice: impl Into<String>) {
        self.add(Status::Warning, name, detail, Some(advice.into()));
    }

    pub(super) fn error(&mut self, name: &str, detail: impl Into<String>, advice: impl Into<String>) {
        self.add(Status::Error, name, detail, Some(advice.into()));
    }
}

/// All checks.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    /// A server did not answer, or would not let us in.
    pub(super) unreachable: bool,
}

impl Report {
    /// The gravest of all.
    pub(super) fn status(&self) -> Status {
        self.checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok)
    }

    pub(super) fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    /// 0 without errors. A wrong configuration comes before a server that is away, since it may
    /// be why; both before any other error.
    pub(super) fn exit_code(&self) -> u8 {
        let errors = || self.checks.iter().filter(|check| check.status == Status::Error);
        if errors().any(|check| check.group == Group::Configuration) {
            EXIT_USAGE
        } else if self.unreachable {
            EXIT_UNREACHABLE
        } else {
            u8::from(errors().next().is_some())
        }
    }

    /// One object, in the documented order of its fields.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        #[derive(serde::Serialize)]
        struct Shape<'a> {
            status: Status,
            checks: &'a [Check],
        }
        serde_json::to_string(&Shape { status: self.status(), checks: &self.checks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found<'a> = &'a [(Group, Status)];

    fn report(found: Found<'_>, unreachable: bool) -> Report {
        let check = |(group, status): &(Group, Status)| Check {
            group: *group,
            name: "n".to_owned(),
            status: *status,
            detail: "d".to_owned(),
            advice: None,
        };
        Report { checks: found.iter().map(check).collect(), unreachable }
    }

    #[test]
    fn the_exit_code_is_that_of_the_gravest() {
        use Group::{Configuration, Database};
        use Status::{Error, Note, Ok, Unknown, Warning};
        let table: [(Found<'_>, bool, Status, u8); 7] = [
            (&[], false, Ok, 0),
            (&[(Database, Ok), (Database, Note)], false, Note, 0),
            (&[(Database, Warning), (Database, Unknown)], false, Warning, 0),
            (&[(Database, Error)], false, Error, 1),
            (&[(Database, Error)], true, Error, 3),
            (&[(Configuration, Error), (Database, Error)], true, Error, 2),
            (&[(Configuration, Warning)], false, Warning, 0),
        ];
        for (found, unreachable, status, code) in table {
            let report = report(found, unreachable);
            assert_eq!((report.status(), report.exit_code()), (status, code), "{found:?} {unreachable}");
        }
    }
}
