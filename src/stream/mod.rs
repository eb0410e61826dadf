//! Redis Streams, the delivery: the only place that imports redis.
//!
//! A queue's stream is `{prefix}:{<queue>}`, its group `workers`. It holds only the next
//! moments of work; the backlog stays in MySQL. Redis may be flushed, restarted or lost at any
//! time: that costs latency, never a task, since whatever the stream loses the sweep finds.
//!
//! Every wake-up here (pub/sub, gate, cancel notice) has a polling fallback elsewhere.

mod cancel;
mod connection;
pub mod diagnosis;
mod entry;
mod error;
mod gate;
mod group;
mod moves;
mod outbox;
mod reader;
mod subscription;
mod wake;

pub use cancel::{CancelInbox, CancelNotice, CancelNotices};
pub use connection::Stream;
pub use entry::{Delivered, Entry};
#[doc(hidden)]
pub use entry::{packed, unpacked};
pub use error::StreamError;
pub use gate::{Gates, Opening};
pub use group::StreamState;
pub use moves::{Heard, Move, MoveFeed, MoveInbox};
pub use outbox::Outbox;
pub use reader::Reader;
pub use wake::{Arrivals, Wakes};
