//! What each attempt has said so far: its caps, what of it still waits for the database, its latest progress.
//! Plain state; nothing here waits or writes.

use super::progress::Latest;
use crate::store::tasks::NewLine;
use crate::task::TaskId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Bytes of a line that are kept.
const MAX_LINE: usize = 8 << 10;
/// Ends a line that was cut.
const CUT: &str = " [cut]";
/// Lines of an attempt, and bytes of them.
const MAX_LINES: u32 = 10_000;
const MAX_BYTES: usize = 4 << 20;
const FULL: &str = "[the rest of this attempt's log is dropped: an attempt has 10,000 lines and 4 MiB at most]";
/// Attempts whose words are kept at once. Beyond it those that have been silent for long are forgotten: an
/// attempt of a pull worker may never be said to have ended.
const MAX_ATTEMPTS: usize = 10_000;
const SILENT: Duration = Duration::from_secs(600);

/// An attempt.
pub(super) type Key = (TaskId, u32);

/// What one attempt has said.
#[derive(Debug)]
pub(super) struct Said {
    lines: u32,
    bytes: usize,
    full: bool,
    /// Lines that did not fit since the last that did.
    pub(super) missing: u64,
    /// Lines that are on their way to the database.
    pub(super) waiting: usize,
    pub(super) progress: Latest,
    last: Instant,
    /// Nobody waits any more where this is closed; what is on its way is still written.
    ended: Option<oneshot::Sender<()>>,
}

impl Said {
    fn new() -> Self {
        Self {
            lines: 0,
            bytes: 0,
            full: false,
            missing: 0,
            waiting: 0,
            progress: Latest::default(),
            last: Instant::now(),
            ended: None,
        }
    }

    fn is_quiet(&self) -> bool {
        self.waiting == 0 && !self.progress.is_waiting()
    }

    /// What to write for a line that was said. None: the attempt has said too much.
    pub(super) fn admit(&mut self, line: String) -> Option<Box<str>> {
        if self.full {
            return None;
        }
        let line = cut(line);
        if self.lines >= MAX_LINES || self.bytes + line.len() > MAX_BYTES {
            self.full = true;
            return Some(FULL.into());
        }
        self.lines += 1;
        self.bytes += line.len();
        Some(line)
    }

    /// What to say before the next line that fits.
    pub(super) fn gap(&self) -> Option<Box<str>> {
        let missing = self.missing;
        (missing > 0).then(|| format!("[{missing} lines are missing: the database did not take them]").into())
    }
}

/// Keeps the beginning of a line that is too long, up to a character's boundary.
fn cut(mut line: String) -> Box<str> {
    if line.len() > MAX_LINE {
        line.truncate(line.floor_char_boundary(MAX_LINE - CUT.len()));
        line.push_str(CUT);
    }
    line.into_boxed_str()
}

/// The numbers of lines. They rise within the process; they begin with the clock, so that those of a process that
/// goes on with an attempt (that of a pull worker) are not those of the one before.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: u64,
}

impl Numbers {
    pub(super) fn line(&mut self, (id, attempt): Key, line: Box<str>) -> NewLine {
        let at = chrono::Utc::now();
        self.last = u64::try_from(at.timestamp_micros()).unwrap_or(0).max(self.last + 1);
        NewLine { id, attempt, seq: self.last, at, line }
    }
}

/// Every attempt that has something on its way, or that may go on to speak.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    said: HashMap<Key, Said>,
    numbers: Numbers,
}

impl Attempts {
    /// What an attempt has said so far. None: more attempts speak than are kept.
    pub(super) fn of(&mut self, key: Key, speaking: &AtomicUsize) -> Option<(&mut Said, &mut Numbers)> {
        if self.said.len() >= MAX_ATTEMPTS && !self.said.contains_key(&key) {
            self.said.retain(|_, said| !(said.is_quiet() && said.last.elapsed() > SILENT));
            if self.said.len() >= MAX_ATTEMPTS {
                return None;
            }
        }
        self.said.entry(key).or_insert_with(Said::new);
        speaking.store(self.said.len(), Ordering::Relaxed);
        let said = self.said.get_mut(&key)?;
        said.last = Instant::now();
        Some((said, &mut self.numbers))
    }

    /// The attempt says no more. None: nothing of it is on its way.
    pub(super) fn end(&mut self, key: Key, speaking: &AtomicUsize) -> Option<oneshot::Receiver<()>> {
        let said = self.said.get_mut(&key)?;
        if said.is_quiet() {
            self.forget(key, speaking);
            return None;
        }
        let (kept, wait) = oneshot::channel();
        said.ended = Some(kept);
        said.progress.hurry();
        Some(wait)
    }

    /// A line of each of these is in the database, or given up.
    pub(super) fn written(&mut self, keys: impl Iterator<Item = Key>, speaking: &AtomicUsize) {
        for key in keys {
            if let Some(said) = self.said.get_mut(&key) {
                said.waiting = said.waiting.saturating_sub(1);
                self.settle(key, speaking);
            }
        }
    }

    /// Each attempt's progress, for the one who writes it.
    pub(super) fn progress(&mut self) -> impl Iterator<Item = (Key, &mut Latest)> {
        self.said.iter_mut().map(|(key, said)| (*key, &mut said.progress))
    }

    pub(super) fn progress_of(&mut self, key: Key) -> Option<&mut Latest> {
        self.said.get_mut(&key).map(|said| &mut said.progress)
    }

    /// Lets an ended attempt go once nothing of it is on its way.
    pub(super) fn settle(&mut self, key: Key, speaking: &AtomicUsize) {
        if self.said.get(&key).is_some_and(|said| said.ended.is_some() && said.is_quiet()) {
            self.forget(key, speaking);
        }
    }

    /// Whoever waits for it is told by the drop.
    fn forget(&mut self, key: Key, speaking: &AtomicUsize) {
        self.said.remove(&key);
        speaking.store(self.said.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_a_character_and_marked() {
        assert_eq!(&*cut("x".repeat(MAX_LINE)), "x".repeat(MAX_LINE));
        for text in ["x", "é", "語", "🎉"] {
            let line = cut(text.repeat(MAX_LINE + 1));
            assert!(line.len() <= MAX_LINE && line.len() > MAX_LINE - 16, "{text}: {}", line.len());
            assert!(line.ends_with(&format!("{text}{CUT}")));
        }
    }

    #[test]
    fn an_attempt_that_says_too_much_is_cut_off_with_a_line_that_says_so() {
        for line in ["x".repeat(MAX_LINE), "y".to_owned(), String::new()] {
            let mut said = Said::new();
            let kept: Vec<_> = (0..20_000).flat_map(|_| said.admit(line.clone())).collect();
            let bytes: usize = kept.iter().map(|line| line.len()).sum();
            assert!(kept.len() <= 10_001 && bytes <= MAX_BYTES + FULL.len());
            assert!(kept.len() == 10_001 || bytes > MAX_BYTES - MAX_LINE);
            assert_eq!(kept.iter().filter(|kept| &***kept == FULL).count(), 1);
            assert_eq!(kept.last().map(|line| &**line), Some(FULL));
        }
    }

    #[test]
    fn line_numbers_rise_however_fast_they_are_given() {
        let mut numbers = Numbers::default();
        let key = (TaskId(uuid::Uuid::nil()), 1);
        let numbers: Vec<u64> = (0..10_000).map(|_| numbers.line(key, "".into()).seq).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
    }
}
