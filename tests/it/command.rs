//! Task types that are programs: what they get and give, and that nothing of them survives.

use crate::harness::{Daemon, DaemonBuilder, World, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A daemon whose configuration makes these types, each a shell script or whatever `rest` says besides.
fn with_types(world: &World, roles: &str, types: &[(&str, &str, &str)]) -> DaemonBuilder {
    let mut text = String::new();
    for (name, script, rest) in types {
        text += &format!("[tasks.{name}]\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n{rest}\n");
        if !rest.contains("max_attempts") {
            text += "max_attempts = 1\n";
        }
    }
    let mut builder = world.daemon(roles);
    builder.file(&text);
    builder
}

/// The processes that a task has started and that are there still, by their command lines: they all carry its id.
fn survivors(task: &Value) -> Vec<String> {
    pids(task).iter().map(|pid| read(pid, "cmdline")).collect()
}

fn pids(task: &Value) -> Vec<String> {
    let mark = format!("TASKRUNNERX_TASK_ID={}", task["id"].as_str().unwrap());
    let names = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    // A zombie has no environment.
    names.filter(|name| read(name, "environ").split('\0').any(|variable| variable == mark)).collect()
}

fn read(pid: &str, file: &str) -> String {
    let bytes = std::fs::read(Path::new("/proc").join(pid).join(file)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The processes that hold a task's program.
fn leashes(task: &Value) -> BTreeSet<String> {
    let parent = |pid: &String| Some(read(pid, "stat").rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned());
    let parents = pids(task).iter().filter_map(parent).collect::<BTreeSet<_>>();
    parents.into_iter().filter(|pid| read(pid, "cmdline").contains("__leash")).collect()
}

async fn none_survives(task: &Value) {
    eventually("nothing of it survives", async || survivors(task).is_empty().then_some(())).await;
}

async fn runs(daemon: &Daemon, name: &str) -> Value {
    let task = daemon.submit(json!({"name": name})).await;
    eventually("it runs", async || (!survivors(&task).is_empty()).then_some(())).await;
    task
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

#[tokio::test]
async fn a_program_gets_the_payload_and_its_environment_and_its_output_is_the_result() {
    let world = World::new().await;
    let environment = "env = ['HOME', 'MODE=fast=1', 'ABSENT']\ntimeout = '30s'\nmax_attempts = 7";
    let types = [
        ("cat", "cat", ""),
        ("text", "echo two words", ""),
        ("quiet", "true", ""),
        ("place", "pwd", "cwd = '/usr'"),
        ("environment", "env | sort", environment),
    ];
    let mut builder = with_types(&world, "all", &types);
    builder.env("HOME", "/there").env("SECRET", "nobody's business");
    builder.env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
    let daemon = builder.ready().await;
    let payload = r#"{"b": 12345678901234567890, "a": [1.50]}"#;
    let body = format!(r#"{{"name": "cat", "payload": {payload}}}"#);
    let request = daemon.client.post(format!("{}/api/tasks", daemon.url)).header("content-type", "application/json");
    let task: Value = request.body(body).send().await.unwrap().json().await.unwrap();
    daemon.until(&task["id"], "completed").await;
    let text = daemon.client.get(format!("{}/api/tasks/{}", daemon.url, task["id"].as_str().unwrap()));
    let text = text.send().await.unwrap().text().await.unwrap();
    assert!(text.contains(&format!("\"result\":{payload}")), "{text}");
    for (name, result) in [("text", json!("two words")), ("quiet", Value::Null), ("place", json!("/usr"))] {
        assert_eq!(daemon.run(json!({"name": name}), "completed").await["result"], result, "{name}");
    }
    let task = daemon.run(json!({"name": "environment", "queue": "default"}), "completed").await;
    let mut lines: Vec<&str> = task["result"].as_str().unwrap().lines().collect();
    let deadline = lines.iter().position(|line| line.starts_with("TASKRUNNERX_DEADLINE=")).unwrap();
    let deadline = chrono::DateTime::parse_from_rfc3339(lines.remove(deadline).split_once('=').unwrap().1).unwrap();
    let left = deadline.to_utc() - chrono::Utc::now();
    assert!(left > chrono::TimeDelta::zero() && left <= chrono::TimeDelta::seconds(30), "{left}");
    // The shell's own.
    lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=") && !line.starts_with("_="));
    let id = format!("TASKRUNNERX_TASK_ID={}", task["id"].as_str().unwrap());
    assert_eq!(
        lines,
        [
            "HOME=/there",
            "LANG=C.UTF-8",
            "MODE=fast=1",
            "PATH=/usr/bin:/bin",
            "TASKRUNNERX_ATTEMPT=1",
            "TASKRUNNERX_MAX_ATTEMPTS=7",
            "TASKRUNNERX_QUEUE=default",
            &id,
            "TASKRUNNERX_TASK_NAME=environment",
        ]
    );
}

#[tokio::test]
async fn exit_codes_say_whether_another_attempt_makes_sense() {
    let world = World::new().await;
    let types = [
        ("retried", "echo boom >&2; echo; exit 3", "max_attempts = 2\nbackoff = '10ms'"),
        ("usage", "exit 64", "max_attempts = 9"),
        ("data", "exit 65", "max_attempts = 9"),
        ("missing", "exec /not/there", "max_attempts = 9"),
        ("halfway", "echo '::progress 0.5 half of it' >&2; echo on >&2; exit 1", ""),
        ("killed", "kill -9 $$", ""),
    ];
    let daemon = with_types(&world, "all", &types).ready().await;
    for (name, reason, attempts, error) in [
        ("retried", "error", 2, "exit status 3: boom"),
        ("usage", "permanent", 1, "exit status 64"),
        ("data", "permanent", 1, "exit status 65"),
        ("missing", "permanent", 1, "exit status 127: /bin/sh: "),
    ] {
        let task = daemon.run(json!({"name": name}), "failed").await;
        assert_eq!((&task["reason"], &task["attempt"]), (&json!(reason), &json!(attempts)), "{task}");
        assert!(task["last_error"].as_str().unwrap().starts_with(error), "{task}");
    }
    // What it said on standard error is in the task's log, by attempt.
    let task = daemon.run(json!({"name": "retried"}), "failed").await;
    let (_, logs) = daemon.get(&format!("/api/tasks/{}/logs", task["id"].as_str().unwrap())).await;
    let lines: Vec<_> = logs["logs"].as_array().unwrap().iter().map(|log| (&log["attempt"], &log["line"])).collect();
    assert_eq!(lines, [(&json!(1), &json!("boom")), (&json!(2), &json!("boom"))]);
    let task = daemon.run(json!({"name": "halfway"}), "failed").await;
    assert_eq!((&task["progress"], &task["progress_note"]), (&json!(0.5), &json!("half of it")));
    let (_, logs) = daemon.get(&format!("/api/tasks/{}/logs", task["id"].as_str().unwrap())).await;
    assert_eq!(logs["logs"][0]["line"], "on", "{logs}");
    let task = daemon.run(json!({"name": "killed"}), "failed").await;
    assert_eq!(task["last_error"], "killed by signal 9");
}

#[tokio::test]
async fn nothing_survives_the_end_of_a_program() {
    let world = World::new().await;
    // A child that holds standard output, a daemon in a session of its own, a fork loop.
    let detached = "(setsid sh -c 'sleep 1000 & sleep 1000' </dev/null >/dev/null 2>&1 &) ; echo started";
    let breeds = "breed() { breed & sleep 1000; }; for i in 1 2 3; do sh -c 'while :; do sleep 1000 & done' & done; \
                  while [ $(ls -d /proc/[0-9]* | wc -l) -lt 60 ]; do :; done; echo started";
    let daemon = with_types(
        &world,
        "all",
        &[("holds", "sleep 1000 & echo started", ""), ("detached", detached, ""), ("breeds", breeds, "")],
    )
    .ready()
    .await;
    for name in ["holds", "detached", "breeds"] {
        let task = daemon.run(json!({"name": name}), "completed").await;
        assert_eq!(task["result"], "started", "{name}");
        assert_eq!(survivors(&task), [""; 0], "{name}: they end before the attempt does");
    }
}

#[tokio::test]
async fn a_timeout_and_a_cancel_end_the_whole_family_in_good_order() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("note");
    let note_path = note.display();
    let polite = format!("trap 'echo tidied > {note_path}; exit 0' TERM; echo up > {note_path}; sleep 1000 & wait");
    let daemon = with_types(
        &world,
        "all",
        &[
            ("polite", &polite, ""),
            ("deaf", "trap '' TERM; sleep 1000 & while :; do sleep 1; done", "timeout = '300ms'"),
        ],
    )
    .ready()
    .await;
    let task = runs(&daemon, "polite").await;
    eventually("it listens", async || std::fs::read_to_string(&note).is_ok_and(|text| text == "up\n").then_some(()))
        .await;
    let (status, _) = daemon.post(&format!("/api/tasks/{}/cancel", task["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(status, 202);
    daemon.until(&task["id"], "cancelled").await;
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "tidied\n");
    none_survives(&task).await;
    // Who does not listen has five seconds.
    let began = Instant::now();
    let task = daemon.run(json!({"name": "deaf"}), "failed").await;
    assert_eq!((&task["reason"], survivors(&task)), (&json!("timeout"), vec![]));
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_killed_worker_takes_its_programs_with_it() {
    let world = World::new().await;
    let script = "setsid sleep 1000 & trap '' TERM HUP; sleep 1001; sleep 1000";
    let mut daemon = with_types(&world, "all", &[("works", script, "")]).ready().await;
    let task = runs(&daemon, "works").await;
    eventually("it sleeps", async || survivors(&task).iter().any(|line| line.contains("1001")).then_some(())).await;
    daemon.kill();
    none_survives(&task).await;
}

#[tokio::test]
async fn a_killed_leash_takes_its_program_with_it_and_the_attempt_fails() {
    let world = World::new().await;
    let daemon = with_types(&world, "all", &[("works", "exec sleep 1000", "")]).ready().await;
    let task = runs(&daemon, "works").await;
    eventually("it sleeps", async || (survivors(&task) == ["sleep\x001000\0"]).then_some(())).await;
    leashes(&task).iter().for_each(|pid| kill(pid));
    none_survives(&task).await;
    assert_eq!(daemon.until(&task["id"], "failed").await["last_error"], "killed by signal 9");
}

#[tokio::test]
async fn a_gigabyte_of_output_is_read_and_not_kept() {
    let world = World::new().await;
    let mut builder = with_types(
        &world,
        "all",
        &[(
            "floods",
            "head -c 1073741824 /dev/zero | tr '\\0' x; head -c 1073741824 /dev/zero | tr '\\0' y >&2",
            "timeout = '5m'",
        )],
    );
    builder.env("TASKRUNNERX_LIMITS__RESULT", "64KiB");
    let daemon = builder.ready().await;
    let task = daemon.run(json!({"name": "floods"}), "completed").await;
    let result = task["result"].as_str().unwrap();
    assert_eq!(result.len(), (64 << 10) - 2, "cut, with its quotes");
    assert!(result.bytes().all(|byte| byte == b'x'));
    let memory = daemon.metric("taskrunnerx_process_resident_memory_bytes").await;
    let memory = if memory > 0.0 { memory } else { daemon.metric("process_resident_memory_bytes").await };
    assert!(memory > 0.0 && memory < 150e6, "{memory}");
}

#[tokio::test]
async fn limits_and_the_user_hold_for_the_program() {
    let world = World::new().await;
    // Only root can become somebody else.
    let uid = if rustix::process::geteuid().is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    let limits = "memory = '128MiB'\ncpu = '2s'\nfiles = 33";
    let daemon = with_types(
        &world,
        "all",
        &[
            ("shows", "ulimit -v; ulimit -t; ulimit -n", limits),
            ("burns", "while :; do :; done", "cpu = '1s'"),
            ("little", "echo enough", "memory = '16MiB'"),
            ("who", "id -u; id -g; id -G", &format!("user = '{uid}'")),
        ],
    )
    .ready()
    .await;
    assert_eq!(daemon.run(json!({"name": "shows"}), "completed").await["result"], "131072\n2\n33");
    let burnt = daemon.run(json!({"name": "burns"}), "failed").await;
    assert!(burnt["last_error"].as_str().unwrap().starts_with("killed by signal"), "{burnt}");
    assert_eq!(daemon.run(json!({"name": "little"}), "completed").await["result"], "enough");
    let who = daemon.run(json!({"name": "who"}), "completed").await;
    assert!(who["result"].as_str().unwrap().starts_with(&format!("{uid}\n")), "{who}");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_at_the_start_and_only_where_it_would_run() {
    let world = World::new().await;
    let text = "[tasks.a]\ncommand = ['/not/there']\ncwd = '/neither'\nuser = 'nobody-of-this-name'\n\
                [tasks.b]\ncommand = ['no-such-program-anywhere']\n\
                [tasks.c]\ncommand = ['/etc/passwd']\n\
                [tasks.echo]\ncommand = ['true']\n";
    let mut builder = world.daemon("worker");
    builder.file(text);
    let (code, _, said) = builder.output();
    assert_eq!(code, 2, "{said}");
    for fault in [
        "tasks.a.command: /not/there cannot be run: No such file",
        "tasks.a.cwd: /neither is no directory",
        "tasks.a.user: there is no user \"nobody-of-this-name\"",
        "tasks.b.command: there is no program \"no-such-program-anywhere\" in PATH",
        "tasks.c.command: /etc/passwd is not executable",
        "tasks.echo: this binary has a task type of that name",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    // The API's host need not have the programs.
    let mut builder = world.daemon("api");
    builder.file("[tasks.a]\ncommand = ['/not/there']\ncwd = '/neither'");
    let daemon = builder.ready().await;
    daemon.submit(json!({"name": "a"})).await;
}
