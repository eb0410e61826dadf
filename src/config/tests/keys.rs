//! Every key: its default, what it takes from a variable and from the file, and what it refuses.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::environment::variable_of;
use super::super::{Log, LogFormat, Queues, Roles};
use super::{World, effective, file, variable};
use crate::task::backoff::Backoff;

/// The table of the documentation, in its order.
const DEFAULTS: [(&str, &str); 31] = [
    ("roles", "all"),
    ("bind", "127.0.0.1:8000"),
    ("database_url", "(none)"),
    ("redis_url", "(none)"),
    ("database.pool", "(the program's choice)"),
    ("redis_prefix", "trx"),
    ("api_key", "(none: loopback only)"),
    ("worker.concurrency", "64"),
    ("worker.queues", "*"),
    ("worker.lease", "15s"),
    ("worker.drain_timeout", "30s"),
    ("worker.sweep_interval", "1s"),
    ("scheduler.heartbeat", "0 * * * * *"),
    ("defaults.max_attempts", "5"),
    ("defaults.timeout", "10m"),
    ("defaults.backoff", r#"{"kind":"exponential","base":"1s","factor":2,"max":"1h","jitter":"full"}"#),
    ("retention.completed", "7d"),
    ("retention.failed", "30d"),
    ("retention.fires", "90d"),
    ("retention.idempotency", "1d"),
    ("limits.payload", "1MiB"),
    ("limits.result", "1MiB"),
    ("limits.bulk", "1000"),
    ("limits.bulk_body", "16MiB"),
    ("limits.queues", "256"),
    ("limits.rate", "(none)"),
    ("tls.cert", "(none: HTTP)"),
    ("tls.key", "(none: HTTP)"),
    ("http.allow_private", ""),
    ("metrics.require_key", "false"),
    ("log.format", "(text on a terminal, else json)"),
];

/// Key, variable's text, effective value.
const GOOD: [(&str, &str, &str); 81] = [
    ("roles", "api", "api"),
    ("roles", "scheduler, api", "api,scheduler"),
    ("roles", "api,worker,scheduler", "all"),
    ("roles", "worker,all", "all"),
    ("bind", "0.0.0.0:80", "0.0.0.0:80"),
    ("bind", "[::1]:0", "[::1]:0"),
    ("bind", "localhost:8000", "127.0.0.1:8000"),
    ("database_url", "mysql://root@localhost/trx", "mysql://root@localhost/trx"),
    ("database_url", "mariadb://u:p@[::1]:3306/trx?socket=/s", "mysql://u:***@[::1]:3306/trx?socket=/s"),
    ("database_url", "MySQL://h/trx", "mysql://h/trx"),
    ("redis_url", "redis://h", "redis://h"),
    ("redis_url", "rediss://u:p@h:6380/3", "rediss://u:***@h:6380/3"),
    ("redis_url", "redis+unix:///run/r.sock?db=2", "redis+unix:///run/r.sock?db=2"),
    ("redis_url", "unix:///run/r.sock", "unix:///run/r.sock"),
    ("database.pool", "1", "1"),
    ("database.pool", "1000", "1000"),
    ("redis_prefix", "a", "a"),
    ("redis_prefix", "My.app_1-b", "My.app_1-b"),
    ("redis_prefix", "12345678901234567890123456789012", "12345678901234567890123456789012"),
    ("api_key", "0123456789abcdef", "***"),
    ("worker.concurrency", "1", "1"),
    ("worker.concurrency", "10000", "10000"),
    ("worker.queues", "*", "*"),
    ("worker.queues", "mail", "mail"),
    ("worker.queues", "mail, default,mail", "mail,default"),
    ("worker.lease", "1s", "1s"),
    ("worker.lease", "1h", "1h"),
    ("worker.lease", "90s", "1m30s"),
    ("worker.drain_timeout", "0s", "0s"),
    ("worker.drain_timeout", "60m", "1h"),
    ("worker.sweep_interval", "50ms", "50ms"),
    ("worker.sweep_interval", "1m", "1m"),
    ("scheduler.heartbeat", "*/5 * * * * *", "*/5 * * * * *"),
    ("scheduler.heartbeat", "", "(off)"),
    ("scheduler.heartbeat", " ", "(off)"),
    ("defaults.max_attempts", "1", "1"),
    ("defaults.max_attempts", "1000", "1000"),
    ("defaults.timeout", "1ms", "1ms"),
    ("defaults.timeout", "30d", "30d"),
    ("defaults.backoff", "30s", r#"{"kind":"fixed","base":"30s","factor":1,"max":"30s","jitter":"none"}"#),
    ("defaults.backoff", "{}", r#"{"kind":"exponential","base":"1s","factor":2,"max":"1h","jitter":"full"}"#),
    (
        "defaults.backoff",
        r#"{"base":"5s","factor":1.5,"jitter":"none"}"#,
        r#"{"kind":"exponential","base":"5s","factor":1.5,"max":"1h","jitter":"none"}"#,
    ),
    ("retention.completed", "1s", "1s"),
    ("retention.completed", "3650d", "3650d"),
    ("retention.failed", "12h", "12h"),
    ("retention.fires", "1d12h", "1d12h"),
    ("retention.idempotency", "24h", "1d"),
    ("limits.payload", "1", "1"),
    ("limits.payload", "512KiB", "512KiB"),
    ("limits.payload", "15MiB", "15MiB"),
    ("limits.result", "15728640", "15MiB"),
    ("limits.result", "1000", "1000"),
    ("limits.bulk", "1", "1"),
    ("limits.bulk", "1000", "1000"),
    ("limits.bulk_body", "64MiB", "64MiB"),
    ("limits.bulk_body", "1KiB", "1KiB"),
    ("limits.queues", "1", "1"),
    ("limits.queues", "10000", "10000"),
    ("limits.rate", "1", "1"),
    ("limits.rate", "1000000", "1000000"),
    ("http.allow_private", "", ""),
    ("http.allow_private", "10.0.0.0/8, billing.internal,::1", "10.0.0.0/8,billing.internal,::1"),
    ("metrics.require_key", "true", "true"),
    ("metrics.require_key", "false", "false"),
    ("log.format", "text", "text"),
    ("log.format", "json", "json"),
    ("log.level", "debug", "debug"),
    ("log.level", "info,taskrunnerx=trace", "info,taskrunnerx=trace"),
    ("worker.lease", "1s500ms", "1s500ms"),
    ("worker.queues", "a:b.c_d-e", "a:b.c_d-e"),
    ("redis_url", "redis://:p%40ss@h:6379/0?protocol=resp3", "redis://:***@h:6379/0?protocol=resp3"),
    ("redis_url", "redis+unix:///s?pass=p", "redis+unix:///s?pass=***"),
    ("database_url", "mysql://u:p%2Fw@h/trx?require_ssl=true", "mysql://u:***@h/trx?require_ssl=true"),
    ("bind", "192.168.1.2:8000", "192.168.1.2:8000"),
    ("roles", "scheduler", "scheduler"),
    ("roles", "worker", "worker"),
    ("limits.payload", "0001", "1"),
    ("defaults.timeout", "1h30m", "1h30m"),
    ("retention.failed", "90d", "90d"),
    ("log.level", "off", "off"),
    ("worker.sweep_interval", "1s", "1s"),
];

/// Key and variable's text.
const BAD: [(&str, &str); 91] = [
    ("roles", ""),
    ("roles", "api,"),
    ("roles", "boss"),
    ("roles", "API"),
    ("bind", ""),
    ("bind", "8000"),
    ("bind", ":8000"),
    ("bind", "localhost"),
    ("bind", "localhost:65536"),
    ("bind", "example.com:80"),
    ("bind", "127.0.0.1"),
    ("database_url", ""),
    ("database_url", "postgres://h/trx"),
    ("database_url", "mysql:h/trx"),
    ("database_url", "mysql://h"),
    ("database_url", "mysql://h/"),
    ("database_url", "mysql://h/?x=y"),
    ("database_url", "mysql:///trx"),
    ("database_url", "mysql://u:p@/trx"),
    ("database_url", "mysql://u:p/w@h/trx"),
    ("database_url", "mysql://h:x/trx"),
    ("database_url", "mysql://[::1]x/trx"),
    ("database_url", "mysql://h/trx/more"),
    ("database_url", "mysql://h/trx\n"),
    ("redis_url", ""),
    ("redis_url", "http://h"),
    ("redis_url", "redis://"),
    ("redis_url", "redis://:p@:6379"),
    ("redis_url", "redis://h:port"),
    ("redis_url", "redis+unix://run/r.sock"),
    ("redis_url", "unix:///"),
    ("redis_url", "h:6379"),
    ("database.pool", "0"),
    ("database.pool", "1001"),
    ("database.pool", "many"),
    ("database.pool", "-1"),
    ("redis_prefix", ""),
    ("redis_prefix", "a:b"),
    ("redis_prefix", "{a}"),
    ("redis_prefix", "123456789012345678901234567890123"),
    ("api_key", ""),
    ("api_key", "0123456789abcde"),
    ("api_key", "0123456789 abcdef"),
    ("api_key", "0123456789abcdéf"),
    ("worker.concurrency", "0"),
    ("worker.concurrency", "10001"),
    ("worker.concurrency", "99999"),
    ("worker.concurrency", "6.4"),
    ("worker.queues", ""),
    ("worker.queues", "*,mail"),
    ("worker.queues", "a,,b"),
    ("worker.queues", "a b"),
    ("worker.queues", "12345678901234567890123456789012345678901234567890123456789012345"),
    ("worker.lease", "999ms"),
    ("worker.lease", "1h1ms"),
    ("worker.lease", "15"),
    ("worker.lease", "soon"),
    ("worker.drain_timeout", "2h"),
    ("worker.sweep_interval", "49ms"),
    ("worker.sweep_interval", "61s"),
    ("scheduler.heartbeat", "bad"),
    ("defaults.max_attempts", "0"),
    ("defaults.max_attempts", "1001"),
    ("defaults.timeout", "0s"),
    ("defaults.timeout", "30d1ms"),
    ("defaults.backoff", "30"),
    ("defaults.backoff", ""),
    ("defaults.backoff", "{"),
    ("defaults.backoff", r#"{"base":"2h"}"#),
    ("retention.completed", "999ms"),
    ("retention.completed", "3651d"),
    ("retention.failed", "0s"),
    ("retention.fires", "forever"),
    ("retention.idempotency", "0s"),
    ("limits.payload", "0"),
    ("limits.payload", "15728641"),
    ("limits.payload", "16MiB"),
    ("limits.payload", "1MB"),
    ("limits.result", "16MiB"),
    ("limits.bulk", "0"),
    ("limits.bulk", "1001"),
    ("limits.bulk_body", "65MiB"),
    ("limits.queues", "0"),
    ("limits.queues", "10001"),
    ("limits.rate", "0"),
    ("limits.rate", "1000001"),
    ("http.allow_private", "10.0.0.0/33"),
    ("metrics.require_key", "yes"),
    ("log.format", "xml"),
    ("log.format", ""),
    ("log.level", " "),
];

/// The file's line, the key, the effective value.
const GOOD_FILE: [(&str, &str, &str); 18] = [
    (r#"roles = ["api", "worker"]"#, "roles", "api,worker"),
    (r#"roles = "api,worker""#, "roles", "api,worker"),
    (r#"bind = "[::]:9000""#, "bind", "[::]:9000"),
    ("database.pool = 12", "database.pool", "12"),
    ("worker.concurrency = 8", "worker.concurrency", "8"),
    (r#"worker = { queues = ["a", "b"] }"#, "worker.queues", "a,b"),
    ("worker.lease = 20", "worker.lease", "20s"),
    ("worker.lease = 1.5", "worker.lease", "1s500ms"),
    (r#"worker.lease = "20s""#, "worker.lease", "20s"),
    (
        "defaults.backoff = 30",
        "defaults.backoff",
        r#"{"kind":"fixed","base":"30s","factor":1,"max":"30s","jitter":"none"}"#,
    ),
    (
        "[defaults.backoff]\nkind = \"fixed\"\nbase = 2.5\njitter = \"full\"",
        "defaults.backoff",
        r#"{"kind":"fixed","base":"2s500ms","factor":1,"max":"2s500ms","jitter":"full"}"#,
    ),
    ("limits.payload = 2048", "limits.payload", "2KiB"),
    (r#"limits.payload = "2MiB""#, "limits.payload", "2MiB"),
    ("http.allow_private = []", "http.allow_private", ""),
    (r#"http.allow_private = ["fd00::/8", "h"]"#, "http.allow_private", "fd00::/8,h"),
    ("metrics.require_key = true", "metrics.require_key", "true"),
    (r#"log = { format = "json", level = "warn" }"#, "log.level", "warn"),
    (r#"scheduler.heartbeat = """#, "scheduler.heartbeat", "(off)"),
];

/// The file's line and the key that the fault names.
const BAD_FILE: [(&str, &str); 19] = [
    ("roles = []", "roles"),
    ("roles = [1]", "roles"),
    ("roles = [\"api\", \"\"]", "roles"),
    ("bind = 8000", "bind"),
    ("database_url = 5", "database_url"),
    ("database.pool = \"12\"", "database.pool"),
    ("database.pool = -1", "database.pool"),
    ("worker.concurrency = 8.0", "worker.concurrency"),
    ("worker.queues = true", "worker.queues"),
    ("worker.lease = true", "worker.lease"),
    ("worker.lease = nan", "worker.lease"),
    ("worker.lease = -1", "worker.lease"),
    ("defaults.backoff = [1]", "defaults.backoff"),
    ("defaults.backoff = nan", "defaults.backoff"),
    ("defaults.backoff = { base = \"x\" }", "defaults.backoff.base"),
    ("limits.payload = -1", "limits.payload"),
    ("limits.payload = 0.5", "limits.payload"),
    ("metrics.require_key = \"true\"", "metrics.require_key"),
    ("scheduler.heartbeat = false", "scheduler.heartbeat"),
];

#[test]
fn nothing_given_means_the_documented_defaults() {
    let config = World::default().config();
    let shown: Vec<(String, String)> = config.effective().into_iter().map(|value| (value.key, value.value)).collect();
    let mut expected: Vec<(String, String)> = DEFAULTS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    expected.push(("log.level".to_owned(), "info".to_owned()));
    assert_eq!(shown, expected);
    assert!(config.effective().iter().all(|value| value.origin == "default" && value.value == value.default));

    assert_eq!(config.roles, Roles::ALL);
    assert_eq!(config.worker.queues, Queues::All);
    assert_eq!(config.worker.lease, Duration::from_secs(15));
    assert_eq!(config.defaults.backoff, Backoff::default());
    assert_eq!((config.limits.payload, config.limits.bulk_body), (1_048_576, 16_777_216));
    assert_eq!(config.log, Log { format: None, level: "info".to_owned() });
    assert!(config.tasks.is_empty() && config.schedules.is_empty());
}

#[test]
fn takes_good_values_from_variables() {
    for (key, text, shown) in GOOD {
        let name = variable_of(key);
        let config = variable(&name, text).config();
        assert_eq!(effective(&config, key), (shown.to_owned(), format!("environment variable {name}")), "{key}={text}");
    }
}

#[test]
fn refuses_bad_values_from_variables() {
    for (key, text) in BAD {
        let name = variable_of(key);
        let faults = variable(&name, text).faults();
        assert!(!faults.is_empty());
        for fault in faults {
            assert!(fault.starts_with(key), "{key}={text}: {fault}");
            assert!(fault.contains(&format!("(environment variable {name})")), "{key}={text}: {fault}");
            assert!(fault.contains("takes ") || fault.contains("the minute") || fault.contains("the hour"), "{fault}");
            assert!(!fault.contains('\n'), "{fault}");
        }
    }
}

#[test]
fn takes_and_refuses_the_files_types() {
    for (line, key, shown) in GOOD_FILE {
        let config = file(line).config();
        assert_eq!(effective(&config, key), (shown.to_owned(), "file taskrunnerx.toml".to_owned()), "{line}");
    }
    for (line, key) in BAD_FILE {
        let faults = file(line).faults();
        assert_eq!(faults.len(), 1, "{line}: {faults:?}");
        assert!(faults[0].starts_with(&format!("{key} (file taskrunnerx.toml): got ")), "{line}: {faults:?}");
    }
}

#[test]
fn every_key_is_in_the_tables_above() {
    let keys: BTreeSet<String> = World::default().config().effective().into_iter().map(|value| value.key).collect();
    let good: BTreeSet<String> = GOOD.iter().map(|(key, ..)| (*key).to_owned()).collect();
    let bad: BTreeSet<String> = BAD.iter().map(|(key, _)| (*key).to_owned()).collect();
    let without = |keys: &BTreeSet<String>, some: &BTreeSet<String>| keys.difference(some).cloned().collect::<Vec<_>>();
    assert_eq!(without(&keys, &good), ["tls.cert", "tls.key"]);
    assert_eq!(without(&keys, &bad), ["tls.cert", "tls.key"]);
}

#[test]
fn values_arrive_as_what_they_are() {
    let config = file(
        r#"
        roles = ["scheduler"]
        worker = { queues = "b,a", concurrency = 3 }
        retention.fires = "1d"
        log.format = "json"
        "#,
    )
    .with("DATABASE_URL", "mariadb://u:p@h/trx")
    .config();
    assert_eq!(config.roles, Roles { api: false, worker: false, scheduler: true });
    assert_eq!(config.worker.queues, Queues::Named(vec!["b".to_owned(), "a".to_owned()]));
    assert_eq!(config.worker.concurrency, 3);
    assert_eq!(config.retention.fires, Duration::from_secs(86_400));
    assert_eq!(config.log.format, Some(LogFormat::Json));
    assert_eq!(config.database_url.expect("given").expose(), "mysql://u:p@h/trx");
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let config = file(r#"tls = { cert = "c.pem", key = "k.pem" }"#).config();
    let tls = config.tls.expect("given");
    assert_eq!((tls.cert.to_str(), tls.key.to_str()), (Some("c.pem"), Some("k.pem")));
    assert_eq!(World::default().config().tls, None);
    for (world, lines) in [
        (
            variable("TASKRUNNERX_TLS__CERT", "c.pem"),
            ["tls.cert (environment variable TASKRUNNERX_TLS__CERT): is set without tls.key"].as_slice(),
        ),
        (file(r#"tls.key = "k.pem""#), &["tls.key (file taskrunnerx.toml): is set without tls.cert"]),
        (file("tls.cert = 5"), &["tls.cert (file taskrunnerx.toml): got 5; takes the path of a PEM file"]),
        (
            file("tls.cert = \"-----BEGIN CERTIFICATE-----\"\ntls.key = \"\""),
            &[
                "tls.cert (file taskrunnerx.toml): got",
                "tls.key (file taskrunnerx.toml): got an empty text, which is empty",
            ],
        ),
    ] {
        let faults = world.faults();
        assert_eq!(faults.len(), lines.len(), "{faults:?}");
        assert!(faults.iter().zip(lines).all(|(fault, line)| fault.starts_with(line)), "{faults:?}");
    }
}
