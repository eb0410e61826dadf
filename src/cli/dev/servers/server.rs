//! One private server: claim its log, initialise its data, run, answer, end. The same for both; `mysql` and `redis` say
//! what to run.

use std::ffi::OsString;
use std::fs::File;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::directory::DataDirectory;
use super::error::ServersError;
use super::leash::{Abandonment, Invocation, Leash, Signal, describe_end};
use super::log::Log;
use super::{mysql_server, redis_server};

/// How long an abandoned server may take to shut down before it is killed. A database flushes its pages in that time.
const ABANDONED_GRACE: Duration = Duration::from_secs(30);
/// How long a start waits for a server of an earlier run: its grace and some more.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(40);
/// How long making an empty database directory may take. It takes one to five seconds.
const INITIALISE_LIMIT: Duration = Duration::from_mins(2);
/// How long a server may take until it answers. Recovery after a kill reads up to the whole redo log.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// How long one attempt to get an answer may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);
/// How long a server may take to shut down when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a killed process may take to disappear.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What a server is, and how it is run.
#[derive(Debug)]
pub(super) struct Recipe {
    /// As its user knows it: "MariaDB".
    pub(super) name: &'static str,
    /// Holds the log; the server's working directory.
    pub(super) directory: PathBuf,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) socket: PathBuf,
    pub(super) answer: Answer,
    /// How its data come into being, if it does not make them itself.
    pub(super) initialisation: Option<Initialisation>,
    pub(super) abandonment: Abandonment,
}

/// What shows that a server is ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// It greets whoever connects.
    Greeting,
    /// It answers PING.
    Pong,
}

/// Makes the data in a scratch directory, which is renamed when it is complete: a start that was killed half-way leaves
/// nothing that looks like data.
#[derive(Debug)]
pub(super) struct Initialisation {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) scratch: PathBuf,
    pub(super) data: PathBuf,
    /// For the error message: what to do when it fails.
    pub(super) advice: &'static str,
}

/// A private server, running or not. It can be ended and started again on the same data and the same socket.
///
/// Dropping the value while the server runs abandons it: it is shut down in the background and, if the data directory
/// is ephemeral, the whole directory is removed. End it with [`Server::stop`] or [`Server::kill`] to keep the data.
#[derive(Debug)]
pub struct Server {
    recipe: Recipe,
    log: Log,
    leash: Option<Leash>,
}

impl Server {
    pub(super) fn new(recipe: Recipe) -> Server {
        let log = Log::new(recipe.directory.join("server.log"));
        Server { recipe, log, leash: None }
    }

    /// The server's own process id, for as long as it has not been seen to end.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.leash.as_ref().map(Leash::pid)
    }

    /// Its unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.recipe.socket
    }

    /// Starts the server and waits until it answers. A server that still runs is stopped first.
    ///
    /// # Errors
    /// When a server of an earlier run does not go away, the data cannot be made, or the server ends or stays silent.
    pub async fn start(&mut self) -> Result<(), ServersError> {
        self.stop().await;
        let since = Instant::now();
        let log = self.log.claim(self.recipe.name, PREDECESSOR_LIMIT).await?;
        self.initialise(&log).await?;
        remove_stale(&self.recipe.socket)?;
        let Recipe { program, arguments, directory, .. } = &self.recipe;
        let leash = Leash::spawn(Invocation { program, arguments, directory }, log, &self.recipe.abandonment)
            .await
            .map_err(|source| self.cannot_spawn(program, source))?;
        let pid = leash.pid();
        self.leash = Some(leash);
        self.until_it_answers().await?;
        let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(server = self.recipe.name, pid, duration_ms, "a private server is ready");
        Ok(())
    }

    /// Kills the server as `kill -9` does, and waits until it is gone. Nothing happens if it does not run.
    pub async fn kill(&mut self) {
        self.end(Signal::Kill, KILL_LIMIT).await;
    }

    /// Asks the server to shut down, waits, and kills it if it does not. Nothing happens if it does not run.
    pub async fn stop(&mut self) {
        self.end(Signal::Terminate, STOP_LIMIT).await;
    }

    /// Resolves when the server ends though nobody here ended it; never, if it does not run. Cancel safe.
    pub async fn ended(&mut self) -> ServersError {
        let Some(leash) = &mut self.leash else { return pending().await };
        let status = leash.wait().await;
        self.leash = None;
        self.it_ended(&status)
    }

    async fn initialise(&self, log: &File) -> Result<(), ServersError> {
        let Some(Initialisation { program, arguments, scratch, data, advice }) = &self.recipe.initialisation else {
            return Ok(());
        };
        if data.exists() {
            return Ok(());
        }
        remove_if_there(tokio::fs::remove_dir_all(scratch).await, scratch)?;
        let log = log.try_clone().map_err(ServersError::file("open", &self.recipe.directory))?;
        let invocation = Invocation { program, arguments, directory: &self.recipe.directory };
        // Nothing is lost when a half-made directory is killed.
        let abandonment = Abandonment { grace: Duration::ZERO, ..self.recipe.abandonment.clone() };
        let spawned = Leash::spawn(invocation, log, &abandonment).await;
        let mut leash = spawned.map_err(|source| self.cannot_spawn(program, source))?;
        let end = match timeout(INITIALISE_LIMIT, leash.wait()).await {
            Ok(Ok(status)) if status.success() => {
                return tokio::fs::rename(scratch, data).await.map_err(ServersError::file("rename", scratch));
            }
            Ok(status) => format!("{} {}", program.display(), describe_end(&status)),
            Err(_) => {
                leash.signal(Signal::Kill).await;
                format!("{} did not end within {INITIALISE_LIMIT:?}", program.display())
            }
        };
        Err(ServersError::Initialise { server: self.recipe.name, end, advice, log: self.log.tail() })
    }

    async fn until_it_answers(&mut self) -> Result<(), ServersError> {
        let Some(leash) = &mut self.leash else { return Ok(()) };
        let status = tokio::select! {
            status = leash.wait() => Some(status),
            () = answered(self.recipe.answer, &self.recipe.socket) => return Ok(()),
            () = sleep(READY_LIMIT) => None,
        };
        let log = self.log.tail();
        let Some(status) = status else {
            self.kill().await;
            return Err(ServersError::NotReady { server: self.recipe.name, limit: READY_LIMIT, log });
        };
        self.leash = None;
        Err(self.it_ended(&status))
    }

    async fn end(&mut self, signal: Signal, limit: Duration) {
        // The leash stays where it is while we wait: dropped with a cancelled future, it would abandon the server.
        let Some(leash) = &mut self.leash else { return };
        let (server, pid) = (self.recipe.name, leash.pid());
        leash.signal(signal).await;
        if timeout(limit, leash.wait()).await.is_err() {
            tracing::warn!(server, pid, ?limit, "a private server does not end and is killed");
            leash.signal(Signal::Kill).await;
            if timeout(KILL_LIMIT, leash.wait()).await.is_err() {
                tracing::error!(server, pid, "a private server could not be killed");
            }
        }
        self.leash = None;
    }

    fn it_ended(&self, status: &io::Result<ExitStatus>) -> ServersError {
        ServersError::Ended { server: self.recipe.name, end: describe_end(status), log: self.log.tail() }
    }

    fn cannot_spawn(&self, program: &Path, source: io::Error) -> ServersError {
        ServersError::Spawn { server: self.recipe.name, program: program.to_owned(), source }
    }
}

/// What happens to a server in this directory when we are gone. Data that are to be removed need no clean shutdown.
pub(super) fn abandonment(directory: &DataDirectory) -> Abandonment {
    Abandonment {
        grace: if directory.is_ephemeral() { Duration::ZERO } else { ABANDONED_GRACE },
        remove_data: directory.unkept_data(),
        remove_sockets: directory.unkept_sockets(),
    }
}

async fn answered(answer: Answer, socket: &Path) {
    loop {
        let attempt = async {
            match answer {
                Answer::Greeting => mysql_server::greets(socket).await,
                Answer::Pong => redis_server::answers_ping(socket).await,
            }
        };
        if let Ok(Ok(true)) = timeout(ATTEMPT_LIMIT, attempt).await {
            return;
        }
        sleep(ATTEMPT_INTERVAL).await;
    }
}

/// Removes what a killed server left: its socket, and MySQL's note of the process that had it, which keeps MySQL from
/// starting when that process id has been given to somebody else.
fn remove_stale(socket: &Path) -> Result<(), ServersError> {
    let mut note = socket.as_os_str().to_owned();
    note.push(".lock");
    for path in [socket, Path::new(&note)] {
        remove_if_there(std::fs::remove_file(path), path)?;
    }
    Ok(())
}

fn remove_if_there(removed: io::Result<()>, path: &Path) -> Result<(), ServersError> {
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ServersError::file("remove", path)(source)),
        Ok(()) | Err(_) => Ok(()),
    }
}
