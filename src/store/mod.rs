//! MySQL, the truth: the only place that imports Diesel. Rows are private to it.
//!
//! Every state change is one guarded statement over a batch; a statement that changed fewer
//! rows than it named is an answer and gets classified. Every timestamp in a decision is the
//! database's `NOW(6)`.
//!
//! Reading order: [`tasks`] in the order of a task's life, then `connection` (pool, time
//! limits, retries), `sql` (how statements stay prepared) and [`batcher`] (group commit).

pub mod api_keys;
pub mod batcher;
mod connection;
pub mod diagnosis;
mod error;
pub mod migrations;
pub mod queues;
pub mod roster;
mod row;
pub mod schedules;
mod schema;
mod sql;
#[doc(hidden)]
pub mod statements;
pub mod tasks;
pub mod workers;

pub use connection::{DEFAULT_POOL, OPERATION_LIMIT, Store};
pub use error::StoreError;
