//! Progress: of each attempt the latest, written at most once a second, the last one always.

use super::spoken::Key;
use super::{Shared, may_pass};
use crate::store::Store;
use crate::store::tasks::Progress;
use crate::task::WorkerId;
use crate::telemetry::Episode;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// Least time between two writes of one attempt's progress, and between two tries.
const GAP: Duration = Duration::from_secs(1);
/// How often the service looks whether anybody may still speak.
const IDLE: Duration = Duration::from_secs(5);
/// Characters of a note that are kept: as many as its column has.
const MAX_NOTE: usize = 255;
/// Attempts in one round.
const ROUND: usize = 1024;

/// An attempt's progress.
#[derive(Debug, Default)]
pub(super) struct Latest {
    /// What is to be written; while it is, None.
    next: Option<(WorkerId, f64, Option<Box<str>>)>,
    writing: bool,
    /// Not before this; None: at once.
    due: Option<Instant>,
}

impl Latest {
    /// Takes the place of what was said before and is not yet written. What is no number is passed over.
    pub(super) fn say(&mut self, worker: WorkerId, fraction: f64, note: Option<String>) {
        if fraction.is_nan() {
            return;
        }
        let note = note.map(|note| match note.char_indices().nth(MAX_NOTE) {
            Some((end, _)) => note.get(..end).unwrap_or_default().into(),
            None => note.into_boxed_str(),
        });
        self.next = Some((worker, fraction.clamp(0.0, 1.0), note));
    }

    /// Whether something of it is not in the database yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.next.is_some() || self.writing
    }

    /// The attempt has ended: what it said last is written at once.
    pub(super) fn hurry(&mut self) {
        self.due = None;
    }

    fn take(&mut self, (id, attempt): Key, now: Instant) -> Option<Progress> {
        if self.writing || self.due.is_some_and(|due| due > now) {
            return None;
        }
        let (worker, fraction, note) = self.next.take()?;
        self.writing = true;
        self.due = now.checked_add(GAP);
        Some(Progress { id, attempt, worker, fraction, note })
    }

    /// It was written; or not, and is to be tried again unless something newer was said.
    fn written(&mut self, back: Option<Progress>) {
        self.writing = false;
        if let Some(Progress { worker, fraction, note, .. }) = back
            && self.next.is_none()
        {
            self.next = Some((worker, fraction, note));
        }
    }
}

/// Writes what is due, round by round, until nobody is left who may speak.
pub(super) async fn run(store: Store, shared: Weak<Shared>) {
    let trouble = Episode::new("writing progress");
    loop {
        let Some(held) = shared.upgrade() else { return };
        let (batch, next) = collect(&held);
        if batch.is_empty() {
            let wait = next.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            let _ = tokio::time::timeout(wait, held.progress.notified()).await;
            continue;
        }
        drop(held);
        let error = store.record_progress(batch.clone()).await.err();
        let Some(held) = shared.upgrade() else { return };
        match &error {
            None => trouble.succeeded(),
            Some(error) => trouble.failed(error),
        }
        let again = error.as_ref().is_some_and(may_pass);
        settle(&held, batch, again);
        if again {
            tokio::time::sleep(GAP).await;
        }
    }
}

/// What is due now; if nothing is, when something will be.
fn collect(shared: &Shared) -> (Vec<Progress>, Option<Instant>) {
    let (mut batch, mut next) = (Vec::new(), None::<Instant>);
    if shared.speaking.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        return (batch, next);
    }
    let now = Instant::now();
    for (key, latest) in shared.lock().progress() {
        match latest.take(key, now) {
            Some(progress) => batch.push(progress),
            None if latest.is_waiting() => next = [next, latest.due].into_iter().flatten().min(),
            None => {}
        }
        if batch.len() >= ROUND {
            break;
        }
    }
    (batch, next)
}

fn settle(shared: &Shared, batch: Vec<Progress>, again: bool) {
    let mut attempts = shared.lock();
    for progress in batch {
        let key = (progress.id, progress.attempt);
        if let Some(latest) = attempts.progress_of(key) {
            latest.written(again.then_some(progress));
        }
        attempts.settle(key, &shared.speaking);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskId;

    const KEY: Key = (TaskId(uuid::Uuid::nil()), 1);

    fn say(latest: &mut Latest, fraction: f64, note: Option<&str>) {
        latest.say(WorkerId(uuid::Uuid::nil()), fraction, note.map(str::to_owned));
    }

    #[test]
    fn of_what_comes_within_a_second_the_last_is_written_and_after_the_end_at_once() {
        let (mut latest, now) = (Latest::default(), Instant::now());
        say(&mut latest, 0.1, None);
        assert_eq!(latest.take(KEY, now).map(|p| p.fraction), Some(0.1), "the first at once");
        say(&mut latest, 0.2, None);
        assert_eq!(latest.take(KEY, now + GAP), None, "while it is being written");
        latest.written(None);
        say(&mut latest, 0.3, Some("three"));
        assert_eq!(latest.take(KEY, now + GAP / 2), None, "within its second");
        let written = latest.take(KEY, now + GAP).unwrap();
        assert_eq!((written.fraction, written.note.as_deref()), (0.3, Some("three")));
        latest.written(None);
        assert!(!latest.is_waiting());
        say(&mut latest, 1.0, None);
        latest.hurry();
        assert_eq!(latest.take(KEY, now + GAP).map(|p| p.fraction), Some(1.0));
    }

    #[test]
    fn what_was_not_written_is_tried_again_unless_there_is_something_newer() {
        for newer in [None, Some(0.7)] {
            let (mut latest, now) = (Latest::default(), Instant::now());
            say(&mut latest, 0.5, None);
            let taken = latest.take(KEY, now);
            newer.into_iter().for_each(|fraction| say(&mut latest, fraction, None));
            latest.written(taken);
            assert_eq!(latest.take(KEY, now + GAP).map(|p| p.fraction), newer.or(Some(0.5)));
        }
    }

    #[test]
    fn what_is_out_of_range_is_clamped_and_what_is_no_number_passed_over() {
        let long = "é".repeat(300);
        for (said, expected) in [(-1.0, 0.0), (2.0, 1.0), (f64::INFINITY, 1.0), (f64::NEG_INFINITY, 0.0)] {
            let mut latest = Latest::default();
            say(&mut latest, said, Some(&long));
            say(&mut latest, f64::NAN, None);
            let taken = latest.take(KEY, Instant::now()).unwrap();
            assert_eq!((taken.fraction, taken.note.unwrap().chars().count()), (expected, MAX_NOTE));
        }
    }
}
