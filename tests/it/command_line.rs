//! The command line's client commands, as a person and as a script use them: the real program against a real server.

mod apikey;
mod lists;
mod manual;
mod outputs;
mod queues;
mod submit;
mod terminals;
mod verbs;

use crate::harness::{Daemon, DaemonBuilder};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// The exit code, and both outputs. No terminal, and nothing on standard input.
async fn run(daemon: &Daemon, args: &[&str]) -> (i32, String, String) {
    at(&daemon.url, args).await
}

async fn at(url: &str, args: &[&str]) -> (i32, String, String) {
    let builder = DaemonBuilder::new(&[args, &["--url", url]].concat());
    tokio::task::spawn_blocking(move || builder.output()).await.unwrap()
}

/// What must work: its standard output.
async fn done(daemon: &Daemon, args: &[&str]) -> String {
    let (code, text, errors) = run(daemon, args).await;
    assert_eq!(code, 0, "{args:?}: {text}{errors}");
    text
}

/// The same as JSON.
async fn json(daemon: &Daemon, args: &[&str]) -> Value {
    let text = done(daemon, &[args, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// With something on standard input.
async fn fed(daemon: &Daemon, args: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskrunnerx"));
    command.args(args).args(["--url", &daemon.url]).env_remove("TASKRUNNERX_API_KEY");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

/// The fields of a table's line, as far as none has a space within.
fn fields(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
