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

/// Between two looks at the whole backlog. The looks in between pass over what has left it: until the
/// database has cleared that away, reading over it costs more than reading what is there.
const WHOLE: chrono::TimeDelta = chrono::TimeDelta::seconds(1);
/// A row may commit this much later than the instant in its position and still be seen by a look in
/// between; what comes later waits for the next one at the whole.
const LATE: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// What a dispatcher has put into its queue's stream and has not seen leave the backlog since.
#[derive(Debug, Default)]
pub struct Sent {
    tasks: HashMap<TaskId, Place>,
    /// Nothing stands below these positions, one for each priority's band, as far as the last look goes.
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

impl Sent {
    /// Tasks that are remembered; at most what a stream holds, and what left since the last look.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Where in each priority's band the next look begins. `now` is the database's clock.
    pub(super) fn from(&mut self, now: Timestamp) -> [u64; BANDS] {
        // A clock that was put back does not make it wait until that time has come again.
        if self.whole_at.is_none_or(|at| !(chrono::TimeDelta::zero()..WHOLE).contains(&(now - at))) {
            self.whole_at = Some(now);
            self.from = std::array::from_fn(position::band);
        }
        self.from
    }

    /// Forgets what is no longer in the backlog, and says what of it is not in the stream, in
    /// order. `head` are its first tasks, in order of their positions; `whole`: there are no others.
    pub(super) fn compare(&mut self, head: &[(TaskId, u64)], whole: bool, now: Timestamp) -> Vec<(TaskId, u64)> {
        let reach = if whole { u64::MAX } else { head.last().map_or(0, |(_, position)| *position) };
        let standing: HashSet<&(TaskId, u64)> = head.iter().collect();
        // At `reach` itself others may stand behind the last one.
        let beyond = |place: &Place| !whole && place.position >= reach;
        self.tasks.retain(|id, place| beyond(place) || standing.contains(&(*id, place.position)));
        for (band, from) in self.from.iter_mut().enumerate() {
            let (begin, end) = (position::band(band), position::band(band) + BAND);
            let first = head.iter().map(|(_, position)| *position).find(|position| (begin..end).contains(position));
            let empty = begin + position::scheduled(now - LATE);
            *from = match first {
                Some(first) => first.min(empty),
                None if end <= reach => empty,
                None => *from,
            };
        }
        head.iter().filter(|(id, _)| !self.tasks.contains_key(id)).copied().collect()
    }

    /// Its entry has been added. `at` is the database's clock, not later than that.
    pub(super) fn remember(&mut self, id: TaskId, position: u64, at: Timestamp) {
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
    }

    /// Forgets what was added before this instant; says how much that was.
    pub(super) fn forget_before(&mut self, cutoff: Timestamp) -> usize {
        let before = self.tasks.len();
        self.tasks.retain(|_, place| place.at >= cutoff);
        before - self.tasks.len()
    }
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
    fn a_look_begins_where_the_first_one_stands_and_once_a_second_at_the_beginning() {
        let mut sent = Sent::default();
        let begin: [u64; BANDS] = std::array::from_fn(position::band);
        assert_eq!(sent.from(at(100)), begin);
        let head = [task(1, 5, 50), task(2, 0, 10)];
        let _ = sent.compare(&head, true, at(100));
        let from = sent.from(at(100));
        assert_eq!((from[4], from[9]), (head[0].1, head[1].1));
        assert_eq!(from[0], begin[0] + position::scheduled(at(100) - LATE), "an empty band: what is new");
        assert_eq!(sent.from(at(101)), begin);
        let _ = sent.compare(&head, true, at(101));
        assert_ne!(sent.from(at(101)), begin);
        assert_eq!(sent.from(at(60)), begin, "the clock was put back");
        assert_eq!(sent.from(at(101)), begin);
        // Not reached: as before.
        let _ = sent.compare(&head, true, at(101));
        let from = sent.from(at(101));
        let _ = sent.compare(&head[..1], false, at(101));
        assert_eq!(sent.from(at(101)), from);
        sent.forget(&[head[1].0]);
        assert_eq!(sent.from(at(101)), begin, "what came back may stand anywhere");
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
