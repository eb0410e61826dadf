//! Of a task that waits: what it waits for, and what else stands in its way.

use super::super::{Cause, Code, Facts, Fields, Next};
use super::{count, error_words, since, time, until, words};
use crate::store::roster::WorkerRow;
use crate::store::tasks::{MAX_AHEAD, Stand};
use crate::task::{Timestamp, Way};

type Judged = (Vec<Cause>, Option<Next>);

pub(super) fn scheduled(facts: &Facts, due: Timestamp) -> Judged {
    let task = &facts.task;
    let next = Next { at: Some(due), detail: format!("it is due, and enters the backlog of queue {}", task.queue) };
    // One that waits again has an attempt behind it.
    let cause = if task.attempt == 0 { delayed(facts, due) } else { backing_off(facts, due) };
    (with_obstacles(facts, vec![cause]), Some(next))
}

/// A worker gave it back: it is eligible, and offered again later.
pub(super) fn handed_back(facts: &Facts, due: Timestamp) -> Judged {
    let detail = format!(
        "a worker gave it back, since it lacks the task type {}; it is offered again in {}",
        facts.task.name,
        words(until(facts, due))
    );
    let fields = Fields { until: Some(due), wait: Some(until(facts, due)), ..Fields::default() };
    let next = Next { at: Some(due), detail: "it is offered to a worker again".to_owned() };
    (with_obstacles(facts, vec![Cause::new(Code::HandedBack, detail, fields)]), Some(next))
}

pub(super) fn queued(facts: &Facts) -> Judged {
    let outside = facts.stand == Stand::Outside || way(facts) == Way::Outside;
    let main = match facts.stand {
        _ if outside => for_outside(facts),
        Stand::Held => limited(facts),
        Stand::Flight => dispatched(facts),
        Stand::Done | Stand::Until(_) | Stand::Backlog | Stand::Outside => backlog(facts),
    };
    // What keeps everything in the queue from starting comes before its own place.
    let mut causes = obstacles(facts, outside);
    causes.push(main);
    let resumed = facts.queue.as_ref().and_then(|queue| queue.pause.as_ref()?.resume_at);
    let next = resumed
        .filter(|_| facts.stand != Stand::Flight)
        .map(|at| Next { at: Some(at), detail: format!("the pause of queue {} ends by itself", facts.task.queue) });
    (causes, next)
}

/// With its expiry: one that has passed matters more than all else, and one that comes before what it waits for is
/// what comes next.
pub(super) fn mortal(facts: &Facts, (mut causes, next): Judged) -> Judged {
    let Some(at) = facts.task.expires_at else { return (causes, next) };
    if at <= facts.now {
        let by = if facts.roster.processes().next().is_some() {
            "within moments"
        } else {
            "as soon as a worker process runs, of whatever queue"
        };
        let ago = words(since(facts, at));
        let detail = format!("it has expired ({}, {ago} ago) and will be cancelled {by}", time(at));
        causes.insert(0, Cause::new(Code::Expired, detail, Fields { until: Some(at), ..Fields::default() }));
        let detail = "it is cancelled, with the reason expired: it is not started any more".to_owned();
        return (causes, Some(Next { at: None, detail }));
    }
    let left = words(until(facts, at));
    for cause in causes.iter_mut().filter(|cause| cause.fields.until.is_some_and(|until| until >= at)) {
        cause.detail.push_str(&format!("; but it expires before that, at {}, which is in {left}", time(at)));
    }
    let next = next.filter(|next| next.at.is_some_and(|next| next < at)).unwrap_or_else(|| Next {
        at: Some(at),
        detail: "it expires: if it has not started by then, it is cancelled".to_owned(),
    });
    (causes, Some(next))
}

fn with_obstacles(facts: &Facts, mut causes: Vec<Cause>) -> Vec<Cause> {
    causes.extend(obstacles(facts, way(facts) == Way::Outside));
    causes
}

fn way(facts: &Facts) -> Way {
    facts.kind.map_or(Way::Stream, |kind| kind.way)
}

fn delayed(facts: &Facts, due: Timestamp) -> Cause {
    let wait = until(facts, due);
    let detail = if wait.is_zero() {
        format!("it was delayed until {}, and its dispatcher moves it into the backlog within moments", time(due))
    } else {
        format!("it is delayed until {}, which is in {}", time(due), words(wait))
    };
    let fields = Fields { until: Some(due), wait: Some(wait), ..Fields::default() };
    Cause::new(Code::Scheduled, detail, fields)
}

fn backing_off(facts: &Facts, due: Timestamp) -> Cause {
    let task = &facts.task;
    let (wait, spent) = (until(facts, due), task.attempt.saturating_sub(task.forgiven));
    let error = facts.last.as_ref().and_then(|last| last.error.clone()).or_else(|| task.last_error.clone());
    let why = error.as_deref().map_or_else(String::new, |error| format!(" ({})", error_words(error)));
    let detail = format!(
        "attempt {spent} of {} failed{why}; the next one may start at {}, which is in {}",
        task.max_attempts,
        time(due),
        words(wait)
    );
    let fields = Fields {
        until: Some(due),
        wait: Some(wait),
        attempt: Some(spent),
        max_attempts: Some(task.max_attempts),
        outcome: facts.last.as_ref().map(|last| last.outcome.clone()),
        error,
        ..Fields::default()
    };
    Cause::new(Code::BackingOff, detail, fields)
}

fn backlog(facts: &Facts) -> Cause {
    let task = &facts.task;
    let (ahead, more) = ahead(facts);
    let window = facts.stream.as_ref().ok().map(|state| state.unread);
    let before = match (ahead, more) {
        (0, _) => "it is the first in the backlog".to_owned(),
        (_, true) => format!("more than {MAX_AHEAD} tasks stand before it in the backlog"),
        _ => format!("{} before it in the backlog", stand(ahead)),
    };
    let on_the_way = match window {
        Some(window) if !more && ahead < window => "; it should be in the stream already, and waits for a free slot",
        _ => "",
    };
    let detail = format!("{before} of queue {} (priority {}, then age, decide){on_the_way}", task.queue, task.priority);
    let fields = Fields {
        queue: Some(task.queue.to_string()),
        priority: Some(task.priority),
        ahead: Some(ahead),
        ahead_is_more: Some(more),
        window,
        in_flight: facts.stream.as_ref().ok().map(|state| state.pending),
        ..serving(facts)
    };
    Cause::new(Code::Backlog, detail, fields)
}

fn dispatched(facts: &Facts) -> Cause {
    let at = facts.task.dispatched_at;
    let ago = at.map_or_else(String::new, |at| format!(" since {}", words(since(facts, at))));
    let detail =
        format!("it is in the stream of queue {}{ago}, and waits for a free slot of a worker", facts.task.queue);
    let fields = Fields {
        since: at,
        queue: Some(facts.task.queue.to_string()),
        window: facts.stream.as_ref().ok().map(|state| state.unread),
        in_flight: facts.stream.as_ref().ok().map(|state| state.pending),
        ..serving(facts)
    };
    Cause::new(Code::Dispatched, detail, fields)
}

fn limited(facts: &Facts) -> Cause {
    let name = facts.task.name.to_string();
    let limit = facts.kind.and_then(|kind| kind.limit);
    let detail = match limit {
        Some((limit, flying)) if flying >= u64::from(limit) => format!(
            "its type {name} runs at most {} at once, and {flying} are in flight over all queues",
            count(limit.into(), "attempt")
        ),
        Some((limit, flying)) => format!(
            "its type {name} runs at most {} at once, and {flying} are in flight: its dispatcher lets the next one go within moments",
            count(limit.into(), "attempt")
        ),
        None => format!("it was held back by a limit of its type {name}, which this process does not know (any more)"),
    };
    let fields = Fields {
        name: Some(name),
        limit: limit.map(|(limit, _)| limit),
        in_flight: limit.map(|(_, flying)| flying),
        ..Fields::default()
    };
    Cause::new(Code::TypeLimited, detail, fields)
}

fn for_outside(facts: &Facts) -> Cause {
    let task = &facts.task;
    let (ahead, more) = ahead(facts);
    let claimers = facts.roster.live().filter(|row| row.is_outside() && row.serves(&task.queue)).count();
    let claimers = u64::try_from(claimers).unwrap_or(u64::MAX);
    let who = match claimers {
        0 => "no live one claims from this queue".to_owned(),
        1 => "1 live one claims from this queue".to_owned(),
        n => format!("{n} live ones claim from this queue"),
    };
    let before = match (ahead, more) {
        (0, _) => String::new(),
        (_, true) => format!(", and more than {MAX_AHEAD} tasks stand before it"),
        _ => format!(", and {} before it", stand(ahead)),
    };
    let detail =
        format!("tasks of type {} are claimed from queue {} by workers outside: {who}{before}", task.name, task.queue);
    let fields = Fields {
        queue: Some(task.queue.to_string()),
        name: Some(task.name.to_string()),
        workers: Some(claimers),
        ahead: Some(ahead),
        ahead_is_more: Some(more),
        ..Fields::default()
    };
    Cause::new(Code::WaitsForPullWorker, detail, fields)
}

fn stand(ahead: u64) -> String {
    format!("{} {}", count(ahead, "task"), if ahead == 1 { "stands" } else { "stand" })
}

fn ahead(facts: &Facts) -> (u64, bool) {
    let ahead = facts.ahead.unwrap_or(0);
    (ahead.min(MAX_AHEAD), ahead > MAX_AHEAD)
}

/// The live processes that serve the queue, and their slots.
fn serving(facts: &Facts) -> Fields {
    let servers: Vec<&WorkerRow> = facts.roster.processes().filter(|row| row.serves(&facts.task.queue)).collect();
    let slots = servers.iter().map(|row| u64::from(row.slots)).sum();
    Fields { workers: u64::try_from(servers.len()).ok(), slots: Some(slots), ..Fields::default() }
}

/// What keeps it from starting, whatever its own place is. `outside`: workers outside run it, who need neither
/// dispatcher nor Redis.
fn obstacles(facts: &Facts, outside: bool) -> Vec<Cause> {
    // What is in the stream starts, paused or not.
    let paused = if facts.stand == Stand::Flight { None } else { paused(facts) };
    let served = facts.roster.processes().any(|row| row.serves(&facts.task.queue));
    let mut causes: Vec<Cause> = paused.into_iter().collect();
    let of_queue = || Fields { queue: Some(facts.task.queue.to_string()), ..Fields::default() };
    if !served && !outside {
        let detail = format!("no live worker process serves queue {}", facts.task.queue);
        causes.push(Cause::new(Code::NoWorker, detail, Fields { workers: Some(0), ..of_queue() }));
    }
    let dispatcher = facts.queue.as_ref().and_then(|queue| queue.dispatcher);
    if served && !outside && dispatcher.is_none() && facts.stand != Stand::Flight {
        let detail = format!(
            "no worker process dispatches queue {} at the moment; one of those that serve it takes that over within seconds",
            facts.task.queue
        );
        causes.push(Cause::new(Code::NoDispatcher, detail, of_queue()));
    }
    if facts.kind.is_none() {
        let detail = format!(
            "this process knows no task type {}; a worker that lacks it too gives the task back, every five seconds, until one that has it comes",
            facts.task.name
        );
        let fields = Fields { name: Some(facts.task.name.to_string()), ..Fields::default() };
        causes.push(Cause::new(Code::UnknownType, detail, fields));
    }
    if let Err(why) = &facts.stream
        && !outside
    {
        let detail = format!("Redis does not answer ({}), so nothing new reaches the workers", error_words(why));
        causes.push(Cause::new(Code::RedisDown, detail, Fields { error: Some(why.clone()), ..Fields::default() }));
    }
    causes
}

fn paused(facts: &Facts) -> Option<Cause> {
    let queue = facts.queue.as_ref()?;
    let pause = queue.pause.as_ref()?;
    let by = pause.by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
    let reason = pause.reason.as_deref().map_or_else(String::new, |reason| format!(" ({})", error_words(reason)));
    let end = match pause.resume_at {
        Some(at) => format!("it resumes by itself at {}, which is in {}", time(at), words(until(facts, at))),
        None => "until somebody resumes it".to_owned(),
    };
    let ago = words(since(facts, pause.since));
    let detail = format!("queue {} was paused{by} {ago} ago{reason}, {end}", queue.name);
    let fields = Fields {
        since: Some(pause.since),
        until: pause.resume_at,
        wait: pause.resume_at.map(|at| until(facts, at)),
        by: pause.by.clone(),
        reason: pause.reason.clone(),
        queue: Some(queue.name.to_string()),
        ..Fields::default()
    };
    Some(Cause::new(Code::QueuePaused, detail, fields))
}
