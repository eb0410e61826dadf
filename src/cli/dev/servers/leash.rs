//! A child process that cannot outlive its parent.
//!
//! `taskrunnerx dev` promises that its servers go when it goes, `kill -9` included. A signal handler or a destructor
//! cannot keep that promise, and a parent-death signal exists on Linux only and comes too late for a parent that died
//! between fork and exec. So a small shell script stands between us and the server and holds the read end of a pipe:
//!
//! ```text
//!  taskrunnerx ──── pipe: signal names, then end of file ───▶ supervisor (sh, own process group)
//!       ▲                                                        │  fork, exec, wait
//!       └──────────── process id, exit status ───────────────────┤
//!                                                                ▼
//!                                                             server ──▶ log
//! ```
//!
//! The write end exists in this process only (it is close-on-exec), so the kernel closes it however we end, and the
//! supervisor reads end of file. The process group keeps the terminal's Ctrl-C from the servers: they stop when we
//! have finished with them, not while we still drain. Signals travel as names through the pipe and are sent by the
//! server's own parent, which cannot hit a process that was given the server's old id.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

const SUPERVISOR: &str = include_str!("leash.sh");
const SHELL: &str = "/bin/sh";

/// Where pipes cannot be made close-on-exec in one step (macOS), a supervisor that is forked between the two steps
/// would inherit another one's leash, and the two would keep each other alive. One spawn at a time prevents it.
static SPAWNING: Mutex<()> = Mutex::new(());

/// What the supervisor does when its parent is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Abandonment {
    /// Between asking the server to stop and killing it.
    pub(super) grace: Duration,
    /// Removed with all it holds once the server is gone.
    pub(super) remove_data: Option<PathBuf>,
    /// Removed likewise.
    pub(super) remove_sockets: Option<PathBuf>,
}

/// What to run, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invocation<'a, A> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [A],
    pub(super) directory: &'a Path,
}

/// Signals that the supervisor passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Terminate,
    Kill,
}

impl Signal {
    fn line(self) -> &'static [u8] {
        match self {
            Signal::Terminate => b"TERM\n",
            Signal::Kill => b"KILL\n",
        }
    }
}

/// A running program and the end of the pipe that keeps it alive. Dropping the value abandons the program.
#[derive(Debug)]
pub(super) struct Leash {
    supervisor: Child,
    line: ChildStdin,
    pid: u32,
}

impl Leash {
    /// Runs a program under a supervisor, with `log` as its standard output and error. Every process below the
    /// supervisor holds `log` open, and therefore also a lock on it.
    ///
    /// # Errors
    /// When the shell cannot be run. A program that cannot be run is not an error here: it ends with status 127 or
    /// 126 and the shell's complaint is in the log.
    pub(super) async fn spawn<A: AsRef<OsStr>>(
        invocation: Invocation<'_, A>,
        log: File,
        abandonment: &Abandonment,
    ) -> io::Result<Leash> {
        let tenths = abandonment.grace.as_millis().div_ceil(100);
        let or_none = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let mut command = Command::new(SHELL);
        command
            .args(["-c", SUPERVISOR, "leash", &tenths.to_string()])
            .arg(or_none(&abandonment.remove_data))
            .arg(or_none(&abandonment.remove_sockets))
            .arg(invocation.program)
            .args(invocation.arguments)
            .current_dir(invocation.directory)
            // A starting MariaDB removes the temporary tables of every other one from the directory for such files.
            .env("TMPDIR", invocation.directory)
            // A service manager that waits for our readiness must not hear of a child's.
            .env_remove("NOTIFY_SOCKET")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut supervisor = {
            let _one_at_a_time = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
            command.spawn()?
        };
        // The command holds our copy of the log, and with it the log's lock.
        drop(command);
        let broken = || io::Error::other(format!("{SHELL} ended without starting the program"));
        let (Some(line), Some(output)) = (supervisor.stdin.take(), supervisor.stdout.take()) else {
            return Err(broken());
        };
        let first_line = BufReader::new(output).lines().next_line().await?;
        let pid = first_line.and_then(|pid| pid.parse().ok()).ok_or_else(broken)?;
        Ok(Leash { supervisor, line, pid })
    }

    /// The process id of the program itself, not of its supervisor.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the program. A program that has ended already is no error: [`Leash::wait`] tells.
    pub(super) async fn signal(&mut self, signal: Signal) {
        if let Err(error) = self.line.write_all(signal.line()).await {
            tracing::debug!(pid = self.pid, ?signal, %error, "a signal found no supervisor");
        }
    }

    /// Waits for the program to end. Cancel safe.
    ///
    /// # Errors
    /// When the operating system cannot say how it ended.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Our end of the pipe was taken out of the child: `Child::wait` would close it, which abandons the program.
        self.supervisor.wait().await
    }
}

/// Says how a program ended, as the end of a sentence. A shell reports a signal as 128 and its number.
pub(super) fn describe_end(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match status.code() {
            Some(code @ 129..=192) => format!("was ended by signal {}", code.saturating_sub(128)),
            Some(code) => format!("ended with exit status {code}"),
            None => format!("lost its supervisor ({status})"),
        },
        Err(error) => format!("ended in a way that could not be read ({error})"),
    }
}
