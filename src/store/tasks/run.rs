//! Run: what waits for an instant is due now. It goes into the lane in which its dispatcher would have put it.

use super::choose::{self, LOCK};
use super::retry::{Asked, Ways, asked, lane_of, to_asked};
use crate::store::connection::Store;
use crate::store::error::StoreError;
use crate::store::sql::{Bind, statement};
use crate::task::{TaskId, position};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::FutureExt;
use std::sync::Arc;

pub(in crate::store) const DUE_NOW: &str = "UPDATE tasks SET run_at = ?, \
     position = (9 - priority) * 9007199254740992 + ?, lane = ?, status = 'queued' WHERE id = ? AND status = 'scheduled'";

impl Store {
    /// Queues a task that is scheduled, and leaves any other alone. Gives the task as it is then; None: there is none
    /// with this id.
    ///
    /// # Errors
    /// When the database cannot be reached. It may then be done all the same.
    pub async fn run_now(&self, id: TaskId, ways: Ways) -> Result<Option<Asked>, StoreError> {
        // As for a retry.
        let clock = self.now().await?;
        self.run("run", move |conn, tries| {
            let ways = Arc::clone(&ways);
            async move {
                conn.transaction(async |conn| {
                    let Some(row) = choose::found(conn, &LOCK, &[id]).await?.pop() else { return Ok(None) };
                    let binds = vec![
                        Bind::Time(clock.naive_utc()),
                        Bind::Number(position::scheduled(clock)),
                        Bind::Number(lane_of(ways(&row.name), &row.name)),
                        Bind::Id(id.0),
                    ];
                    let changed = statement(DUE_NOW, binds).execute(conn).await? > 0;
                    asked(conn, id, changed, (tries > 0).then_some(clock)).await
                })
                .await
            }
            .boxed()
        })
        .await?
        .map(|(row, changed)| to_asked(row, changed))
        .transpose()
    }
}
