//! Who sends which request, and when.
//!
//! Closed loop: a connection takes the next request as soon as its last one is answered. A server
//! that stands still is then not asked, and the requests that it would have kept waiting are in no
//! latency: that cannot be corrected afterwards.
//!
//! Open loop: request `i` is due `i / rate` after the start, whether or not the one before it has
//! been answered, and its latency counts from that instant (correction for coordinated omission).
//! The async timer goes by whole milliseconds; a thread that sleeps is some 0.1 ms late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The pacer looks this often whether it is still needed.
const LOOK: Duration = Duration::from_millis(50);

/// The instants at which requests are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    start: Instant,
    /// Tasks a second, and tasks a request.
    rate: u32,
    bulk: u32,
}

impl Pace {
    /// When this request is due.
    pub(super) fn due(&self, request: u32) -> Instant {
        // Counted from the start, so that nothing adds up.
        let tasks = u64::from(request) * u64::from(self.bulk);
        let rate = u64::from(self.rate.max(1));
        let (seconds, rest) = (tasks / rate, tasks % rate);
        self.start + Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / rate)
    }
}

/// One request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) request: u32,
    /// When it is due; None in a closed loop: now.
    pub(super) due: Option<Instant>,
}

/// Deals out the requests of a run, each once.
#[derive(Debug)]
pub(super) struct Schedule {
    requests: u32,
    next: AtomicU32,
    open: Option<(Pace, Arc<Semaphore>)>,
}

impl Schedule {
    /// Begins now. `rate`: tasks a second of an open loop.
    pub(super) fn begin(requests: u32, bulk: u32, rate: Option<u32>) -> std::io::Result<Self> {
        let open = match rate {
            None => None,
            Some(rate) => {
                let pace = Pace { start: Instant::now(), rate, bulk };
                let due = Arc::new(Semaphore::new(0));
                let permits = Arc::clone(&due);
                std::thread::Builder::new()
                    .name("pacer".to_owned())
                    .spawn(move || release(pace, requests, &permits))?;
                Some((pace, due))
            }
        };
        Ok(Self { requests, next: AtomicU32::new(0), open })
    }

    /// The next request, once it is due; None when all have been dealt out.
    pub(super) async fn next(&self) -> Option<Turn> {
        if let Some((_, due)) = &self.open {
            due.acquire().await.ok()?.forget();
        }
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        if request >= self.requests {
            // Whoever waits for a turn has none to come.
            self.end();
            return None;
        }
        Some(Turn { request, due: self.open.as_ref().map(|(pace, _)| pace.due(request)) })
    }

    /// Deals out nothing more.
    pub(super) fn end(&self) {
        self.next.store(self.requests, Ordering::Relaxed);
        if let Some((_, due)) = &self.open {
            due.close();
        }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives out a permit for each request as it becomes due, and one more at the end.
fn release(pace: Pace, requests: u32, permits: &Semaphore) {
    let mut released = 0;
    while released < requests && !permits.is_closed() {
        let now = Instant::now();
        let mut count = 0;
        while released < requests && pace.due(released) <= now {
            released += 1;
            count += 1;
        }
        if count > 0 {
            permits.add_permits(count);
        } else {
            std::thread::sleep(pace.due(released).saturating_duration_since(now).min(LOOK));
        }
    }
    permits.add_permits(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_fixed_instants() {
        let start = Instant::now();
        let after = |pace: Pace, request| pace.due(request) - start;
        let pace = Pace { start, rate: 3, bulk: 1 };
        assert_eq!(after(pace, 0), Duration::ZERO);
        assert_eq!(after(pace, 1), Duration::from_nanos(333_333_333));
        assert_eq!(after(pace, 3), Duration::from_secs(1));
        assert_eq!(after(pace, 3_000_000), Duration::from_secs(1_000_000), "no drift");
        let pace = Pace { start, rate: 1_000, bulk: 100 };
        assert_eq!(after(pace, 1), Duration::from_millis(100), "the rate is one of tasks");
        let _ = pace.due(u32::MAX);
    }

    #[tokio::test]
    async fn a_closed_loop_deals_out_each_request_once() {
        let schedule = Schedule::begin(3, 1, None).unwrap();
        for request in 0..3 {
            assert_eq!(schedule.next().await, Some(Turn { request, due: None }));
        }
        assert_eq!(schedule.next().await, None);
        assert_eq!(schedule.next().await, None);
    }

    #[tokio::test]
    async fn an_open_loop_deals_out_nothing_before_it_is_due_and_lets_every_waiter_go() {
        let schedule = Arc::new(Schedule::begin(4, 1, Some(100)).unwrap());
        let waiters: Vec<_> = (0..6)
            .map(|_| {
                let schedule = Arc::clone(&schedule);
                tokio::spawn(async move {
                    let turn = schedule.next().await;
                    turn.map(|turn| (turn.request, turn.due.is_some_and(|due| due <= Instant::now())))
                })
            })
            .collect();
        let mut got = Vec::new();
        for waiter in waiters {
            got.push(waiter.await.unwrap());
        }
        got.sort_unstable();
        assert_eq!(got, [None, None, Some((0, true)), Some((1, true)), Some((2, true)), Some((3, true))]);
    }

    #[tokio::test]
    async fn an_end_is_an_end() {
        let schedule = Schedule::begin(1_000, 1, Some(1)).unwrap();
        assert!(schedule.next().await.is_some());
        schedule.end();
        assert_eq!(schedule.next().await, None);
    }
}
