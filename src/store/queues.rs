//! The queues there are, and which worker process dispatches each.

use super::connection::Store;
use super::error::StoreError;
use super::sql::{Bind, MAX_ROWS, Texts, marks, padded, select, statement};
use crate::task::WorkerId;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;

static ENSURE: Texts =
    Texts::new(|n| format!("INSERT IGNORE INTO queues (name, created_at) VALUES {}", vec!["(?, NOW(6))"; n].join(",")));
static LEASE: Texts = Texts::new(|n| {
    format!(
        "UPDATE queues SET dispatcher_id = ?, dispatcher_until = NOW(6) + INTERVAL ? MICROSECOND \
         WHERE name IN ({}) AND (dispatcher_id = ? OR dispatcher_until IS NULL OR dispatcher_until < NOW(6))",
        marks(n)
    )
});

impl Store {
    /// Makes sure that these queues exist.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ensure_queues(&self, names: Vec<Arc<str>>) -> Result<(), StoreError> {
        let names = Arc::new(names);
        self.run("queues", move |conn, _| {
            let names = Arc::clone(&names);
            async move {
                for chunk in names.chunks(MAX_ROWS) {
                    let binds = padded(&chunk.iter().map(|name| Bind::Text(name)).collect::<Vec<_>>());
                    statement(ENSURE.of(chunk.len()), binds).execute(conn).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// The names of all queues, sorted.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn queue_names(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.run("queues", move |conn, _| {
            async move {
                let names: Vec<String> =
                    select::<Text>("SELECT name FROM queues ORDER BY name", vec![]).load(conn).await?;
                Ok(names.into_iter().map(Arc::from).collect())
            }
            .boxed()
        })
        .await
    }

    /// Takes or renews the dispatcher's lease on those of these queues that nobody else holds;
    /// says which this worker holds now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn lease_queues(
        &self,
        worker: WorkerId,
        names: Vec<Arc<str>>,
        lease: Duration,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let names = Arc::new(names);
        self.run("queues", move |conn, _| {
            let names = Arc::clone(&names);
            async move {
                let micros = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
                for chunk in names.chunks(MAX_ROWS) {
                    let mut binds = vec![Bind::Id(worker.0), Bind::Signed(micros)];
                    binds.extend(padded(&chunk.iter().map(|name| Bind::Text(name)).collect::<Vec<_>>()));
                    binds.push(Bind::Id(worker.0));
                    statement(LEASE.of(chunk.len()), binds).execute(conn).await?;
                }
                let held: Vec<String> = select::<Text>(
                    "SELECT name FROM queues WHERE dispatcher_id = ? AND dispatcher_until > NOW(6)",
                    vec![Bind::Id(worker.0)],
                )
                .load(conn)
                .await?;
                Ok(names.iter().filter(|name| held.iter().any(|h| **h == ***name)).cloned().collect())
            }
            .boxed()
        })
        .await
    }

    /// Gives up every queue that this worker dispatches, so that another takes over at once.
    ///
    /// # Errors
    /// When the database cannot be reached; the leases then run out by themselves.
    pub async fn release_queues(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.run("queues", move |conn, _| {
            async move {
                let text = "UPDATE queues SET dispatcher_id = NULL, dispatcher_until = NULL WHERE dispatcher_id = ?";
                statement(text, vec![Bind::Id(worker.0)]).execute(conn).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }
}
