//! The texts of the statements that run again and again, for the tests that look at their plans.

use super::sql::{SIZES, Texts};
use super::tasks::{
    cancel, choose, claim, dispatch, expire, failures, finish, history, hold, insert, journal, keys, pull, purge,
    purge_keys, read, rescue, retry, run, standing, totals,
};
use super::{api_keys, queues, schedules};

/// A text of its own, or one for each batch size.
trait HasText {
    fn text(&self, rows: usize) -> String;
}

impl HasText for &str {
    fn text(&self, _: usize) -> String {
        (*self).to_owned()
    }
}

impl HasText for Texts {
    fn text(&self, rows: usize) -> String {
        self.of(rows).to_owned()
    }
}

macro_rules! texts {
    ($rows:ident: $($module:ident { $($name:ident),* })*) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name.text($rows)),)*)*]
    };
}

/// Each statement's name and its text for a batch of `rows` (at most 256, a power of two).
#[must_use]
pub fn statements(rows: usize) -> Vec<(&'static str, String)> {
    texts!(rows:
        insert { INSERT, INSERT_WITH, INSERT_UNIQUE, EXISTING }
        keys { LOOK, LOCK, ADD, TAKE_OVER }
        dispatch { OUTLOOK, DUE, PROMOTE, HEAD, WAITING, STALE, UNDISPATCH, HAND_BACK }
        claim { CLAIM, STANDING, EXPIRE, PAYLOADS }
        expire { ADD, RENEW, DUE, STANDING, DROP, LATER, FORGET }
        finish { COMPLETE, COMPLETE_WITH, RETRY, REQUEUE, END, CANCEL_ASKED, OWNERS, HISTORY }
        cancel { CANCEL }
        choose { LIVE, OF_KIND, CEILING, ENDED, LOOK, LOCK, KINDS }
        retry { AGAIN }
        run { DUE_NOW }
        failures {
            FAILED, INSERT_FAILURES, INSERT_GROUPS, FORGET, GROUPS, COUNT, COUNT_IN, NEWEST, NEWEST_IN, IN_USE, LOCK_GROUP,
            DROP_GROUP
        }
        rescue { OF_WORKER, ORPHANS, BY_ID }
        pull { AVAILABLE, AVAILABLE_OF, NAMES, SET_ASIDE, ASIDE, NEXT_LANE, PUT_BACK, ATTEMPTS, HELD_FOR, OVERDUE, OUTCOME }
        hold { HOLD, HELD_HEAD, TURN, FLYING, LET_GO, GONE }
        purge { WALK, STILL, PURGE, PURGE_HISTORY, PURGE_LOGS }
        purge_keys { WALK_KEYS, PURGE_KEYS }
        journal { ADD, PROGRESS, LINES, LINES_OF, PULSES, TAILS }
        history { ATTEMPTS }
        read { DEPTH, SMALL }
        standing { SPOT, AHEAD }
        totals { BUSY, RECENT }
        schedules { DUE, NEXT, AFTER, OVERDUE, WAITING, LEDGER, PURGE_FIRES }
        queues { QUEUE, RESUME }
        api_keys { LIVE, USED }
    )
}

/// Statements of queues, workers and listings, which [`statements`] leaves out; counted generously.
const OTHERS: usize = 60;

/// The most statements that one connection keeps prepared: each text once for each batch size
/// that it has a text of its own for. The server bounds them for all connections together.
#[must_use]
pub fn most_per_connection() -> usize {
    let (one, two) = (statements(1), statements(2));
    let texts = one.iter().zip(&two).map(|(one, two)| if one == two { 1 } else { SIZES });
    texts.sum::<usize>() + OTHERS
}
