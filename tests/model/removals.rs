//! A guard is one only if something goes wrong without it: each is taken away alone, and the
//! checker has to find how.

use super::checked::{
    CAME_BACK, CANCELLED, ENDS, HANDS_OVER, LEGAL, NAMED, ONE_FINISH, ONE_OWNER, OWNERS_RESULT, RISES, SETTLED,
    STARTED_ONCE, STOPPED, TRUSTED,
};
use super::config::{Budget, Guard, Protocol};
use super::explore::shortest;
use stateright::{Checker, Model};

const CALM: Budget = Budget::CALM;
const CRASH: Budget = Budget { crashes: 1, ..CALM };
const PAUSE: Budget = Budget { pauses: 1, ..CALM };
const DUPLICATE: Budget = Budget { duplicates: 1, ..CALM };
const LOST_ENTRY: Budget = Budget { lost_entries: 1, ..CALM };
const LOST_ANSWER: Budget = Budget { lost_answers: 1, ..CALM };

/// Checks the protocol of one task without a guard: what holds with it has to break, and the
/// shortest way there is printed.
fn breaks(without: Guard, budget: Budget, broken: &'static str) {
    let whole = Protocol::new(1, budget);
    whole.checker().spawn_bfs().join().assert_no_discovery(broken);
    let path = shortest(whole.without(without), broken);
    eprintln!("without {without:?}, {broken:?} breaks in {} steps:", path.len());
    for action in path {
        eprintln!("    {action:?}");
    }
}

#[test]
fn a_claim_without_its_guard_takes_what_another_runs() {
    breaks(Guard::Claim, DUPLICATE, ONE_OWNER);
    breaks(Guard::Claim, DUPLICATE, NAMED);
    breaks(Guard::Claim, DUPLICATE, LEGAL);
}

/// Of the two halves the attempt does most of the work: nothing that runs has the number of an entry.
#[test]
fn a_claim_that_does_not_ask_for_queued_starts_what_was_cancelled() {
    breaks(Guard::ClaimStatus, Budget { cancels: 1, ..CALM }, LEGAL);
}

#[test]
fn a_claim_that_does_not_ask_for_the_attempt_starts_what_was_started_before() {
    breaks(Guard::ClaimAttempt, DUPLICATE, STARTED_ONCE);
    breaks(Guard::ClaimAttempt, DUPLICATE, NAMED);
}

#[test]
fn a_worker_that_reads_an_entry_twice_starts_it_twice_unless_it_looks_at_what_it_holds() {
    breaks(Guard::Held, DUPLICATE, STARTED_ONCE);
}

#[test]
fn a_worker_that_does_not_look_at_its_lease_after_a_claim_starts_without_one() {
    breaks(Guard::LeaseAfterClaim, PAUSE, TRUSTED);
}

#[test]
fn a_worker_that_trusts_its_lease_until_it_is_told_shares_its_task() {
    breaks(Guard::SelfFencing, PAUSE, NAMED);
    breaks(Guard::SelfFencing, PAUSE, ONE_OWNER);
}

#[test]
fn a_dead_worker_that_may_renew_comes_back_to_a_task_of_another() {
    breaks(Guard::Renewal, PAUSE, NAMED);
    breaks(Guard::Renewal, PAUSE, ONE_OWNER);
}

#[test]
fn a_worker_whose_tasks_are_moved_before_it_is_fenced_renews_in_between() {
    breaks(Guard::FenceFirst, PAUSE, NAMED);
    breaks(Guard::FenceFirst, PAUSE, ONE_OWNER);
}

#[test]
fn a_finish_without_its_guard_overwrites_what_another_did() {
    breaks(Guard::Finish, PAUSE, OWNERS_RESULT);
    breaks(Guard::Finish, PAUSE, ONE_FINISH);
    breaks(Guard::Finish, LOST_ANSWER, LEGAL);
}

#[test]
fn a_finish_that_does_not_ask_for_running_is_recorded_twice() {
    breaks(Guard::FinishRunning, PAUSE, ONE_FINISH);
}

#[test]
fn a_finish_that_does_not_ask_for_the_attempt_ends_the_next_one() {
    breaks(Guard::FinishAttempt, LOST_ANSWER, OWNERS_RESULT);
}

/// An attempt has one worker, so whoever names the attempt need not name the worker. It is named
/// all the same: this holds only as long as the claim's guard does.
#[test]
fn the_worker_in_the_finish_is_a_second_belt() {
    for budget in [CRASH, PAUSE, LOST_ANSWER, Budget { pauses: 1, duplicates: 1, lost_answers: 1, ..CALM }] {
        Protocol::new(1, budget).without(Guard::FinishWorker).checker().spawn_dfs().join().assert_properties();
    }
}

#[test]
fn a_move_back_that_does_not_ask_for_a_cancel_outlives_it() {
    breaks(Guard::CancelWins, Budget { cancels: 1, ..CALM }, CANCELLED);
}

#[test]
fn without_the_sweep_a_lost_entry_is_a_lost_task() {
    breaks(Guard::Sweep, LOST_ENTRY, ENDS);
    breaks(Guard::Sweep, Budget { wipes: 1, ..CALM }, ENDS);
    breaks(Guard::Sweep, CRASH, ENDS);
}

/// A task that has come back is in the stream by the dispatcher's memory alone.
#[test]
fn a_sweep_that_does_not_forget_what_the_stream_has_lost_leaves_it_there_for_ever() {
    breaks(Guard::Forget, LOST_ENTRY, ENDS);
    // A reader made the stream anew before the dispatcher looked.
    breaks(Guard::Forget, Budget { wipes: 1, ..CALM }, ENDS);
    breaks(Guard::Forget, CRASH, ENDS);
}

/// What came back between two looks is taken for what is in the stream. The sweep forgets that, after its
/// grace: this guard is for the seconds until then, and for a sweep that is gone.
#[test]
fn a_memory_without_places_never_offers_again_what_came_back_unless_the_sweep_forgets_it() {
    let drained = Budget { drains: 1, ..CALM };
    breaks(Guard::ForgetAndPlace, drained, ENDS);
    breaks(Guard::ForgetAndPlace, CRASH, ENDS);
    for budget in [drained, CRASH, LOST_ANSWER, DUPLICATE] {
        Protocol::new(1, budget).without(Guard::Place).checker().spawn_dfs().join().assert_properties();
    }
}

/// The memory is an economy and nothing else.
#[test]
fn a_dispatcher_that_knows_nothing_costs_a_second_entry_and_breaks_nothing() {
    for tasks in [1, 2] {
        let takeover = Protocol::new(tasks, Budget { takeovers: 1, ..CALM });
        takeover.checker().spawn_dfs().join().assert_properties();
    }
    breaks(Guard::Claim, Budget { takeovers: 1, ..CALM }, ONE_OWNER);
    breaks(Guard::Held, Budget { takeovers: 1, ..CALM }, STARTED_ONCE);
}

#[test]
fn without_the_comparison_a_claim_whose_answer_was_lost_runs_for_ever() {
    breaks(Guard::Comparison, LOST_ANSWER, ENDS);
}

#[test]
fn a_comparison_that_does_not_hold_what_it_releases_takes_it_from_its_own_worker() {
    breaks(Guard::ReleaseHolds, Budget { lost_answers: 1, duplicates: 1, ..CALM }, NAMED);
    breaks(Guard::ReleaseHolds, Budget { lost_answers: 1, duplicates: 1, ..CALM }, ONE_OWNER);
    breaks(Guard::ReleaseHolds, Budget { lost_answers: 1, hasty_sweeps: 1, ..CALM }, NAMED);
}

#[test]
fn a_release_that_is_let_go_of_before_it_is_answered_comes_later() {
    breaks(Guard::ReleaseAgain, Budget { lost_answers: 2, duplicates: 1, ..CALM }, NAMED);
}

#[test]
fn a_worker_that_hands_over_before_its_handlers_have_ended_has_a_task_run_twice_at_once() {
    breaks(Guard::HandOverAtRest, PAUSE, STOPPED);
    breaks(Guard::HandOverAtRest, PAUSE, SETTLED);
}

/// It costs an attempt and no more: what a lost incarnation still says is refused as any stranger's.
#[test]
fn a_hand_over_that_waits_for_nothing_breaks_nothing_else() {
    for budget in [PAUSE, Budget { pauses: 1, lost_answers: 1, ..CALM }, Budget { pauses: 1, duplicates: 1, ..CALM }] {
        let checked = Protocol::new(1, budget).without(Guard::HandOverAtRest).checker().spawn_dfs().join();
        for property in
            [NAMED, ONE_OWNER, OWNERS_RESULT, ONE_FINISH, LEGAL, RISES, STARTED_ONCE, TRUSTED, CANCELLED, ENDS]
        {
            checked.assert_no_discovery(property);
        }
    }
}

#[test]
fn a_worker_that_declares_itself_dead_before_it_hands_over_is_rescued_as_a_dead_one() {
    breaks(Guard::DeclareLast, PAUSE, CAME_BACK);
}

#[test]
fn a_worker_that_holds_a_release_beyond_its_lease_never_hands_over() {
    breaks(Guard::LetGo, Budget { pauses: 1, lost_answers: 1, ..CALM }, HANDS_OVER);
}

#[test]
fn without_the_rescuer_a_task_dies_with_its_worker() {
    breaks(Guard::Rescue, CRASH, ENDS);
}

#[test]
fn without_a_look_at_orphans_a_claim_that_outlived_its_worker_runs_for_ever() {
    breaks(Guard::Orphans, CRASH, ENDS);
}
