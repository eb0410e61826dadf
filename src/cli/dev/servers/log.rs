//! A server's log file, which is also the lock on its data.
//!
//! The file is locked here and handed to the supervisor as its standard error, so the lock belongs to everybody below
//! the supervisor as well: it is free only when the last process that could write to the data has gone. That is how a
//! start finds out that a killed predecessor's server still shuts down, and how two servers never share one directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{LogTail, ServersError};

/// How often a lock that is held is tried again.
const POLL: Duration = Duration::from_millis(20);
/// A log that has grown beyond this many bytes is emptied at the next start.
const LIMIT_BYTES: u64 = 4 << 20;
/// How many bytes of the end are looked at for an error message.
const TAIL_BYTES: u64 = 8 << 10;
/// How many lines of the end an error message quotes.
const TAIL_LINES: usize = 15;
/// How many lines that speak of errors it quotes besides.
const ERROR_LINES: usize = 10;

/// A server's log, from where its latest run begins.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    run_begins: u64,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Log {
        Log { path, run_begins: 0 }
    }

    /// Opens the log for a new run as soon as no process of an earlier run holds it.
    ///
    /// # Errors
    /// When the file cannot be opened, or is still held after `limit`.
    pub(super) async fn claim(&mut self, server: &'static str, limit: Duration) -> Result<File, ServersError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(ServersError::file("open", &self.path))?;
        let since = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(ServersError::file("lock", &self.path)(source)),
                Err(TryLockError::WouldBlock) if since.elapsed() < limit => {
                    if !told {
                        tracing::info!(server, "waiting for the server of an earlier run to shut down");
                        told = true;
                    }
                    sleep(POLL).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let path = self.path.parent().unwrap_or(&self.path).to_owned();
                    return Err(ServersError::StillShuttingDown { server, path, waited: limit });
                }
            }
        }
        self.run_begins = run_begins(&file).map_err(ServersError::file("truncate", &self.path))?;
        Ok(file)
    }

    /// The last lines of the latest run, for an error message. A log that cannot be read says so in place of lines.
    pub(super) fn tail(&self) -> LogTail {
        let lines = match read_tail(&self.path, self.run_begins) {
            Ok(text) if text.trim().is_empty() => "(nothing was logged)".to_owned(),
            Ok(text) => excerpt(&text),
            Err(error) => format!("(cannot be read: {error})"),
        };
        LogTail { path: self.path.clone(), lines }
    }
}

fn run_begins(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length <= LIMIT_BYTES {
        return Ok(length);
    }
    file.set_len(0)?;
    Ok(0)
}

fn read_tail(path: &Path, run_begins: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(run_begins);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines, and before them the errors that are further up: MariaDB's installer follows the reason of its
/// failure with a page of general advice.
fn excerpt(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let (earlier, last) = lines.split_at(lines.len().saturating_sub(TAIL_LINES));
    let errors = earlier.iter().filter(|line| line.contains("ERROR")).take(ERROR_LINES);
    let quoted: Vec<String> = errors.chain(last).map(|line| format!("  {line}")).collect();
    quoted.join("\n")
}
