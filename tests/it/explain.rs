//! What the database does for each statement of the running system, on a table of 100,000
//! rows: the plan it names, the rows it touches, and what it has to prepare.

use crate::harness::{DIGITS, World, root};
use mysql_async::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use taskrunnerx::store::Store;
use taskrunnerx::store::statements::statements;
use taskrunnerx::store::tasks::{
    Claim, Filter, Finish, GroupFilter, Insert, LogPlace, Place, Record, Retention, Selection, Stand, Tail, Ways,
};
use taskrunnerx::task::{Backoff, Fingerprint, NewTask, Status, Task, TaskId, When, WorkerId, position};

const ROWS: u64 = 100_000;
/// The queue that has everything: a backlog, a future, a stream.
const BUSY: &str = "q1";
const WAITING: u64 = 4_000;
const BACKLOG: u64 = 4_000;
/// In the stream or running.
const FLIGHT: u64 = 800;
/// Waiting for workers outside.
const ASIDE: u64 = 2_000;
/// Kinds of failures.
const KINDS: u64 = 1_000;
/// Behind every id.
const LAST_ID: &str = "x'ffffffffffffffffffffffffffffffff'";
/// Width of a priority's band of positions.
const BAND: u64 = 1 << 53;
/// The worker that every running task names, but for a few that name none.
const WORKER: &str = "0190163d8694739baea5966c26f8ad91";

/// 100,000 tasks in ten queues: most have ended, a few thousand in [`BUSY`] have not.
async fn fill(world: &World) -> mysql_async::Conn {
    world.store().await;
    let mut sql = world.sql().await;
    let (waits, stands, flies) = (WAITING, WAITING + BACKLOG, WAITING + BACKLOG + FLIGHT);
    let lives = flies + ASIDE;
    for statement in [
        "SET time_zone = '+00:00'".to_owned(),
        format!(
            "INSERT INTO tasks (id, name, queue, priority, status, lane, position, attempt, max_attempts, timeout_ms, \
               backoff, run_at, dispatched_at, worker_id, created_at, started_at, finished_at, payload) \
             SELECT UNHEX(CONCAT(LPAD(HEX(1700000000000 + n * 10), 12, '0'), '70008000', LPAD(HEX(n), 12, '0'))), 'noop', \
               queue, 0, status, lane, \
               CASE lane WHEN 1 THEN 1700000000000000 + n ELSE 9 * 9007199254740992 + 1700000000000000 + n END, \
               IF(status = 'running', 1, 0), 5, 600000, '{{}}', made, IF(lane = 3, made, NULL), \
               UNHEX(IF(status = 'running', IF(n % 50 = 0, '01', '{WORKER}'), REPEAT('00', 16))), made, \
               IF(lane IN (0, 3), made, '1970-01-01'), IF(lane = 0, made, '1970-01-01'), REPEAT('x', 200) \
             FROM (SELECT n, FROM_UNIXTIME(1700000000 + n / 100) made, IF(n < {lives}, '{BUSY}', CONCAT('q', n % 10)) queue, \
                 CASE WHEN n < {waits} THEN 1 WHEN n < {stands} THEN 2 WHEN n < {flies} THEN 3 WHEN n < {lives} THEN 4 ELSE 0 END lane, \
                 CASE WHEN n < {waits} THEN 'scheduled' WHEN n < {stands} THEN 'queued' \
                      WHEN n < {flies} THEN IF(n % 2 = 0, 'running', 'queued') WHEN n < {lives} THEN 'queued' \
                      WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END status \
               FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d n \
                 FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d, {DIGITS} e) numbers) rows_to_be"
        ),
        "INSERT IGNORE INTO queues (name, created_at) SELECT DISTINCT queue, NOW(6) FROM tasks".to_owned(),
        format!(
            "INSERT INTO workers (id, host, pid, queues, slots, started_at, lease_until) \
             VALUES (UNHEX('{WORKER}'), 'here', 1, '[\"*\"]', 64, NOW(6), NOW(6) + INTERVAL 1 DAY)"
        ),
        "INSERT INTO task_attempts (task_id, attempt, finished_at, outcome) \
         SELECT id, 1, NOW(6), 'error' FROM tasks WHERE status IN ('failed', 'completed')"
            .to_owned(),
        format!(
            "INSERT INTO schedules (name, definition, managed_by, version, next_fire_at, created_at, updated_at) \
             SELECT CONCAT('s', n), '{{}}', 'config', 1, NOW(6) + INTERVAL n - 100 SECOND, NOW(6), NOW(6) \
             FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d n FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d) numbers"
        ),
        "INSERT INTO schedule_fires (schedule, fire_at, outcome, recorded_at) SELECT name, next_fire_at, 'fired', NOW(6) FROM schedules"
            .to_owned(),
        "INSERT INTO task_logs (task_id, attempt, seq, at, line) \
         SELECT task_id, attempt, n, NOW(6), 'said' FROM task_attempts, (SELECT 1 n UNION ALL SELECT 2) numbers"
            .to_owned(),
        // A thousand that are live, and ten times as many that are not.
        format!(
            "INSERT INTO api_keys (id, name, hash, scopes, created_at, created_by, revoked_at) \
             SELECT UNHEX(LPAD(HEX(n), 32, '0')), 'key', UNHEX(SHA2(n, 256)), '[\"read\"]', NOW(6), 'test', \
             IF(n % 10 = 0, NULL, NOW(6)) \
             FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d n FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d) numbers"
        ),
        // Half of what has failed is of one kind.
        "INSERT INTO task_failures (task_id, fingerprint, queue, failed_at) \
         SELECT id, IF(attempt + CRC32(id) % 2 = 1, 7, CRC32(id) % 1000), queue, finished_at FROM tasks WHERE status = 'failed'"
            .to_owned(),
        format!(
            "INSERT INTO failure_groups (fingerprint, name, message, first_seen) SELECT a.d + 10 * b.d + 100 * c.d, 'noop', 'why', \
             NOW(6) - INTERVAL a.d SECOND FROM {DIGITS} a, {DIGITS} b, {DIGITS} c"
        ),
        "INSERT INTO task_keys (hash, request_hash, task_id, expires_at) \
         SELECT UNHEX(SHA2(HEX(id), 256)), IF(status IN ('queued', 'completed'), NULL, UNHEX(SHA2('body', 256))), id, created_at FROM tasks"
            .to_owned(),
        // A tenth is due, of what has ended, what is in flight, and what waits for workers outside.
        "INSERT INTO task_expiries (due_at, task_id) \
         SELECT NOW(6) + INTERVAL IF(CRC32(id) % 10 = 0, -1, 1) DAY, id FROM tasks WHERE lane NOT IN (1, 2)"
            .to_owned(),
        "UPDATE tasks JOIN task_expiries ON task_id = id SET expires_at = due_at".to_owned(),
        "ANALYZE TABLE tasks, task_expiries, task_attempts, task_logs, task_failures, failure_groups, task_keys, queues, workers, schedules, schedule_fires, api_keys"
            .to_owned(),
    ] {
        sql.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let count: u64 = sql.query_first("SELECT COUNT(*) FROM tasks").await.unwrap().unwrap();
    assert_eq!(count, ROWS);
    sql
}

/// What a statement's plan must be.
struct Plan {
    /// The values of its marks, as SQL.
    values: Vec<String>,
    /// The table that this is about.
    table: &'static str,
    /// Every access to that table goes by this key.
    key: &'static str,
    /// The most rows that the optimizer may expect of one access; `LIMIT` does not count there.
    rows: u64,
}

/// The plan of each statement for batches of these tasks (as SQL literals).
fn plans(ids: &[String]) -> BTreeMap<&'static str, Plan> {
    let n = u64::try_from(ids.len()).unwrap();
    let text = |value: &str| format!("'{value}'");
    let time = || text("2030-01-01 00:00:00.000000");
    let (worker, queue) = (|| format!("x'{WORKER}'"), || text(BUSY));
    let owner = || vec!["1".to_owned(), worker()];
    // `CASE id WHEN ? THEN ? …`, as often as the statement has it.
    let cases = |values: &[&str]| -> Vec<String> {
        let each = |value: &str| ids.iter().flat_map(|id| [id.clone(), value.to_owned()]).collect::<Vec<_>>();
        values.iter().flat_map(|value| each(value)).collect()
    };
    let by_id = |before: Vec<String>, after: Vec<String>| {
        let values = [before, ids.to_vec(), after].concat();
        Plan { values, table: "tasks", key: "PRIMARY", rows: n }
    };
    // A part of one queue, which statistics of the index mistake for a larger or smaller one. What
    // is really read another test counts.
    let by_agenda =
        |values: Vec<String>| Plan { values, table: "tasks", key: "agenda", rows: WAITING + BACKLOG + FLIGHT };
    let none = Vec::new;
    let log = |after: Vec<String>| Plan {
        values: [vec![ids[0].clone()], after].concat(),
        table: "task_logs",
        key: "PRIMARY",
        rows: 4,
    };
    let failures =
        |key: &'static str, values: Vec<String>, rows: u64| Plan { values, table: "task_failures", key, rows };
    let of_queues = |limit: &str| [vec!["7".to_owned()], vec![queue(); ids.len()], vec![limit.to_owned()]].concat();
    let history =
        ids.iter().flat_map(|id| [time(), text("error"), text("why"), id.clone(), "1".to_owned(), worker()]).collect();
    // The key of each task.
    let hash = |id: &String| format!("UNHEX(SHA2(HEX({id}), 256))");
    let by_hash = |before: Vec<String>| {
        let values = [before, ids.iter().map(hash).collect()].concat();
        Plan { values, table: "task_keys", key: "PRIMARY", rows: n }
    };
    // Each band of the backlog, from where its first task stands.
    let band = |n: u64| [n * BAND + 1_700_000_000_000_000, (n + 1) * BAND - 1].map(|position| position.to_string());
    let head = [vec![queue()], (0..10).flat_map(band).collect(), vec![n.to_string()]].concat();
    let last = (9 * BAND + 1_700_000_000_000_000 + WAITING + BACKLOG).to_string();
    BTreeMap::from([
        ("insert::EXISTING", by_id(none(), none())),
        ("dispatch::OUTLOOK", by_agenda(vec![queue(), "0".into(), queue(), queue()])),
        ("dispatch::DUE", by_agenda(vec![queue(), "1700000000002000".into(), "1000".into()])),
        ("dispatch::PROMOTE", by_id(none(), vec!["1700000000002000".into()])),
        ("dispatch::HEAD", by_agenda(head)),
        ("dispatch::WAITING", by_id(none(), none())),
        ("dispatch::STALE", by_agenda(vec![queue(), time(), "1000".into()])),
        ("dispatch::UNDISPATCH", by_id(none(), vec![time()])),
        ("dispatch::HAND_BACK", by_id(vec!["1".into()], none())),
        ("cancel::CANCEL", by_id(vec![text("why")], none())),
        ("choose::LOOK", by_id(none(), none())),
        ("choose::LOCK", by_id(none(), none())),
        // All that lives in a queue, and nothing of what has ended.
        (
            "choose::LIVE",
            Plan {
                values: vec![queue(), "x'00'".into(), LAST_ID.into(), "1000".into()],
                table: "tasks",
                key: "agenda",
                rows: 2 * (WAITING + BACKLOG + FLIGHT + ASIDE),
            },
        ),
        // They walk from an id for as long as they say.
        (
            "choose::CEILING",
            Plan { values: vec![ids[0].clone(), LAST_ID.into()], table: "tasks", key: "PRIMARY", rows: ROWS },
        ),
        (
            "choose::ENDED",
            Plan { values: vec![ids[0].clone(), LAST_ID.into()], table: "tasks", key: "PRIMARY", rows: ROWS },
        ),
        ("choose::KINDS", failures("PRIMARY", ids.to_vec(), n)),
        (
            "choose::OF_KIND",
            failures("kind", vec!["7".into(), "x'00'".into(), LAST_ID.into(), "1000".into()], ROWS / 20),
        ),
        ("retry::AGAIN", by_id(vec![time(), "1".into(), "2".into()], none())),
        (
            "run::DUE_NOW",
            Plan {
                values: vec![time(), "1".into(), "2".into(), ids[0].clone()],
                table: "tasks",
                key: "PRIMARY",
                rows: 1,
            },
        ),
        ("failures::FAILED", by_id(none(), none())),
        ("failures::FORGET", failures("PRIMARY", ids.to_vec(), n)),
        (
            "failures::GROUPS",
            Plan {
                values: vec![time(), time(), "7".into(), "1000".into()],
                table: "failure_groups",
                key: "newest",
                rows: KINDS,
            },
        ),
        // As many of a kind as there are, up to the limit.
        ("failures::COUNT", failures("kind", vec!["7".into(), "100000".into()], ROWS / 20)),
        ("failures::NEWEST", failures("kind", vec!["7".into(), "10".into()], ROWS / 20)),
        ("failures::COUNT_IN", failures("kind", of_queues("100000"), ROWS / 20)),
        ("failures::NEWEST_IN", failures("kind", of_queues("10"), ROWS / 20)),
        ("failures::IN_USE", Plan { values: vec!["0".into(), "1000".into()], table: "g", key: "PRIMARY", rows: KINDS }),
        ("failures::LOCK_GROUP", Plan { values: vec!["7".into()], table: "failure_groups", key: "PRIMARY", rows: 1 }),
        ("failures::DROP_GROUP", Plan { values: vec!["7".into()], table: "failure_groups", key: "PRIMARY", rows: 1 }),
        ("purge::STILL", by_id(none(), none())),
        ("claim::CLAIM", by_id(vec![worker()], vec!["0".into()])),
        ("claim::STANDING", by_id(none(), none())),
        ("claim::EXPIRE", by_id(none(), none())),
        ("claim::PAYLOADS", by_id(none(), none())),
        ("expire::RENEW", by_id(none(), none())),
        ("expire::STANDING", by_id(none(), none())),
        ("expire::FORGET", by_id(none(), none())),
        // All that is due is in its range, until the LIMIT ends it; a dive into the index thinks twice as much of it.
        ("expire::DUE", Plan { values: vec!["256".into()], table: "task_expiries", key: "PRIMARY", rows: ROWS / 5 }),
        (
            "expire::DROP",
            Plan {
                values: ids.iter().flat_map(|id| [time(), id.clone()]).collect(),
                table: "task_expiries",
                key: "PRIMARY",
                rows: n,
            },
        ),
        ("finish::COMPLETE", by_id(none(), owner())),
        ("finish::COMPLETE_WITH", by_id(cases(&["'1'"]), owner())),
        ("finish::RETRY", by_id(cases(&["NOW(6)", "1", "'why'", "0"]), owner())),
        ("finish::REQUEUE", by_id(cases(&["NOW(6)", "1", "'why'", "0"]), owner())),
        ("finish::END", by_id(cases(&["'failed'", "'error'", "'why'", "0"]), owner())),
        ("finish::CANCEL_ASKED", by_id(none(), owner())),
        ("finish::OWNERS", by_id(none(), none())),
        ("finish::HISTORY", Plan { values: history, table: "tasks", key: "PRIMARY", rows: 1 }),
        ("rescue::OF_WORKER", by_agenda(vec![worker(), "1000".into()])),
        ("rescue::ORPHANS", by_agenda(vec!["1000".into()])),
        ("rescue::BY_ID", by_id(none(), none())),
        ("pull::AVAILABLE", by_agenda(vec![queue(), queue(), "100".into()])),
        (
            "pull::AVAILABLE_OF",
            by_agenda([vec![queue(), queue()], vec![text("noop"); ids.len()], vec!["100".into()]].concat()),
        ),
        ("pull::NAMES", by_id(none(), none())),
        ("pull::SET_ASIDE", by_id(none(), none())),
        ("pull::ASIDE", by_agenda(vec![queue(), "4".into(), "1".into(), "1".into(), ids[0].clone(), "1000".into()])),
        ("pull::NEXT_LANE", by_agenda(vec![queue(), "4".into()])),
        ("pull::PUT_BACK", by_id(none(), vec!["4".into()])),
        ("pull::ATTEMPTS", by_id(none(), none())),
        ("pull::HELD_FOR", by_agenda(vec![worker(), "15000000".into(), "1000".into()])),
        ("pull::OVERDUE", by_agenda(vec!["15000000".into(), "1000".into()])),
        (
            "pull::OUTCOME",
            Plan {
                values: vec![ids[0].clone(), "1".into(), worker()],
                table: "task_attempts",
                key: "PRIMARY",
                rows: 1,
            },
        ),
        ("hold::HOLD", by_id(vec!["64".into()], none())),
        ("hold::HELD_HEAD", by_agenda(vec![queue(), "64".into(), text("noop"), "100".into()])),
        ("hold::TURN", Plan { values: none(), table: "queues", key: "PRIMARY", rows: 1 }),
        ("hold::FLYING", by_agenda(vec![text("noop")])),
        ("hold::LET_GO", by_id(vec![time()], vec!["64".into()])),
        ("hold::GONE", by_id(none(), vec![time()])),
        // It reads upward from an id for as long as its LIMIT says, whatever the optimizer expects.
        (
            "purge::WALK",
            Plan { values: vec![ids[0].clone(), "1000".into()], table: "tasks", key: "PRIMARY", rows: ROWS },
        ),
        ("purge::PURGE", by_id(none(), none())),
        (
            "purge::PURGE_HISTORY",
            // As many attempts as a task may have had.
            Plan { values: ids.to_vec(), table: "task_attempts", key: "PRIMARY", rows: 2 * n },
        ),
        (
            "purge::PURGE_LOGS",
            // As many lines as a task may have had.
            Plan { values: ids.to_vec(), table: "task_logs", key: "PRIMARY", rows: 4 * n },
        ),
        ("keys::LOOK", by_hash(none())),
        ("keys::LOCK", by_hash(none())),
        (
            "keys::TAKE_OVER",
            Plan {
                values: vec!["NULL".into(), ids[0].clone(), "NULL".into(), time(), hash(&ids[0])],
                table: "task_keys",
                key: "PRIMARY",
                rows: 1,
            },
        ),
        // As the walk over the tasks: from a place, as far as its LIMIT says.
        (
            "purge_keys::WALK_KEYS",
            Plan {
                values: vec!["'1970-01-01'".into(), "'1970-01-01'".into(), "x'00'".into(), "1000".into()],
                table: "task_keys",
                key: "expiry",
                rows: ROWS,
            },
        ),
        ("purge_keys::PURGE_KEYS", by_hash(none())),
        ("journal::PROGRESS", by_id(cases(&["0.5", "'half'"]), owner())),
        ("journal::PULSES", by_id(none(), none())),
        ("journal::LINES", log(vec!["0".into(), "0".into(), "1".into(), "200".into()])),
        ("journal::LINES_OF", log(vec!["1".into(), "1".into(), "200".into()])),
        (
            "journal::TAILS",
            Plan {
                values: ids.iter().flat_map(|id| [id, "0", "0", "1"].map(str::to_owned)).collect(),
                table: "task_logs",
                key: "PRIMARY",
                rows: 4,
            },
        ),
        (
            "history::ATTEMPTS",
            Plan { values: vec![ids[0].clone(), "1000".into()], table: "task_attempts", key: "PRIMARY", rows: 4 },
        ),
        ("standing::SPOT", Plan { values: vec![ids[0].clone()], table: "tasks", key: "PRIMARY", rows: 1 }),
        ("standing::AHEAD", by_agenda(vec![queue(), "2".into(), last.clone(), last, ids[0].clone(), "10001".into()])),
        ("totals::BUSY", by_agenda(none())),
        // It reads downward from the end for as long as its LIMIT says.
        (
            "totals::RECENT",
            Plan { values: vec![ids[0].clone(), "10000".into()], table: "tasks", key: "PRIMARY", rows: ROWS },
        ),
        ("read::SMALL", by_id(none(), vec!["65536".into()])),
        ("read::DEPTH", by_agenda(vec![queue(); 9])),
        (
            "schedules::DUE",
            Plan { values: vec!["NOW(6)".into(), "100".into()], table: "schedules", key: "due", rows: 500 },
        ),
        (
            "schedules::OVERDUE",
            Plan { values: vec!["NOW(6)".into(), "100".into()], table: "schedules", key: "due", rows: 500 },
        ),
        ("schedules::WAITING", Plan { values: vec!["100".into()], table: "s", key: "waiting", rows: 10 }),
        (
            "schedules::LEDGER",
            Plan {
                values: vec!["'s1'".into(), "NOW(6)".into(), "100".into()],
                table: "schedule_fires",
                key: "PRIMARY",
                rows: 1_000,
            },
        ),
        (
            "schedules::PURGE_FIRES",
            Plan {
                values: vec!["86400000000".into(), "1000".into()],
                table: "schedule_fires",
                key: "fired",
                rows: 100,
            },
        ),
        ("queues::QUEUE", Plan { values: vec![queue()], table: "queues", key: "PRIMARY", rows: 1 }),
        ("queues::RESUME", Plan { values: vec![queue()], table: "queues", key: "PRIMARY", rows: 1 }),
        ("api_keys::LIVE", Plan { values: none(), table: "api_keys", key: "live", rows: 1000 }),
        ("api_keys::USED", Plan { values: ids.to_vec(), table: "api_keys", key: "PRIMARY", rows: n }),
        // Everything in the future is in its range: the LIMIT ends it after one.
        ("schedules::NEXT", Plan { values: vec![], table: "schedules", key: "due", rows: 10_000 }),
        ("schedules::AFTER", Plan { values: vec!["NOW(6)".into()], table: "schedules", key: "due", rows: 10_000 }),
    ])
}

/// A statement with values in place of its marks.
fn bound(text: &str, values: &[String]) -> String {
    let mut pieces = text.split('?');
    let mut bound = pieces.next().unwrap().to_owned();
    let mut values = values.iter();
    for piece in pieces {
        bound.push_str(values.next().unwrap_or_else(|| panic!("too few values: {text:.200}")));
        bound.push_str(piece);
    }
    assert_eq!(values.next(), None, "too many values: {text:.200}");
    bound
}

/// One line of a plan.
#[derive(Debug)]
struct Access {
    table: String,
    kind: String,
    key: String,
    rows: u64,
    extra: String,
}

async fn explain(sql: &mut mysql_async::Conn, statement: &str) -> Vec<Access> {
    let lines: Vec<mysql_async::Row> = sql
        .query(format!("EXPLAIN FORMAT=TRADITIONAL {statement}"))
        .await
        .unwrap_or_else(|error| panic!("{error}: {statement:.300}"));
    let access = |row: mysql_async::Row| {
        let text = |column: &str| row.get::<Option<String>, _>(column).flatten().unwrap_or_default();
        Access {
            table: text("table"),
            kind: text("type"),
            key: text("key"),
            rows: text("rows").parse().unwrap_or(0),
            extra: text("Extra"),
        }
    };
    lines.into_iter().map(access).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_the_running_system_goes_by_its_index() {
    let world = World::new().await;
    let mut sql = fill(&world).await;
    for size in [1, 16, 256] {
        // Spread over the whole table, so that no short range of it would do.
        let step = usize::try_from(ROWS).unwrap() / size;
        let ids: Vec<String> = sql.query("SELECT HEX(id) FROM tasks ORDER BY id").await.unwrap();
        let ids: Vec<String> = ids.iter().step_by(step).take(size).map(|id| format!("x'{id}'")).collect();
        let mut plans = plans(&ids);
        for (name, text) in statements(size) {
            // An insert of values has no plan.
            if name.starts_with("insert::INSERT")
                || name.starts_with("failures::INSERT")
                || ["journal::ADD", "keys::ADD", "expire::ADD", "expire::LATER"].contains(&name)
            {
                continue;
            }
            let plan = plans.remove(name).unwrap_or_else(|| panic!("{name} has no expected plan"));
            let lines = explain(&mut sql, &bound(&text, &plan.values)).await;
            let of_plan = |line: &&Access| {
                let beside = match name {
                    "keys::LOOK" => "tasks",
                    "expire::FORGET" => "e",
                    _ => "t",
                };
                [plan.table, "t", beside].contains(&&*line.table)
            };
            let on_table: Vec<&Access> = lines.iter().filter(of_plan).collect();
            let of_batch = format!("{name} with {size}: {lines:#?}");
            assert!(!on_table.is_empty() || lines.iter().any(|line| line.extra.contains("const table")), "{of_batch}");
            for access in &on_table {
                assert!(["const", "eq_ref", "ref", "range"].contains(&&*access.kind), "{of_batch}");
                assert_eq!(access.key, plan.key, "{of_batch}");
                // Of each band its part, and not the lane with a filter.
                assert!(name != "dispatch::HEAD" || access.kind == "range", "{of_batch}");
                // Estimates: a dive into an index is off by a little, statistics by more.
                assert!(access.rows <= plan.rows * 3 / 2 + 10, "{of_batch}");
            }
            // Ids alone, which another index gives in another order.
            let sorts = ["choose::LIVE", "choose::OF_KIND"].contains(&name);
            for access in &lines {
                assert!(sorts || !access.extra.contains("filesort"), "{of_batch}");
                assert!(!sorts || access.extra.contains("Using index"), "{of_batch}");
            }
        }
        assert!(plans.is_empty(), "plans of no statement: {:?}", plans.keys());
    }
}

/// The constants and statics of the store's task and schedule files that begin as SQL does.
#[test]
fn no_statement_on_tasks_is_left_out_of_the_list() {
    let listed: BTreeSet<String> =
        statements(1).iter().map(|(name, _)| name.split_once("::").unwrap().1.to_owned()).collect();
    let mut paths = vec![root().join("src/store/tasks")];
    let (mut missing, mut read) = (Vec::new(), 0);
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        read += 1;
        let code = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = code.lines().map(str::trim).collect();
        for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
            let line = line.strip_prefix("pub(in crate::store) ").unwrap_or(line);
            let made = line.strip_prefix("static ").filter(|rest| rest.contains(": Texts"));
            let written = line.strip_prefix("const ").filter(|rest| {
                let begins =
                    |word: &str| rest.contains(&format!("\"{word} ")) || next.starts_with(&format!("\"{word} "));
                rest.contains(": &str") && ["SELECT", "UPDATE", "DELETE", "INSERT"].into_iter().any(begins)
            });
            if let Some(rest) = made.or(written) {
                let name = rest.split(':').next().unwrap();
                if !listed.contains(name) {
                    missing.push(format!("{name} of {}", path.display()));
                }
            }
            // What is written in place would escape this test.
            assert!(!line.contains("statement(\"") && !line.contains("select::<Binary>(\""), "{line}");
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(read > 20, "{read} files");
}

// --- what calls really do ---

fn new_task(queue: &str) -> NewTask {
    NewTask {
        name: "noop".into(),
        way: taskrunnerx::task::Way::Stream,
        queue: queue.into(),
        priority: 0,
        payload: "null".into(),
        when: When::Now,
        timeout: Duration::from_secs(60),
        max_attempts: 5,
        backoff: Backoff::default(),
        expires_in: None,
        schedule: None,
        tags: Vec::new(),
        metadata: None,
        unique: None,
    }
}

/// A store of one connection, so that the connection's counters are the store's.
fn single(world: &World) -> Store {
    Store::new(&world.database_url, Some(1), world.metrics.clone()).unwrap()
}

/// Rows read so far: in key order, and in a scan.
async fn reads(store: &Store) -> (u64, u64) {
    let counters = store.session_counters("Handler_read").await.unwrap();
    let of = |name: &str| counters[name];
    (of("Handler_read_next") + of("Handler_read_prev") + of("Handler_read_key"), of("Handler_read_rnd_next"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_reads_more_rows_than_it_is_bounded_to() {
    let world = World::new().await;
    let mut sql = fill(&world).await;
    let store = single(&world);
    let queue: Arc<str> = BUSY.into();
    let worker: WorkerId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
    // Asking for the counters reads rows too.
    let (_, first) = reads(&store).await;
    let (_, second) = reads(&store).await;
    let asking = second - first;

    macro_rules! bounded {
        ($most:expr, $call:expr) => { bounded!($most, scans 100, $call) };
        ($most:expr, scans $scans:expr, $call:expr) => {{
            let (keyed, scanned) = reads(&store).await;
            let value = $call.await;
            let (keyed_after, scanned_after) = reads(&store).await;
            let (keyed, scanned) = (keyed_after - keyed, (scanned_after - scanned).saturating_sub(asking));
            // The tables beside `tasks` have a dozen rows here.
            assert!(keyed <= $most && scanned <= $scans, "{}: {keyed} by key, {scanned} scanned", stringify!($call));
            value
        }};
    }

    for busy in [false, true] {
        bounded!(20, store.outlook(Arc::clone(&queue), busy)).unwrap();
    }
    assert_eq!(bounded!(2_100, store.promote_due(Arc::clone(&queue))).unwrap().len(), 1_000);
    let begin = std::array::from_fn(position::band);
    let head = bounded!(300, store.backlog_head(Arc::clone(&queue), begin, 200)).unwrap();
    // What stands before `from` is not looked at.
    let mut from = begin;
    from[9] = head[199].1;
    assert_eq!(bounded!(300, store.backlog_head(Arc::clone(&queue), from, 200)).unwrap()[0], head[199]);
    from[9] = 10 * BAND - 1;
    assert_eq!(bounded!(30, store.backlog_head(Arc::clone(&queue), from, 200)).unwrap(), []);
    let waiting = bounded!(300, store.waiting(head.into_iter().map(|(id, _)| id).collect())).unwrap();
    assert_eq!(waiting.len(), 200);
    let claims: Vec<Claim> = waiting.iter().map(|task| Claim { id: task.id, attempt: task.attempt }).collect();
    assert_eq!(bounded!(600, store.claim(worker, claims.clone())).unwrap().len(), 0);
    // Every one lost: it is read once more to say why.
    assert_eq!(bounded!(1_200, store.claim(WorkerId::fresh(), claims.clone())).unwrap().len(), 200);
    let id: TaskId = claims[0].id;
    let done: Vec<Finish> =
        claims.iter().map(|claim| finish(claim.id, worker, Record::Completed { result: None })).collect();
    assert!(bounded!(600, store.finish(done)).iter().all(Result::is_ok));
    let now = store.now().await.unwrap();
    bounded!(FLIGHT + 1_500, store.undispatch_stale(Arc::clone(&queue), now, 1_000)).unwrap();
    // Every row in flight in any queue, and no other.
    bounded!(2 * FLIGHT + 100, store.running_under(worker, 1_000)).unwrap();
    bounded!(4 * FLIGHT + 100, store.orphans(1_000)).unwrap();
    bounded!(2 * (WAITING + BACKLOG + FLIGHT + ASIDE) + 100, store.depth(Arc::clone(&queue))).unwrap();
    // Of several queues the head of each.
    let heads =
        bounded!(500, store.available(vec![Arc::clone(&queue), "q2".into(), "none".into()], None, 100)).unwrap();
    assert_eq!(heads.iter().map(Vec::len).collect::<Vec<_>>(), [100, 0, 0]);
    // Of some types too, however many others stand before them.
    for (name, found) in [("noop", 100), ("rare", 0)] {
        let names = Some(vec![name.to_owned(), "other".to_owned()]);
        let (keyed, _) = reads(&store).await;
        let heads = store.available(vec![Arc::clone(&queue)], names, 100).await.unwrap();
        // The rows of the inner list are no table's.
        assert!(reads(&store).await.0 - keyed <= 10_200);
        assert_eq!(heads[0].len(), found);
    }
    let aside = bounded!(1_100, store.aside(Arc::clone(&queue), Place::default(), 1_000)).unwrap();
    let rest = bounded!(1_100, store.aside(Arc::clone(&queue), aside.next.unwrap(), 1_001)).unwrap();
    assert_eq!((aside.tasks.len(), rest.tasks.len(), rest.next), (1_000, 1_000, None));
    let many: Vec<TaskId> = aside.tasks.iter().map(|(id, _)| *id).take(200).collect();
    assert_eq!(bounded!(300, store.attempts(many.clone())).unwrap().len(), 200);
    assert_eq!(bounded!(1_000, store.put_back(Place::default(), many.clone())).unwrap(), 200);
    assert_eq!(bounded!(300, store.backlog_names(many.clone())).unwrap().len(), 200);
    assert_eq!(bounded!(1_000, store.set_aside(many)).unwrap(), 200);
    bounded!(2 * FLIGHT + 100, store.held_for(worker, Duration::from_secs(15), 1_000)).unwrap();
    bounded!(4 * FLIGHT + 100, store.overdue(Duration::from_secs(15), 1_000)).unwrap();
    bounded!(20, store.recorded(id, 1, worker)).unwrap();
    let long = Duration::from_secs(3650 * 86_400);
    bounded!(1_100, store.purge_step(None, Retention { completed: long, failed: long })).unwrap();
    bounded!(200, store.schedule_agenda()).unwrap();
    // Walked over, locked, looked at with their tasks, deleted.
    assert_eq!(bounded!(8_000, store.purge_keys_step(None)).unwrap().purged, 1_000);

    let last: String = sql
        .query_first(format!(
            "SELECT HEX(id) FROM tasks WHERE queue = '{BUSY}' AND lane = 2 ORDER BY position DESC LIMIT 1"
        ))
        .await
        .unwrap()
        .unwrap();
    let last = TaskId(last.parse().unwrap());
    let spot = bounded!(20, store.spot(last)).unwrap().unwrap();
    assert_eq!(spot.stand, Stand::Backlog);
    // What is before it is counted in a table of its own, which is then read.
    let ahead = bounded!(2 * BACKLOG, scans 2 * BACKLOG, store.ahead(Arc::clone(&queue), last, spot)).unwrap();
    assert!(ahead > BACKLOG / 2, "{ahead}");
    bounded!(2 * FLIGHT + 100, store.flying_of("noop".into())).unwrap();
    assert!(!bounded!(2 * FLIGHT + 100, store.busy()).unwrap().is_empty());
    bounded!(20, store.recent()).unwrap();
    bounded!(20, store.latest_attempt(id)).unwrap();
    // Verbs on many (counts are of a table that is made for them): what lives from the index alone, what has ended in steps of 10,000 rows.
    let selection = |fingerprints: Vec<Fingerprint>| Arc::new(Selection { filter: Filter::default(), fingerprints });
    let live = bounded!(2 * (WAITING + BACKLOG + FLIGHT + ASIDE) + 300, store.live_candidates(selection(vec![]), None))
        .unwrap();
    assert!(live.ids.len() > 10_000 && live.next.is_none());
    let ended = bounded!(20_200, store.ended_candidates(selection(vec![]), None)).unwrap();
    assert!(ended.ids.is_empty() && ended.next.is_some(), "the oldest live");
    let ended = bounded!(20_200, store.ended_candidates(selection(vec![]), live.ids.last().copied())).unwrap();
    assert!((400..=500).contains(&ended.ids.len()) && ended.next.is_some());
    let kind = bounded!(3_000, store.ended_candidates(selection(vec![Fingerprint(7)]), None)).unwrap();
    assert!(kind.ids.len() > 1_000 && kind.next.is_none());
    let few: Vec<TaskId> = kind.ids.iter().copied().take(100).collect();
    let ways: Ways = Arc::new(|_| taskrunnerx::task::Way::Stream);
    let batch = bounded!(1_500, store.retry_chosen(few, selection(vec![Fingerprint(7)]), 100, false, ways)).unwrap();
    assert_eq!((batch.matched.len(), batch.changed.len()), (100, 100));
    let few: Vec<TaskId> = batch.changed.iter().map(|found| found.id).collect();
    let batch = bounded!(800, store.cancel_chosen(few, selection(vec![]), 100, false)).unwrap();
    assert_eq!(batch.changed.len(), 100);
    let id_of_kind = kind.ids[200];
    bounded!(30, store.delete_step(id_of_kind)).unwrap();
    let (groups, _) = bounded!(8_000, scans 8_000, store.failure_groups(GroupFilter::default(), None, 50)).unwrap();
    assert_eq!(groups.len(), 50);
    bounded!(8_000, store.purge_groups(Fingerprint(0))).unwrap();

    // Listings look at 10,000 rows at most for a page (and once before, for where that ends, and
    // after for the page's own).
    bounded!(20, store.task(id)).unwrap();
    let many: Vec<TaskId> = claims.iter().map(|claim| claim.id).collect();
    assert!(bounded!(300, store.small_tasks(many)).unwrap().iter().all(Option::is_some));
    bounded!(20, store.history(id)).unwrap();
    bounded!(20, store.lines(id, None, LogPlace::default(), 200)).unwrap();
    bounded!(20, store.lines(id, Some(1), LogPlace::default(), 200)).unwrap();
    let tails = claims.iter().map(|claim| Tail { id: claim.id, after: LogPlace::default() }).collect();
    assert_eq!(bounded!(800, store.tails(tails)).unwrap().len(), 200);
    bounded!(300, store.pulses(claims.iter().map(|claim| claim.id).collect())).unwrap();
    bounded!(200, store.list(Filter::default(), None, 50)).unwrap();
    bounded!(30, store.list(Filter { ids: vec![id], statuses: vec![Status::Failed], ..Filter::default() }, None, 50))
        .unwrap();
    for filter in [
        Filter { names: vec!["rare".into()], ..Filter::default() },
        Filter { queues: vec!["rare".into()], statuses: vec![Status::Running], ..Filter::default() },
        Filter { tags: vec!["a".into(), "b".into()], ..Filter::default() },
    ] {
        let page = bounded!(20_200, store.list(filter, None, 50)).unwrap();
        assert!(page.tasks.is_empty() && page.next.is_some());
    }
    // So does one that many rows match, where the other index looks inviting.
    for status in [Status::Completed, Status::Running] {
        let filter = Filter { queues: vec![BUSY.into(), "q2".into()], statuses: vec![status], ..Filter::default() };
        bounded!(20_200, store.list(filter, None, 50)).unwrap();
    }
    // Looked at, locked, cancelled, and their rows gone or put off.
    let expiries = bounded!(2_500, store.expire()).unwrap();
    assert!(expiries.full && expiries.expired.len() > 100, "{}", expiries.expired.len());
}

fn finish(id: TaskId, worker: WorkerId, record: Record) -> Finish {
    let history = match &record {
        Record::Completed { .. } => None,
        _ => Some(("error", Some("why".to_owned()))),
    };
    Finish { id, attempt: 1, worker, record, history, crashed: false }
}

/// One batch through its whole life, a third of it each way.
async fn live(store: &Store, size: usize) {
    let worker = WorkerId::fresh();
    let queue: Arc<str> = "default".into();
    // Some of them with what only some have.
    let expires = |i: usize| (i % 4 == 3).then_some(Duration::from_secs(3600));
    let task = |i: usize| NewTask { tags: vec!["a".to_owned(); i % 2], expires_in: expires(i), ..new_task(&queue) };
    let group = |i: usize| vec![Insert { task: task(i), direct: false }];
    let batch = (0..size).map(group).collect();
    let tasks: Vec<Task> = store.insert_tasks(batch).await.into_iter().flat_map(Result::unwrap).collect();
    store.outlook(Arc::clone(&queue), false).await.unwrap();
    store.promote_due(Arc::clone(&queue)).await.unwrap();
    let head = store.backlog_head(Arc::clone(&queue), std::array::from_fn(position::band), size).await.unwrap();
    assert_eq!(store.waiting(head.into_iter().map(|(id, _)| id).collect()).await.unwrap().len(), size);
    assert!(store.small_tasks(tasks.iter().map(|task| task.id).collect()).await.unwrap().iter().all(Option::is_some));
    let claims: Vec<Claim> = tasks.iter().map(|task| Claim { id: task.id, attempt: 0 }).collect();
    assert!(store.claim(worker, claims.clone()).await.unwrap().is_empty());
    assert_eq!(store.claim(WorkerId::fresh(), claims).await.unwrap().len(), size);
    let record = |i: usize| match i % 3 {
        0 => Record::Completed { result: None },
        1 => Record::Completed { result: Some("1".into()) },
        _ => Record::Failed { reason: taskrunnerx::task::Reason::Error, error: Some("why".to_owned()) },
    };
    let batch = tasks.iter().enumerate().map(|(i, task)| finish(task.id, worker, record(i))).collect();
    assert!(store.finish(batch).await.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_path_prepares_each_statement_once_whatever_the_batch_sizes() {
    let world = World::new().await;
    world.store().await;
    let store = single(&world);
    let prepared = async || store.session_counters("Com_stmt_prepare").await.unwrap()["Com_stmt_prepare"];
    // So that each part of a batch has had each size that has a text of its own.
    for size in (1..=16).chain([32, 64, 127]) {
        live(&store, size).await;
    }
    let before = prepared().await;
    assert!(before > 10, "{before} prepared: this counter does not count");
    for size in [3, 17, 21, 33, 60, 100, 120, 127] {
        live(&store, size).await;
    }
    assert_eq!(prepared().await, before);
}
