//! Judges the Redis server.

use super::check::{Group, Section};
use super::facts::Redis;
use super::words::{millis, size};
use crate::stream::diagnosis::{Server, hazards};

/// A slower answer is worth a warning: a dispatcher's pass has several of them.
const SLOW: std::time::Duration = std::time::Duration::from_millis(50);
/// Streams and consumer groups.
const OLDEST: (u64, u64) = (5, 0);
/// `entries-read` in XINFO GROUPS, from which the start rate is measured.
const NEEDED: (u64, u64) = (7, 0);
/// Of a limit, in percent.
const NEARLY: u64 = 90;

pub(super) fn judge(facts: &Redis) -> Section {
    let mut section = Section::new(Group::Redis);
    match &facts.server {
        Err(why) => section.error("connection", format!("{}: {why}", facts.place), unreachable(why)),
        Ok(server) => {
            connection(&mut section, server, &facts.place);
            role(&mut section, server);
            eviction(&mut section, server);
            memory(&mut section, server);
            persistence(&mut section, server);
            clients(&mut section, server);
            cluster(&mut section, server);
        }
    }
    section
}

fn unreachable(why: &str) -> String {
    let advice = if ["NOAUTH", "WRONGPASS", "NOPERM", "AUTH"].iter().any(|code| why.contains(code)) {
        "check the user and the password in redis_url (REDIS_URL)"
    } else if why.contains("LOADING") || why.contains("BusyLoading") {
        "it loads its data from disk: look again when that is done"
    } else {
        "check that the server runs, and host, port and firewall of redis_url (REDIS_URL); meanwhile tasks are \
         accepted, and wait"
    };
    advice.to_owned()
}

fn connection(section: &mut Section, server: &Server, place: &str) {
    let detail = format!("{place}, answers in {}", millis(server.round_trip));
    if server.round_trip > SLOW {
        section.warning("connection", detail, "dispatch and delivery wait for it: run closer to Redis");
    } else {
        section.ok("connection", detail);
    }
    let Some(compatible) = server.text("redis_version") else {
        return section.unknown("version", "INFO does not say");
    };
    let mut numbers = compatible.split('.').map_while(|number| number.parse::<u64>().ok());
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let shown = match server.text("valkey_version") {
        Some(valkey) => format!("Valkey {valkey} (as Redis {compatible})"),
        None => format!("Redis {compatible}"),
    };
    let advice = "upgrade: Redis 7.0 or later (or Valkey) is needed";
    if number < OLDEST {
        section.error("version", format!("{shown} has no streams"), advice);
    } else if number < NEEDED {
        let detail = format!("{shown} does not count the entries read: queues of short tasks are served slowly");
        section.warning("version", detail, advice);
    } else {
        section.ok("version", shown);
    }
}

fn role(section: &mut Section, server: &Server) {
    match server.text("role") {
        Some("master") => section.ok("role", "primary"),
        Some(role) => section.error(
            "role",
            format!("{role}: it takes no entries, and tasks wait"),
            "point redis_url at the primary",
        ),
        None => section.unknown("role", "INFO does not say"),
    }
}

fn eviction(section: &mut Section, server: &Server) {
    const NAME: &str = "maxmemory-policy";
    let Some(policy) = server.text("maxmemory_policy") else {
        return section.unknown(NAME, "could not be read: neither INFO nor CONFIG GET is allowed here");
    };
    for hazard in hazards(server) {
        let detail = format!("{}: {}", hazard.value, hazard.risk);
        if server.number("maxmemory") == Some(0) {
            section.note(NAME, detail, hazard.remedy);
        } else {
            section.warning(NAME, detail, hazard.remedy);
        }
    }
    if hazards(server).is_empty() {
        section.ok(NAME, policy);
    }
}

fn memory(section: &mut Section, server: &Server) {
    let Some(used) = server.number("used_memory") else { return section.unknown("memory", "INFO does not say") };
    match server.number("maxmemory") {
        None => section.ok("memory", format!("{} in use", size(used))),
        Some(0) => section.ok("memory", format!("{} in use, maxmemory is not set", size(used))),
        Some(max) => {
            let detail = format!("{} of {} in use", size(used), size(max));
            let advice = "raise maxmemory, or see what else lives there (redis-cli --bigkeys): a stream holds at most \
                          10,000 unread entries of a few KiB";
            if used >= max {
                let detail = format!("{detail}: new entries are refused, and tasks wait in the database");
                section.error("memory", detail, advice);
            } else if used.saturating_mul(100) >= max.saturating_mul(NEARLY) {
                section.warning("memory", detail, advice);
            } else {
                section.ok("memory", detail);
            }
        }
    }
}

fn persistence(section: &mut Section, server: &Server) {
    let failing = |field: &str| server.text(field).is_some_and(|status| status != "ok");
    if failing("rdb_last_bgsave_status") || failing("aof_last_write_status") {
        return section.warning(
            "persistence",
            "its last write to disk failed: Redis may refuse entries (MISCONF), and tasks wait",
            "look at Redis's log, and at the space left on its disk",
        );
    }
    let aof = match server.text("aof_enabled") {
        Some("0") => "appendonly is off",
        Some(_) => "appendonly is on",
        None => return section.unknown("persistence", "INFO does not say"),
    };
    section.ok("persistence", format!("{aof}; either will do, what Redis loses comes back from the database"));
}

fn clients(section: &mut Section, server: &Server) {
    let (Some(connected), Some(max)) = (server.number("connected_clients"), server.number("maxclients")) else {
        return;
    };
    let detail = format!("{connected} of {max} (maxclients)");
    if connected.saturating_mul(100) >= max.saturating_mul(NEARLY) {
        section.warning("clients", detail, "raise maxclients, or look for clients that do not close");
    } else {
        section.ok("clients", detail);
    }
}

fn cluster(section: &mut Section, server: &Server) {
    match server.text("cluster_enabled") {
        Some("1") => section.warning(
            "cluster",
            "on: this program speaks to one node, which refuses the queues of others (MOVED)",
            "use a Redis without cluster mode, or one whose only node has every slot",
        ),
        Some(_) => section.ok("cluster", "off"),
        None => {}
    }
}
