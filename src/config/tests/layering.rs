//! Flag over environment over file over default, and the ways to each.

use std::path::PathBuf;

use super::super::Flags;
use super::{World, effective, file, variable};

fn from(world: World, key: &str) -> (String, String) {
    effective(&world.config(), key)
}

fn pair(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

#[test]
fn the_highest_layer_wins() {
    let with_file = file("bind = \"127.0.0.1:1\"\nroles = \"api\"");
    assert_eq!(from(with_file.clone(), "bind"), pair("127.0.0.1:1", "file taskrunnerx.toml"));

    let with_variable = with_file.with("TASKRUNNERX_BIND", "127.0.0.1:2").with("TASKRUNNERX_ROLES", "worker");
    assert_eq!(from(with_variable.clone(), "bind"), pair("127.0.0.1:2", "environment variable TASKRUNNERX_BIND"));
    assert_eq!(from(with_variable.clone(), "roles"), pair("worker", "environment variable TASKRUNNERX_ROLES"));

    let flags = Flags { roles: Some("all".to_owned()), bind: Some("127.0.0.1:3".to_owned()), config: None };
    let with_flags = World { flags, ..with_variable };
    assert_eq!(from(with_flags.clone(), "bind"), pair("127.0.0.1:3", "flag --bind"));
    assert_eq!(from(with_flags.clone(), "roles"), pair("all", "flag --role"));
    let bind = with_flags.config().effective().into_iter().find(|value| value.key == "bind").expect("bind");
    assert_eq!(bind.default, "127.0.0.1:8000");
}

#[test]
fn a_hidden_value_is_checked_too() {
    let world = file("bind = 5").with("TASKRUNNERX_BIND", "nowhere");
    let flags = Flags { bind: Some("elsewhere".to_owned()), ..Flags::default() };
    let faults = World { flags, ..world }.faults();
    let starts = ["bind (flag --bind)", "bind (environment variable TASKRUNNERX_BIND)", "bind (file taskrunnerx.toml)"];
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().zip(starts).all(|(fault, start)| fault.starts_with(start)), "{faults:?}");
}

#[test]
fn finds_the_file_that_is_named() {
    let world = World::default()
        .at("taskrunnerx.toml", "redis_prefix = \"here\"")
        .at("/etc/trx.toml", "redis_prefix = \"etc\"")
        .at("/opt/trx.toml", "redis_prefix = \"opt\"");
    assert_eq!(from(world.clone(), "redis_prefix"), pair("here", "file taskrunnerx.toml"));
    let world = world.with("TASKRUNNERX_CONFIG", "/etc/trx.toml");
    assert_eq!(from(world.clone(), "redis_prefix"), pair("etc", "file /etc/trx.toml"));
    let flags = Flags { config: Some(PathBuf::from("/opt/trx.toml")), ..Flags::default() };
    assert_eq!(from(World { flags, ..world }, "redis_prefix"), pair("opt", "file /opt/trx.toml"));
}

#[test]
fn a_named_file_must_be_there() {
    let faults = variable("TASKRUNNERX_CONFIG", "/nope.toml").with("TASKRUNNERX_BIND", "x").faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("config (environment variable TASKRUNNERX_CONFIG): cannot read /nope.toml: "));
    assert!(faults[1].starts_with("bind "));

    let flags = Flags { config: Some(PathBuf::from("no.toml")), ..Flags::default() };
    let faults = World { flags, ..World::default() }.faults();
    assert!(faults[0].starts_with("config (flag --config): cannot read no.toml: "), "{faults:?}");
}

#[test]
fn a_variable_can_name_a_file_instead() {
    for content in ["127.0.0.1:7", "127.0.0.1:7\n", "127.0.0.1:7\r\n"] {
        let world = variable("TASKRUNNERX_BIND_FILE", "/run/bind").at("/run/bind", content);
        assert_eq!(from(world, "bind"), pair("127.0.0.1:7", "file /run/bind named by TASKRUNNERX_BIND_FILE"));
    }
    let world = variable("TASKRUNNERX_LOG__LEVEL_FILE", "/run/level").at("/run/level", "warn\n");
    assert_eq!(from(world.clone(), "log.level").0, "warn");
    assert_eq!(world.warnings(), [""; 0]);

    // One newline goes, what is before it stays.
    let faults = variable("TASKRUNNERX_BIND_FILE", "/run/bind").at("/run/bind", "127.0.0.1:7\n\n").faults();
    assert!(faults[0].contains(r#"got "127.0.0.1:7\n""#), "{faults:?}");
}

#[test]
fn both_a_variable_and_its_file_are_a_fault_and_so_is_a_file_that_is_not_there() {
    let faults = variable("DATABASE_URL", "mysql://h/t").with("DATABASE_URL_FILE", "/run/url").faults();
    assert_eq!(
        faults,
        [
            "database_url (environment variable DATABASE_URL_FILE): got both DATABASE_URL and DATABASE_URL_FILE; takes one of them"
        ]
    );
    let faults = variable("REDIS_URL_FILE", "/run/url").faults();
    assert!(
        faults[0].starts_with("redis_url (environment variable REDIS_URL_FILE): cannot read /run/url: "),
        "{faults:?}"
    );
}

#[test]
fn the_log_level_has_two_variables_of_which_ours_is_first() {
    let world = variable("RUST_LOG", "debug");
    assert_eq!(from(world.clone(), "log.level"), pair("debug", "environment variable RUST_LOG"));
    let world = world.with("TASKRUNNERX_LOG__LEVEL", "warn");
    assert_eq!(from(world, "log.level"), pair("warn", "environment variable TASKRUNNERX_LOG__LEVEL"));
    // An empty one is how others say none.
    let world = file("log.level = \"error\"").with("RUST_LOG", "");
    assert_eq!(from(world, "log.level"), pair("error", "file taskrunnerx.toml"));
}

#[test]
fn secrets_in_the_file_are_filled_in_from_the_environment() {
    let text = "database_url = \"mysql://${DB_USER}:${DB_PW}@h/trx\"\napi_key = \"${KEY}\"";
    let world = file(text).with("DB_USER", "trx").with("DB_PW", "p").with("KEY", "0123456789abcdef");
    let config = world.config();
    assert_eq!(config.database_url.as_ref().expect("given").expose(), "mysql://trx:p@h/trx");
    assert_eq!(config.api_key.as_ref().expect("given").expose(), "0123456789abcdef");

    let faults = file(text).with("DB_USER", "trx").faults();
    assert_eq!(
        faults,
        [
            "database_url (file taskrunnerx.toml): names ${DB_PW}, which is not set in the environment",
            "api_key (file taskrunnerx.toml): names ${KEY}, which is not set in the environment",
        ]
    );

    // Nobody asks for what a higher layer hides.
    let config = file("api_key = \"${KEY}\"").with("TASKRUNNERX_API_KEY", "abcdefabcdefabcdef").config();
    assert_eq!(config.api_key.expect("given").expose(), "abcdefabcdefabcdef");

    // Only secrets, and only in the file.
    let faults = file("redis_prefix = \"${KEY}\"").with("KEY", "x").with("TASKRUNNERX_BIND", "${KEY}").faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    let config = variable("TASKRUNNERX_API_KEY", "${KEY}${KEY}${KEY}").with("KEY", "x").config();
    assert_eq!(config.api_key.expect("given").expose(), "${KEY}${KEY}${KEY}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_fault() {
    use super::super::{Config, Environment};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let broken = OsString::from_vec(vec![b'm', 0xff]);
    let environment = Environment::new([("DATABASE_URL", broken)], |_| Err(std::io::ErrorKind::NotFound.into()));
    let error = Config::load(&Flags::default(), &environment, super::cron).expect_err("not UTF-8");
    assert_eq!(
        error.to_string(),
        "database_url (environment variable DATABASE_URL): got a value that is not UTF-8; takes UTF-8 text"
    );
}
