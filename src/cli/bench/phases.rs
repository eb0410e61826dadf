//! The three phases, each from its first request to its last row.

use super::clocks::{Clock, Offset};
use super::latency::Latencies;
use super::plan::{Phase, Plan};
use super::progress::Progress;
use super::report::Measured;
use super::submit::{self, Submitted, Tally};
use super::watch::{Ended, Watch};
use crate::cli::{EXIT_INTERRUPTED, Failure};
use crate::client::{Accepted, Client, ClientError};
use crate::task::{Status, TaskId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long a queue that the server says nobody serves may take to be found: workers look for new queues every second.
const UNSERVED_LIMIT: Duration = Duration::from_secs(3);
/// How long the first task of a queue that is served may take: what runs there may have to end first.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
const PROBE_LOOK: Duration = Duration::from_millis(20);
/// Tries to resume a queue, and the pause between them.
const RESUME_TRIES: u32 = 5;
const RESUME_PAUSE: Duration = Duration::from_millis(500);
/// Longer causes of a task's failure are cut to so many characters.
const CAUSE_LENGTH: usize = 120;

/// A run.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) client: Arc<Client>,
    pub(super) progress: Progress,
    /// Told to stop.
    pub(super) stop: CancellationToken,
}

impl Run<'_> {
    pub(super) async fn measure(&self) -> Result<Measured, Failure> {
        self.client.ready().await.map_err(not_ready)?;
        match self.plan.phase {
            Phase::Submit => self.until_told(self.submit()).await,
            Phase::Sustained => self.until_told(self.sustained()).await,
            Phase::Drain => self.drain().await,
        }
    }

    async fn submit(&self) -> Result<Measured, Failure> {
        let clock = Clock::start();
        let (tally, busy) = self.submit_all(clock).await?;
        summed(tally, busy)
    }

    async fn sustained(&self) -> Result<Measured, Failure> {
        self.probe().await?;
        let clock = Clock::start();
        let (mut tally, busy) = self.submit_all(clock).await?;
        let ended = self.wait(&mut tally).await?;
        let first = tally.submitted.iter().map(|task| task.due).min();
        let mut measured = summed(tally, busy)?;
        measure_ends(&mut measured, &ended, first, |task| task.due)?;
        Ok(measured)
    }

    /// Whatever happens, the queue is resumed.
    async fn drain(&self) -> Result<Measured, Failure> {
        let resumed = AtomicBool::new(true);
        let result = self.until_told(self.drain_paused(&resumed)).await;
        if !resumed.load(Ordering::Relaxed) {
            self.progress.begin("resuming", 0);
            if let Err(error) = self.resume_again().await {
                let queue = &self.plan.queue;
                let still = format!(
                    "the queue {queue} is still paused, since it could not be resumed: {error}\n\
                     Resume it: POST /api/queues/{queue}/resume"
                );
                return Err(match result {
                    Ok(_) => Failure::new(still),
                    Err(Failure { code, message }) => Failure::with_code(code, format!("{message}\n{still}")),
                });
            }
        }
        result
    }

    /// `resumed` is false while the queue may be paused.
    async fn drain_paused(&self, resumed: &AtomicBool) -> Result<Measured, Failure> {
        let queue = &self.plan.queue;
        self.probe().await?;
        let clock = Clock::start();
        resumed.store(false, Ordering::Relaxed);
        match self.client.pause(queue, Some("taskrunnerx bench fills it"), None).await {
            Err(error @ ClientError::Refused { .. }) => {
                resumed.store(true, Ordering::Relaxed);
                return Err(error.into());
            }
            paused => paused?,
        };
        let (mut tally, busy) = self.submit_all(clock).await?;
        let resume = clock.at(Instant::now());
        self.client.resume(queue).await?;
        resumed.store(true, Ordering::Relaxed);
        let ended = self.wait(&mut tally).await?;
        let mut measured = summed(tally, busy)?;
        measure_ends(&mut measured, &ended, Some(resume), |_| resume)?;
        Ok(measured)
    }

    async fn resume_again(&self) -> Result<(), ClientError> {
        let mut tries = 1;
        loop {
            match self.client.resume(&self.plan.queue).await {
                Err(_) if tries < RESUME_TRIES => sleep(RESUME_PAUSE).await,
                result => return result.map(drop),
            }
            tries += 1;
        }
    }

    async fn submit_all(&self, clock: Clock) -> Result<(Tally, f64), Failure> {
        self.progress.begin("submitting", self.plan.tasks);
        let answered = Arc::new(AtomicU32::new(0));
        let (began, busy) = (Instant::now(), thread_time());
        let submission = submit::all(self.plan, &self.client, clock, Arc::clone(&answered));
        let tally = self.progress.follow(&answered, submission).await?;
        let share = thread_time().saturating_sub(busy).div_duration_f64(began.elapsed().max(Duration::from_nanos(1)));
        Ok((tally, share))
    }

    async fn wait(&self, tally: &mut Tally) -> Result<Vec<Ended>, Failure> {
        self.progress.begin("running", u32::try_from(tally.submitted.len()).unwrap_or(u32::MAX));
        let watch = Watch {
            server: &*self.client,
            payload_len: self.plan.payload_len(),
            progress: &|done| self.progress.set(done),
        };
        watch.until_all_ended(&tally.submitted, &mut tally.errors).await
    }

    /// Sends a task ahead, which is not counted: it tells whether the key suffices and a live
    /// worker serves the queue, and lets the workers find a queue that is new.
    ///
    /// A server that cannot tell who serves the queue warns of nothing. So while the task does not
    /// end, another one asks again.
    async fn probe(&self) -> Result<(), Failure> {
        self.progress.begin("first task", 1);
        let since = Instant::now();
        let (mut probes, mut pause) = (Vec::new(), UNSERVED_LIMIT);
        loop {
            let (id, served) = self.send_ahead().await?;
            probes.push(id);
            let until = (Instant::now() + pause).min(since + PROBE_LIMIT);
            while Instant::now() < until {
                if self.client.tasks(&probes).await?.iter().any(|row| row.status.is_terminal()) {
                    return Ok(());
                }
                sleep(PROBE_LOOK).await;
            }
            if !served || since.elapsed() >= PROBE_LIMIT {
                return Err(self.unserved(served));
            }
            pause *= 2;
        }
    }

    /// The task, and whether a live worker serves the queue as far as the server can tell.
    async fn send_ahead(&self) -> Result<(TaskId, bool), Failure> {
        let task = serde_json::json!({"name": "noop", "queue": self.plan.queue, "priority": 9}).to_string();
        let body = self.client.call(&self.client.submission(task.into())?).await?.accepted()?;
        let accepted = Accepted::read(&body)?;
        Ok((accepted.id()?, accepted.warnings.is_empty()))
    }

    fn unserved(&self, served: bool) -> Failure {
        let queue = &self.plan.queue;
        Failure::new(if served {
            let seconds = PROBE_LIMIT.as_secs();
            format!(
                "no task of the queue {queue} has ended for {seconds} s, though a live worker serves it.\n\
                 Is the queue paused, or are its workers busy? Take another one with --queue, or measure with --phase submit."
            )
        } else {
            format!(
                "no live worker serves the queue {queue}.\n\
                 Start one (taskrunnerx serve --role worker), take another queue with --queue, or measure with --phase submit."
            )
        })
    }

    /// Ends early when told to.
    async fn until_told<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.stop.cancelled() => Err(Failure::with_code(
                EXIT_INTERRUPTED,
                "interrupted; the tasks that were accepted stay and will run",
            )),
        }
    }
}

/// What submission alone tells.
fn summed(tally: Tally, client_busy: f64) -> Result<Measured, Failure> {
    let Tally { submitted, errors, warnings } = tally;
    let first = submitted.iter().map(|task| task.due).min().unwrap_or(0);
    let last = submitted.iter().map(|task| task.answered).max().unwrap_or(0);
    let submit_micros = last.saturating_sub(first);
    let (mut response, mut late) = (latencies()?, latencies()?);
    for task in &submitted {
        response.record(task.answered.saturating_sub(task.due));
        late.record(task.sent.saturating_sub(task.due));
    }
    Ok(Measured {
        tasks: u32::try_from(submitted.len()).unwrap_or(u32::MAX),
        micros: submit_micros,
        submit_micros,
        ended: false,
        errors,
        start: None,
        finish: None,
        response: response.quantiles(),
        late: late.quantiles().filter(|late| late.max > 0.0),
        offset: Offset::default(),
        warnings,
        client_busy,
    })
}

fn latencies() -> Result<Latencies, Failure> {
    Latencies::new().map_err(Failure::new)
}

/// Adds what the rows tell: latencies from each task's own beginning, and the time from `first` to the last end.
fn measure_ends(
    measured: &mut Measured,
    ended: &[Ended],
    first: Option<i64>,
    began: impl Fn(&Submitted) -> i64,
) -> Result<(), Failure> {
    let mut offset = Offset::default();
    for Ended { submitted, row } in ended {
        offset.observe(submitted.sent, row.created_at, submitted.answered);
    }
    let ahead = offset.micros();
    let (mut start, mut finish) = (latencies()?, latencies()?);
    let mut last = None;
    for Ended { submitted, row } in ended {
        let began = began(submitted);
        if let Some(started) = row.started_at {
            start.record(started.timestamp_micros() - ahead - began);
        }
        if let Some(finished) = row.finished_at {
            let at = finished.timestamp_micros() - ahead;
            finish.record(at - began);
            last = last.max(Some(at));
        }
        if row.status != Status::Completed {
            let cause: String = row.last_error.as_deref().unwrap_or_default().chars().take(CAUSE_LENGTH).collect();
            measured.errors.note(&format!("the task ended {}: {cause}", row.status.as_str()), 1);
        }
    }
    measured.ended = true;
    measured.micros = last.zip(first).map_or(0, |(last, first)| last.saturating_sub(first));
    (measured.start, measured.finish, measured.offset) = (start.quantiles(), finish.quantiles(), offset);
    Ok(())
}

fn not_ready(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused { status, .. } if status.as_u16() == 404 => {
            Failure::new("what answers there is not Task Runner X: it has no /readyz")
        }
        ClientError::Refused { .. } => Failure::new(format!("the server is not ready: {error}")),
        ClientError::Unreachable { .. } | ClientError::Broken(_) => error.into(),
    }
}

/// Processor time of this thread, which is the client's only one.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
