//! The gate: how many entries the APIs may add to a queue's stream themselves.
//!
//! The dispatcher publishes a budget with a short life; absent means closed. Behind an open
//! gate a submission costs no extra write and no extra wait: its row is inserted as dispatched
//! and its entry follows the commit. Closed, the row waits in the backlog for the dispatcher.
//! The budget is a bound on order, not on safety: several APIs may overdraw it together.

use super::connection::Stream;
use super::error::StreamError;
use crate::telemetry::Episode;
use deadpool_redis::Connection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A published budget is good for this long.
const LIFE: Duration = Duration::from_secs(1);
/// And the rate beside it: longer than any dispatcher takes between two passes.
const RATE_LIFE: Duration = Duration::from_secs(5);
/// How often an API process reads the budgets of the queues it has seen.
const REFRESH: Duration = Duration::from_millis(200);
/// Least time between two reads, however fast budgets are used up.
const REFRESH_AT_MOST: Duration = Duration::from_millis(20);

/// What a dispatcher publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Tells one publication from the next.
    pub serial: u64,
    /// Entries that may be added until the next one.
    pub budget: u64,
}

#[derive(Debug, Default)]
struct Local {
    serial: u64,
    left: u64,
    /// Of the last publication; a refresh is asked for at half of it.
    budget: u64,
}

/// An API process's view of the gates. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    by_queue: Arc<Mutex<HashMap<Arc<str>, Local>>>,
    used_up: Arc<Notify>,
}

impl Gates {
    /// Takes one entry of a queue's budget; false: closed.
    #[must_use]
    pub fn pass(&self, queue: &Arc<str>) -> bool {
        let mut map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(local) = map.get_mut(queue) else {
            // From now on this queue's gate is watched.
            map.insert(Arc::clone(queue), Local::default());
            self.used_up.notify_one();
            return false;
        };
        if local.left <= local.budget / 2 {
            self.used_up.notify_one();
        }
        if local.left == 0 {
            return false;
        }
        local.left -= 1;
        true
    }

    /// Closes every gate until the next refresh.
    pub fn close(&self) {
        let mut map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
        for local in map.values_mut() {
            local.left = 0;
        }
    }

    /// Closes one queue's gate until its dispatcher publishes anew.
    pub fn shut(&self, queue: &str) {
        let mut map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = map.get_mut(queue) {
            local.left = 0;
        }
    }

    fn queues(&self) -> Vec<Arc<str>> {
        self.by_queue.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn learn(&self, queue: &Arc<str>, opening: Option<Opening>) {
        let mut map = self.by_queue.lock().unwrap_or_else(PoisonError::into_inner);
        let local = map.entry(Arc::clone(queue)).or_default();
        match opening {
            None => local.left = 0,
            Some(new) if new.serial == local.serial => {}
            Some(new) => *local = Local { serial: new.serial, left: new.budget, budget: new.budget },
        }
    }
}

impl Stream {
    fn gate_key(&self, queue: &str) -> String {
        format!("{}:gate", self.key(queue))
    }

    fn rate_key(&self, queue: &str) -> String {
        format!("{}:rate", self.key(queue))
    }

    /// Publishes a queue's budget; none of it closes the gate. Beside it how many tasks a second are started.
    ///
    /// # Errors
    /// When Redis cannot be reached; the last budget ends by itself.
    pub async fn publish_gate(&self, queue: &str, opening: Opening, rate: f64) -> Result<(), StreamError> {
        let (gate, beside) = (self.gate_key(queue), self.rate_key(queue));
        let millis = |life: Duration| u64::try_from(life.as_millis()).unwrap_or(1);
        self.run("publish_gate", async move |mut conn: Connection| {
            let mut pipe = redis::pipe();
            if opening.budget == 0 {
                pipe.cmd("DEL").arg(gate).ignore();
            } else {
                let value = format!("{}:{}", opening.serial, opening.budget);
                pipe.cmd("SET").arg(gate).arg(value).arg("PX").arg(millis(LIFE)).ignore();
            }
            pipe.cmd("SET").arg(beside).arg(format!("{rate:.3}")).arg("PX").arg(millis(RATE_LIFE)).ignore();
            Ok(pipe.query_async::<()>(&mut conn).await?)
        })
        .await
    }

    /// How many tasks a second of each of these queues worker processes start, as its dispatcher measured last. None:
    /// nobody has within the last seconds.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn start_rates(&self, queues: &[Arc<str>]) -> Result<Vec<Option<f64>>, StreamError> {
        let keys: Vec<String> = queues.iter().map(|queue| self.rate_key(queue)).collect();
        self.run("rates", async move |conn: Connection| get_each(conn, &keys).await).await
    }

    /// Keeps an API process's view of the gates fresh until stopped.
    pub async fn watch_gates(&self, gates: Gates, stop: CancellationToken) {
        let trouble = Episode::new("redis gates");
        loop {
            match self.refresh_gates(&gates).await {
                Ok(()) => trouble.succeeded(),
                Err(error) => {
                    gates.close();
                    trouble.failed(&error);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REFRESH_AT_MOST) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REFRESH.saturating_sub(REFRESH_AT_MOST)) => {}
                () = gates.used_up.notified(), if !trouble.is_failing() => {}
            }
        }
    }

    async fn refresh_gates(&self, gates: &Gates) -> Result<(), StreamError> {
        let queues = gates.queues();
        if queues.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = queues.iter().map(|queue| self.gate_key(queue)).collect();
        let values: Vec<Option<String>> =
            self.run("gates", async move |conn: Connection| get_each(conn, &keys).await).await?;
        for (queue, value) in queues.iter().zip(values) {
            gates.learn(queue, value.as_deref().and_then(opening));
        }
        Ok(())
    }
}

/// Single GETs, not MGET: a cluster keeps each queue's keys in a slot of its own.
async fn get_each<T: redis::FromRedisValue>(
    mut conn: Connection,
    keys: &[String],
) -> Result<Vec<Option<T>>, StreamError> {
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("GET").arg(key);
    }
    Ok(pipe.query_async(&mut conn).await?)
}

fn opening(text: &str) -> Option<Opening> {
    let (serial, budget) = text.split_once(':')?;
    Some(Opening { serial: serial.parse().ok()?, budget: budget.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once_and_renewed_by_the_next_publication_only() {
        let gates = Gates::default();
        let queue: Arc<str> = "default".into();
        assert!(!gates.pass(&queue), "unknown is closed");
        let first = opening("7:2");
        gates.learn(&queue, first);
        assert!(gates.pass(&queue) && gates.pass(&queue) && !gates.pass(&queue));
        gates.learn(&queue, first);
        assert!(!gates.pass(&queue), "the same publication gives nothing twice");
        gates.learn(&queue, opening("8:1"));
        assert!(gates.pass(&queue) && !gates.pass(&queue));
        gates.learn(&queue, opening("9:5"));
        gates.close();
        assert!(!gates.pass(&queue));
        gates.learn(&queue, opening("10:5"));
        gates.shut("default");
        gates.learn(&queue, opening("10:5"));
        assert!(!gates.pass(&queue), "shut until the next publication");
        gates.learn(&queue, opening("11:5"));
        assert!(gates.pass(&queue));
        gates.learn(&queue, None);
        assert!(!gates.pass(&queue), "absent is closed");
    }
}
