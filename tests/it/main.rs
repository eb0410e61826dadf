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

mod access;
mod bench;
mod bulk;
mod cancel;
mod command;
mod command_line;
mod deploy;
mod docs;
mod doctor;
mod expiry;
mod explain;
mod explain_task;
mod failures;
mod faults;
mod front;
mod guards;
mod hostile;
mod http;
mod idempotency;
mod journal;
mod lifecycle;
mod machine;
mod notify;
mod openapi;
mod ops;
mod process;
mod pull;
mod queues;
mod reads;
mod recovery;
mod reference;
mod rest;
mod schedules;
mod schedules_command;
mod schema;
mod setup;
mod task_types;
mod tasks_command;
mod terminal;
mod tls;
mod verbs;
mod wait;
mod waiting;
