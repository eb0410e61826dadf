//! Cancel notices: an API process tells the worker that runs an attempt, by pub/sub to all of
//! them. Losing one costs the time until that worker's next heartbeat, which finds the mark in
//! the row.

use super::connection::Stream;
use super::error::StreamError;
use crate::task::TaskId;
use deadpool_redis::Connection;
use std::fmt;
use std::str::FromStr;
use tokio::sync::broadcast;

/// Notices that a worker may be behind; more are left to its heartbeat.
const BACKLOG: usize = 1024;

/// Names the attempt to stop, and not only the task: a notice that comes late must not stop a
/// later attempt, which a manual retry has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelNotice {
    pub id: TaskId,
    pub attempt: u32,
}

impl fmt::Display for CancelNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.attempt)
    }
}

impl FromStr for CancelNotice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, attempt) = text.split_once(' ').ok_or(())?;
        Ok(Self { id: id.parse().map_err(|_| ())?, attempt: attempt.parse().map_err(|_| ())? })
    }
}

/// The notices that reach this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CancelNotices(broadcast::Sender<CancelNotice>);

impl Default for CancelNotices {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl CancelNotices {
    /// What comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> CancelInbox {
        CancelInbox(self.0.subscribe())
    }

    pub(super) fn pass_on(&self, notice: CancelNotice) {
        // Nobody listens between two incarnations of a worker, which then runs nothing.
        let _ = self.0.send(notice);
    }
}

/// One listener's notices.
#[derive(Debug)]
pub struct CancelInbox(broadcast::Receiver<CancelNotice>);

impl CancelInbox {
    /// The next notice. None: there will be no more.
    pub async fn next(&mut self) -> Option<CancelNotice> {
        loop {
            match self.0.recv().await {
                Ok(notice) => return Some(notice),
                // Those that were missed are found at the next heartbeat.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Stream {
    pub(super) fn cancel_channel(&self) -> String {
        format!("{}:cancel", self.prefix)
    }

    /// Tells every worker which attempts are to be cancelled.
    ///
    /// # Errors
    /// When Redis cannot be reached; the workers' heartbeats find out.
    pub async fn publish_cancels(&self, notices: Vec<CancelNotice>) -> Result<(), StreamError> {
        let channel = self.cancel_channel();
        self.run("publish_cancel", async move |mut conn: Connection| {
            let mut pipe = redis::pipe();
            for notice in &notices {
                pipe.cmd("PUBLISH").arg(&channel).arg(notice.to_string()).ignore();
            }
            Ok(pipe.query_async::<()>(&mut conn).await?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_back_and_what_is_none_is_refused() {
        let notice = CancelNotice { id: TaskId(uuid::Uuid::now_v7()), attempt: 7 };
        assert_eq!(notice.to_string().parse(), Ok(notice));
        for text in ["", "7", "no-id 7", &notice.id.to_string(), &format!("{} -1", notice.id)] {
            assert_eq!(text.parse::<CancelNotice>(), Err(()), "{text}");
        }
    }
}
