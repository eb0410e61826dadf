//! What must hold of a schedule, that it does, and that each guard is needed for it.

use super::{Budget, Firing, Guard, INSTANTS, Instants, Moment, Person, Schedule, bit, until};
use crate::explore::{assert_acyclic, pairs, shortest, triples};
use stateright::{Checker, Model, Property};
use std::time::Instant;

/// An instant has one task at most.
const ONE_TASK: &str = "one task an instant";
/// The ledger and the tasks agree.
const NAMED: &str = "a task for each row of the ledger that names one, and no other";
/// Every instant before the next one is in the ledger.
const WHOLE_LEDGER: &str = "whole ledger";
const EARLY: &str = "nothing before its instant";
const STALE: &str = "nothing is judged from a row that somebody else has changed";
const PAUSED: &str = "what comes during a pause has no task by itself";
const ANSWERED: &str = "who submits is told of it";
/// When nothing is left to do, every instant that was due is in the ledger.
const ENDS: &str = "every instant comes to be in the ledger";

pub(super) fn properties() -> Vec<Property<Schedule>> {
    vec![
        Property::always(ONE_TASK, |_, at: &Moment| at.tasks.iter().all(|tasks| *tasks <= 1)),
        Property::always(NAMED, |_, at: &Moment| {
            let agree = |i: u8| (at.named & bit(i) != 0) == (at.tasks[usize::from(i)] > 0);
            (1..=INSTANTS).all(|i| at.purged & bit(i) != 0 || agree(i))
        }),
        Property::always(WHOLE_LEDGER, |_, at: &Moment| at.missing(until(at.next - 1)) == 0),
        Property::always(EARLY, |_, at: &Moment| at.ledger & !until(at.now) == 0),
        Property::always(STALE, |_, at: &Moment| {
            let stale = |firing: &Firing| match firing {
                Firing::Judged(verdict) | Firing::Entered(verdict) | Firing::Submitted(verdict) => verdict.stale,
                Firing::Idle | Firing::Looking { .. } => false,
            };
            !at.firing.iter().any(stale) && !matches!(at.person, Person::Redefines { stale: true, .. })
        }),
        Property::always(PAUSED, |_, at: &Moment| at.held & at.fired == 0),
        Property::always(ANSWERED, |_, at: &Moment| at.person != Person::Idle || at.made & !at.told == 0),
        Property::always(ENDS, |model: &Schedule, at: &Moment| {
            let mut steps = Vec::new();
            model.progress(at, &mut steps);
            !steps.is_empty() || at.missing(until(INSTANTS)) == 0 && at.person == Person::Idle
        }),
    ]
}

impl Moment {
    /// Of these instants, and of those that came by earlier definitions, what was never in the ledger.
    fn missing(&self, instants: Instants) -> Instants {
        (self.owed | self.instants() & instants & !until(self.since)) & !(self.ledger | self.purged)
    }
}

/// Kinds of what may happen, in a [`Budget`].
const KINDS: usize = 6;

/// The budget in which these kinds happen, each as often as it is named.
fn budget(kinds: &[usize]) -> Budget {
    let times = |kind: usize| kinds.iter().filter(|one| **one == kind).count() as u8;
    Budget {
        crashes: times(0),
        definitions: times(1),
        pauses: times(2),
        backfills: times(3),
        purges: times(4),
        lost_answers: times(5),
    }
}

const CALM: Budget = Budget { crashes: 0, definitions: 0, pauses: 0, backfills: 0, purges: 0, lost_answers: 0 };
const CRASH: Budget = Budget { crashes: 1, ..CALM };
const DEFINED: Budget = Budget { definitions: 1, ..CALM };
const PAUSED_ONCE: Budget = Budget { pauses: 1, ..CALM };
const BACKFILLED: Budget = Budget { backfills: 1, ..CALM };

/// Checks everything that holds of a schedule; says how many states there are.
fn holds(budget: Budget, without: &'static [Guard]) -> usize {
    let began = Instant::now();
    let checked = Schedule { budget, without }.checker().spawn_dfs().join();
    checked.assert_properties();
    eprintln!("{budget:?}, without {without:?}: {} states, {:.1?}", checked.unique_state_count(), began.elapsed());
    checked.unique_state_count()
}

/// What holds with these guards has to break without them, and the shortest way there is printed.
fn breaks(budget: Budget, without: &'static [Guard], broken: &'static str) {
    Schedule { budget, without: &[] }.checker().spawn_bfs().join().assert_no_discovery(broken);
    let path = shortest(Schedule { budget, without }, broken);
    eprintln!("without {without:?}, {broken:?} breaks in {} steps: {path:?}", path.len());
}

#[test]
fn every_instant_is_in_the_ledger_once_whatever_two_things_happen() {
    let states: usize = pairs(KINDS).map(|pair| holds(budget(&pair), &[])).sum();
    eprintln!("a schedule, two things: {states} states");
    assert!(states > 290_000, "{states}: the space was cut");
}

#[test]
#[ignore = "takes two minutes"]
fn every_instant_is_in_the_ledger_once_whatever_three_things_happen() {
    let states: usize = triples(KINDS).map(|kinds| holds(budget(&kinds), &[])).sum();
    eprintln!("a schedule, three things: {states} states");
    assert!(states > 2_700_000, "{states}: the space was cut");
}

/// The property about the end rests on this; see the head of `main.rs`.
#[test]
fn no_step_of_a_schedule_leads_back() {
    for kinds in [[0, 1], [0, 3], [1, 2], [1, 5], [3, 4], [3, 5]] {
        assert_acyclic(&Schedule { budget: budget(&kinds), without: &[] }, |_| true);
    }
}

#[test]
fn without_the_lock_a_row_changes_while_it_is_judged_and_an_instant_is_lost() {
    breaks(CALM, &[Guard::RowLock], STALE);
    // What is in the ledger by a hand's doing is no row that two would meet at.
    let backfilled = Budget { backfills: 1, ..DEFINED };
    breaks(backfilled, &[Guard::RowLock], WHOLE_LEDGER);
    breaks(DEFINED, &[Guard::HandLock], STALE);
}

#[test]
fn without_the_ledgers_key_a_definition_that_sets_the_schedule_back_fires_it_twice() {
    breaks(DEFINED, &[Guard::Found, Guard::Key], ONE_TASK);
    breaks(BACKFILLED, &[Guard::Found, Guard::Key], ONE_TASK);
    breaks(CALM, &[Guard::RowLock, Guard::Key], ONE_TASK);
}

/// Behind the lock nobody writes an instant between the look and the row.
#[test]
fn the_key_stands_behind_the_lock_and_the_look() {
    for budget in [DEFINED, CRASH, Budget { pauses: 1, ..DEFINED }] {
        holds(budget, &[Guard::Key]);
    }
    for property in [ONE_TASK, NAMED] {
        let model = Schedule { budget: CRASH, without: &[Guard::RowLock] };
        model.checker().spawn_dfs().join().assert_no_discovery(property);
    }
}

#[test]
#[should_panic(expected = "leads back")]
fn who_does_not_look_at_the_ledger_first_is_refused_for_ever() {
    assert_acyclic(&Schedule { budget: BACKFILLED, without: &[Guard::Found] }, |_| true);
}

#[test]
fn what_is_not_one_transaction_is_seen_half_done() {
    breaks(CALM, &[Guard::Transaction], NAMED);
    breaks(CALM, &[Guard::Transaction], STALE);
    breaks(DEFINED, &[Guard::Transaction], WHOLE_LEDGER);
}

#[test]
fn a_definition_that_does_not_wait_for_what_is_due_loses_it() {
    breaks(DEFINED, &[Guard::OldFirst], WHOLE_LEDGER);
    breaks(DEFINED, &[Guard::OldFirst], ENDS);
}

#[test]
fn a_pause_that_ends_before_what_it_held_is_recorded_fires_it() {
    breaks(PAUSED_ONCE, &[Guard::PausedFirst], PAUSED);
}

#[test]
fn a_scheduler_that_goes_by_its_own_clock_fires_early() {
    breaks(CALM, &[Guard::DatabaseTime], EARLY);
}

#[test]
fn a_ledger_that_is_purged_under_a_request_forgets_what_has_fired() {
    breaks(Budget { purges: 1, ..DEFINED }, &[Guard::Retention], ONE_TASK);
    breaks(Budget { purges: 1, ..BACKFILLED }, &[Guard::Retention], ONE_TASK);
}

#[test]
fn a_hand_whose_answer_was_lost_is_told_of_its_task_only_if_it_is_looked_for() {
    breaks(Budget { lost_answers: 1, ..BACKFILLED }, &[Guard::Existing], ANSWERED);
}
