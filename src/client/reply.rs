//! What the command line gets from a call: the JSON as the server gave it, and what it means where that is read.

use super::answers::broken;
use super::connection::Answer;
use super::error::ClientError;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use std::borrow::Cow;

/// An answer that says yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    body: Bytes,
}

impl Reply {
    /// # Errors
    /// `Refused` where the server said no.
    pub(super) fn accepted(answer: Answer) -> Result<Self, ClientError> {
        let status = answer.status;
        Ok(Self { status, body: answer.accepted()? })
    }

    /// Whatever the answer says.
    pub(super) fn any(answer: Answer) -> Self {
        Self { status: answer.status, body: answer.body }
    }

    /// 201: something is there that was not.
    #[must_use]
    pub fn is_created(&self) -> bool {
        self.status == StatusCode::CREATED
    }

    /// 202: it is under way.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status == StatusCode::ACCEPTED
    }

    /// 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// The body.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The parts that are looked at. Fields that they do not name are passed over.
    ///
    /// # Errors
    /// `Broken` where the answer is something else.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| broken(&error))
    }
}
