//! `doctor`: each fault that it knows is provoked on real servers, and it changes nothing.

use crate::harness::{DaemonBuilder, World, noop, on, private_servers};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::sync::Arc;
use taskrunnerx::stream::{Entry, Stream};
use taskrunnerx::task::{TaskId, Timestamp, WorkerId};

const PREFIX: &str = "trx";

fn doctor(database_url: &str, redis_url: &str, prefix: &str) -> DaemonBuilder {
    let mut builder = DaemonBuilder::new(&["doctor"]);
    builder.env("DATABASE_URL", database_url).env("REDIS_URL", redis_url).env("TASKRUNNERX_REDIS_PREFIX", prefix);
    builder
}

/// What it found: the exit code and the JSON.
struct Found {
    code: i32,
    report: Value,
}

fn examined(mut builder: DaemonBuilder) -> Found {
    builder.arg("--json");
    let (code, out, err) = builder.output();
    assert_eq!(err, "", "the report says it all");
    let report = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    Found { code, report }
}

impl World {
    fn doctor(&self) -> DaemonBuilder {
        doctor(&self.database_url, &self.redis_url, &self.prefix)
    }
}

impl Found {
    fn checks(&self) -> &Vec<Value> {
        self.report["checks"].as_array().unwrap()
    }

    fn check(&self, name: &str) -> &Value {
        let found: Vec<&Value> = self.checks().iter().filter(|check| check["name"] == name).collect();
        let [check] = found.as_slice() else { panic!("{name}: {found:?} in {:#}", self.report) };
        check
    }

    /// A check's status and detail; anything but `ok`, a note and `unknown` has advice.
    fn of(&self, name: &str) -> (&str, &str) {
        let check = self.check(name);
        let (status, detail) = (check["status"].as_str().unwrap(), check["detail"].as_str().unwrap());
        assert!(!["warning", "error"].contains(&status) || !check["advice"].as_str().unwrap().is_empty(), "{check}");
        (status, detail)
    }

    fn expect(&self, name: &str, status: &str, detail: &str) {
        let (found, text) = self.of(name);
        assert_eq!(found, status, "{name}: {text}");
        assert!(text.contains(detail), "{name}: {text}");
    }

    /// The first check of a group: whether its server answers.
    fn check_in(&self, group: &str) -> &Value {
        self.checks().iter().find(|check| check["group"] == group).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_system_is_told_so_and_exits_with_0() {
    let (servers, _directory) = private_servers().await;
    let daemon = on(&servers, "all").ready().await;
    daemon.run(noop("default"), "completed").await;
    let found = examined(doctor(&servers.database_url, &servers.redis_url, PREFIX));
    assert_eq!((found.code, &found.report["status"]), (0, &json!("ok")), "{:#}", found.report);
    let fields: Vec<&String> = found.report.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["checks", "status"]);
    for check in found.checks() {
        let mut fields: Vec<&str> = check.as_object().unwrap().keys().map(String::as_str).collect();
        fields.retain(|field| *field != "advice");
        assert_eq!(fields, ["detail", "group", "name", "status"], "{check}");
        assert_eq!(check["status"], "ok", "{check}");
    }
    let mut groups: Vec<&str> = found.checks().iter().map(|check| check["group"].as_str().unwrap()).collect();
    groups.dedup();
    assert_eq!(groups, ["configuration", "database", "redis", "queues", "workers", "schedules"]);
    found.expect("queue default", "ok", "1 worker with 64 slots, dispatched by");

    let (code, text, err) = doctor(&servers.database_url, &servers.redis_url, PREFIX).output();
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = format!("\n{} checks: all is well\n", found.checks().len());
    assert!(text.starts_with("Configuration\n  ok  ") && text.ends_with(&expected), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe: {text}");
    servers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dangerous_setting_is_found_on_the_real_servers() {
    let (servers, _directory) = private_servers().await;
    let mut sql = mysql_async::Conn::from_url(&servers.database_url).await.unwrap();
    let table = [
        ("innodb_flush_log_at_trx_commit", "2", "warning", "may lose tasks that were accepted"),
        ("innodb_flush_log_at_trx_commit", "0", "warning", "of the database server or its host"),
        ("max_allowed_packet", "1048576", "error", "does not fit"),
        ("max_allowed_packet", "2097152", "warning", "is sent in halves"),
        ("max_connections", "12", "warning", "one process may want 16"),
        ("max_prepared_stmt_count", "100", "note", "at the very most"),
        ("read_only", "1", "warning", "is this a replica?"),
    ];
    for (variable, value, status, detail) in table {
        let before: String =
            sql.query_first(format!("SELECT CAST(@@global.{variable} AS CHAR)")).await.unwrap().unwrap();
        sql.query_drop(format!("SET GLOBAL {variable} = {value}")).await.unwrap();
        let found = examined(doctor(&servers.database_url, &servers.redis_url, PREFIX));
        found.expect(variable, status, detail);
        assert_eq!(found.code, i32::from(status == "error"), "{variable}");
        sql.query_drop(format!("SET GLOBAL {variable} = {before}")).await.unwrap();
    }
    let client = redis::Client::open(&*servers.redis_url).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let table: [(&[&str], &str, &str, &str); 5] = [
        (&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"], "maxmemory-policy", "note", "no maxmemory is set"),
        (&["CONFIG", "SET", "maxmemory", "1gb"], "maxmemory-policy", "warning", "whole streams are evicted"),
        (&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"], "maxmemory-policy", "warning", "gates"),
        (&["CONFIG", "SET", "maxmemory", "1"], "memory", "error", "new entries are refused"),
        (&["REPLICAOF", "127.0.0.1", "1"], "role", "error", "it takes no entries"),
    ];
    for (words, check, status, detail) in table {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query_async::<()>(&mut redis).await.unwrap();
        let found = examined(doctor(&servers.database_url, &servers.redis_url, PREFIX));
        found.expect(check, status, detail);
        assert_eq!(found.code, i32::from(status == "error"), "{words:?}");
    }
    servers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_does_not_let_us_read_is_unknown() {
    let world = World::new().await;
    world.store().await;
    let mut redis = world.redis().await;
    // INFO tells the policy where CONFIG is forbidden; CONFIG where INFO is.
    for (i, (rules, known)) in
        [(&["-config"][..], true), (&["-info"], true), (&["-info", "-config"], false)].into_iter().enumerate()
    {
        let user = format!("u{i}{}", world.prefix);
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(&user).arg(&["on", ">secret", "~*", "&*", "+@all"]).arg(rules);
        command.query_async::<()>(&mut redis).await.unwrap();
        let url = format!("{}?user={user}&pass=secret", world.redis_url);
        let found = examined(doctor(&world.database_url, &url, &world.prefix));
        found.expect("maxmemory-policy", if known { "ok" } else { "unknown" }, if known { "noeviction" } else { "" });
        assert_eq!(found.code, 0);
        assert!(!found.report.to_string().contains("secret"), "{:#}", found.report);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_has_its_migrations_pending_and_stays_empty() {
    let world = World::new().await;
    let found = examined(world.doctor());
    found.expect("migrations", "warning", "pending");
    assert!(found.check("migrations")["advice"].as_str().unwrap().contains("taskrunnerx migrate"));
    found.expect("queues", "unknown", "no tables yet");
    assert_eq!(found.code, 0, "{:#}", found.report);
    let mut sql = world.sql().await;
    assert_eq!(sql.query::<String, _>("SHOW TABLES").await.unwrap(), [""; 0]);

    world.store().await;
    let found = examined(world.doctor());
    found.expect("migrations", "ok", "up to date");
    found.expect("queue default", "ok", "0 scheduled, 0 queued, 0 running; no live worker serves it");
    found.expect("queue default: stream", "ok", "none yet");
    let made: Vec<String> =
        redis::cmd("KEYS").arg(format!("{}*", world.prefix)).query_async(&mut world.redis().await).await.unwrap();
    assert_eq!(made, [""; 0], "it has made no stream");

    sql.query_drop("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000001')").await.unwrap();
    let found = examined(world.doctor());
    found.expect("migrations", "error", "newer than this binary: it has 20991231000001");
    assert_eq!(found.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_its_group_and_consumers_of_the_dead_are_found() {
    let world = World::new().await;
    world.store().await;
    let stream = Stream::new(&world.redis_url, &world.prefix, world.metrics.clone()).unwrap();
    let queue: Arc<str> = "default".into();
    stream.ensure_group(&queue).await.unwrap();
    let mut redis = world.redis().await;
    let key = format!("{}:{{default}}", world.prefix);
    let run = async |redis: &mut redis::aio::MultiplexedConnection, words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query_async::<redis::Value>(redis).await.unwrap()
    };
    let dead = WorkerId::fresh().to_string();
    run(&mut redis, &["XGROUP", "CREATECONSUMER", &key, "workers", &dead]).await;
    let found = examined(world.doctor());
    found.expect("queue default: consumers", "note", "1 of 1 belong to no live worker");
    let advice = found.check("queue default: consumers")["advice"].as_str().unwrap();
    assert!(advice.contains("on the server and database of redis_url"), "{advice}");
    assert!(advice.ends_with(&format!("XGROUP DELCONSUMER '{key}' workers {dead}")), "{advice}");

    let entry = Entry {
        queue: Arc::clone(&queue),
        id: TaskId(uuid::Uuid::now_v7()),
        name: "noop".into(),
        attempt: 0,
        max_attempts: 1,
        timeout: std::time::Duration::from_secs(1),
        run_at: Timestamp::from_timestamp_micros(1_700_000_000_000_000).unwrap(),
        dispatched_at: Timestamp::from_timestamp_micros(1_700_000_000_000_000).unwrap(),
        payload: None,
    };
    stream.append(vec![entry.clone(), entry]).await.unwrap();
    let read = ["XREADGROUP", "GROUP", "workers", &dead, "COUNT", "1", "STREAMS", &key, ">"];
    run(&mut redis, &read).await;
    let found = examined(world.doctor());
    found.expect("queue default: consumers", "warning", "have 1 unacknowledged");
    found.expect("queue default: stream", "ok", "2 in all, 1 unread, the oldest for");

    run(&mut redis, &["XGROUP", "DESTROY", &key, "workers"]).await;
    let found = examined(world.doctor());
    found.expect("queue default: stream", "warning", "2 entries and no group");
    assert_eq!(found.code, 0);
    run(&mut redis, &["DEL", &key]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_waits_for_somebody_who_is_not_there_is_found() {
    let world = World::new().await;
    let api = world.daemon("api").ready().await;
    let task = api.submit(noop("lonely")).await;
    let mut sql = world.sql().await;
    let found = examined(world.doctor());
    found.expect("queue lonely", "warning", "no live worker serves it, and tasks wait");
    found.expect("workers", "note", "none is alive");
    found.expect("orphaned tasks", "ok", "none");
    found.expect("schedules", "ok", "none is to fire");

    // A worker that died and one whose row is gone; a schedule that nobody fires.
    let row = "INSERT INTO workers (id, host, pid, queues, slots, started_at, lease_until, dead_at) VALUES (?, 'h', ?, ?, 4, \
               NOW(6), NOW(6) + INTERVAL ? SECOND, NULL)";
    let id = || WorkerId::fresh().0.as_bytes().to_vec();
    sql.exec_drop(row, (id(), 7, r#"["*"]"#, -100)).await.unwrap();
    let id_of_task = task["id"].as_str().unwrap().replace('-', "");
    let run = "UPDATE tasks SET status = 'running', lane = 3, attempt = 1, worker_id = ? WHERE id = UNHEX(?)";
    sql.exec_drop(run, (id(), id_of_task)).await.unwrap();
    let schedule = "INSERT INTO schedules (name, definition, managed_by, version, next_fire_at, created_at, updated_at) \
                    VALUES ('nightly', '{}', 'config', 1, NOW(6) - INTERVAL 10 MINUTE, NOW(6), NOW(6))";
    sql.query_drop(schedule).await.unwrap();
    let found = examined(world.doctor());
    found.expect("worker h:7", "warning", "dead for 100 s and not cleaned up");
    found.expect("orphaned tasks", "warning", "1 task running under a worker that is gone");
    found.expect("schedule nightly", "warning", "due for 10 min: no scheduler is at work");
    assert_eq!((found.code, &found.report["status"]), (0, &json!("warning")));

    // With others that live, a queue that none of them serves is worth a note even while it is empty.
    sql.exec_drop(row, (id(), 8, r#"["default"]"#, 100)).await.unwrap();
    let found = examined(world.doctor());
    found.expect("worker h:8", "ok", "4 slots, default, lease for another");
    found.expect("worker h:7", "warning", "dead for 100 s");
    found.expect("queue lonely", "note", "no live worker serves it");
    found.expect("queue default", "warning", "none dispatches it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_exit_3_and_the_rest_is_still_looked_at() {
    let world = World::new().await;
    world.store().await;
    let found = examined(doctor("mysql://u:secret@127.0.0.1:1/trx", &world.redis_url, &world.prefix));
    assert_eq!((found.code, &found.report["status"]), (3, &json!("error")));
    assert_eq!(found.check_in("database")["status"], "error", "{:#}", found.report);
    found.expect("maxmemory-policy", "ok", "noeviction");
    found.expect("queues", "unknown", "the database cannot be reached");
    assert!(!found.report.to_string().contains("secret"), "{:#}", found.report);

    let found = examined(doctor(&world.database_url, "redis://127.0.0.1:1", &world.prefix));
    assert_eq!(found.code, 3);
    assert_eq!(found.check_in("redis")["status"], "error", "{:#}", found.report);
    found.expect("migrations", "ok", "up to date");
    found.expect("queue default", "ok", "0 queued");
    found.expect("queue default: stream", "unknown", "Redis");

    let elsewhere = world.database_url.replace(&format!("t{}", world.prefix), "no_such_database");
    let found = examined(doctor(&elsewhere, &world.redis_url, &world.prefix));
    assert_eq!(found.code, 3);
    assert!(found.check_in("database")["advice"].as_str().unwrap().contains("CREATE DATABASE"), "{:#}", found.report);

    let (code, text, err) = doctor("mysql://127.0.0.1:1/trx", "redis://127.0.0.1:1", &world.prefix).output();
    assert_eq!((code, err.as_str()), (3, ""));
    assert!(text.contains("\n  error    connection") && text.ends_with(" checks: 2 errors, 3 unknown\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_exit_2_with_every_fault() {
    let world = World::new().await;
    let mut builder = world.doctor();
    builder.file("[worker]\nlease = \"never\"\nspeed = 9\n");
    let found = examined(builder);
    assert_eq!((found.code, &found.report["status"]), (2, &json!("error")));
    assert_eq!(found.of("worker.lease").0, "error");
    assert_eq!(found.of("worker.speed").0, "error");

    // What can be looked at without it is.
    let mut builder = DaemonBuilder::new(&["doctor"]);
    builder.env("DATABASE_URL", &world.database_url);
    builder.file("[schedules.s]\ncron = \"* * * * *\"\ntask = { name = \"no_such\" }\n");
    let found = examined(builder);
    assert_eq!(found.code, 2);
    found.expect("redis_url", "error", "is needed");
    found.expect("task types", "error", "no_such");
    found.expect("migrations", "warning", "pending");
    assert!(found.checks().iter().all(|check| check["group"] != "redis"), "{:#}", found.report);
}
