//! What a task is: its states, the one table of moves, and the rules that choose the next
//! state. Pure: no I/O, no clock, no randomness; all three come in as arguments.
//!
//! Reading order: [`state`] (the words), [`model`] (the record), [`decide`] (what an
//! attempt's outcome does to it), then the small vocabulary the rest is written in.

pub mod backoff;
pub mod cron;
pub mod decide;
pub mod duration;
pub mod fields;
pub mod fingerprint;
pub mod id;
pub mod key;
pub mod model;
pub mod name;
pub mod position;
pub mod schedule;
pub mod scope;
pub mod state;
pub mod submission;

pub use backoff::Backoff;
pub use decide::{Next, Outcome, Standing, decide};
pub use fields::Fault;
pub use fingerprint::Fingerprint;
pub use id::{KeyId, TaskId, WorkerId};
pub use key::{KeyHash, RequestHash, Unique};
pub use model::{Claimed, NewTask, Task, Timestamp, Way, When};
pub use scope::Scope;
pub use state::{Reason, Status};
pub use submission::Submission;
