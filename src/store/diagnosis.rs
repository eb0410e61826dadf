//! What the database's server says of itself, for `/health` and `doctor`. Nothing here writes.
//!
//! SHOW, not `information_schema`: it exists on every version of both servers, shows what the
//! account may see, and answers a prepared statement everywhere.

use super::connection::{Connection, Store, now};
use super::error::StoreError;
use super::sql::select;
use crate::task::Timestamp;
use crate::telemetry::Hazard;
use chrono::Utc;
use diesel::QueryResult;
use diesel::sql_types::{Nullable, Text};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use mysql_async::Opts;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Variables that [`hazards`] judges.
const DURABILITY: [&str; 3] = ["innodb_flush_log_at_trx_commit", "log_bin", "sync_binlog"];
/// What else `doctor` looks at.
const SETTINGS: [&str; 9] = [
    "innodb_doublewrite",
    "max_connections",
    "max_allowed_packet",
    "max_prepared_stmt_count",
    "read_only",
    "super_read_only",
    "innodb_read_only",
    "character_set_client",
    "character_set_connection",
];
const COUNTERS: [&str; 4] = ["Threads_connected", "Max_used_connections", "Prepared_stmt_count", "Ssl_cipher"];
/// Comparisons of the clocks; the quickest is the most exact.
const CLOCK_SAMPLES: u32 = 5;

/// A server's version, and which of the two servers it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// As the server says it.
    pub text: String,
    pub mariadb: bool,
    number: (u32, u32),
}

impl ServerVersion {
    /// Reads the answer of `VERSION()`.
    #[must_use]
    pub fn parse(text: String) -> Self {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
        let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { mariadb: text.contains("MariaDB"), number, text }
    }

    /// MySQL 8.0 or later, MariaDB 10.6 or later.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.number >= if self.mariadb { (10, 6) } else { (8, 0) }
    }
}

/// Variables or counters of the server by name, those that it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// None also where it is no whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// False also where the server does not have it.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| !["", "0", "OFF", "off"].contains(&value))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// The settings under which a task that was answered with 201 may be lost.
#[must_use]
pub fn hazards(version: &ServerVersion, variables: &Variables) -> Vec<Hazard> {
    let mut hazards = Vec::new();
    if let Some(flush) = variables.number("innodb_flush_log_at_trx_commit") {
        // MariaDB's 3 is 1 with one more write.
        let durable = flush == 1 || (version.mariadb && flush == 3);
        if !durable {
            let crash = if flush == 2 { "of the database's host" } else { "of the database server or its host" };
            hazards.push(Hazard {
                setting: "innodb_flush_log_at_trx_commit",
                value: flush.to_string(),
                risk: format!(
                    "commits reach the disk about once a second, so a crash {crash} may lose tasks that were accepted \
                     (answered with 201)"
                ),
                remedy: "set it to 1, at run time with SET GLOBAL innodb_flush_log_at_trx_commit = 1 and in the \
                         server's configuration"
                    .to_owned(),
                loses_tasks: true,
            });
        }
    }
    // With a binary log, recovery rolls back every commit that the log does not have.
    if let Some(sync) = variables.number("sync_binlog").filter(|sync| *sync != 1 && variables.is_on("log_bin")) {
        let when = if sync == 0 { "when the system likes".to_owned() } else { format!("every {sync} commits") };
        hazards.push(Hazard {
            setting: "sync_binlog",
            value: sync.to_string(),
            risk: format!(
                "the binary log reaches the disk {when}, and recovery rolls back what it lacks, so a crash of the \
                 database's host may lose tasks that were accepted (answered with 201)"
            ),
            remedy: "set it to 1, at run time with SET GLOBAL sync_binlog = 1 and in the server's configuration"
                .to_owned(),
            loses_tasks: true,
        });
    }
    hazards
}

/// The server as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub version: ServerVersion,
    /// Global settings, and those of a session of ours.
    pub variables: Variables,
    pub counters: Variables,
    /// What SHOW GRANTS says of our account; None: it would not say.
    pub grants: Option<Vec<String>>,
    /// The database in use.
    pub database: String,
}

/// The database's clock beside this host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The database's.
    pub now: Timestamp,
    /// How far it is ahead of this host's; negative: behind. Whole microseconds.
    pub ahead_us: i64,
    /// The answer's way there and back: the difference is known to half of it.
    pub round_trip: Duration,
}

impl Store {
    /// The settings under which accepted tasks may be lost.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn hazards(&self) -> Result<Vec<Hazard>, StoreError> {
        self.run("settings", |conn, _| {
            async move {
                let version = version(conn).await?;
                Ok(hazards(&version, &show(conn, "GLOBAL VARIABLES", &DURABILITY).await?))
            }
            .boxed()
        })
        .await
    }

    /// The server as it describes itself.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn server(&self) -> Result<Server, StoreError> {
        let grants = self.run("settings", |conn, _| grants(conn).boxed()).await.ok();
        self.run("settings", move |conn, _| {
            let grants = grants.clone();
            async move {
                let version = version(conn).await?;
                let mut variables = show(conn, "GLOBAL VARIABLES", &DURABILITY).await?;
                // A session's: an account may be told other ones at its log-in.
                variables.0.extend(show(conn, "SESSION VARIABLES", &SETTINGS).await?.0);
                let counters = show(conn, "SESSION STATUS", &COUNTERS).await?;
                let database: Option<String> =
                    select::<Nullable<Text>>("SELECT DATABASE()", vec![]).get_result(conn).await?;
                Ok(Server { version, variables, counters, grants, database: database.unwrap_or_default() })
            }
            .boxed()
        })
        .await
    }

    /// Compares the database's clock with this host's.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn compare_clocks(&self) -> Result<Clock, StoreError> {
        self.run("clock", |conn, _| {
            async move {
                let mut best = sample(conn).await?;
                for _ in 1..CLOCK_SAMPLES {
                    let next = sample(conn).await?;
                    if next.round_trip < best.round_trip {
                        best = next;
                    }
                }
                Ok(best)
            }
            .boxed()
        })
        .await
    }
}

/// Whether the server of this URL is on this host: by its socket or by a loopback address.
#[must_use]
pub fn is_local(url: &str) -> bool {
    Opts::from_url(url).is_ok_and(|opts| {
        let host = opts.ip_or_hostname();
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        opts.socket().is_some() || host == "localhost" || loopback
    })
}

async fn version(conn: &mut Connection) -> QueryResult<ServerVersion> {
    let text: String = select::<Text>("SELECT VERSION()", vec![]).get_result(conn).await?;
    Ok(ServerVersion::parse(text))
}

/// `SHOW <what>` for these names; those that the server lacks are left out.
async fn show(conn: &mut Connection, what: &str, names: &[&str]) -> QueryResult<Variables> {
    let text = format!("SHOW {what} WHERE Variable_name IN ('{}')", names.join("', '"));
    let rows: Vec<(String, Option<String>)> = select::<(Text, Nullable<Text>)>(&text, vec![]).load(conn).await?;
    Ok(rows.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

async fn grants(conn: &mut Connection) -> QueryResult<Vec<String>> {
    select::<Text>("SHOW GRANTS", vec![]).load(conn).await
}

async fn sample(conn: &mut Connection) -> QueryResult<Clock> {
    let (before, sent) = (Utc::now(), Instant::now());
    let now = now(conn).await?;
    let round_trip = sent.elapsed();
    let middle = before + round_trip / 2;
    Ok(Clock { now, ahead_us: (now - middle).num_microseconds().unwrap_or(i64::MAX), round_trip })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_judged_for_either_server() {
        let table = [
            ("8.0.11", false, true),
            ("9.7.0-debian", false, true),
            ("5.7.44-log", false, false),
            ("10.6.0-MariaDB-log", true, true),
            ("10.5.29-MariaDB-1:10.5.29+maria~deb11", true, false),
            ("11.4.2-MariaDB", true, true),
            ("unheard of", false, false),
        ];
        for (text, mariadb, supported) in table {
            let version = ServerVersion::parse(text.to_owned());
            assert_eq!((version.mariadb, version.is_supported()), (mariadb, supported), "{text}");
        }
    }

    #[test]
    fn settings_that_may_lose_accepted_tasks_are_hazards() {
        let (mysql, mariadb) = ("8.0.40", "10.11.14-MariaDB");
        let table: [(&str, &str, &str, &str, &[&str]); 9] = [
            (mysql, "1", "ON", "1", &[]),
            (mysql, "1", "OFF", "0", &[]),
            (mysql, "2", "OFF", "1", &["innodb_flush_log_at_trx_commit"]),
            (mysql, "0", "OFF", "1", &["innodb_flush_log_at_trx_commit"]),
            (mysql, "3", "OFF", "1", &["innodb_flush_log_at_trx_commit"]),
            (mariadb, "3", "OFF", "0", &[]),
            (mariadb, "1", "ON", "0", &["sync_binlog"]),
            (mysql, "1", "ON", "100", &["sync_binlog"]),
            (mysql, "2", "ON", "0", &["innodb_flush_log_at_trx_commit", "sync_binlog"]),
        ];
        for (version, flush, log_bin, sync, expected) in table {
            let pairs = [("innodb_flush_log_at_trx_commit", flush), ("log_bin", log_bin), ("sync_binlog", sync)];
            let variables: Variables = pairs.into_iter().collect();
            let found = hazards(&ServerVersion::parse(version.to_owned()), &variables);
            let settings: Vec<&str> = found.iter().map(|hazard| hazard.setting).collect();
            assert_eq!(settings, expected, "{version} {pairs:?}");
            for hazard in found {
                let text = hazard.to_string();
                assert!(hazard.loses_tasks && text.contains("may lose") && text.contains("set it to 1"), "{text}");
            }
        }
        // A server that does not have a setting is not accused of it.
        assert_eq!(hazards(&ServerVersion::parse(mysql.to_owned()), &Variables::default()), []);
    }

    #[test]
    fn a_socket_and_a_loopback_address_are_local() {
        for url in ["mysql://u@localhost/d", "mysql://u@127.0.0.1:3307/d", "mysql://u@db/d?socket=/run/x.sock"] {
            assert!(is_local(url), "{url}");
        }
        for url in ["mysql://u@db.internal/d", "mysql://u@10.0.0.7/d", "nonsense"] {
            assert!(!is_local(url), "{url}");
        }
    }
}
