//! Judges the state of the system: queues, workers, schedules.

use super::check::{Group, Section};
use super::facts::{MAX_ORPHANS, Queue, System};
use super::words::{age, counted};
use crate::lifecycle::dispatch::SWEEP_GRACE;
use crate::store::queues::Pause;
use crate::store::roster::WorkerRow;
use crate::store::tasks::Depth;
use crate::stream::diagnosis::QueueStream;
use crate::task::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// A schedule that is due for longer has no scheduler.
const OVERDUE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// A worker that is dead for as many leases should have been cleaned up: a rescuer passes every
/// second, and holds off for one after its own start.
const CLEANED_LEASES: u32 = 2;

/// The groups in their order.
pub(super) fn judge(system: &System) -> Vec<Section> {
    vec![queues(system), workers(system), schedules(system)]
}

/// Of a database that cannot be asked.
pub(super) fn unknown(why: &str) -> Vec<Section> {
    let groups = [(Group::Queues, "queues"), (Group::Workers, "workers"), (Group::Schedules, "schedules")];
    let section = |(group, name)| {
        let mut section = Section::new(group);
        section.unknown(name, why);
        section
    };
    groups.into_iter().map(section).collect()
}

fn queues(system: &System) -> Section {
    let mut section = Section::new(Group::Queues);
    match &system.queues {
        Err(why) => section.unknown("queues", why),
        Ok(queues) if queues.is_empty() => section.ok("queues", "none yet"),
        Ok(queues) => {
            let held = Held::of(queues, system.skipped);
            for queue in queues {
                judge_queue(&mut section, queue, system, &held);
            }
        }
    }
    if system.skipped > 0 {
        section.unknown("more queues", format!("no time was left for {}", counted(system.skipped, "more queue")));
    }
    section
}

/// What each worker has read and not acknowledged, over all queues: a worker's slots are there for
/// all that it serves, so no single queue tells whether one is free.
struct Held<'a> {
    by_worker: HashMap<&'a str, u64>,
    /// Every queue's stream was looked at.
    complete: bool,
}

impl<'a> Held<'a> {
    fn of(queues: &'a [Queue], skipped: usize) -> Self {
        let mut by_worker = HashMap::new();
        let streams = queues.iter().filter_map(|queue| queue.stream.as_ref().ok()?.as_ref());
        for (worker, pending) in streams.flat_map(|stream| &stream.consumers) {
            *by_worker.entry(worker.as_str()).or_default() += pending;
        }
        Self { by_worker, complete: skipped == 0 && queues.iter().all(|queue| queue.stream.is_ok()) }
    }

    /// Whether a worker could take more, as far as was looked.
    fn leaves_a_slot(&self, worker: &WorkerRow) -> bool {
        self.by_worker.get(&*worker.id.to_string()).is_none_or(|held| *held < u64::from(worker.slots))
    }
}

/// A queue and what is known about it, as its checks need it.
struct Looked<'a> {
    name: String,
    queue: &'a Queue,
    /// The live worker processes that serve it; None: not known.
    serving: Option<Vec<&'a WorkerRow>>,
    /// How many workers outside claim from it.
    outside: usize,
    live: Option<Vec<&'a WorkerRow>>,
    held: &'a Held<'a>,
    now: Timestamp,
}

fn judge_queue(section: &mut Section, queue: &Queue, system: &System, held: &Held<'_>) {
    let roster = system.workers.as_ref().ok();
    let live: Option<Vec<&WorkerRow>> = roster.map(|roster| roster.processes().collect());
    let outside =
        roster.map_or(0, |roster| roster.live().filter(|row| row.is_outside() && row.serves(&queue.row.name)).count());
    let serving =
        live.as_ref().map(|live| live.iter().copied().filter(|row| row.serves(&queue.row.name)).collect::<Vec<_>>());
    let name = format!("queue {}", queue.row.name);
    let looked = Looked { name, queue, serving, outside, live, held, now: system.now };
    looked.depth(section);
    looked.stream(section);
}

impl Looked<'_> {
    /// How much waits, and who takes it.
    fn depth(&self, section: &mut Section) {
        let Depth { scheduled, queued, running, oldest_us } = match &self.queue.depth {
            Ok(depth) => *depth,
            Err(why) => return section.unknown(&self.name, format!("could not be counted: {why}")),
        };
        let oldest = oldest_us.filter(|_| queued > 0).map(Duration::from_micros);
        let oldest = oldest.and_then(|span| chrono::TimeDelta::from_std(span).ok());
        let oldest = oldest.map_or(String::new(), |span| format!(" (the oldest for {})", age(span)));
        let paused = self.pause().unwrap_or_default();
        let outside = match self.outside {
            0 => String::new(),
            count => format!("; {} outside", counted(count, "worker")),
        };
        let tasks = format!("{scheduled} scheduled, {queued} queued{oldest}, {running} running{paused}{outside}");
        let waiting = scheduled + queued > 0;
        let Some(serving) = &self.serving else { return section.ok(&self.name, tasks) };
        let anybody = self.live.as_ref().is_some_and(|live| !live.is_empty());
        if serving.is_empty() {
            let detail = format!("{tasks}; no live worker serves it");
            let advice = format!(
                "start a worker whose worker.queues (TASKRUNNERX_WORKER__QUEUES) has {}, or *",
                self.queue.row.name
            );
            if waiting {
                section.warning(&self.name, format!("{detail}, and tasks wait"), advice);
            } else if anybody {
                section.note(&self.name, detail, advice);
            } else {
                section.ok(&self.name, detail);
            }
        } else if let Some(dispatcher) = self.queue.row.dispatcher {
            let named = serving.iter().find(|row| row.id == dispatcher);
            let named = named.map_or(dispatcher.to_string(), |row| format!("{}:{}", row.host, row.pid));
            let slots: u64 = serving.iter().map(|row| u64::from(row.slots)).sum();
            let detail =
                format!("{tasks}; {} with {slots} slots, dispatched by {named}", counted(serving.len(), "worker"));
            if paused.is_empty() {
                section.ok(&self.name, detail);
            } else {
                let advice = format!(
                    "nothing of it starts meanwhile; POST /api/queues/{}/resume ends that",
                    self.queue.row.name
                );
                section.note(&self.name, detail, advice);
            }
        } else {
            section.warning(
                &self.name,
                format!("{tasks}; {} would serve it, and none dispatches it", counted(serving.len(), "worker")),
                "within seconds one of them should: look again, then in their logs for \"dispatcher leases\"",
            );
        }
    }

    /// Since when it is paused, by whom, why, and for how long yet.
    fn pause(&self) -> Option<String> {
        let Pause { since, reason, by, resume_at } = self.queue.row.pause.as_ref()?;
        let by = by.as_ref().map_or(String::new(), |by| format!(" by {by:?}"));
        let reason = reason.as_ref().map_or(String::new(), |reason| format!(", {reason:?}"));
        let until = match resume_at {
            Some(at) => format!("for another {}", age(*at - self.now)),
            None => "until it is resumed".to_owned(),
        };
        Some(format!("; paused for {}{by}{reason}, {until}", age(self.now - *since)))
    }

    /// What Redis has of it.
    fn stream(&self, section: &mut Section) {
        let name = format!("{}: stream", self.name);
        let dispatched = self.queue.row.dispatcher.is_some();
        let soon = "its dispatcher makes it at its next pass, within a second, and what was lost is dispatched again: \
                    look again";
        match &self.queue.stream {
            Err(why) => section.unknown(&name, why),
            Ok(None) if dispatched => section.warning(&name, "is not there, though the queue is dispatched", soon),
            Ok(None) => section.ok(&name, "none yet: the first dispatcher makes it"),
            Ok(Some(QueueStream { key, length, group: None, .. })) => {
                let detail = format!(
                    "{key} has {} and no group of workers: nobody reads it",
                    if *length == 1 { "1 entry".to_owned() } else { format!("{length} entries") }
                );
                let advice = if dispatched { soon } else { "the first worker that serves the queue makes it" };
                section.warning(&name, detail, advice);
            }
            Ok(Some(stream)) => {
                self.entries(section, &name, stream);
                self.consumers(section, stream);
            }
        }
    }

    fn entries(&self, section: &mut Section, name: &str, stream: &QueueStream) {
        let Some(group) = &stream.group else { return };
        let waits = group.oldest_unread.map(|at| self.now - at).filter(|_| group.unread > 0);
        let oldest = waits.map_or(String::new(), |span| format!(", the oldest for {}", age(span)));
        let detail =
            format!("{} in all, {} unread{oldest}, {} being worked on", stream.length, group.unread, group.pending);
        let late = waits.is_some_and(|span| span > SWEEP_GRACE);
        let serving = self.serving.as_deref().unwrap_or_default();
        let free = serving.iter().any(|row| self.held.leaves_a_slot(row));
        if !late || serving.is_empty() {
            // Without a worker it waits for one, which the queue's own line says.
            section.ok(name, detail);
        } else if !free {
            let detail = format!("{detail}: every slot of its workers is busy, with this queue's tasks or others'");
            section.note(name, detail, "more workers or slots would take them sooner");
        } else if !self.held.complete {
            section.unknown(name, format!("{detail}; whether slots are free would take a look at every queue"));
        } else {
            section.warning(
                name,
                format!("{detail}, though slots are free"),
                "look in the workers' logs for \"redis reader\"; a worker that lacks the task type hands it back",
            );
        }
    }

    /// Consumers are named after workers.
    fn consumers(&self, section: &mut Section, stream: &QueueStream) {
        let Some(live) = &self.live else { return };
        let gone: Vec<&(String, u64)> =
            stream.consumers.iter().filter(|(name, _)| !live.iter().any(|row| row.id.to_string() == *name)).collect();
        let pending: u64 = gone.iter().map(|(_, pending)| pending).sum();
        let name = format!("{}: consumers", self.name);
        let of = format!("{} of {} belong to no live worker", gone.len(), stream.consumers.len());
        match gone.first() {
            None => {}
            Some(_) if pending > 0 => section.warning(
                &name,
                format!("{of} and have {pending} unacknowledged; the tasks are rescued from the database"),
                format!(
                    "a live worker clears them after the lease has run out; if they stay, DEL '{}', on the server and \
                     database of redis_url, is safe: the stream is made anew and its tasks are dispatched again",
                    stream.key
                ),
            ),
            Some((first, _)) => section.note(
                &name,
                format!("{of}; they cost nothing but a little memory"),
                format!(
                    "remove each, on the server and database of redis_url, with \
                     XGROUP DELCONSUMER '{}' workers {first}",
                    stream.key
                ),
            ),
        }
    }
}

fn workers(system: &System) -> Section {
    let mut section = Section::new(Group::Workers);
    let roster = match &system.workers {
        Ok(roster) => roster,
        Err(why) => {
            section.unknown("workers", why);
            return section;
        }
    };
    let now = roster.now;
    let (live, dead): (Vec<&WorkerRow>, Vec<&WorkerRow>) = roster.workers.iter().partition(|row| row.is_live(now));
    let nobody = live.iter().all(|row| row.is_outside());
    if nobody {
        section.note("workers", "none is alive", "nothing runs until one is: taskrunnerx serve --role worker");
    }
    for row in &live {
        let queues = serde_json::from_str::<Vec<String>>(&row.queues).unwrap_or_default().join(", ");
        let queues = if queues == "*" { "every queue".to_owned() } else { queues };
        let left = age(row.lease_until - now);
        section.ok(
            &title(row),
            format!("{}, {queues}, lease for another {left} ({})", counted(row.slots, "slot"), row.id),
        );
    }
    for row in dead {
        let name = title(row);
        let since = now - row.dead_at.unwrap_or(row.lease_until);
        let detail = format!("dead for {} and not cleaned up ({})", age(since), row.id);
        if nobody {
            section.warning(&name, detail, "no live worker is there to rescue what it ran: start one");
        } else if since.to_std().is_ok_and(|since| since > system.lease * CLEANED_LEASES) {
            let advice = "a live worker should have rescued what it ran: look in their logs for \"rescue\"";
            section.warning(&name, detail, advice);
        } else {
            section.remark(&name, format!("{detail}; a live worker is at it"));
        }
    }
    orphans(&mut section, system, nobody);
    section
}

/// A worker outside says nothing of its process.
fn title(row: &WorkerRow) -> String {
    if row.is_outside() {
        format!("worker outside at {}", row.host)
    } else {
        format!("worker {}:{}", row.host, row.pid)
    }
}

fn orphans(section: &mut Section, system: &System, nobody: bool) {
    const NAME: &str = "orphaned tasks";
    match system.orphans {
        Ok(0) => section.ok(NAME, "none"),
        Ok(count) => {
            let more = if u32::try_from(count).is_ok_and(|count| count >= MAX_ORPHANS) { " or more" } else { "" };
            let detail = format!("{}{more} running under a worker that is gone", counted(count, "task"));
            let advice = if nobody {
                "a live worker rescues them: start one".to_owned()
            } else {
                let lease = chrono::TimeDelta::from_std(system.lease).unwrap_or(chrono::TimeDelta::MAX);
                format!(
                    "each live worker looks for them once a lease ({}), the first time one lease after its start or \
                     after trouble with the database: look again then, and if they stay in the logs for \"rescue\"",
                    age(lease)
                )
            };
            section.warning(NAME, detail, advice);
        }
        Err(ref why) => section.unknown(NAME, why),
    }
}

fn schedules(system: &System) -> Section {
    let mut section = Section::new(Group::Schedules);
    let agenda = match &system.agenda {
        Ok(agenda) => agenda,
        Err(why) => {
            section.unknown("schedules", why);
            return section;
        }
    };
    for due in agenda.due.iter().filter(|due| agenda.now - due.fire_at > OVERDUE) {
        section.warning(
            &format!("schedule {}", due.name),
            format!("due for {}: no scheduler is at work", age(agenda.now - due.fire_at)),
            "start one: taskrunnerx serve --role scheduler; it makes up for what was missed as each schedule says",
        );
    }
    if section.checks.is_empty() {
        let next = agenda.next.map(|next| format!("the next in {}", age(next - agenda.now)));
        let detail = match (agenda.due.len(), next) {
            (0, None) => "none is to fire".to_owned(),
            (0, Some(next)) => format!("none is overdue; {next}"),
            (due, _) => format!("{due} just due, none overdue"),
        };
        section.ok("schedules", detail);
    }
    section
}
