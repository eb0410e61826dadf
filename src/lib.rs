//! Task Runner X: the job server you can `curl`.
//!
//! One binary takes tasks over REST, keeps every one of them in MySQL, hands them out through
//! Redis Streams consumer groups, runs them, retries them and fires schedules. This library
//! is all of it; `main.rs` only calls it. A program with Rust handlers of its own registers
//! them in a [`Registry`] and calls [`cli::main`]: it is the same daemon and command line.
//!
//! # The house
//!
//! A module imports only from floors below its own; `tests/floors.rs` reads the `use` lines.
//!
//! | floor | rooms |
//! |---|---|
//! | F4 | [`cli`]: the command line, `cli::daemon` (a process's life), `cli::dev` (private servers) |
//! | F3 | [`api`]: HTTP · [`worker`]: consume, dispatch, rescue · [`scheduler`]: cron, purge · [`client`]: the REST client |
//! | F2 | [`lifecycle`]: one verb of a task's life a file · [`executor`]: handlers and their registry |
//! | F1 | [`store`]: MySQL, the only Diesel · [`stream`]: Redis, the only redis · [`config`] |
//! | F0 | [`task`]: states, decisions, cron; pure · [`telemetry`]: logs and metrics · [`seam`]: where tests put faults |
//!
//! Reading order: [`task::state`], [`task::decide`], then [`lifecycle`] from submit to purge,
//! then who calls it: [`worker`]. `docs/architecture.md` walks one task through by file.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod executor;
pub mod lifecycle;
pub mod scheduler;
pub mod seam;
pub mod store;
pub mod stream;
pub mod task;
pub mod telemetry;
pub mod worker;

pub use executor::{Context, Handler, Registry, TaskError, TaskResult};

/// The examples of the README, as rustdoc tests them.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
