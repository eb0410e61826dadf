//! Finds the servers' programs, or says in one message what is missing and how to install it.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Searched after PATH. Debian keeps servers in `/usr/sbin`, which is not on an ordinary user's PATH; Fedora keeps
/// them in `/usr/libexec`; Homebrew's directories are not on the PATH of programs that were started from the desktop.
const BEYOND_PATH: [&str; 9] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/usr/libexec",
    "/opt/homebrew/sbin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/opt/homebrew/opt/mysql/bin",
];
/// MariaDB before MySQL within one directory, where the second name is often a link to the first program.
const DATABASES: [&str; 2] = ["mariadbd", "mysqld"];
const INSTALLERS: [&str; 2] = ["mariadb-install-db", "mysql_install_db"];
const REDISES: [&str; 2] = ["redis-server", "valkey-server"];
/// A server prints its version in well under a second.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// The programs that the private servers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) database: DatabaseProgram,
    pub(super) redis: PathBuf,
}

/// A database server's program. The two differ in how an empty data directory is made and in some settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DatabaseProgram {
    MariaDb { server: PathBuf, installer: PathBuf },
    MySql { server: PathBuf },
}

/// Programs that were not found, and how to install them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MissingPrograms {
    /// What is missing, as its user would look for it: "mariadbd or mysqld".
    pub programs: Vec<String>,
    /// Where it was looked for.
    pub searched: Vec<PathBuf>,
}

impl fmt::Display for MissingPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the private database server and Redis need programs that were not found: {}.\n\
             Install them; they need not be running:\n  \
             Debian, Ubuntu: apt install mariadb-server-core mariadb-client-core redis-server\n  \
             Fedora:         dnf install mariadb-server valkey\n  \
             macOS:          brew install mariadb redis\n\
             Searched:",
            self.programs.join("; ")
        )?;
        for directory in &self.searched {
            write!(f, " {}", directory.display())?;
        }
        Ok(())
    }
}

impl Programs {
    /// Looks on PATH and in the directories where servers are usually installed.
    ///
    /// # Errors
    /// Names everything that is missing.
    pub(super) async fn find() -> Result<Programs, MissingPrograms> {
        let on_path = env::var_os("PATH").unwrap_or_default();
        // A relative entry of PATH means something else in the servers' own directories.
        let on_path = env::split_paths(&on_path).filter(|directory| directory.is_absolute());
        let mut directories: Vec<PathBuf> = Vec::new();
        for directory in on_path.chain(BEYOND_PATH.map(PathBuf::from)) {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        Programs::find_in(directories).await
    }

    /// Looks in these directories, the first one first.
    ///
    /// # Errors
    /// Names everything that is missing.
    pub(super) async fn find_in(searched: Vec<PathBuf>) -> Result<Programs, MissingPrograms> {
        let mut programs = Vec::new();
        let database = find_database(&searched).await.map_err(|missing| programs.push(missing.to_owned()));
        let redis =
            find_first(&searched, &REDISES).ok_or_else(|| programs.push("redis-server or valkey-server".to_owned()));
        match (database, redis) {
            (Ok(database), Ok(redis)) => Ok(Programs { database, redis }),
            _ => Err(MissingPrograms { programs, searched }),
        }
    }
}

impl DatabaseProgram {
    pub(super) fn server(&self) -> &Path {
        match self {
            DatabaseProgram::MariaDb { server, .. } | DatabaseProgram::MySql { server } => server,
        }
    }
}

async fn find_database(searched: &[PathBuf]) -> Result<DatabaseProgram, &'static str> {
    let server = find_first(searched, &DATABASES).ok_or("mariadbd or mysqld")?;
    if !is_mariadb(&server).await {
        return Ok(DatabaseProgram::MySql { server });
    }
    // The installer belongs to its server: from the same directory, or from where that directory's package puts it.
    let beside = server.parent();
    let above = beside.and_then(Path::parent);
    let nearby =
        [beside.map(Path::to_owned), above.map(|above| above.join("bin")), above.map(|above| above.join("scripts"))];
    let nearby: Vec<PathBuf> = nearby.into_iter().flatten().chain(searched.iter().cloned()).collect();
    let installer = find_first(&nearby, &INSTALLERS).ok_or("mariadb-install-db (which belongs to mariadbd)")?;
    Ok(DatabaseProgram::MariaDb { server, installer })
}

/// `mysqld` may be either server, so the program itself is asked.
async fn is_mariadb(server: &Path) -> bool {
    if server.file_name() == Some(OsStr::new("mariadbd")) {
        return true;
    }
    let mut command = Command::new(server);
    command.args(["--no-defaults", "--version"]).kill_on_drop(true);
    match timeout(VERSION_LIMIT, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).contains("MariaDB"),
        // A program that cannot be run says more when it is started, where its log is quoted.
        Ok(Err(_)) | Err(_) => false,
    }
}

fn find_first(directories: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let candidates = directories.iter().flat_map(|directory| names.iter().map(|name| directory.join(name)));
    candidates.into_iter().find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
