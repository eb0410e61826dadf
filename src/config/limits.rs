//! `[limits]`: the bounds of what clients may send and the database may hold.

use super::form::{Size, Whole};
use super::layers::{Key, Layers};

const MIB: usize = 1_048_576;

/// A row must fit into one packet to the database, of which MariaDB takes 16 MiB unless told.
const MAX_VALUE: usize = 15 * MIB;
pub const MAX_BULK: usize = 1_000;
const MAX_BULK_BODY: usize = 64 * MIB;
const MAX_QUEUES: usize = 10_000;
const MAX_RATE: u32 = 1_000_000;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A task's payload in bytes, up to 15 MiB.
    pub payload: usize,
    /// A task's result in bytes, up to 15 MiB.
    pub result: usize,
    /// Tasks in one bulk submission, up to 1,000.
    pub bulk: usize,
    /// The body of a bulk submission in bytes, up to 64 MiB.
    pub bulk_body: usize,
    /// Queues in all, up to 10,000.
    pub queues: usize,
    /// Requests a second, of each process, of an API key that has no limit of its own. None: as many as it likes.
    pub rate: Option<u32>,
}

pub(super) fn read(layers: &mut Layers) -> Limits {
    let size = |max| Size { min: 1, max };
    let count = |max| Whole { min: 1, max };
    Limits {
        payload: layers.value(Key::new("limits.payload"), &size(MAX_VALUE), MIB),
        result: layers.value(Key::new("limits.result"), &size(MAX_VALUE), MIB),
        bulk: layers.value(Key::new("limits.bulk"), &count(MAX_BULK), MAX_BULK),
        bulk_body: layers.value(Key::new("limits.bulk_body"), &size(MAX_BULK_BODY), 16 * MIB),
        queues: layers.value(Key::new("limits.queues"), &count(MAX_QUEUES), 256),
        rate: layers.optional(Key::new("limits.rate"), &Whole { min: 1, max: MAX_RATE }, "none"),
    }
}
