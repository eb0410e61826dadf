//! The schema: the migrations, and the tables as Diesel sees them, which are kept by hand.

use crate::harness::{DaemonBuilder, World, eventually, root};
use mysql_async::prelude::Queryable;
use serde_json::json;
use std::collections::BTreeMap;
use taskrunnerx::store::Store;
use taskrunnerx::store::migrations::MigrateError;

/// What Diesel keeps its own books in.
const LEDGER: &str = "__diesel_schema_migrations";

/// A table: its columns in order, each with its Diesel type, and its primary key.
#[derive(Debug, Default, PartialEq)]
struct Table {
    columns: Vec<(String, String)>,
    key: Vec<String>,
}

/// The tables of `src/store/schema.rs`.
fn by_hand() -> BTreeMap<String, Table> {
    let text = include_str!("../../src/store/schema.rs");
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().map(str::trim) {
        if let Some((name, key)) = line.strip_suffix(") {").and_then(|head| head.split_once(" (")) {
            let key = key.split(", ").map(str::to_owned).collect();
            tables.insert(name.to_owned(), Table { columns: Vec::new(), key });
            current = Some(name.to_owned());
        } else if let Some((column, kind)) = line.split_once(" -> ") {
            let table = tables.get_mut(current.as_ref().unwrap()).unwrap();
            table.columns.push((column.to_owned(), kind.trim_end_matches(',').to_owned()));
        } else {
            let other = line.starts_with("//!") || ["", "diesel::table! {", "}"].contains(&line);
            assert!(other, "this test does not understand {line:?}");
        }
    }
    tables
}

/// The tables of the database.
async fn in_database(sql: &mut mysql_async::Conn) -> BTreeMap<String, Table> {
    let columns: Vec<(String, String, String, String, String)> = sql
        .query(
            "SELECT table_name, column_name, data_type, column_type, is_nullable FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name <> '__diesel_schema_migrations' ORDER BY table_name, ordinal_position",
        )
        .await
        .unwrap();
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for (table, column, data_type, column_type, nullable) in columns {
        let kind = match &*data_type {
            "binary" | "mediumblob" => "Binary",
            "varchar" | "text" | "mediumtext" | "enum" => "Text",
            "tinyint" => "Tinyint",
            "int" => "Integer",
            "bigint" => "Bigint",
            "datetime" => "Datetime",
            "double" => "Double",
            other => panic!("{table}.{column} is {other}, which this test does not know"),
        };
        let kind = if column_type.contains("unsigned") { format!("Unsigned<{kind}>") } else { kind.to_owned() };
        let kind = if nullable == "YES" { format!("Nullable<{kind}>") } else { kind };
        tables.entry(table).or_default().columns.push((column, kind));
    }
    let keys: Vec<(String, String)> = sql
        .query(
            "SELECT table_name, column_name FROM information_schema.key_column_usage \
             WHERE table_schema = DATABASE() AND constraint_name = 'PRIMARY' ORDER BY table_name, ordinal_position",
        )
        .await
        .unwrap();
    for (table, column) in keys.into_iter().filter(|(table, _)| table != LEDGER) {
        tables.get_mut(&table).unwrap().key.push(column);
    }
    tables
}

/// The folders of `migrations`, in order.
fn folders() -> Vec<std::path::PathBuf> {
    let mut folders: Vec<_> =
        std::fs::read_dir(root().join("migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// A folder's version as the database has it: its time stamp and number without the dashes.
fn version(folder: &std::path::Path) -> String {
    let name = folder.file_name().unwrap().to_str().unwrap();
    name.split('_').next().unwrap().replace('-', "")
}

async fn versions(sql: &mut mysql_async::Conn) -> Vec<String> {
    sql.query(format!("SELECT version FROM {LEDGER} ORDER BY version")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_matches_migrations() {
    let world = World::new().await;
    world.store().await;
    let mut sql = world.sql().await;
    let (written, found) = (by_hand(), in_database(&mut sql).await);
    assert_eq!(written.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, table) in &written {
        assert_eq!(table, &found[name], "src/store/schema.rs is on the left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_innodb_in_utf8mb4_bin_with_microseconds() {
    let world = World::new().await;
    world.store().await;
    let mut sql = world.sql().await;
    let odd: Vec<(String, String, String)> = sql
        .query(format!(
            "SELECT table_name, engine, table_collation FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name <> '{LEDGER}' AND (engine <> 'InnoDB' OR table_collation <> 'utf8mb4_bin')"
        ))
        .await
        .unwrap();
    assert_eq!(odd, []);
    let odd: Vec<(String, String)> = sql
        .query(format!(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE() \
             AND table_name <> '{LEDGER}' AND ((data_type = 'datetime' AND datetime_precision <> 6) \
             OR data_type = 'timestamp' OR collation_name <> 'utf8mb4_bin')"
        ))
        .await
        .unwrap();
    assert_eq!(odd, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn eight_that_migrate_at_once_leave_one_clean_result() {
    let world = World::new().await;
    let mut stores = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Store::new(&world.database_url, Some(1), world.metrics.clone()).unwrap();
        stores.spawn(async move { store.migrate().await.unwrap() });
    }
    let mut done = Vec::new();
    while let Some(names) = stores.join_next().await {
        done.push(names.unwrap());
    }
    done.sort();
    let names: Vec<String> =
        folders().iter().map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(done.pop(), Some(names));
    assert_eq!(done, vec![Vec::<String>::new(); 7]);
    let mut sql = world.sql().await;
    assert_eq!(versions(&mut sql).await, folders().iter().map(|f| version(f)).collect::<Vec<_>>());
    assert_eq!(in_database(&mut sql).await, by_hand());
    let queues: Vec<String> = sql.query("SELECT name FROM queues").await.unwrap();
    assert_eq!(queues, ["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_newer_than_the_binary_is_refused_and_left_as_it_is() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    sql.query_drop(format!("INSERT INTO {LEDGER} (version) VALUES ('20991231000001')")).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(&error, MigrateError::Newer(versions) if versions == &["20991231000001"]), "{error:?}");
    let text = error.to_string();
    for part in ["newer than this binary", "20991231000001", "start a newer taskrunnerx"] {
        assert!(text.contains(part), "{text}");
    }
    // So for every command, and the daemon does not wait for it to pass.
    let run = |args: &[&str]| {
        let mut builder = DaemonBuilder::new(args);
        builder.env("DATABASE_URL", &world.database_url).env("REDIS_URL", &world.redis_url);
        builder.output()
    };
    for args in [&["migrate"][..], &["serve", "--bind", "127.0.0.1:0"]] {
        let (code, _, errors) = run(args);
        assert_eq!(code, 1, "{args:?}: {errors}");
        assert!(errors.contains("newer than this binary"), "{args:?}: {errors}");
    }
    let (code, text, _) = run(&["migrate", "--status"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.lines().any(|line| line.contains("20991231000001") && line.contains("by a newer taskrunnerx")),
        "{text}"
    );
    assert_eq!(in_database(&mut sql).await, by_hand());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_that_were_interrupted_before_they_were_recorded_run_again() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    sql.query_drop(format!("DELETE FROM {LEDGER}")).await.unwrap();
    assert_eq!(store.migrate().await.unwrap().len(), folders().len());
    assert_eq!(in_database(&mut sql).await, by_hand());
}

/// Takes one migration back.
async fn take_back(sql: &mut mysql_async::Conn, folder: &std::path::Path) {
    let down = std::fs::read_to_string(folder.join("down.sql")).unwrap();
    for statement in down.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        sql.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    sql.exec_drop(format!("DELETE FROM {LEDGER} WHERE version = ?"), (version(folder),)).await.unwrap();
}

/// A "not yet" was NULL before columns had their places from the start, and is again afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_their_meaning_when_their_columns_get_their_places_and_when_they_lose_them() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    let folder = folders().into_iter().find(|folder| folder.ends_with("2026-11-25-000002_in_place")).unwrap();
    take_back(&mut sql, &folder).await;
    let usual = taskrunnerx::task::Backoff::default();
    let columns = "id, name, queue, priority, status, lane, position, attempt, max_attempts, timeout_ms, backoff, run_at, \
                   created_at, payload, worker_id, started_at, finished_at";
    let ids = [1u128, 2, 3].map(|n| taskrunnerx::task::TaskId(uuid::Uuid::from_u128(n)));
    let worker = taskrunnerx::task::WorkerId(uuid::Uuid::from_u128(7));
    let begun = format!("UNHEX('{}'), NOW(6)", worker.0.simple());
    for (id, status, lane, attempt, backoff, rest) in [
        (ids[0], "queued", 2, 0, usual.to_json(), "NULL, NULL, NULL".to_owned()),
        (
            ids[1],
            "running",
            3,
            1,
            r#"{"kind":"fixed","base":"3s","jitter":"none"}"#.to_owned(),
            format!("{begun}, NULL"),
        ),
        (ids[2], "completed", 0, 1, usual.to_json(), format!("{begun}, NOW(6)")),
    ] {
        let values =
            format!("'noop', 'q', 0, '{status}', {lane}, 1, {attempt}, 5, 1000, '{backoff}', NOW(6), NOW(6), 'null'");
        let id = id.0.simple();
        sql.query_drop(format!("INSERT INTO tasks ({columns}) VALUES (UNHEX('{id}'), {values}, {rest})"))
            .await
            .unwrap();
    }
    let whole = "SELECT * FROM tasks ORDER BY id";
    let before: Vec<mysql_async::Row> = sql.query(whole).await.unwrap();
    assert_eq!(store.migrate().await.unwrap().len(), 1);
    for (id, begun, ended, backoff) in [
        (ids[0], false, false, usual),
        (ids[1], true, false, taskrunnerx::task::Backoff::fixed(std::time::Duration::from_secs(3))),
        (ids[2], true, true, usual),
    ] {
        let task = store.task(id).await.unwrap().unwrap();
        assert_eq!((task.started_at.is_some(), task.finished_at.is_some()), (begun, ended), "{task:?}");
        assert_eq!((task.worker_id, task.backoff), (begun.then_some(worker), backoff));
    }
    take_back(&mut sql, &folder).await;
    let after: Vec<mysql_async::Row> = sql.query(whole).await.unwrap();
    let values = |rows: Vec<mysql_async::Row>| rows.into_iter().map(mysql_async::Row::unwrap).collect::<Vec<_>>();
    assert_eq!(values(after), values(before));
    assert_eq!(store.migrate().await.unwrap().len(), 1);
}

/// A version before knows no such table, and goes on inserting without it while others are upgraded.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_the_version_before_that_expire_are_found_when_their_time_comes() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    let folder = folders().into_iter().find(|folder| folder.ends_with("2026-11-29-000001_task_expiries")).unwrap();
    take_back(&mut sql, &folder).await;
    sql.query_drop("INSERT INTO queues (name, created_at) VALUES ('paused', NOW(6))").await.unwrap();
    let hour = "NOW(6) + INTERVAL 1 HOUR";
    // Each with whether it is noted. Of what has ended, a retry by hand sees to it.
    let rows = [
        ("paused", "queued", 2, hour, true),
        ("paused", "scheduled", 1, hour, true),
        ("default", "running", 3, hour, true),
        ("default", "queued", 4, hour, true),
        ("default", "queued", 64, "NOW(6) - INTERVAL 1 HOUR", true),
        ("default", "queued", 2, "NULL", false),
        ("default", "failed", 0, hour, false),
    ];
    for (n, (queue, status, lane, expires, _)) in (1u128..).zip(rows) {
        let insert = format!(
            "INSERT INTO tasks (id, name, queue, priority, status, lane, position, max_attempts, timeout_ms, run_at, created_at, \
             payload, expires_at) VALUES (?, 'noop', '{queue}', 0, '{status}', {lane}, 1, 5, 1000, NOW(6), NOW(6), 'null', {expires})"
        );
        sql.exec_drop(insert, (uuid::Uuid::from_u128(n).as_bytes().to_vec(),)).await.unwrap();
    }
    assert_eq!(store.migrate().await.unwrap().len(), 1);
    let noted = "SELECT task_id, due_at = expires_at FROM task_expiries JOIN tasks ON id = task_id ORDER BY task_id";
    let expected: Vec<(Vec<u8>, bool)> = (1u128..)
        .zip(rows)
        .filter(|(_, row)| row.4)
        .map(|(n, _)| (uuid::Uuid::from_u128(n).as_bytes().to_vec(), true))
        .collect();
    assert_eq!(sql.query::<(Vec<u8>, bool), _>(noted).await.unwrap(), expected);
    // A start that was interrupted before it was recorded.
    sql.exec_drop(format!("DELETE FROM {LEDGER} WHERE version = ?"), (version(&folder),)).await.unwrap();
    assert_eq!(store.migrate().await.unwrap().len(), 1);
    assert_eq!(sql.query::<(Vec<u8>, bool), _>(noted).await.unwrap(), expected);
    let expired = store.expire().await.unwrap().expired;
    assert_eq!(expired.iter().map(|task| task.id.0.as_u128()).collect::<Vec<_>>(), [5]);
}

/// As the version before had them: columns of their own, the task as it was submitted.
#[tokio::test(flavor = "multi_thread")]
async fn schedules_of_the_version_before_keep_their_names_rhythms_tasks_and_instants() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    let folder = folders().into_iter().find(|folder| folder.ends_with("2026-11-28-000001_schedules")).unwrap();
    take_back(&mut sql, &folder).await;
    let task = r#"{"name": "echo", "payload": {"quote": "\"\\'", "text": "Zürich 東京", "big": 12345678901234567890}}"#;
    let insert = "INSERT INTO schedules (name, cron, timezone, task, managed_by, version, next_fire_at, created_at, updated_at) \
                  VALUES (?, ?, 'Europe/Berlin', ?, ?, 3, NOW(6) + INTERVAL ? SECOND, NOW(6), NOW(6))";
    sql.exec_drop(insert, ("nightly", "30 3 * * *", task, "api", 86_400)).await.unwrap();
    sql.exec_drop(insert, ("late", "* * * * * *", task, "api", -1)).await.unwrap();
    sql.query_drop("INSERT INTO schedule_fires (schedule, fire_at, outcome, recorded_at) VALUES ('nightly', '2026-11-01 02:30:00', 'fired', NOW(6))")
        .await
        .unwrap();
    let instant = "SELECT CAST(next_fire_at AS CHAR) FROM schedules WHERE name = 'nightly'";
    let before: String = sql.query_first(instant).await.unwrap().unwrap();
    assert_eq!(store.migrate().await.unwrap().len(), 1);
    assert_eq!(sql.query_first::<String, _>(instant).await.unwrap().unwrap(), before);
    let daemon = world.daemon("all").ready().await;
    let (status, nightly) = daemon.get("/api/schedules/nightly").await;
    assert_eq!((status, &nightly["version"], &nightly["misfire"]), (200, &json!(3), &json!("once")), "{nightly}");
    assert_eq!((&nightly["cron"], &nightly["timezone"]), (&json!("30 3 * * *"), &json!("Europe/Berlin")));
    assert_eq!(nightly["task"], serde_json::from_str::<serde_json::Value>(task).unwrap());
    let (_, fires) = daemon.get("/api/schedules/nightly/fires").await;
    assert_eq!((&fires["fires"][0]["outcome"], &fires["fires"][0]["instants"]), (&json!("fired"), &json!(1)));
    // And what was due fires, to the byte.
    let id = eventually("it fires", async || {
        let (_, late) = daemon.get("/api/schedules/late").await;
        late["last_task"]["id"].as_str().map(str::to_owned)
    })
    .await;
    daemon.until(&json!(id), "completed").await;
    let result: Vec<u8> =
        sql.query_first("SELECT payload FROM tasks WHERE schedule = 'late' LIMIT 1").await.unwrap().unwrap();
    assert!(task.contains(std::str::from_utf8(&result).unwrap()), "{}", String::from_utf8_lossy(&result));
}

#[tokio::test(flavor = "multi_thread")]
async fn down_leads_to_an_empty_database_and_up_works_again() {
    let world = World::new().await;
    let store = world.store().await;
    let mut sql = world.sql().await;
    for folder in folders().iter().rev() {
        take_back(&mut sql, folder).await;
    }
    assert_eq!(versions(&mut sql).await, Vec::<String>::new());
    assert_eq!(in_database(&mut sql).await, BTreeMap::new());
    assert_eq!(store.migrate().await.unwrap().len(), folders().len());
    assert_eq!(in_database(&mut sql).await, by_hand());
}
