//! What can go wrong with the private servers, and what its user does about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::programs::MissingPrograms;

/// Why the private servers do not run. Every message ends with what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServersError {
    /// A program is not installed.
    #[error(transparent)]
    Missing(#[from] MissingPrograms),

    /// A file or directory could not be made, read or locked.
    #[error("cannot {action} {path}: {source}. Mend its permissions, or choose another data directory")]
    File {
        /// What was tried, as a verb: "create", "lock".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },

    /// Another process works in the same data directory.
    #[error(
        "{path} is in use by another Task Runner X (process {holder}). Stop that one, or choose another data directory"
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Process id as the other one noted it, or "unknown".
        holder: String,
    },

    /// The server of a process that was killed has not ended within the limit.
    #[error(
        "a {server} server of an earlier run still works in {path} after {waited:?}. Wait until it has shut down, or \
         kill it"
    )]
    StillShuttingDown {
        /// Which server.
        server: &'static str,
        /// Its directory.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },

    /// A directory that would be removed at the end already holds something.
    #[error("{path} is not empty, and an ephemeral data directory is removed at the end. Choose a new directory")]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
    },

    /// The data belong to the other kind of database server.
    #[error(
        "{path} holds the data of a {theirs} server, and the server found here is {ours} ({program}). Install \
         {theirs}, choose another data directory, or remove {path} to start empty"
    )]
    OtherKind {
        /// Where the other server's data are.
        path: PathBuf,
        /// Whose data they are.
        theirs: &'static str,
        /// The server that was found.
        ours: &'static str,
        /// Its program.
        program: PathBuf,
    },

    /// Neither the data directory nor the temporary directories can hold a unix socket.
    #[error(
        "no directory for the servers' sockets: their paths must be UTF-8 and at most {limit} bytes long, in {tried}. \
         Choose a shorter data directory, or set TMPDIR to a short one"
    )]
    NoSocketDirectory {
        /// In bytes.
        limit: usize,
        /// The directories that were tried, with the reason for each.
        tried: String,
    },

    /// The supervising shell could not be run.
    #[error("cannot run {program} for {server}: {source}. Check that /bin/sh works and that processes may be created")]
    Spawn {
        /// Which server.
        server: &'static str,
        /// The program that was to be run.
        program: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },

    /// The program that makes an empty database directory failed.
    #[error("{server} could not make its data directory: {end}. {advice}.\n{log}")]
    Initialise {
        /// Which server.
        server: &'static str,
        /// The program that failed, and how it ended.
        end: String,
        /// What to do next.
        advice: &'static str,
        /// Where its log is, and the last lines of it.
        log: LogTail,
    },

    /// A server ended by itself, before or after it was ready.
    #[error("{server} {end}. Its log says why; mend that and start again.\n{log}")]
    Ended {
        /// Which server.
        server: &'static str,
        /// How it ended.
        end: String,
        /// Where its log is, and the last lines of it.
        log: LogTail,
    },

    /// A server runs but does not answer.
    #[error(
        "{server} did not answer on its socket within {limit:?}. See its log, and try again on a quieter machine.\n{log}"
    )]
    NotReady {
        /// Which server.
        server: &'static str,
        /// How long we waited.
        limit: Duration,
        /// Where its log is, and the last lines of it.
        log: LogTail,
    },
}

impl ServersError {
    /// For `map_err` on file operations.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ServersError {
        let path = path.into();
        move |source| ServersError::File { action, path, source }
    }
}

/// The end of a server's log.
#[derive(Debug)]
pub struct LogTail {
    /// The log file. It is gone when the data directory was ephemeral.
    pub path: PathBuf,
    /// A few lines, all of them from the server's last run.
    pub lines: String,
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Last lines of {}:\n{}", self.path.display(), self.lines)
    }
}
