//! What a dispatcher remembers of the backlog.
//!
//! A task of the backlog stays there until a worker claims it: that spares it a row change of its
//! own for its way into the stream. So a dispatcher remembers where it has been, as a set and not as a
//! point up to which all is done: an older row may commit later, and an urgent one overtakes.
//!
//! The memory is an economy and nothing else. A new dispatcher begins with none and puts everything in
//! again; an entry too many loses its claim.

use crate::task::position::{self, BAND, BANDS};
use crate::task::{TaskId, Timestamp};
use std::collections::{HashMap, HashSet};

/// Between two looks at the whole backlog. The looks in between begin behind what has been added: reading over that,
/// and over what has left and the database has not cleared away yet, costs more than reading what is new.
const WHOLE: chrono::TimeDelta = chrono::TimeDelta::seconds(1);
/// A row may commit this much later than the instant in its position and still be seen by a look in
/// between; what comes later waits for the next one at the whole.
const LATE: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// What a dispatcher has put into its queue's stream and has not seen leave the backlog since.
#[derive(Debug, Default)]
pub struct Sent {
    tasks: HashMap<TaskId, Place>,
    /// What stands below these positions, one for each priority's band, has been added, as far as the last looks go.
    from: [u64; BANDS],
    whole_at: Option<Timestamp>,
}

/// Where in the backlog a task stood when its entry was added, and when that was.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Whoever comes back to the backlog comes back to another position.
    position: u64,
    /// The database's clock.
    at: Timestamp,
}

/// A look at the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Where in each priority's band it begins.
    pub(super) from: [u64; BANDS],
    /// Tasks that are remembered from there on.
    pub(super) remembered: usize,
    /// Whether it begins at the beginning.
    pub(super) whole: bool,
}

impl Sent {
    /// Tasks that are remembered; at most what a stream holds, and what was started since the last look at the whole.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Where the next look begins. `now` is the database's clock.
    pub(super) fn look(&mut self, now: Timestamp) -> Look {
        // A clock that was put back does not make it wait until that time has come again.
        let whole = self.whole_at.is_none_or(|at| !(chrono::TimeDelta::zero()..WHOLE).contains(&(now - at)));
        if whole {
            self.whole_at = Some(now);
            self.from = std::array::from_fn(position::band);
        }
        let remembered = self.tasks.values().filter(|place| !self.is_passed(place)).count();
        Look { from: self.from, remembered, whole }
    }

    /// Whether the current look begins behind this place.
    fn is_passed(&self, place: &Place) -> bool {
        self.from.get(position::band_of(place.position)).is_some_and(|from| place.position < *from)
    }

    /// Forgets what is no longer in the backlog, and says what of it is not in the stream, in
    /// order. `head` are its first tasks from where the look began, in order of their positions; `whole`: there
    /// are no others.
    pub(super) fn compare(&mut self, head: &[(TaskId, u64)], whole: bool, now: Timestamp) -> Vec<(TaskId, u64)> {
        let reach = if whole { u64::MAX } else { head.last().map_or(0, |(_, position)| *position) };
        let standing: HashSet<&(TaskId, u64)> = head.iter().collect();
        let mut tasks = std::mem::take(&mut self.tasks);
        // At `reach` itself others may stand behind the last one.
        let beyond = |place: &Place| !whole && place.position >= reach;
        tasks.retain(|id, place| self.is_passed(place) || beyond(place) || standing.contains(&(*id, place.position)));
        self.tasks = tasks;
        let is_fresh = |id, position| self.tasks.get(id).is_none_or(|place| place.position != position);
        let fresh: Vec<(TaskId, u64)> = head.iter().filter(|(id, position)| is_fresh(id, *position)).copied().collect();
        for (n, from) in self.from.iter_mut().enumerate() {
            let (begin, end) = (position::band(n), position::band(n) + BAND);
            let first = fresh.iter().map(|(_, position)| *position).find(|position| (begin..end).contains(position));
            // As far as is known to have been added; but what is new may still commit.
            let added = first.unwrap_or(reach).min(settled(n, now));
            *from = added.max(*from);
        }
        fresh
    }

    /// Its entry has been added, and that of all fresh tasks before it. `at` is the database's clock, not later than that.
    pub(super) fn remember(&mut self, id: TaskId, position: u64, at: Timestamp) {
        let n = position::band_of(position);
        if let Some(from) = self.from.get_mut(n) {
            *from = position.min(settled(n, at)).max(*from);
        }
        self.tasks.insert(id, Place { position, at });
    }

    /// These have come back to the backlog: their entries, if any, are spent.
    pub fn forget(&mut self, ids: &[TaskId]) {
        for id in ids {
            self.tasks.remove(id);
        }
        // They may stand anywhere in it.
        if !ids.is_empty() {
            self.whole_at = None;
        }
    }

    /// The stream is gone, and every entry with it.
    pub fn forget_all(&mut self) {
        self.tasks.clear();
        self.whole_at = None;
    }

    /// Forgets what was added before this instant; says how much that was.
    pub(super) fn forget_before(&mut self, cutoff: Timestamp) -> usize {
        let before = self.tasks.len();
        self.tasks.retain(|_, place| place.at >= cutoff);
        let forgotten = before - self.tasks.len();
        if forgotten > 0 {
            self.whole_at = None;
        }
        forgotten
    }
}

/// The position in the n-th band below which nothing commits any more.
fn settled(n: usize, now: Timestamp) -> u64 {
    position::band(n) + position::scheduled(now - LATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    /// The n-th task of this priority, eligible in this second.
    fn task(n: u128, priority: u8, second: i64) -> (TaskId, u64) {
        (TaskId(Uuid::from_u128(n)), position::queued(priority, at(second)))
    }

    #[test]
    fn what_is_in_the_stream_is_not_offered_again_until_it_has_left_and_come_back() {
        let mut sent = Sent::default();
        let all = [task(1, 0, 1), task(2, 0, 2)];
        assert_eq!(sent.compare(&all, true, at(9)), all);
        sent.remember(all[0].0, all[0].1, at(9));
        assert_eq!(sent.compare(&all, true, at(9)), all[1..]);
        // Claimed, and interrupted: a microsecond further on.
        assert_eq!(sent.compare(&all[1..], true, at(9)), all[1..]);
        let back = [(all[0].0, all[0].1 + 1)];
        assert_eq!(sent.compare(&back, true, at(9)), back);
        sent.remember(back[0].0, back[0].1, at(9));
        // Come back between two looks: only the position tells.
        let again = [(back[0].0, back[0].1 + 1)];
        assert_eq!(sent.compare(&again, true, at(9)), again);
    }

    #[test]
    fn what_a_short_look_does_not_reach_is_still_remembered() {
        let mut sent = Sent::default();
        let all = [task(1, 9, 1), task(2, 0, 1), task(3, 0, 1), task(4, 0, 2)];
        for (id, position) in &all[1..] {
            sent.remember(*id, *position, at(3));
        }
        // Two urgent ones have overtaken; the look ends at the second task.
        assert_eq!(sent.compare(&all[..2], false, at(3)), all[..1]);
        assert_eq!(sent.len(), 3);
        // The third has gone: the look ends behind it.
        assert_eq!(sent.compare(&[all[0], all[1], all[3]], false, at(3)), all[..1]);
        assert_eq!(sent.len(), 2);
    }

    #[test]
    fn a_look_begins_behind_what_was_added_and_once_a_second_at_the_beginning() {
        let mut sent = Sent::default();
        let begin: [u64; BANDS] = std::array::from_fn(position::band);
        let look = sent.look(at(100));
        assert_eq!((look.from, look.whole), (begin, true));
        let head = [task(1, 5, 50), task(2, 0, 10), task(3, 0, 11), task(4, 0, 12)];
        assert_eq!(sent.compare(&head, true, at(100)), head);
        let look = sent.look(at(100));
        assert_eq!((look.from[4], look.from[9]), (head[0].1, head[1].1), "not added yet");
        assert_eq!(look.from[0], settled(0, at(100)), "an empty band: what is new");
        for (id, position) in &head[..3] {
            sent.remember(*id, *position, at(100));
        }
        let look = sent.look(at(100));
        assert_eq!((look.from[4], look.from[9]), (head[0].1, head[2].1));
        assert_eq!((look.remembered, look.whole), (2, false), "one stands before it");
        // Claimed, or not: this look cannot tell.
        assert_eq!(sent.compare(&[head[0], head[2], head[3]], true, at(100)), [head[3]]);
        assert_eq!(sent.len(), 3);
        // Come back in between, to another place: this is not what was added.
        let back = (head[1].0, head[3].1 + 1);
        assert_eq!(sent.compare(&[head[0], head[2], head[3], back], true, at(100)), [head[3], back]);
        assert_eq!(sent.look(at(101)), Look { from: begin, remembered: 3, whole: true });
        assert_eq!(sent.compare(&[head[3]], true, at(101)), [head[3]]);
        assert!(sent.is_empty());
        assert_ne!(sent.look(at(101)).from, begin);
        assert_eq!(sent.look(at(60)).from, begin, "the clock was put back");
        assert_eq!(sent.look(at(101)).from, begin);
    }

    #[test]
    fn a_look_in_between_passes_over_nothing_that_may_still_commit_or_that_it_does_not_reach() {
        let mut sent = Sent::default();
        let head = [task(1, 0, 98), task(2, 0, 99), task(3, 0, 100)];
        let _ = sent.look(at(100));
        let _ = sent.compare(&head, true, at(100));
        for (id, position) in head {
            sent.remember(id, position, at(100));
        }
        assert_eq!(sent.look(at(100)).from[9], settled(9, at(100)), "an older row may commit late");
        assert_eq!(sent.look(at(100)).remembered, 3);
        // It ends before the band of the lowest priority.
        let mut sent = Sent::default();
        let urgent = task(4, 5, 10);
        let _ = sent.look(at(100));
        let _ = sent.compare(&[urgent], false, at(100));
        assert_eq!(sent.look(at(100)).from[4], urgent.1);
        assert_eq!(sent.look(at(100)).from[9], position::band(9));
    }

    #[test]
    fn who_comes_back_may_stand_anywhere() {
        let begin: [u64; BANDS] = std::array::from_fn(position::band);
        let back: [fn(&mut Sent); 3] = [
            |sent| sent.forget(&[task(1, 0, 10).0]),
            |sent| sent.forget_all(),
            |sent| assert_eq!(sent.forget_before(at(101)), 1),
        ];
        for back in back {
            let mut sent = Sent::default();
            let _ = sent.look(at(100));
            let _ = sent.compare(&[task(1, 0, 10)], true, at(100));
            sent.remember(task(1, 0, 10).0, task(1, 0, 10).1, at(100));
            assert_ne!(sent.look(at(100)).from, begin);
            back(&mut sent);
            assert_eq!(sent.look(at(100)), Look { from: begin, remembered: 0, whole: true });
        }
    }

    #[test]
    fn what_the_stream_has_lost_is_offered_again() {
        let mut sent = Sent::default();
        let all = [task(1, 0, 1), task(2, 0, 2)];
        sent.remember(all[0].0, all[0].1, at(3));
        sent.remember(all[1].0, all[1].1, at(4));
        assert_eq!(sent.forget_before(at(4)), 1);
        assert_eq!(sent.compare(&all, true, at(9)), all[..1]);
        sent.forget_all();
        assert_eq!(sent.compare(&all, true, at(9)), all);
    }
}
