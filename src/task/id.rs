//! Identities. All are UUIDv7: they sort by the time they were made.

use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A task's identity. It never changes; receivers deduplicate by it and the attempt number.
/// Its time part is the database's clock when the task was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub Uuid);

/// A worker's identity: fresh at every start, and again after it was declared dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub Uuid);

impl WorkerId {
    /// A new identity from this host's clock. Nothing is decided by its time part.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

/// An API key's identity. It is no secret, and stays the same through rotations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub Uuid);

impl KeyId {
    /// A new identity from this host's clock. Nothing is decided by its time part.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

/// The text was not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91")]
pub struct NotAnId;

macro_rules! uuid_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                // Only the printed form: `Uuid` also reads braces, URNs and bare hex.
                if text.len() != 36 {
                    return Err(NotAnId);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)
            }
        }
    };
}
uuid_id!(TaskId);
uuid_id!(WorkerId);
uuid_id!(KeyId);
