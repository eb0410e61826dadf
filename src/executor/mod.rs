//! What runs a task: the [`Handler`] trait, the [`Registry`] of task types, and the built-ins.

mod builtin;
mod context;
mod handler;
mod registry;

pub use context::Context;
pub use handler::{Handler, TaskError, TaskResult};
pub use registry::{Defaults, Registered, Registry, TaskType, UnknownTaskType};
