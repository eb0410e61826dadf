//! What runs a task: the [`Handler`] trait, the [`Registry`] of task types, the built-ins, and what the
//! configuration can make a type of: `http` calls.

mod builtin;
pub(crate) mod command;
mod context;
mod handler;
pub(crate) mod http;
mod journal;
mod output;
mod registry;
mod schema;

pub use context::Context;
pub use handler::{Handler, STOP_GRACE, TaskError, TaskResult};
pub use journal::{Journal, Silent};
pub use registry::{Defaults, Registered, Registry, Runs, TaskType, UnknownTaskType};
pub use schema::Schema;
