//! Judges the database's server.

use super::check::{Group, Section};
use super::facts::{Database, Known};
use super::grants;
use super::words::{millis, size};
use crate::store::batcher::BATCH_BYTES;
use crate::store::diagnosis::{Clock, Server, hazards};
use crate::store::migrations::Migration;
use crate::task::submission::MAX_METADATA;

/// A slower answer is worth a warning: a task's life has several of them.
const SLOW: std::time::Duration = std::time::Duration::from_millis(50);
/// Clocks further apart than this mislead people.
const MAX_SKEW_US: i64 = 1_000_000;
/// Of a limit that all clients of the server share, in percent.
const NEARLY: u64 = 80;
/// Bytes of a row besides its payload, metadata and tags, generously.
const ROW_BYTES: usize = 8 * 1024;

/// `processes`: worker processes that live.
pub(super) fn judge(facts: &Database, processes: usize) -> Section {
    let mut section = Section::new(Group::Database);
    if let Err(why) = &facts.reached {
        section.error("connection", format!("{}: {why}", facts.place), unreachable(why));
        return section;
    }
    match &facts.server {
        Ok(server) => {
            connection(&mut section, facts, server);
            durability(&mut section, server);
            writable(&mut section, server);
            connections(&mut section, server, facts.pool, processes);
            statements(&mut section, server, facts.statements, facts.pool, processes);
            packet(&mut section, server, facts.largest_value);
            character_set(&mut section, server);
            privileges(&mut section, server);
        }
        Err(why) => section.unknown("settings", why),
    }
    clock(&mut section, &facts.clock);
    migrations(&mut section, &facts.migrations);
    section
}

fn unreachable(why: &str) -> String {
    let advice = if why.contains("Access denied") {
        "check the user and the password in database_url (DATABASE_URL), and that the user may use this database from \
         this host"
    } else if why.contains("Unknown database") {
        "create it: CREATE DATABASE name; the tables are made by `taskrunnerx migrate` or at the start of `serve`"
    } else if why.contains("Too many connections") {
        "raise max_connections, or lower database.pool of the processes that use it"
    } else {
        "check that the server runs, and host, port and firewall of database_url (DATABASE_URL)"
    };
    advice.to_owned()
}

fn connection(section: &mut Section, facts: &Database, server: &Server) {
    match &facts.clock {
        Ok(Clock { round_trip, .. }) if *round_trip > SLOW => section.warning(
            "connection",
            format!("{}, answers in {}", facts.place, millis(*round_trip)),
            "each step of a task's life waits for it: run closer to the database",
        ),
        Ok(Clock { round_trip, .. }) => {
            section.ok("connection", format!("{}, answers in {}", facts.place, millis(*round_trip)));
        }
        Err(_) => section.ok("connection", &facts.place),
    }
    // MariaDB's says whose it is.
    let version = if server.version.mariadb { "" } else { "MySQL " }.to_owned() + &server.version.text;
    if server.version.is_supported() {
        section.ok("version", version);
    } else {
        section.error("version", version, "upgrade: MySQL 8.0 or later, or MariaDB 10.6 or later, is needed");
    }
    match server.counters.text("Ssl_cipher") {
        Some(cipher) if !cipher.is_empty() => section.ok("tls", cipher),
        Some(_) if facts.local => section.ok("tls", "none, and the server is on this host"),
        Some(_) => section.note(
            "tls",
            "none: passwords aside, everything passes the network as plain text",
            "where the network is not yours alone, add ?require_ssl=true to database_url",
        ),
        None => section.unknown("tls", "the server does not say"),
    }
}

fn durability(section: &mut Section, server: &Server) {
    let (variables, hazards) = (&server.variables, hazards(&server.version, &server.variables));
    for setting in ["innodb_flush_log_at_trx_commit", "sync_binlog"] {
        let value = variables.text(setting);
        match (hazards.iter().find(|hazard| hazard.setting == setting), value) {
            (Some(hazard), _) => {
                section.warning(setting, format!("{}: {}", hazard.value, hazard.risk), hazard.remedy.clone());
            }
            (None, None) => section.unknown(setting, "the server does not say"),
            (None, Some(value)) if setting == "sync_binlog" && !variables.is_on("log_bin") => {
                section.ok(setting, format!("{value}, without effect: the binary log is off"));
            }
            (None, Some(value)) => section.ok(setting, format!("{value}: a commit is on disk when it is answered")),
        }
    }
    if variables.text("innodb_doublewrite").is_some() && !variables.is_on("innodb_doublewrite") {
        section.note(
            "innodb_doublewrite",
            "off: unless the file system writes whole pages, a crash of the host may tear some of the data files",
            "turn it on, unless the file system sees to that (as ZFS does)",
        );
    }
}

fn writable(section: &mut Section, server: &Server) {
    let on = |name: &&&str| server.variables.is_on(name);
    let found: Vec<&str> = ["innodb_read_only", "super_read_only", "read_only"].iter().filter(on).copied().collect();
    match found.as_slice() {
        [] => section.ok("read_only", "off"),
        ["read_only"] if grants::may_write_read_only(server.grants.as_deref()) => section.warning(
            "read_only",
            "on, and this account may write all the same: is this a replica?",
            "point database_url at the primary: what is written to a replica is lost at its next rebuild",
        ),
        several => section.error(
            "read_only",
            format!("nothing can be written: {}", several.join(", ")),
            "point database_url at the primary, or turn it off",
        ),
    }
}

fn connections(section: &mut Section, server: &Server, pool: usize, processes: usize) {
    const NAME: &str = "max_connections";
    let Some(max) = server.variables.number(NAME) else {
        return section.unknown(NAME, "the server does not say");
    };
    let counter = |name: &str| server.counters.number(name);
    let (open, most) = (counter("Threads_connected"), counter("Max_used_connections"));
    let number = |n: Option<u64>| n.map_or("?".to_owned(), |n| n.to_string());
    let detail = format!(
        "{max}, of which {} are open now and {} were at most; each process, whatever its role, opens up to {pool} \
         (database.pool)",
        number(open),
        number(most)
    );
    let advice = "raise max_connections, or lower database.pool (TASKRUNNERX_DATABASE__POOL); a refused connection \
                  is a 503 for a client";
    let wanted = pool.saturating_mul(processes.max(1));
    if u64::try_from(wanted).is_ok_and(|wanted| wanted > max) {
        section.warning(NAME, format!("{detail}; {} may want {wanted}", workers(processes)), advice);
    } else if most.is_some_and(|most| most >= max) {
        section.warning(NAME, format!("{detail}: the limit was met since the server's start"), advice);
    } else {
        section.ok(NAME, detail);
    }
}

/// Only workers have rows that tell of them.
fn workers(processes: usize) -> String {
    match processes {
        0 | 1 => "one process".to_owned(),
        n => format!("the {n} live worker processes, not counting those of api and scheduler alone,"),
    }
}

fn statements(section: &mut Section, server: &Server, each: usize, pool: usize, processes: usize) {
    const NAME: &str = "max_prepared_stmt_count";
    let (Some(max), Some(used)) = (server.variables.number(NAME), server.counters.number("Prepared_stmt_count")) else {
        return section.unknown(NAME, "the server does not say");
    };
    let process = u64::try_from(each.saturating_mul(pool)).unwrap_or(u64::MAX);
    let wanted = process.saturating_mul(u64::try_from(processes.max(1)).unwrap_or(u64::MAX));
    let detail = format!(
        "{max}, of which {used} are in use; a connection keeps up to {each}, a process with all of its connections \
         {process}"
    );
    let advice = format!(
        "raise it to {} (SET GLOBAL max_prepared_stmt_count), or lower database.pool; beyond it statements are \
         refused, which is a 503 for a client",
        wanted.max(max).next_power_of_two()
    );
    if used.saturating_mul(100) >= max.saturating_mul(NEARLY) {
        section.warning(NAME, detail, advice);
    } else if wanted > max {
        let detail = format!("{detail}; {} would want {wanted} at the very most", workers(processes));
        section.note(NAME, detail, advice);
    } else {
        section.ok(NAME, detail);
    }
}

fn packet(section: &mut Section, server: &Server, largest_value: usize) {
    const NAME: &str = "max_allowed_packet";
    let Some(max) = server.variables.number(NAME) else {
        return section.unknown(NAME, "the server does not say");
    };
    let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    // A row alone, and a batch that closed at the first row beyond its bound.
    let alone = bytes(largest_value + MAX_METADATA + ROW_BYTES);
    let batch = alone + bytes(BATCH_BYTES);
    let advice = format!(
        "set it to {} or more, at run time with SET GLOBAL max_allowed_packet and in the server's configuration; or \
         lower limits.payload and limits.result",
        size(batch.next_power_of_two())
    );
    if max < alone {
        let detail = format!(
            "{}: a payload or result of {} (limits.payload, limits.result) does not fit; the task is refused, or \
             fails when it ends",
            size(max),
            size(bytes(largest_value))
        );
        section.error(NAME, detail, advice);
    } else if max < batch {
        let detail = format!(
            "{}: a full batch has up to {}; one that does not fit costs a connection and is sent in halves",
            size(max),
            size(batch)
        );
        section.warning(NAME, detail, advice);
    } else {
        section.ok(NAME, format!("{}; a statement has up to {}", size(max), size(batch)));
    }
}

fn character_set(section: &mut Section, server: &Server) {
    let of = |name: &str| server.variables.text(name).unwrap_or("?");
    let (client, connection) = (of("character_set_client"), of("character_set_connection"));
    if (client, connection) == ("utf8mb4", "utf8mb4") {
        section.ok("character set", "utf8mb4");
    } else {
        let detail = format!("{client} and {connection}: text beyond it is refused or garbled");
        section.warning("character set", detail, "look for init_connect or skip-character-set-client-handshake");
    }
}

fn privileges(section: &mut Section, server: &Server) {
    let Some(grants) = &server.grants else {
        return section.unknown("privileges", "SHOW GRANTS does not work here");
    };
    let found = grants::missing(grants, &server.database);
    let database = &server.database;
    if found.missing.is_empty() {
        section.ok("privileges", format!("all that is needed on {database}"));
    } else if found.partly_seen {
        let detail = format!("{} come from roles or single tables, if at all", found.missing.join(", "));
        section.note("privileges", detail, format!("make sure that this account has them on {database}"));
    } else if found.only_for_migrations {
        section.note(
            "privileges",
            format!("enough to serve; {} are missing, which migrations need", found.missing.join(", ")),
            "run `taskrunnerx migrate` with an account that has them before each upgrade",
        );
    } else {
        let missing = found.missing.join(", ");
        section.error(
            "privileges",
            format!("{missing} are missing"),
            format!("GRANT {missing} ON `{database}`.* TO this account"),
        );
    }
}

fn clock(section: &mut Section, clock: &Known<Clock>) {
    match clock {
        Err(why) => section.unknown("clock", why),
        Ok(Clock { ahead_us, round_trip, .. }) => {
            let uncertain = i64::try_from(round_trip.as_micros() / 2).unwrap_or(i64::MAX);
            let apart = std::time::Duration::from_micros(ahead_us.unsigned_abs());
            let way = if *ahead_us < 0 { "behind" } else { "ahead of" };
            let detail = format!("{} {way} this host's, give or take {}", millis(apart), millis(*round_trip / 2));
            if ahead_us.saturating_abs().saturating_sub(uncertain) > MAX_SKEW_US {
                let advice = "keep both hosts' clocks synchronised (NTP); no decision compares them, but times in \
                              logs, metrics and webhooks do not fit those of the tasks";
                section.warning("clock", format!("the database's is {detail}"), advice);
            } else {
                section.ok("clock", format!("the database's is {detail}"));
            }
        }
    }
}

fn migrations(section: &mut Section, migrations: &Known<Vec<Migration>>) {
    let migrations = match migrations {
        Ok(migrations) => migrations,
        Err(why) => return section.unknown("migrations", why),
    };
    let names = |wanted: fn(&&Migration) -> bool| -> Vec<&str> {
        migrations.iter().filter(wanted).map(|migration| &*migration.name).collect()
    };
    let (pending, newer) = (names(|m| !m.applied), names(|m| !m.known));
    if !newer.is_empty() {
        section.error(
            "migrations",
            format!("the database is newer than this binary: it has {}", newer.join(", ")),
            "use the taskrunnerx that the other processes use, or a newer one",
        );
    } else if !pending.is_empty() {
        section.warning(
            "migrations",
            format!("{} of {} pending: {}", pending.len(), migrations.len(), pending.join(", ")),
            "run `taskrunnerx migrate`, or start `taskrunnerx serve`, which applies them",
        );
    } else {
        section.ok("migrations", format!("up to date ({})", migrations.len()));
    }
}
