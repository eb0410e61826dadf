//! Where the program's work crosses over to a server: the one place in the store and the one
//! in the stream at which a test can make calls fail, without a server that does.
//!
//! Code that has only ever seen the answers of a healthy server is wrong about the others, and
//! the worst of them is no answer: the work was done, and whoever asked for it was told that it
//! was not. A [`Seam`] puts exactly that between a call and its server, for one operation or for
//! a few percent of all. In production there is none, and a call pays one comparison for it.
//!
//! ```text
//!  caller ◄── TimedOut, or after the tries ── run ──► once ◄── Lost ── across ──► connection
//!                                              ▲        │
//!                                              └─ again ┘
//! ```
//!
//! The two errors test two things. A lost connection is tried again within the store's call,
//! which shows that its work may be repeated; a time-out goes to the caller, which has to live
//! with not knowing. The stream tries nothing again: both reach its callers.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Decides what happens to calls.
pub trait Seam: Debug + Send + Sync + 'static {
    /// The fault that the next call of this operation meets, if any; `op` as in the store's metrics, or the stream's verb. It
    /// meets the call's first try: what is tried again goes through.
    fn fault(&self, op: &'static str) -> Option<Fault>;
}

/// A seam, or the absence of one.
pub type MaybeSeam = Option<Arc<dyn Seam>>;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It takes this much longer, and is done.
    Slow(Duration),
    /// Nothing is sent.
    Before(Loss),
    /// It is done, and its answer does not come.
    After(Loss),
    /// Its caller is told at once that it timed out; it is done this much later.
    Late(Duration),
}

/// How the absence of an answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The connection broke.
    Lost,
    /// The answer did not come in time.
    TimedOut,
}

/// Does `work` with this fault around it. What [`Fault::Late`] says to the caller is the
/// caller's affair: here it is only the wait.
///
/// # Errors
/// The fault's, or the work's own.
pub async fn across<T, E: From<Loss>>(fault: Option<Fault>, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match fault {
        None => work.await,
        Some(Fault::Slow(wait) | Fault::Late(wait)) => {
            tokio::time::sleep(wait).await;
            work.await
        }
        Some(Fault::Before(loss)) => Err(loss.into()),
        Some(Fault::After(loss)) => work.await.and_then(|_| Err(loss.into())),
    }
}
