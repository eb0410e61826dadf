//! Against a real database and a real Redis, which the tests start themselves (or the database
//! at `TASKRUNNERX_TEST_DATABASE_URL`). One database and one Redis prefix a test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "a test that meets what it does not expect should stop there"
)]

mod harness;

mod bench;
mod bulk;
mod cancel;
mod command;
mod doctor;
mod explain;
mod faults;
mod guards;
mod http;
mod journal;
mod lifecycle;
mod machine;
mod openapi;
mod process;
mod pull;
mod queues;
mod recovery;
mod rest;
mod schedules;
mod schema;
mod task_types;
mod tasks_command;
mod waiting;
