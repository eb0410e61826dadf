//! Against a real database and a real Redis, which the tests start themselves (or the database
//! at `TASKRUNNERX_TEST_DATABASE_URL`). One database and one Redis prefix a test.

mod harness;

mod explain;
mod lifecycle;
mod process;
mod recovery;
mod rest;
mod schedules;
mod schema;
