//! What an attempt says while it runs: log lines and progress. Where it goes is not the handler's affair.

use crate::task::Claimed;
use futures_util::future::BoxFuture;

/// Takes what attempts say. Never waits and never fails: what cannot be kept is dropped, and
/// whoever keeps it says so.
pub trait Journal: Send + Sync + std::fmt::Debug + 'static {
    /// A line for the task's log, without its line break.
    fn log(&self, claimed: &Claimed, line: String);
    /// How far it is, 0 to 1, and a word about it.
    fn progress(&self, claimed: &Claimed, fraction: f64, note: Option<String>);
    /// The attempt says no more. Resolves when what it has said is kept, which may be never: whoever waits
    /// bounds it. None: there is nothing to wait for.
    fn end(&self, _claimed: &Claimed) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Journal for Silent {
    fn log(&self, _claimed: &Claimed, _line: String) {}
    fn progress(&self, _claimed: &Claimed, _fraction: f64, _note: Option<String>) {}
}
