//! The private database server and Redis that `taskrunnerx dev` and the tests start.
//!
//! They are the real servers, run as children on unix sockets in a directory of their own, so that a fresh machine
//! needs two packages and no set-up, and so that nothing here touches a server that the machine has already.
//!
//! ```text
//!  programs   finds mariadbd/mysqld and redis-server/valkey-server, or names all that is missing
//!     ▼
//!  directory  creates and locks the data directory, chooses where sockets go
//!     ▼
//!  mysql, redis   say what to run and how to tell that it is ready
//!     ▼
//!  server     start, kill, stop; notices an end that nobody asked for
//!     ▼
//!  leash      a supervisor that ends the server when this process is gone, however it went
//!  log        the server's log, whose lock is held until the last process has left the data
//! ```
//!
//! The supervisor shuts its server down, and removes what is ephemeral, also after `kill -9` of this process; a start
//! right after that waits until it has finished.

mod directory;
mod error;
mod leash;
mod log;
mod mysql_server;
mod programs;
mod redis_server;
mod server;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use self::directory::DataDirectory;
use self::programs::Programs;

pub use self::error::{LogTail, ServersError};
pub use self::programs::MissingPrograms;
pub use self::server::Server;

/// The database that exists after each start.
pub const DATABASE: &str = "taskrunnerx";

/// How the private servers are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Holds data, logs and sockets. Created when missing, with mode 0700.
    pub data_dir: PathBuf,
    /// Remove the directory at the end. It must be new or empty at the start.
    pub ephemeral: bool,
    /// What the end of a server or of the machine may cost.
    pub durability: Durability,
}

/// What the end of a server or of the machine may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production. A killed server loses nothing, a loss of power at most the last second of Redis.
    Full,
    /// For tests. A killed database may lose the last second of commits, Redis forgets everything when it ends, and a
    /// loss of power costs all.
    Relaxed,
}

/// A running database server and a running Redis.
///
/// Dropping the value ends both in the background; [`Servers::stop`] waits for it.
#[derive(Debug)]
pub struct Servers {
    /// Of the database [`DATABASE`], for a user with all rights.
    pub database_url: String,
    /// Of database 0.
    pub redis_url: String,
    /// To kill and restart in tests. The URL stays the same.
    pub database: Server,
    /// To kill and restart in tests. The URL stays the same.
    pub redis: Server,
    /// Last, because fields are dropped in this order: nobody else may have the directory while a server is ours.
    directory: DataDirectory,
}

impl Servers {
    /// Starts both servers and waits until they answer: one to five seconds the first time, then tenths of a second.
    ///
    /// # Errors
    /// When programs are missing, the directory cannot be used, or a server does not start. Nothing is left running,
    /// and an ephemeral directory is removed.
    pub async fn start(options: &Options) -> Result<Servers, ServersError> {
        let programs = Programs::find().await?;
        Servers::start_with(&programs, options).await
    }

    async fn start_with(programs: &Programs, options: &Options) -> Result<Servers, ServersError> {
        let directory = DataDirectory::open(options)?;
        let recipes = mysql_server::recipe(&programs.database, &directory, options.durability).and_then(|database| {
            Ok((database, redis_server::recipe(&programs.redis, &directory, options.durability)?))
        });
        let (database, redis) = match recipes {
            Ok((database, redis)) => (Server::new(database), Server::new(redis)),
            Err(error) => {
                directory.close().await;
                return Err(error);
            }
        };
        let mut servers = Servers {
            database_url: database_url(database.socket(), DATABASE),
            redis_url: format!("redis+unix://{}", percent_encoded(redis.socket())),
            database,
            redis,
            directory,
        };
        let (database, redis) = tokio::join!(servers.database.start(), servers.redis.start());
        match database.and(redis) {
            Ok(()) => Ok(servers),
            Err(error) => {
                servers.stop().await;
                Err(error)
            }
        }
    }

    /// URL of another database on the same server, which the caller creates.
    #[must_use]
    pub fn database_url_for(&self, name: &str) -> String {
        database_url(self.database.socket(), name)
    }

    /// Where the data, logs and sockets are, in its canonical form.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Resolves when one of the servers ends though nobody here ended it, with how it ended and the last lines of its
    /// log. Cancel safe.
    pub async fn ended(&mut self) -> ServersError {
        tokio::select! {
            error = self.database.ended() => error,
            error = self.redis.ended() => error,
        }
    }

    /// Stops both servers and removes the directory if it is ephemeral. Takes tenths of a second, with MySQL up to two
    /// seconds, and a bounded time if a server hangs.
    pub async fn stop(mut self) {
        if self.directory.is_ephemeral() {
            // Nobody will read what a clean shutdown would write.
            tokio::join!(self.database.kill(), self.redis.kill());
        } else {
            tokio::join!(self.database.stop(), self.redis.stop());
        }
        self.directory.close().await;
    }
}

fn database_url(socket: &Path, name: &str) -> String {
    format!("mysql://root@localhost/{}?socket={}", percent_encoded(name.as_ref()), percent_encoded(socket))
}

/// For the path and the query of a URL alike. Socket paths and database names are UTF-8.
fn percent_encoded(path: &Path) -> String {
    let mut encoded = String::new();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
