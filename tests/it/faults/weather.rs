//! The seams of these tests: one that strikes a few percent of all calls, and one that strikes
//! the calls it is told to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use taskrunnerx::seam::{Fault, Loss, Seam};

/// SplitMix64: the same seed, the same faults for the same calls in the same order.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn roll(&self, sides: u64) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// The operations that move tasks. They are rarer than the polls, and struck more often.
const MOVES: [&str; 8] = ["append", "claim", "dispatch", "finish", "heartbeat", "promote", "read", "undispatch"];

/// Strikes this many of a hundred calls, and three times as many of those that move tasks,
/// until it is over.
#[derive(Debug)]
pub(super) struct Storm {
    dice: Dice,
    percent: u64,
    over: AtomicBool,
    /// When what is late will be sent.
    lands: Mutex<Vec<Instant>>,
    /// What struck, by operation: for the reader of a failure.
    struck: Mutex<BTreeMap<(&'static str, &'static str), u32>>,
}

impl Storm {
    pub(super) fn new(seed: u64, percent: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            percent,
            over: AtomicBool::new(false),
            lands: Mutex::default(),
            struck: Mutex::default(),
        }
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Resolves when nothing is late any more.
    pub(super) async fn landed(&self) {
        let last = self.lands.lock().unwrap().iter().max().copied();
        if let Some(last) = last {
            tokio::time::sleep_until(last.into()).await;
        }
    }

    pub(super) fn struck(&self) -> BTreeMap<(&'static str, &'static str), u32> {
        self.struck.lock().unwrap().clone()
    }
}

impl Seam for Storm {
    fn fault(&self, op: &'static str) -> Option<Fault> {
        let percent = if MOVES.contains(&op) { 3 * self.percent } else { self.percent };
        if self.over.load(Ordering::Relaxed) || self.dice.roll(100) >= percent {
            return None;
        }
        let millis = |most| Duration::from_millis(self.dice.roll(most));
        let (word, fault) = match self.dice.roll(6) {
            0 => ("slow", Fault::Slow(millis(100))),
            1 => ("lost before", Fault::Before(Loss::Lost)),
            2 => ("lost after", Fault::After(Loss::Lost)),
            3 => ("timed out before", Fault::Before(Loss::TimedOut)),
            4 => ("timed out after", Fault::After(Loss::TimedOut)),
            // Up to where a heartbeat, a retry and a sweep have acted upon what they were told.
            _ => {
                let wait = millis(6500);
                self.lands.lock().unwrap().push(Instant::now() + wait);
                ("late", Fault::Late(wait))
            }
        };
        *self.struck.lock().unwrap().entry((op, word)).or_default() += 1;
        Some(fault)
    }
}

/// Strikes the next calls of one operation.
#[derive(Debug, Default)]
pub(super) struct Script(Mutex<Vec<(&'static str, Fault)>>);

impl Script {
    /// The next call of this operation that no other fault waits for meets this one.
    pub(super) fn strike(&self, op: &'static str, fault: Fault) {
        self.0.lock().unwrap().push((op, fault));
    }

    /// Faults that have not met their call yet.
    pub(super) fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Seam for Script {
    fn fault(&self, op: &'static str) -> Option<Fault> {
        let mut waiting = self.0.lock().unwrap();
        let at = waiting.iter().position(|(name, _)| *name == op)?;
        Some(waiting.remove(at).1)
    }
}
