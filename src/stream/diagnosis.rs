//! What Redis says of itself and of a queue's stream, for `/health` and `doctor`. Nothing here
//! writes; a stream or group that is not there is not made.

use super::connection::{GROUP, Stream};
use super::entry::{list, text};
use super::error::StreamError;
use super::group::{StreamState, fields};
use crate::telemetry::Hazard;
use deadpool_redis::Connection;
use redis::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The settings that are asked for where INFO does not tell them, by their names in INFO.
const SETTINGS: [(&str, &str); 2] = [("maxmemory_policy", "maxmemory-policy"), ("maxmemory", "maxmemory")];

/// Redis as it describes itself: the fields of INFO, those that the account may see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    fields: BTreeMap<String, String>,
    /// PING, there and back.
    pub round_trip: Duration,
}

impl Server {
    /// Reads the answer of INFO.
    #[must_use]
    pub fn parse(info: &str) -> Self {
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let fields = info.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect();
        Self { fields, round_trip: Duration::ZERO }
    }

    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// None also where it is no whole number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.text(field)?.parse().ok()
    }
}

/// The setting under which Redis throws away what workers have yet to read. Costs time, since
/// the sweep brings it back, and no task.
#[must_use]
pub fn hazards(server: &Server) -> Vec<Hazard> {
    let Some(policy) = server.text("maxmemory_policy").filter(|policy| *policy != "noeviction") else {
        return Vec::new();
    };
    // The streams have no expiry: `volatile-*` spares them, and takes the gates.
    let risk = match (policy.starts_with("volatile-"), server.number("maxmemory")) {
        (_, Some(0)) => "no maxmemory is set, so nothing is evicted now, but whoever sets one lets whole keys vanish",
        (true, _) => {
            "at maxmemory the gates through which submissions enter the stream directly are evicted, and new entries \
             are refused all the same"
        }
        (false, _) => {
            "at maxmemory whole streams are evicted with all that waits in them; the sweep brings their tasks back \
             from the database, but late"
        }
    };
    vec![Hazard {
        setting: "maxmemory-policy",
        value: policy.to_owned(),
        risk: risk.to_owned(),
        remedy: "set it to noeviction, at run time with CONFIG SET maxmemory-policy noeviction and in Redis's \
                 configuration"
            .to_owned(),
        loses_tasks: false,
    }]
}

/// A queue's stream as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueStream {
    /// Its key.
    pub key: String,
    /// Entries, read or not.
    pub length: u64,
    /// None: the group of the workers is not there.
    pub group: Option<StreamState>,
    /// The group's consumers, each with its entries that are not acknowledged.
    pub consumers: Vec<(String, u64)>,
}

impl Stream {
    /// The settings that endanger the delivery. None of those that may not be read.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn hazards(&self) -> Result<Vec<Hazard>, StreamError> {
        self.server().await.map(|server| hazards(&server))
    }

    /// Redis as it describes itself.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn server(&self) -> Result<Server, StreamError> {
        self.run("diagnosis", async |mut conn: Connection| {
            let sent = Instant::now();
            redis::cmd("PING").query_async::<()>(&mut conn).await?;
            let round_trip = sent.elapsed();
            let info: Option<String> = permitted(redis::cmd("INFO").query_async(&mut conn).await)?;
            let mut server = Server { round_trip, ..Server::parse(&info.unwrap_or_default()) };
            for (field, setting) in SETTINGS {
                if server.text(field).is_some() {
                    continue;
                }
                let mut cmd = redis::cmd("CONFIG");
                cmd.arg("GET").arg(setting);
                let found: Option<Vec<String>> = permitted(cmd.query_async(&mut conn).await)?;
                if let Some([_, value]) = found.as_deref() {
                    server.fields.insert(field.to_owned(), value.clone());
                }
            }
            Ok(server)
        })
        .await
    }

    /// A queue's stream as it is. None: there is none.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn examine(&self, queue: &Arc<str>) -> Result<Option<QueueStream>, StreamError> {
        let key = self.key(queue);
        let at = key.clone();
        let length: Option<u64> = self
            .run("diagnosis", async move |mut conn: Connection| {
                let (there, length): (bool, u64) =
                    redis::pipe().cmd("EXISTS").arg(&at).cmd("XLEN").arg(&at).query_async(&mut conn).await?;
                Ok(there.then_some(length))
            })
            .await?;
        let Some(length) = length else { return Ok(None) };
        let group = match self.look(queue).await {
            Err(StreamError::NoGroup(_)) => None,
            looked => looked?,
        };
        let consumers = if group.is_some() { self.consumers(key.clone()).await? } else { Vec::new() };
        Ok(Some(QueueStream { key, length, group, consumers }))
    }

    async fn consumers(&self, key: String) -> Result<Vec<(String, u64)>, StreamError> {
        self.run("diagnosis", async move |mut conn: Connection| {
            let mut cmd = redis::cmd("XINFO");
            cmd.arg("CONSUMERS").arg(key).arg(GROUP);
            let found: Value = match cmd.query_async(&mut conn).await.map_err(StreamError::from) {
                // It went between two looks.
                Err(StreamError::NoGroup(_)) => return Ok(Vec::new()),
                found => found?,
            };
            let consumer = |value: &Value| {
                let fields = fields(value)?;
                let pending = match fields.get("pending") {
                    Some(Value::Int(n)) => u64::try_from(*n).unwrap_or(0),
                    _ => 0,
                };
                Some((text(fields.get("name")?)?.to_owned(), pending))
            };
            Ok(list(&found).unwrap_or_default().iter().filter_map(consumer).collect())
        })
        .await
    }
}

/// None: the server does not let this account, or nobody, do that.
fn permitted<T>(result: Result<T, redis::RedisError>) -> Result<Option<T>, StreamError> {
    match result.map_err(StreamError::from) {
        Ok(value) => Ok(Some(value)),
        // NOPERM, or a managed server's unknown command.
        Err(StreamError::Unexpected(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_that_evicts_is_a_hazard_and_says_what_it_takes() {
        let table = [
            ("noeviction", "0", None),
            ("noeviction", "1000000", None),
            ("allkeys-lru", "1000000", Some("whole streams are evicted")),
            ("allkeys-random", "1000000", Some("whole streams are evicted")),
            ("volatile-ttl", "1000000", Some("gates")),
            ("allkeys-lfu", "0", Some("no maxmemory is set")),
            ("volatile-lru", "0", Some("no maxmemory is set")),
        ];
        for (policy, maxmemory, expected) in table {
            let info = format!("# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n");
            let found = hazards(&Server::parse(&info));
            assert_eq!(found.len(), usize::from(expected.is_some()), "{info}");
            for hazard in found {
                let text = hazard.to_string();
                assert!(text.starts_with(&format!("maxmemory-policy is {policy}: ")), "{text}");
                assert!(text.contains(expected.unwrap()) && text.contains("set it to noeviction"), "{text}");
                assert!(!hazard.loses_tasks);
            }
        }
        assert_eq!(hazards(&Server::parse("# Server\r\nredis_version:7.0.15\r\n")), [], "it may not be read");
        assert_eq!(hazards(&Server::parse("maxmemory_policy:allkeys-lru")).len(), 1, "without the limit");
    }
}
