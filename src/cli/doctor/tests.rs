//! The judges over made-up facts: what no test can easily do to a real server.

use super::check::{Check, Section, Status};
use super::facts::{Database, Known, Queue, Redis, System};
use super::{database, redis_server, system};
use crate::store::diagnosis::{Clock, Server, ServerVersion, Variables};
use crate::store::migrations::Migration;
use crate::store::queues::{Pause, QueueRow};
use crate::store::roster::{Roster, WorkerRow};
use crate::store::schedules::Agenda;
use crate::store::tasks::Depth;
use crate::stream::StreamState;
use crate::stream::diagnosis::{QueueStream, Server as RedisServer};
use crate::task::{Timestamp, WorkerId};
use chrono::TimeDelta;
use std::time::Duration;

const MYSQL: &str = "8.0.40";

/// Settings or counters that are otherwise than in a server without a fault.
type Changes<'a> = &'a [(&'a str, &'a str)];

fn server(version: &str, changes: Changes<'_>) -> Server {
    let healthy = [
        ("innodb_flush_log_at_trx_commit", "1"),
        ("log_bin", "ON"),
        ("sync_binlog", "1"),
        ("innodb_doublewrite", "ON"),
        ("max_connections", "151"),
        ("max_allowed_packet", "67108864"),
        ("max_prepared_stmt_count", "16382"),
        ("read_only", "OFF"),
        ("super_read_only", "OFF"),
        ("character_set_client", "utf8mb4"),
        ("character_set_connection", "utf8mb4"),
    ];
    let counters =
        [("Threads_connected", "5"), ("Max_used_connections", "9"), ("Prepared_stmt_count", "80"), ("Ssl_cipher", "x")];
    let pairs = |defaults: &[(&str, &str)]| -> Variables {
        let changed = |(name, value): &(&str, &str)| {
            let change = changes.iter().find(|(changed, _)| changed == name);
            ((*name).to_owned(), change.map_or(*value, |(_, value)| value).to_owned())
        };
        defaults.iter().map(changed).collect()
    };
    Server {
        version: ServerVersion::parse(version.to_owned()),
        variables: pairs(&healthy),
        counters: pairs(&counters),
        grants: Some(vec!["GRANT ALL PRIVILEGES ON `trx`.* TO `trx`@`%`".to_owned()]),
        database: "trx".to_owned(),
    }
}

fn facts(server: Server) -> Database {
    let migration = Migration { version: "1".into(), name: "1_a".into(), applied: true, known: true };
    Database {
        place: "mysql://db/trx".to_owned(),
        local: false,
        pool: 16,
        statements: 250,
        largest_value: 1 << 20,
        reached: Ok(()),
        server: Ok(server),
        clock: Ok(Clock { now: Timestamp::UNIX_EPOCH, ahead_us: 900_000, round_trip: Duration::from_millis(1) }),
        migrations: Ok(vec![migration]),
    }
}

/// The one check that is not ok; None: there is none.
fn finding(section: Section) -> Option<Check> {
    let mut found = section.checks.into_iter().filter(|check| check.status != Status::Ok);
    let first = found.next();
    assert_eq!(found.next(), None, "besides {first:?}");
    first
}

#[track_caller]
fn expect(section: Section, name: &str, status: Status, detail: &str) {
    let check = finding(section).unwrap_or_else(|| panic!("{name}: nothing was found"));
    assert_eq!((check.name.as_str(), check.status), (name, status), "{check:?}");
    assert!(check.detail.contains(detail), "{check:?}");
}

#[test]
fn a_database_without_a_fault_has_no_finding() {
    assert_eq!(finding(database::judge(&facts(server(MYSQL, &[])), 1)), None);
    assert_eq!(finding(database::judge(&facts(server("10.11.14-MariaDB", &[("log_bin", "OFF")])), 0)), None);
}

#[test]
fn each_setting_of_the_database_is_judged_by_itself() {
    use Status::{Error, Note, Warning};
    let table: [(&str, Changes<'_>, &str, Status, &str); 13] = [
        ("5.7.44", &[], "version", Error, "5.7.44"),
        (MYSQL, &[("sync_binlog", "0")], "sync_binlog", Warning, "recovery rolls back what it lacks"),
        (MYSQL, &[("innodb_doublewrite", "OFF")], "innodb_doublewrite", Note, "tear"),
        (MYSQL, &[("max_connections", "15")], "max_connections", Warning, "one process may want 16"),
        (MYSQL, &[("Max_used_connections", "151")], "max_connections", Warning, "the limit was met"),
        (MYSQL, &[("max_allowed_packet", "1048576")], "max_allowed_packet", Error, "does not fit"),
        (MYSQL, &[("max_allowed_packet", "4194304")], "max_allowed_packet", Warning, "in halves"),
        (MYSQL, &[("Prepared_stmt_count", "14000")], "max_prepared_stmt_count", Warning, "14000 are in use"),
        (MYSQL, &[("max_prepared_stmt_count", "3999")], "max_prepared_stmt_count", Note, "would want 4000"),
        (MYSQL, &[("read_only", "ON")], "read_only", Error, "nothing can be written"),
        (MYSQL, &[("read_only", "ON"), ("super_read_only", "ON")], "read_only", Error, "super_read_only, read_only"),
        (MYSQL, &[("character_set_client", "latin1")], "character set", Warning, "latin1 and utf8mb4"),
        (MYSQL, &[("Ssl_cipher", "")], "tls", Note, "plain text"),
    ];
    for (version, changes, name, status, detail) in table {
        expect(database::judge(&facts(server(version, changes)), 1), name, status, detail);
    }
    let many = server(MYSQL, &[("max_prepared_stmt_count", "100000")]);
    let wanted = "the 10 live worker processes, not counting those of api and scheduler alone, may want 160";
    expect(database::judge(&facts(many), 10), "max_connections", Warning, wanted);
}

#[test]
fn an_account_clock_or_connection_that_is_not_right_is_found() {
    let mut one = facts(server(MYSQL, &[]));
    one.server.as_mut().unwrap().grants = Some(vec!["GRANT SELECT ON `trx`.* TO `t`@`%`".to_owned()]);
    expect(database::judge(&one, 1), "privileges", Status::Error, "INSERT, UPDATE, DELETE, CREATE");
    one.server.as_mut().unwrap().grants = None;
    expect(database::judge(&one, 1), "privileges", Status::Unknown, "SHOW GRANTS");

    let clock =
        |ahead_us, ms| Ok(Clock { now: Timestamp::UNIX_EPOCH, ahead_us, round_trip: Duration::from_millis(ms) });
    let judged = |clock: Known<Clock>| database::judge(&Database { clock, ..facts(server(MYSQL, &[])) }, 1);
    expect(judged(clock(1_100_000, 1)), "clock", Status::Warning, "1.1 s ahead of this host's");
    expect(judged(clock(-90_000_000, 1)), "clock", Status::Warning, "90.0 s behind this host's");
    expect(judged(clock(0, 80)), "connection", Status::Warning, "answers in 80 ms");
    // Within what the answer's way leaves uncertain.
    let uncertain = judged(clock(1_100_000, 300));
    assert!(uncertain.checks.iter().any(|check| check.name == "clock" && check.status == Status::Ok));

    for (why, advice) in [
        ("Access denied for user 'trx'", "the user and the password"),
        ("Unknown database 'trx'", "CREATE DATABASE"),
        ("Connection refused", "host, port and firewall"),
    ] {
        let away = Database { reached: Err(why.to_owned()), ..facts(server(MYSQL, &[])) };
        let check = finding(database::judge(&away, 1)).unwrap();
        assert_eq!(check.status, Status::Error);
        assert!(check.advice.unwrap().contains(advice), "{why}");
    }
}

#[test]
fn each_field_of_redis_is_judged_by_itself() {
    use Status::{Error, Note, Unknown, Warning};
    let healthy = "redis_version:7.2.4\nrole:master\nmaxmemory:0\nmaxmemory_policy:noeviction\nused_memory:950\n\
                   aof_enabled:1\nrdb_last_bgsave_status:ok\nconnected_clients:4\nmaxclients:100\ncluster_enabled:0\n";
    let judged = |info: &str| {
        redis_server::judge(&Redis { place: "redis://cache".to_owned(), server: Ok(RedisServer::parse(info)) })
    };
    assert_eq!(finding(judged(healthy)), None);
    let table = [
        ("redis_version:4.0.9", "version", Error, "has no streams"),
        ("redis_version:6.2.14", "version", Warning, "does not count the entries read"),
        ("role:slave", "role", Error, "it takes no entries"),
        ("maxmemory_policy:allkeys-lru", "maxmemory-policy", Note, "no maxmemory is set"),
        ("maxmemory:1000", "memory", Warning, "950 bytes of 1000 bytes"),
        ("maxmemory:900", "memory", Error, "new entries are refused"),
        ("rdb_last_bgsave_status:err", "persistence", Warning, "MISCONF"),
        ("connected_clients:95", "clients", Warning, "95 of 100"),
        ("cluster_enabled:1", "cluster", Warning, "MOVED"),
        ("maxmemory_policy", "maxmemory-policy", Unknown, "could not be read"),
    ];
    for (change, name, status, detail) in table {
        let field = change.split(':').next().unwrap();
        let prefix = format!("{field}:");
        let lines: Vec<&str> =
            healthy.lines().map(|line| if line.starts_with(&prefix) { change } else { line }).collect();
        expect(judged(&lines.join("\n")), name, status, detail);
    }
    let away =
        redis_server::judge(&Redis { place: "redis://cache".to_owned(), server: Err("NOAUTH needed".to_owned()) });
    assert!(finding(away).unwrap().advice.unwrap().contains("password"));
}

fn now() -> Timestamp {
    Timestamp::from_timestamp_micros(1_800_000_000_000_000).unwrap()
}

fn worker(lease: i64) -> WorkerRow {
    WorkerRow {
        id: WorkerId::fresh(),
        host: "h".to_owned(),
        pid: 7,
        queues: r#"["*"]"#.to_owned(),
        slots: 4,
        started_at: now(),
        lease_until: now() + TimeDelta::seconds(lease),
        dead_at: None,
    }
}

/// A queue that this worker dispatches and serves.
fn queue(name: &str, worker: &WorkerRow) -> Queue {
    let stream = QueueStream {
        key: format!("trx:{{{name}}}"),
        length: 3,
        group: Some(StreamState {
            unread: 1,
            pending: 2,
            oldest_unread: Some(now()),
            entries_read: 9,
            ..StreamState::default()
        }),
        consumers: vec![(worker.id.to_string(), 2)],
    };
    let depth = Depth { scheduled: 1, queued: 2, running: 3, oldest_us: Some(150_000_000) };
    Queue {
        row: QueueRow { name: name.into(), created_at: now(), dispatcher: Some(worker.id), pause: None },
        depth: Ok(depth),
        stream: Ok(Some(stream)),
    }
}

fn pause(resume_at: Option<Timestamp>) -> Option<Pause> {
    let since = now() - TimeDelta::minutes(5);
    Some(Pause { since, reason: Some("r".to_owned()), by: Some("local".to_owned()), resume_at })
}

/// One queue with one worker that lives and dispatches it.
fn healthy() -> System {
    let worker = worker(10);
    System {
        now: now(),
        lease: Duration::from_secs(15),
        queues: Ok(vec![queue("q", &worker)]),
        skipped: 0,
        workers: Ok(Roster { now: now(), workers: vec![worker] }),
        orphans: Ok(0),
        agenda: Ok(Agenda { now: now(), due: vec![], next: None }),
    }
}

fn judged(system: &System) -> Section {
    let mut all = Section::new(super::check::Group::Queues);
    all.checks = system::judge(system).into_iter().flat_map(|section| section.checks).collect();
    all
}

#[test]
fn a_system_at_work_has_no_finding() {
    let section = judged(&healthy());
    let first = &section.checks[0];
    assert_eq!(
        first.detail,
        "1 scheduled, 2 queued (the oldest for 2 min), 3 running; 1 worker with 4 slots, dispatched by h:7"
    );
    assert_eq!(finding(section), None);
}

#[test]
fn what_a_queue_lacks_is_found() {
    type Change = fn(&mut Queue);
    let table: [(Change, &str, Status, &str); 9] = [
        (
            |q| q.row.pause = pause(None),
            "queue q",
            Status::Note,
            "running; paused for 5 min by \"local\", \"r\", until it is resumed; 1 worker",
        ),
        (
            |q| q.row.pause = pause(Some(now() + TimeDelta::seconds(60))),
            "queue q",
            Status::Note,
            ", for another 60 s; 1 worker",
        ),
        (|q| q.row.dispatcher = None, "queue q", Status::Warning, "none dispatches it"),
        (|q| q.stream = Ok(None), "queue q: stream", Status::Warning, "is not there"),
        (|q| stream(q).group = None, "queue q: stream", Status::Warning, "3 entries and no group"),
        (|q| waits(q, 2), "queue q: stream", Status::Warning, "though slots are free"),
        (|q| waits(q, 4), "queue q: stream", Status::Note, "every slot of its workers is busy"),
        (|q| stream(q).consumers.push(("x".into(), 0)), "queue q: consumers", Status::Note, "1 of 2 belong to no live"),
        (|q| q.depth = Err("late".into()), "queue q", Status::Unknown, "late"),
    ];
    for (change, name, status, detail) in table {
        let mut system = healthy();
        change(&mut system.queues.as_mut().unwrap()[0]);
        expect(judged(&system), name, status, detail);
    }
}

fn stream(queue: &mut Queue) -> &mut QueueStream {
    queue.stream.as_mut().unwrap().as_mut().unwrap()
}

fn waits(queue: &mut Queue, pending: u64) {
    let stream = stream(queue);
    stream.consumers[0].1 = pending;
    let group = stream.group.as_mut().unwrap();
    (group.pending, group.oldest_unread) = (pending, Some(now() - TimeDelta::seconds(6)));
}

#[test]
fn a_slot_is_free_only_if_no_queue_of_its_worker_takes_it() {
    // Unacknowledged: the worker's here, its and another worker's in another queue, a dead one's here.
    let free = (Status::Warning, "though slots are free");
    let busy = (Status::Note, "every slot of its workers is busy");
    let table = [
        ((0, 4, 0, 0), busy),
        ((1, 3, 0, 0), busy),
        ((0, 9, 0, 0), busy),
        ((1, 2, 0, 0), free),
        ((1, 0, 4, 0), free),
        ((1, 0, 0, 4), free),
        ((4, 0, 0, 0), busy),
    ];
    for ((here, there, anothers, deads), (status, text)) in table {
        let mut system = healthy();
        let workers = &mut system.workers.as_mut().unwrap().workers;
        workers.push(WorkerRow { queues: r#"["other"]"#.to_owned(), ..worker(10) });
        let mut other = queue("other", &workers[0]);
        stream(&mut other).consumers = vec![(workers[0].id.to_string(), there), (workers[1].id.to_string(), anothers)];
        let queues = system.queues.as_mut().unwrap();
        waits(&mut queues[0], here);
        stream(&mut queues[0]).consumers.push((WorkerId::fresh().to_string(), deads));
        queues.push(other);
        let late =
            |system: &System| judged(system).checks.into_iter().find(|check| check.name == "queue q: stream").unwrap();
        let check = late(&system);
        assert!(check.status == status && check.detail.contains(text), "{here} {there} {anothers} {deads}: {check:?}");
        // What is seen may suffice to know that none is free, never that one is.
        let unsure = if here >= 4 { Status::Note } else { Status::Unknown };
        system.queues.as_mut().unwrap()[1].stream = Err("late".to_owned());
        assert_eq!(late(&system).status, unsure);
        system.queues.as_mut().unwrap().pop();
        system.skipped = 1;
        assert_eq!(late(&system).status, unsure);
    }
}

#[test]
fn leases_are_judged_by_the_clock_at_the_look_at_the_workers() {
    // Ten seconds of lease; the look at the queues took twenty, and the worker has renewed twice.
    let mut system = healthy();
    let roster = system.workers.as_mut().unwrap();
    roster.now += TimeDelta::seconds(20);
    roster.workers[0].lease_until += TimeDelta::seconds(20);
    assert_eq!(finding(judged(&system)), None);
    // It has not.
    system.workers.as_mut().unwrap().workers[0].lease_until -= TimeDelta::seconds(20);
    let dead = judged(&system).checks.into_iter().find(|check| check.name == "worker h:7").unwrap();
    assert!(dead.detail.starts_with("dead for 10 s"), "{dead:?}");
}

#[test]
fn what_the_dead_left_is_found() {
    let mut system = healthy();
    let mut dead = worker(-5);
    dead.dead_at = Some(now() - TimeDelta::seconds(4));
    system.workers.as_mut().unwrap().workers.push(dead);
    expect(judged(&system), "worker h:7", Status::Note, "dead for 4 s and not cleaned up");
    system.workers.as_mut().unwrap().workers[1].dead_at = Some(now() - TimeDelta::seconds(60));
    expect(judged(&system), "worker h:7", Status::Warning, "dead for 60 s");

    let mut system = healthy();
    system.orphans = Ok(1000);
    expect(judged(&system), "orphaned tasks", Status::Warning, "1000 tasks or more");
    let advice = finding(judged(&system)).unwrap().advice.unwrap();
    assert!(advice.contains("once a lease (15 s)"), "{advice}");

    let mut system = healthy();
    system.skipped = 2;
    expect(judged(&system), "more queues", Status::Unknown, "2 more queues");
}

#[test]
fn workers_outside_are_shown_and_do_not_stand_in_for_processes() {
    let mut system = healthy();
    let workers = &mut system.workers.as_mut().unwrap().workers;
    workers.push(WorkerRow { host: "there".to_owned(), pid: 0, queues: r#"["q"]"#.to_owned(), ..worker(10) });
    let section = judged(&system);
    let first = &section.checks[0].detail;
    assert!(first.contains("3 running; 1 worker outside; 1 worker with 4 slots"), "{first}");
    assert!(section.checks.iter().any(|check| check.name == "worker outside at there"));
    assert_eq!(finding(section), None);
    // Nobody dispatches, promotes or rescues.
    system.workers.as_mut().unwrap().workers.remove(0);
    let found = judged(&system).checks;
    let says = |name: &str, text: &str| found.iter().any(|check| check.name == name && check.detail.contains(text));
    assert!(
        says("queue q", "no live worker serves it, and tasks wait") && says("workers", "none is alive"),
        "{found:?}"
    );
}
