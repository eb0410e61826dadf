//! The phases that need bulk submission and queues that can be paused, on a real daemon.

use super::{all_roles, bench_json, counted, rises};
use crate::harness::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_works_off_the_whole_backlog_and_leaves_its_queue_running() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    for bulk in [&[][..], &["--bulk", "1", "--concurrency", "16"]] {
        let args = [&["--phase", "drain", "--tasks", "550"], bulk].concat();
        let result = bench_json(&daemon.url, &args).clean();
        assert_eq!((&result["phase"], &result["tasks"], &result["errors"]), (&json!("drain"), &json!(550), &json!(0)));
        assert!(result["end_to_end_per_s"].as_f64().unwrap() > 0.0, "{result}");
        for latency in ["start", "finish", "response"] {
            rises(&result["latency_ms"][latency]);
        }
        // The last end is what the time goes to: both count from the resume.
        let (seconds, max) =
            (result["seconds"].as_f64().unwrap(), result["latency_ms"]["finish"]["max"].as_f64().unwrap());
        assert!((max / 1e3 - seconds).abs() <= 0.01 * seconds.max(0.1), "{result}");
    }
    // With the two that were sent ahead.
    assert_eq!(counted(&world, "queue = 'bench' AND status = 'completed'").await, 1_102);
    let (status, queue) = daemon.get("/api/queues/bench").await;
    assert_eq!(status, 200, "{queue}");
    assert!(queue["pause"].is_null(), "{queue}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_waits_until_the_queue_is_resumed() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    bench_json(&daemon.url, &["--phase", "drain", "--tasks", "500"]).clean();
    // None was started while it was filled.
    let early = "queue = 'bench' AND name = 'noop' AND priority <> 9 AND started_at < \
                 (SELECT MAX(created_at) FROM (SELECT created_at FROM tasks WHERE priority <> 9) t)";
    assert_eq!(counted(&world, early).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_submissions_are_measured_by_task() {
    let world = World::new().await;
    let daemon = all_roles(&world).await;
    let result = bench_json(&daemon.url, &["--tasks", "1050", "--bulk", "100"]).clean();
    assert_eq!((&result["tasks"], &result["errors"]), (&json!(1_050), &json!(0)));
    assert_eq!(counted(&world, "queue = 'bench' AND status = 'completed' AND priority <> 9").await, 1_050);
    let result = bench_json(&daemon.url, &["--phase", "submit", "--tasks", "2000", "--bulk", "1000"]).clean();
    assert_eq!(result["tasks"], 2_000);
    rises(&result["latency_ms"]["response"]);
}
