//! `GET /api/tasks/{id}/events`: one task, live.
//!
//! ```text
//!  event: task   the task as it is
//!  event: log    each line; its id is the place in the log from which a client may go on
//!  event: task   at each change of status, attempt or progress; the last is the terminal one, and ends the stream
//! ```
//!
//! It looks, four times a second, and is told nothing: so it works in a process with the api role alone, without
//! Redis, and whoever runs the task. Those who look at the same time share statements ([`Follow`]).

use super::caller::Caller;
use super::journal::{self, LogJson};
use super::openapi::{LastEvent, TaskPath};
use super::parameters::{self, Pairs};
use super::problem::Problem;
use super::sse::{self, KEEP_ALIVE, Place, STILL_HERE};
use super::task_json::TaskJson;
use super::tasks::{parse_id, visible};
use super::{Services, State};
use crate::lifecycle::follow::Follow;
use crate::lifecycle::lookup::Lookup;
use crate::store::StoreError;
use crate::store::tasks::{LogPlace, Pulse, TAIL_LINES};
use crate::task::{Fault, Task, TaskId, name};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream::unfold;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// The same while the database is away.
const AWAY: Duration = Duration::from_secs(1);
/// Where a client that lost its connection goes on from.
const LAST_EVENT_ID: &str = "last-event-id";

/// Streams a task's events.
#[utoipa::path(
    get, path = "/api/tasks/{id}/events", tag = "Events", operation_id = "streamTask",
    summary = "Follow a task",
    description = "Server-sent events. `task`: the task, at first as it is, then at each change of its status, attempt or progress; `log`: each line of its log, with an id from which a client may go on. The last event is the task as it ended.",
    params(TaskPath, LastEvent),
    responses((
        status = 200, description = "The stream. It ends with the task.", content_type = "text/event-stream", body = String,
        example = json!("event: log\nid: l1.1.1764000000000000\ndata: {\"attempt\":1,\"at\":\"2030-01-31T12:00:00.021345Z\",\"line\":\"pass 2 of 5\"}\n\n")
    ))
)]
pub(super) async fn of_task(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    query: Pairs,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    parameters::none(&query)?;
    let after = last_event(&request)?;
    let place = state.streams.enter()?;
    let task = visible(services, &caller, id).await?;
    let watch = Watch::new(services, &task, after, place, (state.clone(), caller))?;
    Ok(sse::answer(unfold(watch, async |mut watch| Some((Ok(watch.next().await?), watch)))))
}

fn last_event(request: &HttpRequest) -> Result<LogPlace, Problem> {
    let Some(value) = request.headers().get(LAST_EVENT_ID) else { return Ok(LogPlace::default()) };
    let text = value.to_str().unwrap_or_default();
    journal::place(text).ok_or_else(|| {
        let detail = format!("got {}, takes the id of an earlier event, as it was given", name::quoted(text));
        Problem::invalid(vec![Fault { pointer: "Last-Event-ID".to_owned(), detail }])
    })
}

/// One client's view of one task.
struct Watch {
    id: TaskId,
    follow: Follow,
    lookup: Lookup,
    stop: CancellationToken,
    /// Where it is asked whether the client would be let in still.
    state: Data<State>,
    caller: Caller,
    _place: Place,
    /// The last line that was sent.
    after: LogPlace,
    /// What the last `task` event said.
    sent: Pulse,
    /// Lines have been sent since.
    lines: bool,
    /// What is to be sent next, at once.
    ready: Option<Vec<u8>>,
    /// How long until the next look.
    wait: Duration,
    said: Instant,
    over: bool,
}

impl Watch {
    fn new(
        services: &Services,
        task: &Task,
        after: LogPlace,
        place: Place,
        (state, caller): (Data<State>, Caller),
    ) -> Result<Self, Problem> {
        let mut first = Vec::new();
        write_task(&mut first, task).map_err(|error| Problem::internal(&error))?;
        Ok(Self {
            id: task.id,
            follow: services.follow.clone(),
            lookup: services.lookup.clone(),
            stop: services.stop.clone(),
            state,
            caller,
            _place: place,
            after,
            sent: Pulse::of(task),
            lines: false,
            ready: Some(first),
            wait: Duration::ZERO,
            said: Instant::now(),
            over: false,
        })
    }

    /// The next bytes; None: it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.ready.take() {
            return Some(first.into());
        }
        while !self.over {
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(self.wait) => {}
            }
            if !self.state.access.still(&self.caller).await {
                return None;
            }
            let mut events = Vec::new();
            self.wait = match self.look(&mut events).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK,
                // It says so to whoever asks it anything else.
                Err(_) => AWAY,
            };
            if events.is_empty() && self.said.elapsed() >= KEEP_ALIVE {
                events.extend_from_slice(STILL_HERE);
            }
            if !events.is_empty() {
                self.said = Instant::now();
                return Some(events.into());
            }
        }
        None
    }

    /// Looks once, and writes what is new. True: there are more lines.
    async fn look(&mut self, events: &mut Vec<u8>) -> Result<bool, StoreError> {
        // The row first: what an attempt has said is there before its outcome is.
        let Some(pulse) = self.follow.pulse(self.id).await? else {
            self.over = true; // purged
            return Ok(false);
        };
        let lines = self.follow.tail(self.id, self.after).await?;
        for line in &lines {
            let data = serde_json::to_string(&LogJson::new(line)).unwrap_or_default();
            sse::event(events, "log", Some(&journal::cursor_of(line.place)), &data);
            self.after = line.place;
            self.lines = true;
        }
        if lines.len() >= TAIL_LINES {
            return Ok(true);
        }
        // The last event of all is the task as it ended.
        let ends = pulse.status.is_terminal();
        if pulse == self.sent && !(ends && self.lines) {
            self.over = ends;
            return Ok(false);
        }
        // What was written is sent, whatever becomes of this.
        let Ok(found) = self.lookup.task(self.id).await else { return Ok(false) };
        let Some(task) = found else {
            self.over = true;
            return Ok(false);
        };
        if write_task(events, &task).is_ok() {
            self.lines = false;
        }
        self.sent = Pulse::of(&task);
        // It may have ended after the lines were read, or run again.
        self.over = ends && task.status.is_terminal();
        Ok(false)
    }
}

fn write_task(events: &mut Vec<u8>, task: &Task) -> serde_json::Result<()> {
    sse::event(events, "task", None, &serde_json::to_string(&TaskJson::new(task, Vec::new()))?);
    Ok(())
}
