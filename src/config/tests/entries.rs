//! `[tasks.NAME]` and `[schedules.NAME]`.

use std::time::Duration;

use super::super::{Command, Executor, ScheduleConfig, TaskDefaults};
use super::{effective, file, variable};
use crate::task::backoff::Backoff;

#[test]
fn task_types_get_their_defaults() {
    let config = file(
        r#"
        [tasks.echo]
        [tasks."mail.send"]
        queue = "mail"
        timeout = "30s"
        max_attempts = 12
        backoff = { base = "5s" }
        priority = 9
        [tasks.sleep]
        timeout = 0.5
        backoff = "1m"
        "#,
    )
    .config();
    let expected = TaskDefaults {
        queue: Some("mail".to_owned()),
        timeout: Some(Duration::from_secs(30)),
        max_attempts: Some(12),
        backoff: Some(Backoff { base: Duration::from_secs(5), ..Backoff::default() }),
        priority: Some(9),
    };
    assert_eq!(config.tasks.len(), 3);
    assert_eq!(config.tasks.get("echo").map(|task| &task.defaults), Some(&TaskDefaults::default()));
    assert_eq!(config.tasks.get("mail.send").map(|task| &task.defaults), Some(&expected));
    let sleep = config.tasks.get("sleep").expect("sleep");
    assert_eq!(sleep.defaults.timeout, Some(Duration::from_millis(500)));
    assert_eq!(sleep.defaults.backoff, Some(Backoff::fixed(Duration::from_secs(60))));
    assert_eq!(
        effective(&config, "tasks.\"mail.send\".timeout"),
        ("30s".to_owned(), "file taskrunnerx.toml".to_owned())
    );
}

#[test]
fn task_types_refuse_the_rest() {
    for (text, key, said) in [
        ("tasks = 5", "tasks", "takes a table: [tasks.NAME]"),
        ("tasks.echo = 5", "tasks.echo", "takes a table: [tasks.NAME]"),
        ("[tasks.\"a b\"]", "tasks.\"a b\"", "got \"a b\", where ' ' may not stand"),
        ("[tasks.\"\"]", "tasks.\"\"", "got an empty name"),
        ("tasks.echo.queue = \"a b\"", "tasks.echo.queue", "got \"a b\"; takes a queue name"),
        ("tasks.echo.queue = \"*\"", "tasks.echo.queue", "got \"*\"; takes a queue name"),
        ("tasks.echo.timeout = \"31d\"", "tasks.echo.timeout", "takes a duration from 1ms to 30d"),
        ("tasks.echo.max_attempts = 0", "tasks.echo.max_attempts", "takes a whole number from 1 to 1000"),
        ("tasks.echo.backoff.max = \"0s\"", "tasks.echo.backoff.max", "takes at least base (1s)"),
        ("tasks.echo.priority = 10", "tasks.echo.priority", "takes a whole number from 0 to 9"),
        ("tasks.echo.priority = -1", "tasks.echo.priority", "takes a whole number from 0 to 9"),
        ("tasks.echo.tiemout = 1", "tasks.echo.tiemout", "is not a key; the nearest is `timeout`"),
    ] {
        let faults = file(text).faults();
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].starts_with(&format!("{key} (file taskrunnerx.toml): ")), "{text}: {faults:?}");
        assert!(faults[0].contains(said), "{text}: {faults:?}");
    }
}

#[test]
fn task_types_of_their_own_arrive_whole() {
    let config = file(
        r#"
        [tasks.thumbnail]
        command = ["/usr/bin/convert", "-", "out.png"]
        cwd = "/srv"
        env = ["HOME", "MODE=fast=1"]
        user = "www-data"
        memory = "512MiB"
        cpu = "30s"
        files = 64
        [tasks.plain]
        command = ["true"]
        [tasks.transcode]
        pull = true
        "#,
    )
    .config();
    let executor = |name: &str| config.tasks.get(name).and_then(|task| task.executor.clone());
    let whole = Command {
        argv: ["/usr/bin/convert", "-", "out.png"].map(str::to_owned).to_vec(),
        cwd: Some("/srv".into()),
        env: vec![("HOME".to_owned(), None), ("MODE".to_owned(), Some("fast=1".to_owned()))],
        user: Some("www-data".to_owned()),
        memory: Some(512 << 20),
        cpu: Some(Duration::from_secs(30)),
        files: Some(64),
    };
    assert_eq!(executor("thumbnail"), Some(Executor::Command(whole)));
    let plain = Command {
        argv: vec!["true".to_owned()],
        cwd: None,
        env: Vec::new(),
        user: None,
        memory: None,
        cpu: None,
        files: None,
    };
    assert_eq!(executor("plain"), Some(Executor::Command(plain)));
    assert_eq!(executor("transcode"), Some(Executor::Pull));
    // Arguments and values may be secrets.
    assert_eq!(effective(&config, "tasks.thumbnail.command").0, "/usr/bin/convert (and 2 arguments)");
    assert_eq!(effective(&config, "tasks.thumbnail.env").0, "HOME,MODE");
}

#[test]
fn task_types_of_their_own_refuse_the_rest() {
    for (text, key, said) in [
        ("command = [\"a\"]\npull = true", "pull", "command and pull are given; takes exactly one of"),
        ("command = \"echo hi\"", "command", "takes a list of texts"),
        ("command = []", "command", "names no program"),
        ("command = [\"\"]", "command", "names no program"),
        ("command = [\"a\", 1]", "command", "takes a list of texts"),
        ("command = [\"a\\u0000\"]", "command", "holds a NUL character"),
        ("pull = false", "pull", "takes true"),
        ("cwd = \"/\"", "cwd", "goes with `command`"),
        ("command = [\"a\"]\nmemory = \"1MiB\"", "memory", "takes a size from 16MiB"),
        ("command = [\"a\"]\nenv = [\"=x\"]", "env", "has an entry without a name"),
        ("command = [\"a\"]\nenv = [\"TASKRUNNERX_ATTEMPT=9\"]", "env", "is set by the worker"),
        ("command = [\"a\"]\nfiles = 1", "files", "takes a whole number from 8"),
        ("command = [\"a\"]\nschema = \"not-there.json\"", "schema", "cannot be read: No such file"),
        ("command = [\"a\"]\nschema = \"Cargo.toml\"", "schema", "is not JSON"),
        ("command = [\"a\"]\nschema = 5", "schema", "takes a JSON Schema as a table"),
        ("comand = [\"a\"]", "comand", "is not a key; the nearest is `command`"),
    ] {
        let faults = file(&format!("[tasks.x]\n{text}")).faults();
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].starts_with(&format!("tasks.x.{key} (file taskrunnerx.toml): ")), "{text}: {faults:?}");
        assert!(faults[0].contains(said), "{text}: {faults:?}");
    }
}

#[test]
fn schedules_arrive_whole() {
    let config = file(
        r#"
        [schedules.nightly]
        cron = "0 30 3 * * *"
        timezone = "Europe/Berlin"
        misfire = "all"
        overlap = "skip"
        jitter = "1m"
        starts_at = 2026-01-31T00:00:00Z
        max_fires = 9
        [schedules.nightly.task]
        name = "report"
        payload = { day = 2026-01-31, list = [1, 2.5, "x"], deep = { on = true } }
        queue = "reports"
        priority = 3
        timeout = "1h"
        max_attempts = 2
        backoff = "5m"
        tags = ["x"]

        [schedules.often]
        every = "5m"
        task = { name = "noop" }

        [schedules.beat]
        cron = "* * * * * *"
        task = { name = "echo", payload = "hi" }
        "#,
    )
    .config();
    let schedule =
        |name: &str, definition: &str| ScheduleConfig { name: name.to_owned(), definition: definition.to_owned() };
    let definitions: Vec<(&str, serde_json::Value)> = config
        .schedules
        .iter()
        .map(|ScheduleConfig { name, definition }| (name.as_str(), serde_json::from_str(definition).unwrap()))
        .collect();
    let beat = serde_json::json!({"cron": "* * * * * *", "timezone": "UTC", "task": {"name": "echo", "payload": "hi"}});
    let nightly = serde_json::json!({
        "cron": "0 30 3 * * *", "timezone": "Europe/Berlin", "misfire": "all", "overlap": "skip", "jitter": "1m",
        "starts_at": "2026-01-31T00:00:00Z", "max_fires": 9,
        "task": {
            "name": "report", "payload": {"day": "2026-01-31", "list": [1, 2.5, "x"], "deep": {"on": true}},
            "queue": "reports", "priority": 3, "timeout": "1h", "max_attempts": 2, "backoff": "5m", "tags": ["x"],
        },
    });
    let often = serde_json::json!({"every": "5m", "task": {"name": "noop"}});
    assert_eq!(definitions, [("beat", beat), ("nightly", nightly), ("often", often)]);
    assert_eq!(config.schedules[2], schedule("often", r#"{"every":"5m","task":{"name":"noop"}}"#));
}

#[test]
fn schedules_say_all_that_is_wrong() {
    let faults = file(
        r#"
        [schedules.a]
        colour = "red"
        [schedules.b]
        cron = "bad"
        timezone = "Mars/Base"
        task = "echo"
        [schedules.c]
        cron = 5
        task = { tags = ["x y"], queue = "a b", nmae = "echo" }
        [schedules.d]
        every = "5m"
        task = { name = "echo", payload = nan }
        [schedules."d e"]
        "#,
    )
    .faults();
    let starts = [
        "schedules.\"d e\" (file taskrunnerx.toml): got \"d e\"",
        "schedules.a.cron (file taskrunnerx.toml): is missing; takes a cron expression, or every an interval",
        "schedules.a.task (file taskrunnerx.toml): is missing; takes an object as for POST /api/tasks",
        "schedules.a.colour (file taskrunnerx.toml): is not a known field",
        "schedules.b.cron (file taskrunnerx.toml): ",
        "schedules.b.timezone (file taskrunnerx.toml): ",
        "schedules.b.task (file taskrunnerx.toml): got \"echo\"; takes an object",
        "schedules.c.cron (file taskrunnerx.toml): got 5; takes a string",
        "schedules.c.task.name (file taskrunnerx.toml): is missing",
        "schedules.c.task.queue (file taskrunnerx.toml): got \"a b\", where",
        "schedules.c.task.tags.0 (file taskrunnerx.toml): got \"x y\", where",
        "schedules.c.task.nmae (file taskrunnerx.toml): is not a known field; did you mean name?",
        "schedules.d (file taskrunnerx.toml): holds nan or inf, which JSON does not have",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\n{start}");
    }
}

#[test]
fn a_payload_keeps_to_its_limit() {
    let text = "[schedules.a]\ncron = \"* * * * * *\"\ntask = { name = \"echo\", payload = \"12345678\" }";
    let config = file(text).with("TASKRUNNERX_LIMITS__PAYLOAD", "10").config();
    assert!(config.schedules[0].definition.contains("\"12345678\""));
    let faults = file(text).with("TASKRUNNERX_LIMITS__PAYLOAD", "9").faults();
    assert!(faults[0].contains("schedules.a.task.payload") && faults[0].contains("takes at most 9"), "{faults:?}");
}

#[test]
fn they_come_from_the_file_only() {
    let warnings = variable("TASKRUNNERX_TASKS__ECHO__TIMEOUT", "1s").warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}
