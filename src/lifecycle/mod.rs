//! A task's life, one verb a file, in order:
//!
//! ```text
//! submit ─► dispatch ─► claim ─► execute ─► finish          fire: a schedule submits
//!              ▲                              │             rescue: for those who cannot finish
//!              └────────── retry ◄────────────┘             purge: the end
//! ```
//!
//! Each verb knows the store and the stream, and none knows the services that call it: which
//! process runs them, and when, is the business of `api`, `worker` and `scheduler`.

pub mod claim;
pub mod dispatch;
pub mod execute;
pub mod finish;
pub mod fire;
pub mod purge;
pub mod rescue;
pub mod submit;
