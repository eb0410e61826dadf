//! The protocol as a model, checked in every state that it can reach.
//!
//! The tests of `it` show that the code does what the protocol says, in the schedules that they
//! bring about. This shows that the protocol does what it promises, in every schedule: two workers,
//! a dispatcher with its sweep, a rescuer, and a world that kills, pauses, loses, repeats and
//! answers late, each as often as a budget ([`config`]) allows: any two mishaps for one task, any one
//! for two tasks, and more in a longer run. It shares with the product the table of moves (`Status::may_become`) and the
//! decision about an outcome (`decide`); the rest follows the statements in `src/store/tasks/`, one
//! guarded statement a step.
//!
//! ```text
//!       MySQL                    Redis                  a worker's memory             statements under way
//!
//!   ┌─ scheduled ◄──────────────────────────────────────── retry ───┐
//!   │ Promote                                                       │
//!   └► queued, backlog ── Dispatch ──┐                              │
//!        │    ▲  (remembered until   │                              │
//!        │    │   it leaves, Sweep)  ▼     Read                     │
//!        │    │ Sweep              entry ─────► Claiming ── GiveUp ─┼────────► late claim ─────┐
//!      queued, by the gate ──────────┘ ╳ Lose,     │ Claim          │                          │
//!        │                                Wipe     ▼                │                          │ Commit:
//!      running ◄─────────────────────────── Won, look at the lease  │                          │ at any time,
//!        │  ▲   Compare, Release               │ Start              │                          │ or never
//!        │  └── a row that it does not hold    ▼                    │                          │
//!        │                                  Running ── Crash, Notice: gone                     │
//!        │  rescuer: Fence, PickUp,            │ End                │                          │
//!        │  TakeOver, Remove                   ▼                    │                          │
//!        ▼                                  Finishing ── Finish ────┴─ GiveUp ► late finish ───┤
//!      completed, failed, cancelled ◄──────────┘                                               │
//!        ▲                                                                                     │
//!        └─────────────────────────────────────────────────────────────────────────────────────┘
//!
//!   a lease that is lost, in a process that lives on: a new id at once, and under the one before
//!
//!     Notice ──► Claiming, Finishing ── Answer, Fail ──┐
//!                Stopping ───────────── Stopped ───────┴─► nothing is held ── HandOver, each row ──► Declare
//! ```
//!
//! Reading order: [`state`] (a moment), [`action`] (what may happen next), [`step`] (what it does),
//! [`checked`] (what must hold), then the tests: [`exhaustive`] (with every guard: no
//! counterexample, and the space is as large as it was), [`removals`] (without any one of them: a
//! counterexample, printed), and [`schedule`], a model of its own.
//!
//! # At most one owner
//!
//! A worker that stands still may go on running what it has lost, until it notices: the promise
//! says so. What must not be is an attempt that goes on *in good faith*. So the properties speak of
//! attempts whose worker would find its lease good if it looked now: the row names that worker and
//! that attempt, and for each task there is at most one of them.
//!
//! A worker that lost its lease and lives on has no good faith to lose, so this says nothing about
//! what it hands over. Of that, two more properties: no handler starts beside one whose own worker gave
//! the task away before it ended, and no worker gives away what it is about to record. Without the wait for both, these
//! break, and nothing else does.
//!
//! # Every accepted task ends
//!
//! stateright's `eventually` follows paths and forgets a path that joins another, so it may miss a
//! counterexample. It is not used. Instead:
//!
//! 1. Steps are of two kinds ([`action`]). The system's are taken sooner or later; the world's (a
//!    crash, a lost entry, a late commit) need not be.
//! 2. In every state in which the system has no step left, every task has ended: an `always`
//!    property, and so a task that only a lucky mishap could save is found. By then every worker
//!    that lives on has handed over, too, unless a handler never ended: no task waits for that.
//! 3. No sequence of steps leads back to where it began: `no_step_leads_back`. The space is finite,
//!    so every run comes to rest, whatever the order of its steps, and rests in a state as in 2.
//!
//! One step is left out of 3: a worker drops an entry of a task that it holds, and the task is
//! dispatched again, and again. That ends when the worker's own statement is done, which a run may
//! put off only by never letting that worker take a step that is open to it all the time.
//!
//! # What is left out, and why it may be
//!
//! - **Order of entries.** Any unread entry may be read next, which includes first in, first out.
//! - **What cannot matter.** States that differ in it are one: which number an id has; a statement of
//!   an attempt that is over, where the guards that refuse it are there; a hand-over of nothing.
//! - **Dispatcher leases.** Handing them over sooner or later only moves the dispatcher's steps, and
//!   costs what it remembers: that another one begins is a mishap of its own. Nothing is told from its
//!   crash.
//! - **Places in the backlog.** Whoever comes back stands at another one: so what has left the backlog is
//!   forgotten, at once or when the dispatcher looks again. Looks at a part of it only come later.
//! - **Two hand-overs in one process.** A second loss leaves what the first still waited for to itself, as
//!   a crash would. They share nothing: each speaks of its own id.
//! - **The wait for handlers before the new id.** It is there at once, so it may act sooner than the
//!   product's, which gives them two seconds.
//! - **Pending entries.** Nothing reads them again: a read entry is gone, with or without its
//!   acknowledgement.
//! - **Batches.** Each row of a batch is guarded on its own. Row by row there are more schedules,
//!   none fewer.
//! - **The API.** A task is accepted when its row is there: one begins behind an open gate with its
//!   entry, the other in the backlog. A crash between commit and entry is a lost entry.
//! - **Time.** A lease holds, or has run out by the database's clock; everything between is the
//!   order of steps. A worker trusts its lease for less time than it lasts, so whoever looks at a
//!   lease that has run out does not trust it. A statement may take any time.
//! - **Two dispatchers, two rescuers.** A second dispatcher is a duplicate or a hasty sweep; a
//!   second rescuer sends a guarded statement once more.
//! - **The SELECT before a decision.** What it reads changes only in a move that ends the attempt,
//!   and such a move makes the guard refuse the decision. The same goes for the list of rows that are
//!   handed over: one that a late claim adds behind it is as one that it adds behind the death.
//! - **Two beats.** The comparison acts on the first beat that finds a row unknown: sooner than the
//!   product, which waits for a second. A beat that no longer finds what it was releasing lets go of
//!   it; here it is sent once more, and the guard refuses it.
//! - **Expiry, hand-back of unknown types, purge.** The first is a cancel of what waits, the second
//!   a lost entry and its sweep, the third touches nothing that lives.
//! - **Redis that refuses an entry.** Nothing is remembered then, and nothing has happened.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "a test that meets what it does not expect should stop there"
)]

mod action;
mod checked;
mod config;
mod exhaustive;
mod explore;
mod removals;
mod schedule;
mod state;
mod step;
