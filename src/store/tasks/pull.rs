//! What workers outside ask of the table: what waits for them, how it stands with what they hold,
//! and which of it nobody names any more.
//!
//! What waits for them stands in a lane of its own, in the order of the backlog: an entry in a stream
//! would reach a worker that can only hand it back.

mod aside;
mod attempts;

pub(in crate::store) use aside::{ASIDE, NAMES, NEXT_LANE, PUT_BACK, SET_ASIDE};
pub use aside::{Aside, Place};
pub use attempts::Attempt;
pub(in crate::store) use attempts::{ATTEMPTS, HELD_FOR, OUTCOME, OVERDUE};

use super::lane;
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::row::Key;
use crate::store::sql::{Bind, Texts, marks, padded, select};
use crate::task::TaskId;
use diesel::sql_types::{BigInt, Binary, Integer, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;

/// How far a claim of some task types looks into a queue.
const NAMES_SCAN: u32 = 10_000;

/// Nothing of a queue that is paused at this instant.
pub(in crate::store) const AVAILABLE: &str = "SELECT id, attempt, name, CAST(OCTET_LENGTH(payload) AS SIGNED) \
     FROM tasks FORCE INDEX (agenda) WHERE queue = ? AND lane = 4 \
     AND NOT EXISTS(SELECT 1 FROM queues WHERE name = ? AND paused_at IS NOT NULL \
                    AND (resume_at IS NULL OR resume_at > NOW(6))) \
     ORDER BY position LIMIT ?";
/// The same, of some task types: looked for among the first ones, so that a claim costs no more the longer a queue of
/// others is. They come as the inner list was filled, in order: to sort once more would be for nothing.
pub(in crate::store) static AVAILABLE_OF: Texts = Texts::new(|names| {
    format!(
        "SELECT STRAIGHT_JOIN o.id, o.attempt, o.name, CAST(OCTET_LENGTH(o.payload) AS SIGNED) FROM \
           (SELECT id, name FROM tasks FORCE INDEX (agenda) WHERE queue = ? AND lane = 4 \
            AND NOT EXISTS(SELECT 1 FROM queues WHERE name = ? AND paused_at IS NOT NULL \
                           AND (resume_at IS NULL OR resume_at > NOW(6))) \
            ORDER BY position LIMIT {NAMES_SCAN}) head \
         JOIN tasks o ON o.id = head.id WHERE head.name IN ({}) LIMIT ?",
        marks(names)
    )
});

/// A task that waits for a worker outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub id: TaskId,
    pub attempt: u32,
    pub name: String,
    /// Of its payload.
    pub bytes: u64,
}

impl Store {
    /// The first `limit` tasks of each of these queues that wait for workers outside, in order; none of a queue
    /// that is paused. Only of these types, where `names` has some.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn available(
        &self,
        queues: Vec<Arc<str>>,
        names: Option<Vec<String>>,
        limit: usize,
    ) -> Result<Vec<Vec<Offer>>, StoreError> {
        let queues = Arc::new((queues, names));
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.run("pull", move |conn, _| {
            let queues = Arc::clone(&queues);
            async move {
                let (queues, names) = &*queues;
                let mut found = Vec::with_capacity(queues.len());
                for queue in queues {
                    let mut binds = vec![Bind::Text(queue), Bind::Text(queue)];
                    let text = match names {
                        None => AVAILABLE,
                        Some(names) => {
                            let names: Vec<Bind<'_>> = names.iter().map(|name| Bind::Text(name)).collect();
                            binds.extend(padded(&names));
                            AVAILABLE_OF.of(names.len())
                        }
                    };
                    binds.push(Bind::Number(limit));
                    let rows: Vec<(Key, u32, String, i64)> =
                        select::<(Binary, Unsigned<Integer>, Text, BigInt)>(text, binds).load(conn).await?;
                    let offer = |(id, attempt, name, bytes)| Offer {
                        id: TaskId::from(id),
                        attempt,
                        name,
                        bytes: u64::try_from(bytes).unwrap_or(0),
                    };
                    found.push(rows.into_iter().map(offer).collect());
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }
}

fn keys(ids: &[TaskId]) -> Vec<Bind<'static>> {
    padded(&ids.iter().map(|id| Bind::Id(id.0)).collect::<Vec<_>>())
}

const _: () = {
    // The SQL texts here and below carry these as literals.
    assert!(lane::BACKLOG == 2 && lane::FLIGHT == 3 && lane::OUTSIDE == 4);
};
