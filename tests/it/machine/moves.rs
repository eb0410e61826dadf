//! What may happen: to a task, to a worker, to the stream. Everything is said in full, so that a
//! sequence means the same when the moves before it are taken out.

use super::model::Model;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;
use taskrunnerx::task::Status;

/// Tasks of one play.
const TASKS: usize = 8;

/// A task, by its place in the order of submission.
pub(super) type Nth = usize;
/// A worker, by its place in the order of registration; two of them live at a time.
pub(super) type Worker = usize;
/// An entry: its task, and the attempt number that it carries.
pub(super) type Carried = (Nth, u32);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Move {
    Submit(New),
    /// A dispatcher's pass: what is due, then the head of the backlog.
    Dispatch {
        room: usize,
    },
    /// A pass whose entries Redis refuses.
    Refused {
        room: usize,
    },
    /// Another dispatcher begins: it knows nothing of what is in the stream.
    Anew,
    /// A worker reads new entries.
    Read {
        slot: usize,
        count: usize,
    },
    /// A worker claims what it has read.
    Claim {
        slot: usize,
    },
    /// Any worker, dead ones too, claims whatever: stale entries, wrong numbers.
    Stray {
        worker: Worker,
        claims: Vec<Carried>,
    },
    /// An outcome: its owner's, another's, or one that was said before.
    Finish(Said),
    /// A heartbeat releases what its worker does not know.
    Release {
        task: Nth,
    },
    /// A worker's lease runs out, and a rescuer passes.
    Die {
        slot: usize,
    },
    /// A worker that lost its lease hands over what it ran.
    HandOver {
        slot: usize,
    },
    /// A rescuer looks for what runs under nobody.
    Orphans,
    Cancel {
        task: Nth,
    },
    /// An operator queues it again.
    Retry {
        task: Nth,
    },
    /// An operator makes it due.
    Run {
        task: Nth,
    },
    /// An operator deletes it.
    Delete {
        task: Nth,
    },
    /// A worker cannot take what it was given.
    HandBack {
        tasks: Vec<Nth>,
        later: bool,
    },
    /// An entry comes twice.
    Again {
        task: Nth,
    },
    /// Redis loses everything that nobody has read. Whether the dispatcher is the first to see that the
    /// stream is gone; a reader that makes it anew hides it.
    Flush {
        seen: bool,
    },
    /// One entry goes, of those that nobody has read.
    Lose {
        unread: usize,
    },
    /// What is in no stream, though its row or the dispatcher's memory says so, comes back.
    Sweep,
    /// Time enough for every delay and every expiry.
    Hours,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct New {
    pub(super) priority: u8,
    pub(super) delayed: bool,
    /// It expires within the hour.
    pub(super) mortal: bool,
    /// Its retries wait for an hour.
    pub(super) patient: bool,
    pub(super) max_attempts: u32,
    pub(super) entry: Way,
}

/// How a task that is eligible at once begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// In the backlog.
    Closed,
    /// Behind an open gate.
    Open,
    /// Behind an open gate, and its entry is never added.
    Lost,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) task: Nth,
    pub(super) worker: Worker,
    pub(super) attempt: u32,
    pub(super) how: How,
}

/// What a worker says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    Success,
    Retryable,
    Permanent,
    TimedOut,
    Cancelled,
    Interrupted,
}

fn new() -> impl Strategy<Value = Move> {
    let way = select(vec![Way::Closed, Way::Closed, Way::Open, Way::Open, Way::Lost]);
    let rare = || prop::bool::weighted(0.25);
    (0u8..3, rare(), rare(), rare(), select(vec![1, 2, 3, 50]), way).prop_map(
        |(priority, delayed, mortal, patient, max_attempts, entry)| {
            Move::Submit(New { priority, delayed, mortal, patient, max_attempts, entry })
        },
    )
}

fn how() -> impl Strategy<Value = How> {
    use How::{Cancelled, Interrupted, Permanent, Retryable, Success, TimedOut};
    select(vec![Success, Retryable, Retryable, Retryable, TimedOut, Interrupted, Interrupted, Permanent, Cancelled])
}

/// A number, mostly this one.
fn about(number: u32) -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(number), 1 => Just(number.saturating_sub(1)), 1 => Just(number + 1)]
}

/// What may happen next.
pub(super) fn next(model: &Model) -> BoxedStrategy<Move> {
    let room = || 1usize..4;
    let mut moves: Vec<(u32, BoxedStrategy<Move>)> = vec![
        (2, room().prop_map(|room| Move::Dispatch { room }).boxed()),
        (1, (0usize..2).prop_map(|slot| Move::Die { slot }).boxed()),
        (1, (0usize..2).prop_map(|slot| Move::HandOver { slot }).boxed()),
        (1, Just(Move::Orphans).boxed()),
        (1, any::<bool>().prop_map(|seen| Move::Flush { seen }).boxed()),
        (2, Just(Move::Sweep).boxed()),
        (1, Just(Move::Hours).boxed()),
    ];
    if model.tasks.iter().any(|task| task.row.lane == 2) {
        moves.push((6, room().prop_map(|room| Move::Dispatch { room }).boxed()));
        moves.push((1, room().prop_map(|room| Move::Refused { room }).boxed()));
        moves.push((1, Just(Move::Anew).boxed()));
    }
    if model.tasks.len() < TASKS {
        moves.push((6, new().boxed()));
    }
    if !model.unread.is_empty() {
        moves.push((1, (0..model.unread.len()).prop_map(|unread| Move::Lose { unread }).boxed()));
        moves.push((8, (0usize..2, 1usize..4).prop_map(|(slot, count)| Move::Read { slot, count }).boxed()));
    }
    for slot in 0..2 {
        if model.owned().any(|(_, owner, _)| owner == model.workers[slot]) {
            moves.push((2, Just(Move::Die { slot }).boxed()));
        }
        if !model.inbox[slot].is_empty() {
            moves.push((8, Just(Move::Claim { slot }).boxed()));
        }
    }
    if !model.said.is_empty() {
        moves.push((2, select(model.said.clone()).prop_map(Move::Finish).boxed()));
    }
    if !model.tasks.is_empty() {
        moves.extend(to_tasks(model));
    }
    Union::new_weighted(moves).boxed()
}

/// What may happen to a task.
fn to_tasks(model: &Model) -> Vec<(u32, BoxedStrategy<Move>)> {
    let all: Vec<Nth> = (0..model.tasks.len()).collect();
    let attempts: Vec<u32> = model.tasks.iter().map(|task| task.row.attempt).collect();
    let (some, few) = (select(all.clone()), 1..=all.len().min(3));
    let stray = {
        let attempts = attempts.clone();
        (subsequence(all.clone(), few.clone()), 0..model.hired).prop_flat_map(move |(tasks, worker)| {
            let numbers: Vec<_> = tasks.iter().map(|task| about(attempts[*task])).collect();
            numbers
                .prop_map(move |numbers| Move::Stray { worker, claims: tasks.iter().copied().zip(numbers).collect() })
        })
    };
    let anyones = (some.clone(), 0..model.hired, how()).prop_flat_map(move |(task, worker, how)| {
        about(attempts[task]).prop_map(move |attempt| Move::Finish(Said { task, worker, attempt, how }))
    });
    let mut moves = vec![
        (3, stray.boxed()),
        (2, anyones.boxed()),
        (1, some.clone().prop_map(|task| Move::Cancel { task }).boxed()),
        (1, some.clone().prop_map(|task| Move::Retry { task }).boxed()),
        (1, some.clone().prop_map(|task| Move::Run { task }).boxed()),
        (1, some.clone().prop_map(|task| Move::Delete { task }).boxed()),
        (2, some.prop_map(|task| Move::Again { task }).boxed()),
        (2, (subsequence(all, few), any::<bool>()).prop_map(|(tasks, later)| Move::HandBack { tasks, later }).boxed()),
    ];
    let ended = |task: &Nth| {
        let task = &model.tasks[*task];
        !task.gone && [Status::Failed, Status::Cancelled].contains(&task.row.status)
    };
    let ended: Vec<Nth> = (0..model.tasks.len()).filter(ended).collect();
    if !ended.is_empty() {
        moves.push((3, select(ended).prop_map(|task| Move::Retry { task }).boxed()));
    }
    let owned: Vec<(Nth, Worker, u32)> = model.owned().collect();
    if !owned.is_empty() {
        let release = select(owned.clone()).prop_map(|(task, _, _)| Move::Release { task });
        moves.push((1, release.boxed()));
        let owners = (select(owned), how())
            .prop_map(|((task, worker, attempt), how)| Move::Finish(Said { task, worker, attempt, how }));
        moves.push((10, owners.boxed()));
    }
    moves
}

/// Whether a move speaks of tasks and workers that there are.
pub(super) fn possible(model: &Model, a_move: &Move) -> bool {
    let task = |task: &Nth| *task < model.tasks.len();
    match a_move {
        Move::Stray { worker, claims } => *worker < model.hired && claims.iter().all(|(nth, _)| task(nth)),
        Move::Finish(said) => said.worker < model.hired && task(&said.task),
        Move::Release { task: nth } | Move::Cancel { task: nth } | Move::Retry { task: nth } => task(nth),
        Move::Run { task: nth } | Move::Delete { task: nth } => task(nth),
        Move::Again { task: nth } => task(nth) && !model.tasks[*nth].gone,
        Move::HandBack { tasks, .. } => tasks.iter().all(task),
        Move::Lose { unread } => *unread < model.unread.len(),
        _ => true,
    }
}
