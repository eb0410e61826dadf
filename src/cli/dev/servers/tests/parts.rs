//! Programs, directories and URLs: what can be tested without a server.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::super::directory::{DataDirectory, SOCKET_PATH_LIMIT};
use super::super::programs::{DatabaseProgram, Programs};
use super::super::{ServersError, percent_encoded};
use super::options;

#[tokio::test]
async fn all_that_is_missing_is_named_at_once() {
    let directory = TempDir::new().unwrap();
    let missing = Programs::find_in(vec![directory.path().to_owned()]).await.unwrap_err().to_string();
    for part in ["mariadbd or mysqld", "redis-server or valkey-server", "apt install", "dnf install", "brew install"] {
        assert!(missing.contains(part), "{missing}");
    }
    assert!(missing.contains(directory.path().to_str().unwrap()), "{missing}");

    // A file that cannot be run is not a program, and a MariaDB without its installer is of no use.
    File::create(directory.path().join("valkey-server")).unwrap();
    symlink("/bin/sh", directory.path().join("mariadbd")).unwrap();
    let missing = Programs::find_in(vec![directory.path().to_owned()]).await.unwrap_err();
    assert_eq!(missing.programs.len(), 2, "{missing}");
    assert!(missing.to_string().contains("mariadb-install-db"), "{missing}");
}

#[tokio::test]
async fn programs_are_found_in_order_and_asked_what_they_are() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (first, second) = (first.path(), second.path());
    symlink("/bin/echo", first.join("mysqld")).unwrap(); // echoes its arguments: not MariaDB
    symlink("/bin/sh", second.join("mariadbd")).unwrap();
    symlink("/bin/sh", second.join("valkey-server")).unwrap();
    let programs = Programs::find_in(vec![first.to_owned(), second.to_owned()]).await.unwrap();
    assert_eq!(programs.database, DatabaseProgram::MySql { server: first.join("mysqld") });
    assert_eq!(programs.redis, second.join("valkey-server"));

    symlink("/bin/sh", second.join("mariadb-install-db")).unwrap();
    let programs = Programs::find_in(vec![second.to_owned(), first.to_owned()]).await.unwrap();
    let installer = second.join("mariadb-install-db");
    assert_eq!(programs.database, DatabaseProgram::MariaDb { server: second.join("mariadbd"), installer });
}

#[test]
fn a_directory_has_one_user_at_a_time() {
    let directory = TempDir::new().unwrap();
    let options = options(directory.path().join("a/b"), false);
    let opened = DataDirectory::open(&options).unwrap();
    for path in [opened.path(), &opened.path().join("run"), &opened.server("mysql").unwrap()] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
    let refused = DataDirectory::open(&options).unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    drop(opened);
    DataDirectory::open(&options).unwrap();
}

#[tokio::test]
async fn an_ephemeral_directory_must_be_empty() {
    let directory = TempDir::new().unwrap();
    let precious = directory.path().join("precious");
    File::create(&precious).unwrap();
    let error = DataDirectory::open(&options(directory.path(), true)).unwrap_err();
    assert!(matches!(error, ServersError::NotEmpty { .. }), "{error}");
    assert!(precious.exists());

    let empty = directory.path().join("empty");
    DataDirectory::open(&options(&empty, true)).unwrap().close().await;
    assert!(!empty.exists() && precious.exists());
}

#[tokio::test]
async fn sockets_of_a_long_directory_are_elsewhere() {
    let directory = TempDir::new().unwrap();
    let long = directory.path().join("x".repeat(SOCKET_PATH_LIMIT));
    let (one, two) = (long.join("one"), long.join("two"));
    let (one, two) =
        (DataDirectory::open(&options(one, false)).unwrap(), DataDirectory::open(&options(two, false)).unwrap());
    let (socket, other) = (one.socket("mysql.sock"), two.socket("mysql.sock"));
    assert!(socket.to_str().unwrap().len() <= SOCKET_PATH_LIMIT, "{}", socket.display());
    assert_ne!(socket, other);
    let parent = socket.parent().unwrap();
    assert_eq!(parent.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let root = one.path().to_owned();
    one.close().await;
    two.close().await;
    assert!(root.exists() && !parent.exists() && !other.parent().unwrap().exists());
}

#[test]
fn anything_can_be_in_a_url() {
    let encoded = percent_encoded(Path::new("/a b/%+&#é-._~"));
    assert_eq!(encoded, "/a%20b/%25%2B%26%23%C3%A9-._~");
}
