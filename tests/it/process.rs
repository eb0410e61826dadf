//! A process's life: start, readiness, outages of its servers, drain, exit codes, `dev`.

use crate::harness::{DaemonBuilder, World, eventually, noop, on, private_servers};
use mysql_async::prelude::Queryable;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn every_role_has_the_open_endpoints() {
    let world = World::new().await;
    for roles in ["api", "worker", "scheduler", "api,scheduler", "all"] {
        let daemon = world.daemon(roles).ready().await;
        assert_eq!(daemon.get("/livez").await.0, 200, "{roles}");
        let head = daemon.client.head(format!("{}/livez", daemon.url)).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.text().await.unwrap()), (200, String::new()));
        // Not its status: the tests' own database is run without the durability that a 201 promises.
        eventually("every part ok", async || {
            let parts = daemon.get("/health").await.1["parts"].clone();
            let ok = |name: &str| parts[name]["status"] == "ok";
            ["process", "database", "redis"].into_iter().all(ok).then_some(())
        })
        .await;
        let (status, metrics) = daemon.get("/metrics").await;
        let metrics = metrics.as_str().unwrap();
        assert_eq!(status, 200);
        assert!(
            metrics.contains("taskrunnerx_build_info{version=") && metrics.contains("process_resident_memory_bytes")
        );
        let api = roles.contains("api") || roles == "all";
        assert_eq!(daemon.get("/api/tasks").await.0, if api { 200 } else { 404 }, "{roles}");
    }
}

#[tokio::test]
async fn dangerous_settings_are_said_in_health_and_once_in_the_log_until_they_are_gone() {
    let (mut servers, _directory) = private_servers().await;
    let mut sql = mysql_async::Conn::from_url(&servers.database_url).await.unwrap();
    sql.query_drop("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await.unwrap();
    let policy = async |policy: &str| {
        let redis = redis::Client::open(&*servers.redis_url).unwrap();
        let mut redis = redis.get_multiplexed_async_connection().await.unwrap();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg("200mb").arg("maxmemory-policy").arg(policy);
        set.query_async::<()>(&mut redis).await.unwrap();
    };
    policy("allkeys-lru").await;
    let daemon = on(&servers, "all").ready().await;
    let health = eventually("both warnings", async || {
        let (status, health) = daemon.get("/health").await;
        let both = ["database", "redis"].iter().all(|part| health["parts"][part].get("warnings").is_some());
        both.then_some((status, health))
    })
    .await;
    // Accepted tasks may be lost, and it says so; but it works.
    assert_eq!((health.0, &health.1["status"]), (200, &json!("degraded")));
    assert_eq!(daemon.get("/readyz").await.0, 200);
    for (part, setting, advice) in [
        ("database", "innodb_flush_log_at_trx_commit is 2: ", "set it to 1"),
        ("redis", "maxmemory-policy is allkeys-lru: ", "set it to noeviction"),
    ] {
        let part = &health.1["parts"][part];
        assert_eq!(part["status"], "ok", "{part}");
        let warnings = part["warnings"].as_array().unwrap();
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        let warning = warning.as_str().unwrap();
        assert!(warning.starts_with(setting) && warning.contains(advice), "{warning}");
        assert_eq!(daemon.logged(setting), 1);
    }

    // What was set at run time goes with a restart, which is seen as a reconnect.
    servers.database.kill().await;
    servers.redis.kill().await;
    eventually("down", async || (daemon.get("/health").await.0 == 503).then_some(())).await;
    servers.database.start().await.unwrap();
    servers.redis.start().await.unwrap();
    let back = Instant::now();
    let parts = eventually("ok", async || {
        let (_, health) = daemon.get("/health").await;
        (health["status"] == "ok").then(|| health["parts"].clone())
    })
    .await;
    // The two are looked at side by side.
    eventually("told that they are gone", async || (daemon.logged("that risk is gone") == 2).then_some(())).await;
    assert!(back.elapsed() < Duration::from_secs(30), "not only at the next look, which comes every minute");
    assert_eq!(parts["database"], json!({"status": "ok"}));
    assert_eq!(daemon.logged("innodb_flush_log_at_trx_commit is 2: "), 1, "once, though it was looked at again");
    servers.stop().await;
}

#[tokio::test]
async fn the_start_waits_for_a_database_that_is_away_and_heals_by_itself() {
    let (mut servers, _directory) = private_servers().await;
    servers.database.stop().await;
    let daemon = on(&servers, "all").start();
    assert_eq!(daemon.get("/livez").await.0, 200);
    assert_eq!(daemon.get("/readyz").await.0, 503);
    let answer = daemon.client.post(format!("{}/api/tasks", daemon.url)).json(&noop("default")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    eventually("one log line", async || (daemon.logged("database at start: trouble") == 1).then_some(())).await;
    assert_eq!(daemon.get("/health").await.0, 503);
    servers.database.start().await.unwrap();
    daemon.until_ready().await;
    daemon.run(noop("default"), "completed").await;

    // And later.
    servers.database.kill().await;
    let answer = eventually("503", async || {
        let request = daemon.client.post(format!("{}/api/tasks", daemon.url)).json(&noop("default"));
        let answer = request.send().await.unwrap();
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    eventually("not ready", async || (daemon.get("/readyz").await.0 == 503).then_some(())).await;
    servers.database.start().await.unwrap();
    daemon.until_ready().await;
    daemon.run(noop("default"), "completed").await;
    servers.stop().await;
}

#[tokio::test]
async fn without_redis_submissions_are_accepted_and_work_resumes_when_it_is_back() {
    let (mut servers, _directory) = private_servers().await;
    servers.redis.stop().await;
    let daemon = on(&servers, "all").ready().await;
    let early = daemon.submit(noop("default")).await;
    let health = eventually("degraded", async || {
        let (status, health) = daemon.get("/health").await;
        (health["status"] == "degraded").then_some((status, health))
    })
    .await;
    assert_eq!((health.0, &health.1["parts"]["redis"]["status"]), (200, &json!("down")));
    servers.redis.start().await.unwrap();
    daemon.until(&early["id"], "completed").await;

    // And later: behind an open gate as well.
    daemon.run(noop("default"), "completed").await;
    servers.redis.kill().await;
    let mut accepted = Vec::new();
    for _ in 0..50 {
        accepted.push(daemon.submit(noop("default")).await);
    }
    assert_eq!(daemon.get("/readyz").await.0, 200);
    servers.redis.start().await.unwrap();
    for task in accepted {
        let task = daemon.until(&task["id"], "completed").await;
        assert_eq!(task["attempt"], 1);
    }
    assert_eq!(daemon.logged("redis reader: trouble"), 2, "one line an episode");
    servers.stop().await;
}

#[tokio::test]
async fn a_stop_drains_what_runs_and_leaves_nothing_behind() {
    let world = World::new().await;
    let mut daemon = world.daemon("all").ready().await;
    let running = daemon.submit(json!({"name": "sleep", "payload": {"ms": 700}})).await;
    daemon.until(&running["id"], "running").await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await, 0);
    let mut sql = world.sql().await;
    let (status, attempt): (String, u32) = sql.query_first("SELECT status, attempt FROM tasks").await.unwrap().unwrap();
    assert_eq!((status.as_str(), attempt), ("completed", 1));
    let workers: u64 = sql.query_first("SELECT COUNT(*) FROM workers").await.unwrap().unwrap();
    let leases: u64 =
        sql.query_first("SELECT COUNT(*) FROM queues WHERE dispatcher_id IS NOT NULL").await.unwrap().unwrap();
    assert_eq!((workers, leases), (0, 0));
    let mut redis = world.redis().await;
    let key = format!("{}:{{default}}", world.prefix);
    let length: u64 = redis::cmd("XLEN").arg(&key).query_async(&mut redis).await.unwrap();
    let consumers: Vec<redis::Value> =
        redis::cmd("XINFO").arg("CONSUMERS").arg(&key).arg("workers").query_async(&mut redis).await.unwrap();
    assert_eq!((length, consumers.len()), (0, 0));
}

#[tokio::test]
async fn what_outlasts_the_drain_is_interrupted_forgiven_and_run_elsewhere() {
    let world = World::new().await;
    let mut first = world.daemon("all");
    first.env("TASKRUNNERX_WORKER__DRAIN_TIMEOUT", "200ms");
    let mut first = first.ready().await;
    let task = first.submit(json!({"name": "sleep", "payload": {"ms": 3000}, "max_attempts": 1})).await;
    first.until(&task["id"], "running").await;
    first.signal("-INT");
    assert_eq!(first.ended().await, 0);
    let mut sql = world.sql().await;
    let row: (String, u32, u32) =
        sql.query_first("SELECT status, attempt, forgiven FROM tasks").await.unwrap().unwrap();
    assert_eq!(row, ("queued".to_owned(), 1, 1));
    let second = world.daemon("all").ready().await;
    let task = second.until(&task["id"], "completed").await;
    assert_eq!(task["attempt"], 2, "its only counted attempt");
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let world = World::new().await;
    let mut daemon = world.daemon("all").ready().await;
    let task = daemon.submit(json!({"name": "sleep", "payload": {"ms": 60000}})).await;
    daemon.until(&task["id"], "running").await;
    daemon.signal("-TERM");
    eventually("told to stop", async || (daemon.logged("told to stop") > 0).then_some(())).await;
    let began = Instant::now();
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await, 130);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why() {
    let (code, _, error) = DaemonBuilder::new(&["serve"]).output();
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("database_url") && error.contains("redis_url") && error.contains("DATABASE_URL"), "{error}");

    let world = World::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut builder = DaemonBuilder::new(&["serve", "--bind"]);
    builder.arg(&taken.local_addr().unwrap().to_string());
    builder.env("DATABASE_URL", &world.database_url).env("REDIS_URL", &world.redis_url);
    let (code, _, error) = builder.output();
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("cannot be bound") && error.contains("--bind"), "{error}");

    // What needs the task types is checked with them, all at once; `config` says the same.
    for command in [&["serve", "--bind", "127.0.0.1:0"][..], &["config"]] {
        let mut builder = DaemonBuilder::new(command);
        builder.env("DATABASE_URL", &world.database_url).env("REDIS_URL", &world.redis_url);
        builder.file(
            "[tasks.nope]\nqueue = \"q\"\n[tasks.nada]\n[schedules.s]\ncron = \"@daily\"\ntask = { name = \"nil\" }\n",
        );
        let (code, _, error) = builder.output();
        assert_eq!(code, 2, "{error}");
        for fault in ["tasks.nope:", "tasks.nada:", "schedules.s.task.name: \"nil\" is not a known task type"] {
            assert!(error.contains(fault), "{fault} in {error}");
        }
    }

    // A database that does not exist will not come by waiting.
    let missing = world.database_url.replace(&world.prefix, "nowhere");
    let mut builder = DaemonBuilder::new(&["serve", "--bind", "127.0.0.1:0"]);
    builder.env("DATABASE_URL", &missing).env("REDIS_URL", &world.redis_url);
    let (code, _, error) = builder.output();
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("Unknown database"), "{error}");
}

#[tokio::test]
async fn dev_serves_on_its_own_servers_and_takes_them_down_even_when_killed() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let dev = || DaemonBuilder::new(&["dev", "--bind", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    let mut daemon = dev().ready().await;
    let kept = daemon.run(json!({"name": "echo", "payload": 1}), "completed").await;
    daemon.signal("-INT");
    assert_eq!(daemon.ended().await, 0);

    // Kept between starts; killed without a chance to clean up.
    let mut daemon = dev().ready().await;
    assert_eq!(daemon.task(&kept["id"]).await["result"], 1);
    daemon.kill();
    let started = Instant::now();
    let daemon = dev().ready().await;
    assert_eq!(daemon.task(&kept["id"]).await["result"], 1);
    assert!(started.elapsed() < Duration::from_secs(30));
    drop(daemon);

    let gone = home.path().join("gone");
    let mut builder = DaemonBuilder::new(&["dev", "--ephemeral", "--bind", "127.0.0.1:0", "--data-dir"]);
    builder.arg(gone.to_str().unwrap());
    let mut daemon = builder.ready().await;
    assert!(gone.exists());
    daemon.kill();
    eventually("the servers and their directory are gone", async || (!gone.exists()).then_some(())).await;
}
