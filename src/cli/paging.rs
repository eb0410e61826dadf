//! How much of a list is asked for, and what is said of the rest.

use super::terminal::say_aside;
use super::words::counted;
use super::{EXIT_USAGE, Failure};
use crate::client::{ClientError, Listing};
use std::io::IsTerminal;

/// More is for a database's own tools.
const MAX_LIMIT: i64 = 1_000_000;

/// Where a list begins and how long it is.
#[derive(Debug, clap::Args)]
pub(super) struct Paging {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=MAX_LIMIT))]
    pub(super) limit: u32,
    /// Go on from where an earlier list ended: its next_cursor
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,
}

/// Of a list. The one thing of it that is not checked before it is sent is the cursor.
pub(super) fn refused(error: ClientError) -> Failure {
    match error {
        ClientError::Refused { status, .. } if status.as_u16() == 422 => Failure::with_code(EXIT_USAGE, error),
        error => error.into(),
    }
}

/// To a person, where there is more than was asked for.
pub(super) fn tell_of_more(found: &Listing, noun: &str) {
    if found.has_more() && std::io::stderr().is_terminal() {
        say_aside(&format!("there are more than {}; --limit shows them", counted(found.len(), noun)));
    }
}
