//! The data directory: who may use it, where its sockets are, and its removal.
//!
//! ```text
//!  data_dir/            as its user made it, or created with mode 0700
//!    lock               held by the process that uses the directory; notes its process id
//!    run/               sockets (mode 0700: whoever reaches the database's socket is its root)
//!    mariadb/ | mysql/  one server each, mode 0700: log, temporary files, data/
//!    redis/
//! ```

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;

use super::Options;
use super::error::ServersError;

/// Length of a unix socket's path in bytes, without the closing zero: 107 on Linux and 103 on macOS.
pub(super) const SOCKET_PATH_LIMIT: usize = 103;
/// The longest name of a socket, with its separator. MySQL puts a lock file beside its socket, which has no limit.
const SOCKET_NAME_BYTES: usize = "/mysql.sock".len();
/// Names tried for a socket directory under the temporary directory.
const SOCKET_DIRECTORY_TRIES: u32 = 100;

/// A data directory that is ours while the value lives.
#[derive(Debug)]
pub(super) struct DataDirectory {
    root: PathBuf,
    ephemeral: bool,
    /// Where sockets go.
    sockets: PathBuf,
    /// The sockets are outside `root`, so their directory is removed whether or not `root` is.
    sockets_apart: bool,
    /// The lock is given back when the file is closed, however the process ends.
    lock: File,
}

impl DataDirectory {
    /// Creates the directory when it is missing, and locks it.
    ///
    /// # Errors
    /// When another process has it, when it is to be removed at the end but is not empty, or when it cannot be made.
    pub(super) fn open(options: &Options) -> Result<DataDirectory, ServersError> {
        let given = &options.data_dir;
        create_private(given, true).map_err(ServersError::file("create", given))?;
        let root = given.canonicalize().map_err(ServersError::file("resolve", given))?;
        if options.ephemeral {
            let mut entries = root.read_dir().map_err(ServersError::file("read", &root))?;
            if entries.next().is_some() {
                return Err(ServersError::NotEmpty { path: root });
            }
        }
        let lock = lock(&root)?;
        let inside = root.join("run");
        let sockets = if holds_sockets(&inside) {
            make_private(&inside)?;
            inside.clone()
        } else {
            short_directory()?
        };
        let sockets_apart = sockets != inside;
        Ok(DataDirectory { root, ephemeral: options.ephemeral, sockets, sockets_apart, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// Path of a socket; the name must not be longer than those that the limit was reckoned with.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }

    /// The private directory of one server, created when it is missing.
    ///
    /// # Errors
    /// When it cannot be created, or is not ours to keep private.
    pub(super) fn server(&self, name: &str) -> Result<PathBuf, ServersError> {
        let path = self.root.join(name);
        make_private(&path)?;
        Ok(path)
    }

    /// The data, if they are not to be kept.
    pub(super) fn unkept_data(&self) -> Option<PathBuf> {
        self.ephemeral.then(|| self.root.clone())
    }

    /// The sockets, if they are not among the data.
    pub(super) fn unkept_sockets(&self) -> Option<PathBuf> {
        self.sockets_apart.then(|| self.sockets.clone())
    }

    /// Removes what is not kept. The servers must have ended.
    pub(super) async fn close(self) {
        for path in [self.unkept_data(), self.unkept_sockets()].into_iter().flatten() {
            if let Err(error) = tokio::fs::remove_dir_all(&path).await {
                tracing::warn!(path = %path.display(), %error, "a directory of the private servers was left behind");
            }
        }
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // Closing is not enough while we live: a child that another thread has forked shares the lock until it executes
        // its program, and a start in that moment would find the directory in use.
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(path = %self.root.display(), %error, "the lock was not given back");
        }
    }
}

fn lock(root: &Path) -> Result<File, ServersError> {
    let path = root.join("lock");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(ServersError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            let known = read.is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(ServersError::InUse { path: root.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(ServersError::file("lock", path)(source)),
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", process::id()));
    noted.map_err(ServersError::file("write", path))?;
    Ok(file)
}

fn holds_sockets(directory: &Path) -> bool {
    directory.to_str().is_some_and(|path| path.len().saturating_add(SOCKET_NAME_BYTES) <= SOCKET_PATH_LIMIT)
}

/// A new private directory with a short path, for when the data directory's own is too long for a socket.
fn short_directory() -> Result<PathBuf, ServersError> {
    let mut tried = Vec::new();
    for parent in [env::temp_dir(), PathBuf::from("/tmp")] {
        match short_directory_in(&parent) {
            Ok(path) => return Ok(path),
            Err(error) => tried.push(format!("{} ({error})", parent.display())),
        }
    }
    Err(ServersError::NoSocketDirectory { limit: SOCKET_PATH_LIMIT, tried: tried.join(", ") })
}

fn short_directory_in(parent: &Path) -> io::Result<PathBuf> {
    for number in 0..SOCKET_DIRECTORY_TRIES {
        let path = parent.join(format!("taskrunnerx-{}-{number}", process::id()));
        if !path.is_absolute() || !holds_sockets(&path) {
            return Err(io::Error::new(ErrorKind::InvalidFilename, "too long, relative or not UTF-8"));
        }
        match create_private(&path, false) {
            // Somebody else's, perhaps with somebody else's permissions: never used.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "all names are taken"))
}

fn create_private(path: &Path, with_parents: bool) -> io::Result<()> {
    DirBuilder::new().recursive(with_parents).mode(0o700).create(path)
}

/// Makes a directory that only we can enter, also when an earlier one had lost that.
fn make_private(path: &Path) -> Result<(), ServersError> {
    create_private(path, true).map_err(ServersError::file("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(ServersError::file("make private", path))
}
