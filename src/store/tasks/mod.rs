//! The tasks table, one file a verb, in the order of a task's life.

pub(super) mod cancel;
pub(super) mod choose;
pub(super) mod claim;
pub(super) mod delete;
pub(super) mod dispatch;
pub(super) mod expire;
pub(super) mod failures;
pub(super) mod finish;
pub(super) mod history;
pub(super) mod hold;
pub(super) mod insert;
pub(super) mod journal;
mod keyed;
pub(super) mod keys;
pub(super) mod pull;
pub(super) mod purge;
pub(super) mod purge_keys;
pub(super) mod read;
pub(super) mod rescue;
pub(super) mod retry;
pub(super) mod run;
pub(super) mod standing;
pub(super) mod totals;

pub use cancel::CancelAsked;
pub use choose::{Batch, Candidates, Found, Selection};
pub use claim::{Claim, LostClaim};
pub use delete::DeleteStep;
pub use dispatch::{MAX_ENTRY_PAYLOAD, Outlook, Waiting};
pub use expire::{Expired, Expiries};
pub use failures::{FailureGroup, GroupFilter, GroupPlace, MAX_COUNT};
pub use finish::{Applied, Finish, Record};
pub use history::PastAttempt;
pub use insert::Insert;
pub(super) use insert::{Placed, insert_within};
pub use journal::{LogLine, LogPlace, NewLine, Progress, Pulse, TAIL_LINES, Tail};
pub use keyed::{Entry, Idempotency, Keyed, KeyedGroup};
pub use keys::Holder;
pub use pull::{Aside, Attempt, Offer, Place};
pub use purge::{PurgeStep, Retention};
pub use purge_keys::{KeyPlace, PurgeKeysStep};
pub use read::{Depth, Filter, Page};
pub use rescue::Held;
pub use retry::{Asked, Ways};
pub use standing::{MAX_AHEAD, Spot, Stand};
pub use totals::Recent;

/// Where a row stands in the `agenda` index. The migration explains the column.
pub(super) mod lane {
    /// Finished.
    pub(in crate::store) const DONE: u64 = 0;
    /// Waits for the instant in `position`.
    pub(in crate::store) const WAITING: u64 = 1;
    /// In the backlog, in order of `position`.
    pub(in crate::store) const BACKLOG: u64 = 2;
    /// In the stream, or running.
    pub(in crate::store) const FLIGHT: u64 = 3;
    /// Waits for a worker outside, in order of `position`.
    pub(in crate::store) const OUTSIDE: u64 = 4;
    /// Held back, since enough of its type are in flight: a lane for each type, as far as there are lanes.
    pub(in crate::store) const HELD: std::ops::Range<u64> = 64..192;

    /// The lane in which tasks of this type are held. The same in every process, and for ever.
    pub(in crate::store) fn held(name: &str) -> u64 {
        // FNV-1a: short, and spreads similar names.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        HELD.start + hash % (HELD.end - HELD.start)
    }
}
