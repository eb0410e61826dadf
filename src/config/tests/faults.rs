//! What is said, and that all of it is said at once.

use super::{World, file, variable};

#[test]
fn everything_wrong_is_said_at_once_one_line_each() {
    let error = file("worker.lease = \"0s\"\nworker.leese = 1\nlimits = 5\n[defaults]\nmax_attempts = 0\nnope = 1")
        .with("TASKRUNNERX_BIND", "x\ny")
        .with("TASKRUNNERX_METRICS__REQUIRE_KEY", "maybe")
        .load()
        .expect_err("six faults");
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        r#"bind (environment variable TASKRUNNERX_BIND): got "x\ny"; takes an IP address and port"#,
        r#"worker.lease (file taskrunnerx.toml): got "0s", which is too short; takes a duration from 1s to 1h, such as "250ms""#,
        "defaults.max_attempts (file taskrunnerx.toml): got 0; takes a whole number from 1 to 1000",
        r#"metrics.require_key (environment variable TASKRUNNERX_METRICS__REQUIRE_KEY): got "maybe"; takes true or false"#,
        "defaults.nope (file taskrunnerx.toml): is not a key; the nearest is `",
        "limits (file taskrunnerx.toml): takes a table: [limits]",
        "worker.leese (file taskrunnerx.toml): is not a key; the nearest is `worker.lease`",
    ];
    assert_eq!((lines.len(), error.faults.len()), (expected.len(), expected.len()), "{text}");
    assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{text}");
}

#[test]
fn sizes_and_durations_name_form_and_range() {
    let faults =
        variable("TASKRUNNERX_LIMITS__PAYLOAD", "16MiB").with("TASKRUNNERX_WORKER__SWEEP_INTERVAL", "5").faults();
    assert_eq!(
        faults,
        [
            "worker.sweep_interval (environment variable TASKRUNNERX_WORKER__SWEEP_INTERVAL): got \"5\", which has no unit; takes a duration from 50ms to 1m, such as \"250ms\", \"30s\" or \"1h30m\" (units d h m s ms), or in the file a number of seconds",
            "limits.payload (environment variable TASKRUNNERX_LIMITS__PAYLOAD): got \"16MiB\"; takes a size from 1 to 15MiB (bytes), as a number of bytes or such as \"512KiB\" or \"1MiB\"",
        ]
    );
}

#[test]
fn each_fault_of_a_value_is_one() {
    let faults = file("defaults.backoff = { kind = \"linear\", base = -1, speed = 1 }")
        .with("TASKRUNNERX_SCHEDULER__HEARTBEAT", "bad")
        .faults();
    let starts = [
        "scheduler.heartbeat (environment variable TASKRUNNERX_SCHEDULER__HEARTBEAT): got \"bad\": the minute is bad",
        "scheduler.heartbeat (environment variable TASKRUNNERX_SCHEDULER__HEARTBEAT): got \"bad\": the hour is bad",
        "defaults.backoff.speed (file taskrunnerx.toml): is not a part of a backoff",
        "defaults.backoff.kind (file taskrunnerx.toml): got \"linear\"; takes \"exponential\" or \"fixed\"",
        "defaults.backoff.base (file taskrunnerx.toml): got -1, which is negative; takes a duration",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:?}");
    assert!(faults.iter().zip(starts).all(|(fault, start)| fault.starts_with(start)), "{faults:?}");
}

#[test]
fn a_syntax_error_has_its_place() {
    let faults = file("bind = \"127.0.0.1:1\"\n[worker]\nlease = = 5\n").with("TASKRUNNERX_ROLES", "boss").faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("config (file taskrunnerx.toml, line 3, column 9): is not TOML: "), "{faults:?}");
    assert!(faults[1].starts_with("roles "), "{faults:?}");
    let faults = file("bind = 1\nbind = 2").faults();
    assert!(faults[0].contains("line 2, column 1): is not TOML: duplicate key"), "{faults:?}");
}

#[test]
fn unknown_keys_name_the_nearest() {
    for (line, shown, near) in [
        ("rolls = 1", "rolls", "roles"),
        ("concurrency = 5", "concurrency", "worker.concurrency"),
        ("worker.concurency = 5", "worker.concurency", "worker.concurrency"),
        ("databaseurl = \"x\"", "databaseurl", "database_url"),
        ("[workers]\nlease = 1", "workers", "worker.lease"),
        ("\"worker.lease\" = 1", "\"worker.lease\"", "worker.lease"),
        ("[database]\nurl = 1", "database.url", "database_url"),
    ] {
        assert_eq!(
            file(line).faults(),
            [format!("{shown} (file taskrunnerx.toml): is not a key; the nearest is `{near}`")],
            "{line}"
        );
    }
    // What is like none gets no far-fetched hint.
    for (line, shown) in [("[zzz]", "zzz"), ("worker.zzz = 1", "worker.zzz"), ("[metrics]\nqqq = 1", "metrics.qqq")] {
        let faults = file(line).faults();
        assert!(!faults[0].contains("log.level"), "{shown}: {faults:?}");
    }
    assert_eq!(file("[zzz]").faults(), ["zzz (file taskrunnerx.toml): is not a key"]);
    assert_eq!(
        variable("TASKRUNNERX_QQQ", "x").warnings(),
        ["environment variable TASKRUNNERX_QQQ: not known, and ignored"]
    );
}

#[test]
fn unknown_variables_are_warnings_that_name_the_nearest() {
    for (name, near) in [
        ("TASKRUNNERX_WORKER_CONCURRENCY", "TASKRUNNERX_WORKER__CONCURRENCY"),
        ("TASKRUNNERX_DATABASE_URL", "DATABASE_URL"),
        ("TASKRUNNERX_DATABASE_URL_FILE", "DATABASE_URL_FILE"),
        ("TASKRUNNERX_REDIS_URL", "REDIS_URL"),
        ("TASKRUNNERX_APIKEY", "TASKRUNNERX_API_KEY"),
        ("TASKRUNNERX_APIKEY_FILE", "TASKRUNNERX_API_KEY_FILE"),
        ("TASKRUNNERX_CONFIG_FILE", "TASKRUNNERX_CONFIG"),
        ("TASKRUNNERX_ROLE", "TASKRUNNERX_ROLES"),
    ] {
        let warnings = variable(name, "hunter2hunter2").warnings();
        assert_eq!(warnings, [format!("environment variable {name}: not known, and ignored; the nearest is {near}")]);
    }
}

#[test]
fn what_others_set_is_left_alone_or_told_apart() {
    let quiet = variable("TASKRUNNERX_CONFIG", "f.toml")
        .at("f.toml", "")
        .with("TASKRUNNERX_URL", "http://localhost:8000")
        .with("TASKRUNNERX_TEST_DATABASE", "x")
        .with("TASKRUNNERX_TASK_ID", "x")
        .with("TASKRUNNERX_BIND", "127.0.0.1:1")
        .with("TASKRUNNERXY", "x")
        .with("OTHER", "x");
    assert_eq!(quiet.warnings(), [""; 0]);

    let warnings = variable("TASKRUNNERX_SERVICE_HOST", "10.0.0.1")
        .with("TASKRUNNERX_SERVICE_PORT", "80")
        .with("TASKRUNNERX_SERVICE_PORT_HTTP", "80")
        .with("TASKRUNNERX_PORT", "tcp://10.0.0.1:80")
        .with("TASKRUNNERX_PORT_80_TCP_ADDR", "10.0.0.1")
        .with("TASKRUNNERX_BINDD", "x")
        .warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].ends_with("the nearest is TASKRUNNERX_BIND"), "{warnings:?}");
    assert!(
        warnings[1].starts_with(
            "environment variables TASKRUNNERX_PORT, TASKRUNNERX_PORT_80_TCP_ADDR, TASKRUNNERX_SERVICE_HOST, \
             TASKRUNNERX_SERVICE_PORT, TASKRUNNERX_SERVICE_PORT_HTTP: not known, and ignored; Kubernetes"
        ),
        "{warnings:?}"
    );
    // Somebody who means the port to listen on.
    assert_eq!(variable("TASKRUNNERX_PORT", "8000").warnings().len(), 1);
    assert!(!variable("TASKRUNNERX_PORT", "8000").warnings()[0].contains("Kubernetes"));
}

#[test]
fn the_servers_are_demanded_only_by_those_who_need_them() {
    let config = World::default().config();
    let error = config.require_servers().expect_err("neither is set");
    assert_eq!(error.faults.len(), 2);
    let text = error.to_string();
    assert!(
        text.starts_with("database_url (not set): is needed; set DATABASE_URL or, in the file, database_url: mysql://")
    );
    assert!(text.contains("\nredis_url (not set): is needed; set REDIS_URL or"), "{text}");

    let config = variable("DATABASE_URL", "mysql://h/t").config();
    assert_eq!(config.require_database().expect("set").expose(), "mysql://h/t");
    assert_eq!(config.require_servers().expect_err("one is not").faults.len(), 1);
    let config = variable("DATABASE_URL", "mysql://h/t").with("REDIS_URL", "redis://h").config();
    let (database, redis) = config.require_servers().expect("both are");
    assert_eq!((database.expose(), redis.expose()), ("mysql://h/t", "redis://h"));
    assert!(config.require_redis().is_ok());
}
