//! The example workers, as anybody would start them.

use crate::harness::{Daemon, World, eventually, root};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const TYPES: &str = "[tasks.count-words]\npull = true\nqueue = \"words\"\nbackoff = \"10ms\"\n\
                     [tasks.countdown]\npull = true\nqueue = \"words\"\n";

/// An example as a process, asked to end when dropped.
struct Example(Child);

impl Example {
    fn start(api: &Daemon, program: &str, args: &[&str]) -> Self {
        let script = root().join("examples").join(args[0]);
        let mut command = Command::new(program);
        command.arg(script).args(&args[1..]).env("TASKRUNNERX_URL", &api.url).env_remove("TASKRUNNERX_API_KEY");
        // With what it runs: nothing of it outlives its test.
        Self(command.stdin(Stdio::null()).process_group(0).spawn().unwrap())
    }

    /// SIGTERM: it ends what it has begun, and leaves.
    async fn end(mut self) {
        self.terminate();
        let status = eventually("the example's end", async || self.0.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

async fn server(world: &World) -> Daemon {
    let mut builder = world.daemon("api,worker");
    builder.file(TYPES).env("TASKRUNNERX_WORKER__LEASE", "2s");
    builder.ready().await
}

async fn cancel(api: &Daemon, task: &Value) {
    let (status, _) = api.post(&format!("/api/tasks/{}/cancel", task["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn the_python_worker_does_its_work_stops_what_is_cancelled_and_ends_when_told() {
    let world = World::new().await;
    let api = server(&world).await;
    let example = Example::start(&api, "python3", &["worker.py", "words"]);
    let done = api.run(json!({"name": "count-words", "payload": {"text": "to be or not to be"}}), "completed").await;
    assert_eq!(done["result"], json!({"words": 6, "different": 4}));
    let failed = api.run(json!({"name": "count-words", "payload": {"text": 7}}), "failed").await;
    assert_eq!((&failed["reason"], &failed["attempt"]), (&json!("permanent"), &json!(1)));
    assert!(failed["last_error"].as_str().unwrap().contains("text"), "{failed}");
    // Longer than its lease, which it renews meanwhile.
    let long = api.run(json!({"name": "countdown", "payload": {"seconds": 3}}), "completed").await;
    assert_eq!((&long["result"], &long["attempt"]), (&json!("lift-off"), &json!(1)));
    let endless = api.run(json!({"name": "countdown", "payload": {"seconds": 600}}), "running").await;
    cancel(&api, &endless).await;
    api.until(&endless["id"], "cancelled").await;
    let last = api.run(json!({"name": "countdown", "payload": {"seconds": 2}}), "running").await;
    example.end().await;
    assert_eq!(api.task(&last["id"]).await["status"], "completed");
}

#[tokio::test]
async fn the_shell_worker_does_its_work_stops_what_is_cancelled_and_ends_when_told() {
    let world = World::new().await;
    let api = server(&world).await;
    // What it runs: words are counted, "slow" sleeps, "bad" fails for good.
    let command = r#"input=$(cat); case $input in *slow*) exec sleep 600 ;; *bad*) echo "cannot read that" >&2; exit 65 ;; esac
                     echo "$input" | wc -w"#;
    let example = Example::start(&api, "sh", &["worker.sh", "words", "sh", "-c", command]);
    let done = api.run(json!({"name": "count-words", "payload": "to be or not to be"}), "completed").await;
    assert_eq!(done["result"], json!(6));
    let failed = api.run(json!({"name": "count-words", "payload": "bad"}), "failed").await;
    assert_eq!((&failed["reason"], &failed["attempt"]), (&json!("permanent"), &json!(1)));
    assert!(failed["last_error"].as_str().unwrap().contains("cannot read that"), "{failed}");
    let slow = api.run(json!({"name": "count-words", "payload": "slow"}), "running").await;
    cancel(&api, &slow).await;
    api.until(&slow["id"], "cancelled").await;
    example.end().await;
}

#[tokio::test]
async fn a_shell_worker_that_is_killed_says_nothing_more_and_its_task_is_anothers() {
    let world = World::new().await;
    let api = server(&world).await;
    let mut example = Example::start(&api, "sh", &["worker.sh", "words", "sleep", "600"]);
    let slow = api.run(json!({"name": "count-words", "payload": "slow"}), "running").await;
    let leased = async || {
        let workers = api.get("/api/workers").await.1;
        let mine = workers["workers"].as_array().unwrap().iter().find(|worker| worker["id"] == slow["worker_id"]);
        mine.map(|worker| worker["lease_until"].clone())
    };
    let first = leased().await;
    eventually("its heartbeat has begun", async || (leased().await != first).then_some(())).await;
    // It alone: its heartbeat and the command go on, as after `kill -9` of a script.
    example.0.kill().unwrap();
    // The example's process is gone, and not only dead: what it left behind can tell.
    example.0.wait().unwrap();
    eventually("the task is waited for by whoever claims next", async || {
        (api.task(&slow["id"]).await["status"] != "running").then_some(())
    })
    .await;
}
