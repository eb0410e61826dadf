//! What can go wrong with the database, sorted by what the caller should do about it.
//!
//! diesel-async passes the server's message on but not its code, so the message is what is
//! classified, here and nowhere else. The tests of this module provoke each on the real server.

use crate::seam::Loss;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// A failed database operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection could be had. Nothing was sent.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The connection broke. What was sent may have been done, or may yet be.
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    /// No answer within [`super::OPERATION_LIMIT`]. What was sent may have been done, or may yet be.
    #[error("the database did not answer in time")]
    TimedOut,
    /// Deadlock or lock wait: undone, and worth another try.
    #[error("the database was contended: {0}")]
    Contended(String),
    /// The data itself was refused: no retry will mend it.
    #[error("the database refused the data: {0}")]
    Refused(String),
    /// A mistake of this program or of the schema.
    #[error("unexpected database error: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// The label in `store_errors_total{kind}`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Lost(_) => "lost",
            StoreError::TimedOut => "timeout",
            StoreError::Contended(_) => "contended",
            StoreError::Refused(_) => "refused",
            StoreError::Unexpected(_) => "unexpected",
        }
    }

    /// The database is away or overloaded: the same request may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            StoreError::Unavailable(_) | StoreError::Lost(_) | StoreError::TimedOut | StoreError::Contended(_) => true,
            StoreError::Refused(_) | StoreError::Unexpected(_) => false,
        }
    }
}

const LOCK_WAIT: &str = "Lock wait timeout exceeded";
/// Messages of a server that had to undo the statement because of other work (1213, 1205, 1020, 1614, 3572).
const CONTENDED: [&str; 5] = [
    "Deadlock found",
    LOCK_WAIT,
    "Record has changed since last read",
    "transaction branch was rolled back: deadlock",
    "Statement aborted because lock(s) could not be acquired",
];

/// Messages of a connection that is gone or of a server that is leaving (driver, 1053, 1927, 2006, 2013, 1317).
const LOST: [&str; 10] = [
    "Input/output error",
    "Connection to the server is closed",
    "Packet out of order",
    "Pool was disconnected",
    "Server shutdown in progress",
    "server has gone away",
    "Lost connection",
    "Connection was killed",
    "Query execution was interrupted",
    "Unexpected packet",
];

/// Messages of a server that does not take work now (1040, 1203, 1290, 1836, 1021, 1114).
const UNAVAILABLE: [&str; 7] = [
    "max_prepared_stmt_count",
    "Too many connections",
    "max_user_connections",
    "read-only",
    "read only",
    "Disk full",
    "is full",
];

/// Messages about the row itself (1406, 1366, 1264, 1153, 3140, 1292, 1265).
const REFUSED: [&str; 8] = [
    "Data too long",
    "Incorrect string value",
    "Out of range value",
    "max_allowed_packet",
    "acket too large",
    "Incorrect datetime value",
    "Data truncated",
    "Row size too large",
];

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(kind, info) => classify(&kind, info.message()),
            DieselError::SerializationError(e) => StoreError::Refused(e.to_string()),
            // Undone by whoever does it, to begin anew.
            DieselError::RollbackTransaction => StoreError::Contended("another transaction was faster".to_owned()),
            DieselError::BrokenTransactionManager => StoreError::Lost("a transaction broke off".to_owned()),
            other => StoreError::Unexpected(other.to_string()),
        }
    }
}

impl From<Loss> for StoreError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Lost => StoreError::Lost("at the seam".to_owned()),
            Loss::TimedOut => StoreError::TimedOut,
        }
    }
}

/// Whether a refusal leaves the connection unusable: the server closes it after a statement
/// that is larger than its `max_allowed_packet`, and the driver reports that as an I/O error.
pub(super) fn closes(message: &str) -> bool {
    message.contains("acket too large") || message.contains("max_allowed_packet")
}

/// Whether a statement has waited for another transaction's lock for as long as one waits.
pub(super) fn is_lock_wait(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, info) if info.message().contains(LOCK_WAIT))
}

fn classify(kind: &DatabaseErrorKind, message: &str) -> StoreError {
    let says = |list: &[&str]| list.iter().any(|part| message.contains(part));
    let text = message.to_owned();
    if closes(message) {
        StoreError::Refused(text)
    } else if says(&CONTENDED) {
        StoreError::Contended(text)
    } else if says(&LOST) {
        StoreError::Lost(text)
    } else if says(&UNAVAILABLE) {
        StoreError::Unavailable(text)
    } else if says(&REFUSED) {
        StoreError::Refused(text)
    } else {
        match kind {
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation => StoreError::Refused(text),
            _ => StoreError::Unexpected(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sorted_by_what_to_do() {
        let table = [
            ("Deadlock found when trying to get lock; try restarting transaction", "contended"),
            ("Lock wait timeout exceeded; try restarting transaction", "contended"),
            ("Record has changed since last read in table 'tasks'", "contended"),
            ("Input/output error: Input/output error: can't parse: buf doesn't have enough data", "lost"),
            ("Driver error: `Connection to the server is closed.'", "lost"),
            ("Server shutdown in progress", "lost"),
            ("Too many connections", "unavailable"),
            ("The table 'tasks' is full", "unavailable"),
            (
                "The MySQL server is running with the --read-only option so it cannot execute this statement",
                "unavailable",
            ),
            ("Input/output error: Input/output error: packet too large", "refused"),
            ("Got a packet bigger than 'max_allowed_packet' bytes", "refused"),
            ("Can't create more than max_prepared_stmt_count statements (current value: 16382)", "unavailable"),
            ("Data too long for column 'backoff' at row 1", "refused"),
            ("You have an error in your SQL syntax", "unexpected"),
        ];
        for (message, kind) in table {
            assert_eq!(classify(&DatabaseErrorKind::Unknown, message).kind(), kind, "{message}");
        }
    }
}
