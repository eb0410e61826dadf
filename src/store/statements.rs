//! The texts of the statements that run again and again, for the tests that look at their plans.

use super::schedules;
use super::sql::Texts;
use super::tasks::{cancel, claim, dispatch, finish, insert, purge, read, rescue};

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
        insert { INSERT, EXISTING }
        dispatch { OUTLOOK, DUE, PROMOTE, BACKLOG, TAKE, TAKEN, STALE, UNDISPATCH, PUT_BACK, HAND_BACK }
        claim { CLAIM, STANDING, EXPIRE, PAYLOADS }
        finish { COMPLETE, COMPLETE_WITH, RETRY, REQUEUE, END, CANCEL_ASKED, OWNERS, HISTORY }
        cancel { CANCEL }
        rescue { OF_WORKER, ORPHANS, BY_ID }
        purge { WALK, PURGE, PURGE_HISTORY }
        read { DEPTH }
        schedules { DUE, NEXT }
    )
}
