//! What went wrong during a run: counted, and the first few kinds kept.

/// Kinds that are told apart; further ones are only counted.
const MAX_KINDS: usize = 5;

/// Errors, each one a task that was not accepted or did not complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) tasks: u32,
    kinds: Vec<(String, u32)>,
}

impl Errors {
    pub(super) fn note(&mut self, what: &str, tasks: u32) {
        self.tasks = self.tasks.saturating_add(tasks);
        let room = self.kinds.len() < MAX_KINDS;
        match self.kinds.iter_mut().find(|(kind, _)| kind == what) {
            Some((_, count)) => *count = count.saturating_add(tasks),
            None if room => self.kinds.push((what.to_owned(), tasks)),
            None => {}
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let kept: u32 = other.kinds.iter().map(|(_, count)| *count).sum();
        for (kind, count) in &other.kinds {
            self.note(kind, *count);
        }
        self.tasks = self.tasks.saturating_add(other.tasks.saturating_sub(kept));
    }

    /// A line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let told: u32 = self.kinds.iter().map(|(_, count)| *count).sum();
        let mut lines: Vec<String> =
            self.kinds.iter().map(|(kind, count)| format!("{}: {kind}", tasks(*count))).collect();
        if told < self.tasks {
            lines.push(format!("{}: other errors", tasks(self.tasks.saturating_sub(told))));
        }
        lines
    }
}

/// `"1 task"`, `"3 tasks"`.
pub(super) fn tasks(count: u32) -> String {
    format!("{count} task{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_kinds_told() {
        let mut errors = Errors::default();
        for i in 0..7 {
            errors.note(&format!("kind {i}"), 1);
        }
        errors.note("kind 0", 99);
        let mut sum = Errors::default();
        sum.note("kind 1", 1);
        sum.add(&errors);
        assert_eq!(sum.tasks, 107);
        let lines = sum.lines();
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert_eq!((lines[0].as_str(), lines[5].as_str()), ("2 tasks: kind 1", "2 tasks: other errors"));
    }
}
