//! `database_url`, `redis_url`, `database.pool` and `redis_prefix`: the servers, and our part of them.
//!
//! The addresses are checked here only for what is certain to be wrong, so that it is said with all other faults and
//! before anything connects; the drivers know the rest of their parameters.

use super::form::{Whole, Why, Word, why};
use super::layers::{Key, Layers};
use super::secret::Secret;

const DEFAULT_PREFIX: &str = "trx";
const MAX_PREFIX: usize = 32;

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Connections to keep, 1 to 1,000; `None` leaves it to the program.
    pub pool: Option<u16>,
}

/// What `database_url` takes.
pub(super) const DATABASE_TAKES: &str =
    "mysql://USER:PASSWORD@HOST:PORT/DATABASE (characters such as / ? # @ in the password percent-encoded)";

/// What `redis_url` takes.
pub(super) const REDIS_TAKES: &str =
    "redis://:PASSWORD@HOST:PORT/NUMBER, rediss:// the same with TLS, or redis+unix:///PATH (also unix:///PATH)";

const DATABASE_URL: Word<Secret> = Word { takes: DATABASE_TAKES, read: read_database_url, show: Secret::masked_url };
const REDIS_URL: Word<Secret> = Word { takes: REDIS_TAKES, read: read_redis_url, show: Secret::masked_url };
const PREFIX: Word<String> =
    Word { takes: "1 to 32 characters of A-Z a-z 0-9 . _ -", read: read_prefix, show: String::clone };

pub(super) fn database_url(layers: &mut Layers) -> Option<Secret> {
    layers.optional(Key::new("database_url").secret(), &DATABASE_URL, "none")
}

pub(super) fn redis_url(layers: &mut Layers) -> Option<Secret> {
    layers.optional(Key::new("redis_url").secret(), &REDIS_URL, "none")
}

pub(super) fn database(layers: &mut Layers) -> Database {
    Database {
        pool: layers.optional(Key::new("database.pool"), &Whole { min: 1_u16, max: 1_000 }, "the program's choice"),
    }
}

pub(super) fn redis_prefix(layers: &mut Layers) -> String {
    layers.value(Key::new("redis_prefix"), &PREFIX, DEFAULT_PREFIX.to_owned())
}

fn read_database_url(text: &str) -> Result<Secret, Why> {
    let (scheme, rest) = split_scheme(text)?;
    if !["mysql", "mariadb"].contains(&scheme.as_str()) {
        return why("does not start with mysql://");
    }
    let (authority, after) = split_authority(rest);
    check_authority(authority)?;
    let path = after.split(['?', '#']).next().unwrap_or_default();
    match path.strip_prefix('/').unwrap_or_default() {
        "" => why("names no database"),
        database if database.contains('/') => why("has more than a database name after the host"),
        // The driver knows one scheme for both servers.
        _ => Ok(Secret::new(format!("mysql://{rest}"))),
    }
}

fn read_redis_url(text: &str) -> Result<Secret, Why> {
    let (scheme, rest) = split_scheme(text)?;
    let (authority, after) = split_authority(rest);
    match scheme.as_str() {
        "redis" | "rediss" => check_authority(authority)?,
        "redis+unix" | "unix" if !authority.is_empty() => return why("has a host before the socket's path"),
        "redis+unix" | "unix" if after.len() < 2 || !after.starts_with('/') => return why("names no socket"),
        "redis+unix" | "unix" => {}
        _ => return why("does not start with redis://, rediss://, redis+unix:// or unix://"),
    }
    Ok(Secret::new(format!("{scheme}://{rest}")))
}

fn split_scheme(text: &str) -> Result<(String, &str), Why> {
    if text.is_empty() {
        return why("is empty");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return why("has white space in it");
    }
    let (scheme, rest) = text.split_once("://").ok_or(Some("is not a URL".to_owned()))?;
    Ok((scheme.to_ascii_lowercase(), rest))
}

fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// A host there must be; a port must be a number, which also finds most passwords that are not percent-encoded.
fn check_authority(authority: &str) -> Result<(), Why> {
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
    let (host, port) = match host_and_port.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or("not a port"))),
        None => host_and_port.split_once(':').map_or((host_and_port, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return why("names no host");
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => why("has a port that is not one"),
        _ => Ok(()),
    }
}

fn read_prefix(text: &str) -> Result<String, Why> {
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits && (1..=MAX_PREFIX).contains(&text.len()) { Ok(text.to_owned()) } else { Err(None) }
}
