//! What MariaDB and MySQL are run with, and the sign that they are ready.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::directory::DataDirectory;
use super::error::ServersError;
use super::programs::DatabaseProgram;
use super::server::{Answer, Initialisation, Recipe, abandonment};
use super::{DATABASE, Durability};

/// The server's files, within its directory.
const DATA: &str = "data";
/// The first byte of every greeting since MySQL 3.21.
const PROTOCOL_VERSION: u8 = 10;
/// The profile with which Ubuntu's MySQL package confines `mysqld` to the system's own data directory.
const APPARMOR_PROFILE: &str = "/etc/apparmor.d/usr.sbin.mysqld";

/// For both servers.
const SETTINGS: [&str; 7] = [
    // Whoever reaches the socket is let in, so nobody else may.
    "--skip-networking",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=OFF",
    // What packaged configurations say; MariaDB's built-in default is latin1.
    "--character-set-server=utf8mb4",
    "--max-connections=300",
    "--innodb-buffer-pool-size=256M",
];
/// Level 2, the default, would log a warning for each client that ends without taking leave.
const MARIADB_SETTINGS: [&str; 1] = ["--log-warnings=1"];
/// `--loose-` makes versions ignore what they do not know.
const MYSQL_SETTINGS: [&str; 5] = [
    // Another protocol, on a port and a socket of its own.
    "--loose-mysqlx=OFF",
    // The built-in directory need not exist.
    "--secure-file-priv=NULL",
    // Keys for connections that are not made here; they take a second to generate.
    "--loose-auto-generate-certs=OFF",
    "--loose-sha256-password-auto-generate-rsa-keys=OFF",
    "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
];
/// Each commit reaches the disk before it is acknowledged.
const FULL: [&str; 1] = ["--innodb-flush-log-at-trx-commit=1"];
/// The log is written once a second, and a torn page is not repaired.
const RELAXED: [&str; 2] = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"];

/// Writes the files that the server reads at its start, and says how it is run.
///
/// # Errors
/// When the directory belongs to the other kind of server or its files cannot be written.
pub(super) fn recipe(
    program: &DatabaseProgram,
    directory: &DataDirectory,
    durability: Durability,
) -> Result<Recipe, ServersError> {
    let kind = Kind::of(program);
    refuse_the_other_kind(kind, program, directory)?;
    let home = directory.server(kind.directory())?;
    let (init_file, as_root) = write_init_file(&home)?;
    let socket = directory.socket("mysql.sock");
    let settings = kind.settings(durability);

    let mut arguments: Vec<OsString> = vec!["--no-defaults".into()];
    // As root the server refuses to start without being told so.
    arguments.extend(as_root.then(|| "--user=root".into()));
    arguments.push(option("--datadir=", &home.join(DATA)));
    arguments.push(option("--socket=", &socket));
    arguments.push(option("--pid-file=", &home.join("server.pid")));
    arguments.push(option("--init-file=", &init_file));
    arguments.extend(settings.iter().map(OsString::from));

    Ok(Recipe {
        name: kind.name(),
        program: program.server().to_owned(),
        arguments,
        socket,
        answer: Answer::Greeting,
        initialisation: Some(initialisation(program, &home, as_root, settings)),
        abandonment: abandonment(directory),
        directory: home,
    })
}

/// A server greets when it accepts connections, which is after its init file has run. A refusal (too many connections)
/// is not a greeting.
///
/// # Errors
/// When nobody listens yet, or the connection breaks.
pub(super) async fn greets(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    // Three bytes of length, one of sequence, and the first of the packet.
    let mut start = [0; 5];
    stream.read_exact(&mut start).await?;
    let [.., version] = start;
    Ok(version == PROTOCOL_VERSION)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    MariaDb,
    MySql,
}

impl Kind {
    fn of(program: &DatabaseProgram) -> Kind {
        match program {
            DatabaseProgram::MariaDb { .. } => Kind::MariaDb,
            DatabaseProgram::MySql { .. } => Kind::MySql,
        }
    }

    fn other(self) -> Kind {
        match self {
            Kind::MariaDb => Kind::MySql,
            Kind::MySql => Kind::MariaDb,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::MariaDb => "MariaDB",
            Kind::MySql => "MySQL",
        }
    }

    /// Neither server can read the other's files, so each kind has a directory of its own.
    fn directory(self) -> &'static str {
        match self {
            Kind::MariaDb => "mariadb",
            Kind::MySql => "mysql",
        }
    }

    fn settings(self, durability: Durability) -> Vec<String> {
        let (own, redo_log): (&[&str], _) = match self {
            Kind::MariaDb => (&MARIADB_SETTINGS, "--innodb-log-file-size"),
            Kind::MySql => (&MYSQL_SETTINGS, "--loose-innodb-redo-log-capacity"),
        };
        // Disk space that is taken at once: a test's server needs little, and there may be many.
        let (durable, redo_log_size): (&[&str], _) = match durability {
            Durability::Full => (&FULL, "256M"),
            Durability::Relaxed => (&RELAXED, "64M"),
        };
        let settings = SETTINGS.iter().chain(own).chain(durable).map(|setting| (*setting).to_owned());
        settings.chain([format!("{redo_log}={redo_log_size}")]).collect()
    }
}

fn initialisation(program: &DatabaseProgram, home: &Path, as_root: bool, settings: Vec<String>) -> Initialisation {
    let scratch = home.join(format!("{DATA}.new"));
    let mut arguments: Vec<OsString> = vec!["--no-defaults".into()];
    let (program, advice) = match program {
        DatabaseProgram::MariaDb { installer, .. } => {
            arguments.push("--auth-root-authentication-method=normal".into());
            arguments.push("--skip-test-db".into());
            // Does not insist that the host's own name can be looked up.
            arguments.push("--force".into());
            // Not `--user=root`: the installer would take that for itself and change owners in the plugin directory of
            // the host. Spelled like this it is handed on to the server, which needs it.
            arguments.extend(as_root.then(|| "-uroot".into()));
            (installer, "Check the disk space, and that all of MariaDB's server package is installed")
        }
        DatabaseProgram::MySql { server } => {
            arguments.push("--initialize-insecure".into());
            arguments.extend(as_root.then(|| "--user=root".into()));
            (server, mysql_advice())
        }
    };
    arguments.push(option("--datadir=", &scratch));
    // The redo log is made now, in the size that it is used with.
    arguments.extend(settings.into_iter().map(OsString::from));
    Initialisation { program: program.clone(), arguments, scratch, data: home.join(DATA), advice }
}

fn mysql_advice() -> &'static str {
    if Path::new(APPARMOR_PROFILE).exists() {
        "If its log is empty or says that permission was denied, AppArmor confines it to the system's own database: \
         `sudo aa-complain mysqld` lifts that"
    } else {
        "Check the disk space, and that all of MySQL's server package is installed"
    }
}

fn refuse_the_other_kind(kind: Kind, program: &DatabaseProgram, directory: &DataDirectory) -> Result<(), ServersError> {
    let other = kind.other();
    let path = directory.path().join(other.directory());
    if !path.join(DATA).exists() {
        return Ok(());
    }
    let program = program.server().to_owned();
    Err(ServersError::OtherKind { path, theirs: other.name(), ours: kind.name(), program })
}

/// Writes the statement that the server runs at each start. Says whether the file became root's, which is how we learn
/// that we are root.
fn write_init_file(home: &Path) -> Result<(PathBuf, bool), ServersError> {
    let path = home.join("init.sql");
    let written = || -> io::Result<bool> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "CREATE DATABASE IF NOT EXISTS `{DATABASE}`;")?;
        Ok(file.metadata()?.uid() == 0)
    };
    let as_root = written().map_err(ServersError::file("write", &path))?;
    Ok((path, as_root))
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}
