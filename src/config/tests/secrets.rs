//! Nothing that is said, whatever goes wrong, holds a secret.

use super::{World, file, variable};

/// In every secret below.
const SECRET: &str = "hunter2";

fn all_that_is_said(world: World) -> String {
    match world.load() {
        Ok((config, warnings)) => format!("{config:?} {:?} {warnings:?}", config.effective()),
        Err(error) => format!("{error} {error:?}"),
    }
}

#[test]
fn good_secrets_stay_hidden() {
    let world = variable("DATABASE_URL", "mysql://trx:hunter2@h/trx?x=hunter2")
        .with("REDIS_URL_FILE", "/run/redis")
        .at("/run/redis", "redis+unix:///run/r.sock?pass=hunter2\n")
        .with("TASKRUNNERX_API_KEY", "hunter2hunter2hunter2")
        .with("TASKRUNNERX_API_KEYY", "hunter2hunter2hunter2");
    let said = all_that_is_said(world);
    assert!(!said.contains(SECRET), "{said}");
    for shown in ["mysql://trx:***@h/trx?x=***", "redis+unix:///run/r.sock?pass=***", "Secret(***)"] {
        assert!(said.contains(shown), "{said}");
    }
}

#[test]
fn bad_secrets_stay_hidden() {
    for (name, value) in [
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "hunter2://h/t"),
        ("DATABASE_URL", "postgres://u:hunter2@h/t"),
        ("DATABASE_URL", "mysql://u:hunter2/hunter2@h/t"),
        ("DATABASE_URL", "mysql://u:hunter2@h"),
        ("DATABASE_URL", "mysql://u:p h hunter2@h/t"),
        ("REDIS_URL", "redis://:hunter2@:x"),
        ("REDIS_URL", "hunter2@h"),
        ("TASKRUNNERX_API_KEY", "hunter2"),
        ("TASKRUNNERX_API_KEY", "hunter2 hunter2 hunter2"),
        // At the wrong key.
        ("TASKRUNNERX_REDIS_PREFIX", "redis://:hunter2@h"),
        ("TASKRUNNERX_BIND", "mysql://u:hunter2@h/t"),
        ("TASKRUNNERX_WORKER__QUEUES", "redis://:hunter2@h"),
        ("TASKRUNNERX_DEFAULTS__BACKOFF", "redis://:hunter2@h"),
        ("TASKRUNNERX_DEFAULTS__BACKOFF", r#"{"base":"redis://:hunter2@h"}"#),
        ("TASKRUNNERX_SCHEDULER__HEARTBEAT", "bad redis://:hunter2@h"),
        ("TASKRUNNERX_LOG__FORMAT", "redis://:hunter2@h"),
        ("TASKRUNNERX_TLS__CERT", "redis://:hunter2@h"),
    ] {
        let world = variable(name, value);
        assert!(world.clone().load().is_err(), "{name}={value}");
        let said = all_that_is_said(world);
        assert!(!said.contains(SECRET), "{name}={value}: {said}");
    }
}

#[test]
fn secrets_in_the_file_stay_hidden() {
    for text in [
        "api_key = \"hunter2\"",
        "api_key = [\"hunter2hunter2hunter2\"]",
        "api_key = { x = \"hunter2\" }",
        "api_key = \"hunter2hunter2${NOPE}\"",
        "api_key = \"hunter2${hunter2 x}\"",
        "api_key = \"hunter2${\"",
        "api_kye = \"hunter2hunter2hunter2\"",
        "api_key = \"hunter2hunter2hunter2",
        "api_key = hunter2",
        "api_key = 'hunter2' 'hunter2'",
        "api_key = \"hunter2\\qhunter2\"",
        "api_key = \"a\"\napi_key = \"hunter2\"",
        "database_url = \"mysql://u:hunter2@h\"",
        "[schedules.x]\ncron = \"* * * * * *\"\ntask = { name = \"echo\", payload = { token = \"hunter2\", x = nan } }",
        "[tasks.x]\ncommand = [\"hunter2\"]\nwhat = \"hunter2\"",
    ] {
        let world = file(text);
        assert!(world.clone().load().is_err(), "{text}");
        let said = all_that_is_said(world);
        assert!(!said.contains(SECRET), "{text}: {said}");
    }
}

#[test]
fn payloads_are_not_among_the_effective_values() {
    let config =
        file("[schedules.x]\ncron = \"* * * * * *\"\ntask = { name = \"echo\", payload = { token = \"hunter2\" } }")
            .config();
    let shown = format!("{:?}", config.effective());
    assert!(!shown.contains(SECRET) && shown.contains("(19 bytes of JSON)"), "{shown}");
}
