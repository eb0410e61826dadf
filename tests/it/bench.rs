//! `bench`: the real binary against a real daemon, and against a server that does what it is told.

mod backlog;
mod fake;

use crate::harness::{Daemon, DaemonBuilder, World};
use fake::Fake;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The object of a run without errors.
    fn clean(&self) -> Value {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        assert_eq!(self.out.lines().count(), 1, "exactly one object");
        self.json()
    }
}

fn bench(url: &str, args: &[&str]) -> Outcome {
    let mut builder = DaemonBuilder::new(&["bench", "--url", url]);
    args.iter().for_each(|arg| {
        builder.arg(arg);
    });
    // A worker thread of the runtime waits here; the test's servers go on.
    let (code, out, err) = tokio::task::block_in_place(|| builder.output());
    Outcome { code, out, err }
}

fn bench_json(url: &str, args: &[&str]) -> Outcome {
    bench(url, &[args, &["--json"]].concat())
}

async fn counted(world: &World, what: &str) -> u32 {
    world.sql().await.query_first(format!("SELECT COUNT(*) FROM tasks WHERE {what}")).await.unwrap().unwrap()
}

/// That the quantiles of a latency are there and rise.
fn rises(quantiles: &Value) {
    let at = |name: &str| quantiles[name].as_f64().unwrap_or_else(|| panic!("{name} in {quantiles}"));
    let values = ["p50", "p90", "p99", "p999", "max"].map(at);
    assert!(values.is_sorted() && values[4] > 0.0, "{quantiles}");
}

async fn all_roles(world: &World) -> Daemon {
    world.daemon("all").ready().await
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_measures_the_accepting_alone() {
    let world = World::new().await;
    // Nobody runs them, and nobody has to.
    let daemon = world.daemon("api").ready().await;
    let outcome = bench_json(&daemon.url, &["--phase", "submit", "--tasks", "500", "--concurrency", "8"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.err.contains("no live worker serves the queue bench"), "{}", outcome.err);
    let result = outcome.json();
    assert_eq!(counted(&world, "queue = 'bench' AND name = 'noop' AND status = 'queued'").await, 500);
    assert_eq!((&result["phase"], &result["tasks"], &result["errors"]), (&json!("submit"), &json!(500), &json!(0)));
    assert_eq!(result["concurrency"], 8);
    assert!(result["submit_per_s"].as_f64().unwrap() > 0.0 && result["seconds"].as_f64().unwrap() > 0.0, "{result}");
    assert_eq!(result["end_to_end_per_s"], Value::Null);
    rises(&result["latency_ms"]["response"]);
    assert_eq!((&result["latency_ms"]["start"], &result["latency_ms"]["finish"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn sustained_measures_until_all_tasks_have_ended() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    let args =
        ["--tasks", "300", "--concurrency", "16", "--name", "echo", "--payload", r#"{"n": 1}"#, "--queue", "mine"];
    let result = bench_json(&daemon.url, &args).clean();
    // And the one that is sent ahead.
    assert_eq!(counted(&world, "queue = 'mine' AND status = 'completed' AND name = 'echo'").await, 300);
    assert_eq!(counted(&world, "queue = 'mine' AND status = 'completed' AND name = 'noop'").await, 1);
    assert_eq!((&result["phase"], &result["tasks"]), (&json!("sustained"), &json!(300)));
    let rate = |name: &str| result[name].as_f64().unwrap();
    assert!(rate("end_to_end_per_s") > 0.0 && rate("submit_per_s") > 0.0, "{result}");
    for latency in ["start", "finish", "response"] {
        rises(&result["latency_ms"][latency]);
    }
    let p50 = |name: &str| result["latency_ms"][name]["p50"].as_f64().unwrap();
    assert!(p50("finish") >= p50("start"), "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_keeps_its_rate() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    let began = Instant::now();
    let outcome = bench_json(&daemon.url, &["--rate", "50", "--tasks", "51"]);
    // On a loaded machine it may say that requests left late.
    let result = outcome.json();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "51 tasks at 50/s take a second");
    assert_eq!((&result["tasks"], &result["errors"]), (&json!(51), &json!(0)));
    let seconds = result["seconds"].as_f64().unwrap();
    assert!(seconds >= 1.0, "{result}");
}

/// Longer than the daemon waits for the first request of a connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_of_many_connections_finds_none_of_them_closed() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    let outcome = bench_json(&daemon.url, &["--rate", "10", "--tasks", "65", "--concurrency", "64"]);
    let result = outcome.json();
    assert_eq!((outcome.code, &result["errors"], &result["tasks"]), (0, &json!(0), &json!(65)), "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_fail_are_errors_and_said() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    let payload = r#"{"message": "as told", "permanent": true}"#;
    let outcome = bench_json(&daemon.url, &["--name", "fail", "--payload", payload, "--tasks", "20"]);
    assert_eq!((outcome.code, &outcome.json()["errors"]), (1, &json!(20)), "{outcome:?}");
    assert!(outcome.err.contains("20 tasks: the task ended failed: as told"), "{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_for_people() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    let outcome = bench(&daemon.url, &["--tasks", "20"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "no bar in a pipe");
    for word in ["sustained: 20 tasks (noop)", "end to end", "tasks/s", "p999", "response", "start", "finish"] {
        assert!(outcome.out.contains(word), "{word} in {}", outcome.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_serves_is_said_instead_of_waited_for() {
    let world = World::new().await;
    let mut daemon = world.daemon("all");
    daemon.env("TASKRUNNERX_WORKER__QUEUES", "default");
    let daemon = daemon.ready().await;
    let began = Instant::now();
    let outcome = bench_json(&daemon.url, &["--tasks", "20"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    assert!(outcome.err.contains("no live worker serves the queue bench"), "{}", outcome.err);
    // A busy server may not be able to tell at first; then it is asked again.
    assert!(began.elapsed() < Duration::from_secs(50));
    assert!(counted(&world, "queue = 'bench'").await < 5, "only what is sent ahead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_and_taken() {
    let world = World::new().await;
    let mut daemon = world.daemon("all");
    daemon.env("TASKRUNNERX_API_KEY", "trx_0123456789_right");
    let daemon = daemon.ready().await;
    for args in [&[][..], &["--key", "trx_0123456789_wrong"], &["--phase", "submit"]] {
        let outcome = bench_json(&daemon.url, args);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.err.contains("401") && outcome.err.contains("--key"), "{}", outcome.err);
    }
    assert_eq!(bench_json(&daemon.url, &["--key", "trx_0123456789_right", "--tasks", "5"]).clean()["tasks"], 5);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "trx_0123456789_right\n").unwrap();
    let mut builder = DaemonBuilder::new(&["bench", "--tasks", "5"]);
    builder.env("TASKRUNNERX_URL", &daemon.url).env("TASKRUNNERX_API_KEY_FILE", file.to_str().unwrap());
    let (code, _, err) = tokio::task::block_in_place(|| builder.output());
    assert_eq!(code, 0, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_ends_the_run_with_its_words() {
    let world = World::new().await;
    let daemon = world.daemon("api").ready().await;
    let outcome = bench_json(&daemon.url, &["--phase", "submit", "--name", "nope", "--tasks", "5"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{outcome:?}");
    assert!(outcome.err.contains("422") && outcome.err.contains("nope"), "{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_2_and_a_server_that_is_not_there_is_3() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for wrong in [
        &["--phase", "all"][..],
        &["--tasks", "0"],
        &["--bulk", "1001"],
        &["--queue", "a b"],
        &["--payload", "{"],
        &["--payload", "@/does/not/exist"],
        &["--payload", "1", "--payload-bytes", "10"],
        &["--colour"],
    ] {
        let outcome = bench(&nobody, wrong);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{wrong:?}: {outcome:?}");
        assert!(!outcome.err.is_empty());
    }
    let outcome = bench("localhost:8000", &[]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let outcome = bench_json(&nobody, &[]);
    assert_eq!((outcome.code, outcome.out.as_str()), (3, ""), "{outcome:?}");
    assert!(outcome.err.contains(&nobody) && outcome.err.contains("--url"), "{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_fills_a_paused_queue_and_counts_from_the_resume() {
    let fake = Fake::start().await;
    fake.each(Duration::from_millis(1));
    let result = bench_json(&fake.url, &["--phase", "drain", "--tasks", "250", "--concurrency", "2"]).clean();
    assert_eq!((&result["phase"], &result["tasks"], &result["errors"]), (&json!("drain"), &json!(250), &json!(0)));
    let calls = fake.calls();
    let at = |call: &str| calls.iter().position(|known| known == call).unwrap_or_else(|| panic!("{call} in {calls:?}"));
    let (pause, resume) = (at("POST /api/queues/bench/pause"), at("POST /api/queues/bench/resume"));
    let bulk: Vec<usize> = (0..calls.len()).filter(|i| calls[*i] == "POST /api/tasks/bulk").collect();
    assert_eq!(bulk.len(), 3, "100, 100 and 50 tasks a request");
    assert!(bulk.iter().all(|at| pause < *at && *at < resume), "{calls:?}");
    let mut counts = fake.task_counts();
    counts.sort_unstable();
    assert_eq!(counts, [1, 50, 100, 100], "the one that is sent ahead, and the requests'");
    // 250 tasks of 1 ms each, from the resume.
    let seconds = result["seconds"].as_f64().unwrap();
    assert!((0.25..5.0).contains(&seconds), "{result}");
    let max = result["latency_ms"]["finish"]["max"].as_f64().unwrap();
    assert!((max / 1e3 - seconds).abs() < 0.01, "the last end is what the time goes to: {result}");
    assert!(!fake.is_paused());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_fails_or_is_interrupted_resumes_its_queue() {
    let fake = Fake::start().await;
    fake.refuse("POST /api/tasks/bulk", 422);
    let outcome = bench_json(&fake.url, &["--phase", "drain", "--tasks", "250"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{outcome:?}");
    assert!(outcome.err.contains("422"), "{}", outcome.err);
    assert!(fake.calls().contains(&"POST /api/queues/bench/pause".to_owned()) && !fake.is_paused());

    let fake = Fake::start().await;
    fake.hold("POST /api/tasks/bulk");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_taskrunnerx"))
        .args(["bench", "--phase", "drain", "--url", &fake.url])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    crate::harness::eventually("a paused queue", async || fake.is_paused().then_some(())).await;
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let code = crate::harness::eventually("its end", async || child.try_wait().unwrap()).await.code();
    assert_eq!(code, Some(130));
    assert!(!fake.is_paused());
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_submissions_are_counted_by_task() {
    let fake = Fake::start().await;
    let result = bench_json(&fake.url, &["--phase", "submit", "--tasks", "25", "--bulk", "10"]).clean();
    assert_eq!((&result["tasks"], &result["concurrency"]), (&json!(25), &json!(16)));
    let mut counts = fake.task_counts();
    counts.sort_unstable();
    assert_eq!(counts, [5, 10, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_another_clock_is_corrected_for() {
    let fake = Fake::start().await;
    fake.ahead(Duration::from_secs(3_600));
    let outcome = bench_json(&fake.url, &["--tasks", "50", "--concurrency", "4"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.err.contains("ahead of this machine's"), "{}", outcome.err);
    let ahead = outcome.err.split(" is ").nth(1).and_then(|rest| rest.split(" ms").next()).unwrap();
    assert!((ahead.parse::<f64>().unwrap() - 3_600_000.0).abs() < 1_000.0, "{}", outcome.err);
    let result = outcome.json();
    assert!(result["latency_ms"]["finish"]["max"].as_f64().unwrap() < 30_000.0, "{result}");
    assert!(result["seconds"].as_f64().unwrap() < 30.0, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_may_pass_is_an_error_and_the_run_goes_on() {
    let fake = Fake::start().await;
    fake.fail_some("POST /api/tasks", 503, 3);
    let outcome = bench_json(&fake.url, &["--phase", "submit", "--tasks", "20", "--concurrency", "2"]);
    let result = outcome.json();
    assert_eq!((outcome.code, &result["tasks"], &result["errors"]), (1, &json!(17), &json!(3)), "{outcome:?}");
    assert!(outcome.err.contains("3 tasks: 503"), "{}", outcome.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again() {
    let fake = Fake::start().await;
    fake.fail_some("POST /api/tasks", 0, 2);
    let outcome = bench_json(&fake.url, &["--phase", "submit", "--tasks", "20", "--concurrency", "2"]);
    let result = outcome.json();
    assert_eq!((outcome.code, &result["tasks"], &result["errors"]), (1, &json!(18), &json!(2)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_of_ours_is_said() {
    let fake = Fake::start().await;
    fake.refuse("GET /readyz", 404);
    let outcome = bench_json(&fake.url, &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("not Task Runner X"), "{}", outcome.err);
}
