//! Where one task stands among the others: for whoever asks why it does not run.

use super::hold::FLYING;
use super::lane;
use crate::store::connection::{Store, utc};
use crate::store::error::StoreError;
use crate::store::sql::{Bind, select};
use crate::task::{Status, TaskId, Timestamp};
use chrono::NaiveDateTime;
use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Datetime, Integer, Text, Unsigned};
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use std::sync::Arc;

/// The most tasks before one that are counted: it takes some milliseconds, however deep the queue is.
pub const MAX_AHEAD: u64 = 10_000;

pub(in crate::store) const SPOT: &str =
    "SELECT status, attempt, CAST(lane AS SIGNED), position, NOW(6) FROM tasks WHERE id = ?";
/// From the index alone, and no more of it than is counted. Those of one instant stand in the order of their ids.
pub(in crate::store) const AHEAD: &str = "SELECT COUNT(*) FROM (SELECT id FROM tasks FORCE INDEX (agenda) \
     WHERE queue = ? AND lane = ? AND position <= ? AND (position < ? OR id < ?) ORDER BY position LIMIT ?) ahead";
/// In which part of its queue a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It has ended.
    Done,
    /// It waits for this instant.
    Until(Timestamp),
    /// In the backlog; its dispatcher may have put it into the stream.
    Backlog,
    /// In the stream by way of the gate, or running.
    Flight,
    /// Among those that wait for workers outside.
    Outside,
    /// Held back by the limit of its type.
    Held,
}

/// A task's place at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub status: Status,
    pub attempt: u32,
    pub stand: Stand,
    /// The database's clock.
    pub now: Timestamp,
    lane: u64,
    position: u64,
}

type Row = (String, u32, i64, u64, NaiveDateTime);
type Sql = (Text, Unsigned<Integer>, BigInt, Unsigned<BigInt>, Datetime);

fn spot(id: TaskId, (status, attempt, in_lane, position, now): Row) -> Result<Spot, StoreError> {
    let strange = |what: &str| StoreError::Unexpected(format!("task {id}: {what}"));
    let in_lane = u64::try_from(in_lane).unwrap_or(u64::MAX);
    let stand = match in_lane {
        lane::DONE => Stand::Done,
        lane::WAITING => {
            let due = i64::try_from(position).ok().and_then(Timestamp::from_timestamp_micros);
            Stand::Until(due.ok_or_else(|| strange("its position is no instant"))?)
        }
        lane::BACKLOG => Stand::Backlog,
        lane::FLIGHT => Stand::Flight,
        lane::OUTSIDE => Stand::Outside,
        held if lane::HELD.contains(&held) => Stand::Held,
        _ => return Err(strange("its lane is none")),
    };
    let status = Status::parse(&status).ok_or_else(|| strange("its status is none"))?;
    Ok(Spot { status, attempt, stand, now: utc(now), lane: in_lane, position })
}

impl Store {
    /// Where a task stands. None: there is none with this id.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn spot(&self, id: TaskId) -> Result<Option<Spot>, StoreError> {
        let row = self
            .run("explain", move |conn, _| {
                async move { select::<Sql>(SPOT, vec![Bind::Id(id.0)]).get_result::<Row>(conn).await.optional() }
                    .boxed()
            })
            .await?;
        row.map(|row| spot(id, row)).transpose()
    }

    /// How many tasks of its queue stand before a task in the same part of it; one more than [`MAX_AHEAD`] stands for
    /// any number above that.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ahead(&self, queue: Arc<str>, id: TaskId, spot: Spot) -> Result<u64, StoreError> {
        self.run("explain", move |conn, _| {
            let queue = Arc::clone(&queue);
            async move {
                let position = Bind::Number(spot.position);
                let (lane, most) = (Bind::Number(spot.lane), Bind::Number(MAX_AHEAD + 1));
                let binds = vec![Bind::Text(&queue), lane, position, position, Bind::Id(id.0), most];
                let count: i64 = select::<BigInt>(AHEAD, binds).get_result(conn).await?;
                Ok(u64::try_from(count).unwrap_or(0))
            }
            .boxed()
        })
        .await
    }

    /// How many tasks of a type are in a stream or running, over all queues.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn flying_of(&self, name: Arc<str>) -> Result<u64, StoreError> {
        self.run("explain", move |conn, _| {
            let name = Arc::clone(&name);
            async move {
                let count: i64 = select::<BigInt>(FLYING, vec![Bind::Text(&name)]).get_result(conn).await?;
                Ok(u64::try_from(count).unwrap_or(0))
            }
            .boxed()
        })
        .await
    }
}
