//! The leash and the log's lock, with small shell scripts in place of servers.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::super::ServersError;
use super::super::leash::{Abandonment, Invocation, Leash, Signal, describe_end};
use super::super::log::Log;
use super::{LIMIT, alive, eventually};

fn log_in(directory: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap()
}

fn logged(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap()
}

async fn shell(directory: &Path, script: &str, abandonment: &Abandonment) -> Leash {
    let invocation = Invocation { program: Path::new("/bin/sh"), arguments: &["-c", script], directory };
    Leash::spawn(invocation, log_in(directory), abandonment).await.unwrap()
}

#[tokio::test]
async fn an_end_is_reported_with_its_status() {
    let directory = TempDir::new().unwrap();
    let mut leash = shell(directory.path(), "echo out; echo err >&2; exit 7", &Abandonment::default()).await;
    assert_eq!(leash.wait().await.unwrap().code(), Some(7));
    assert_eq!(logged(directory.path()), "out\nerr\n");

    let mut leash = shell(directory.path(), "exec sleep 60", &Abandonment::default()).await;
    leash.signal(Signal::Kill).await;
    let status = timeout(LIMIT, leash.wait()).await.unwrap();
    assert_eq!(describe_end(&status), "was ended by signal 9");
    leash.signal(Signal::Terminate).await; // finds nobody, and that is no error

    let nothing = Invocation { program: Path::new("/nonexistent"), arguments: &[""; 0], directory: directory.path() };
    let mut leash = Leash::spawn(nothing, log_in(directory.path()), &Abandonment::default()).await.unwrap();
    assert_eq!(leash.wait().await.unwrap().code(), Some(127));
    assert!(logged(directory.path()).contains("/nonexistent"));
}

#[tokio::test]
async fn an_abandoned_program_is_asked_to_end_and_its_directories_go() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let sockets = directory.path().join("sock ets");
    fs::create_dir_all(data.join("deep")).unwrap();
    fs::create_dir(&sockets).unwrap();
    let abandonment =
        Abandonment { grace: LIMIT, remove_data: Some(data.clone()), remove_sockets: Some(sockets.clone()) };
    let script = "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.02; done";
    let leash = shell(directory.path(), script, &abandonment).await;
    let pid = leash.pid();
    eventually("the program is up", || logged(directory.path()) == "up\n").await;
    assert!(alive(pid));
    drop(leash);
    eventually("the program is gone", || !alive(pid)).await;
    assert_eq!(logged(directory.path()), "up\nbye\n");
    eventually("the directories are gone", || !data.exists() && !sockets.exists()).await;
}

#[tokio::test]
async fn an_abandoned_program_that_does_not_listen_is_killed() {
    let directory = TempDir::new().unwrap();
    let abandonment = Abandonment { grace: Duration::from_millis(200), ..Abandonment::default() };
    let script = "trap '' TERM; echo up; while :; do sleep 0.02; done";
    let leash = shell(directory.path(), script, &abandonment).await;
    let pid = leash.pid();
    eventually("the program is up", || logged(directory.path()) == "up\n").await;
    drop(leash);
    eventually("the program is gone", || !alive(pid)).await;
}

#[tokio::test]
async fn a_program_that_ended_by_itself_leaves_the_directories() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let abandonment = Abandonment { remove_data: Some(data.clone()), ..Abandonment::default() };
    let mut leash = shell(directory.path(), "exit 0", &abandonment).await;
    leash.wait().await.unwrap();
    drop(leash);
    assert!(data.exists());
}

#[tokio::test]
async fn a_program_has_neither_the_leash_nor_our_terminal() {
    let directory = TempDir::new().unwrap();
    let script = "(exec <&3) 2>/dev/null && echo has the leash; cat; echo \"group $(ps -o pgid= -p $$)\"";
    let mut leash = shell(directory.path(), script, &Abandonment::default()).await;
    timeout(LIMIT, leash.wait()).await.expect("cat reads an empty input").unwrap();
    let ours = Command::new("ps").args(["-o", "pgid=", "-p", &std::process::id().to_string()]).output().unwrap();
    let log = logged(directory.path());
    let group = log.strip_prefix("group ").expect("nothing but the group is logged").trim();
    assert_ne!(group, String::from_utf8(ours.stdout).unwrap().trim());
}

#[tokio::test]
async fn the_log_is_held_by_the_program_that_writes_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let held = Log::new(path.clone()).claim("it", LIMIT).await.unwrap();
    let invocation =
        Invocation { program: Path::new("/bin/sh"), arguments: &["-c", "exec sleep 60"], directory: directory.path() };
    let mut leash = Leash::spawn(invocation, held, &Abandonment::default()).await.unwrap();
    let refused = Log::new(path.clone()).claim("it", Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, ServersError::StillShuttingDown { .. }), "{refused}");
    leash.signal(Signal::Kill).await;
    Log::new(path).claim("it", LIMIT).await.unwrap();
}
