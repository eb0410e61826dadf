//! `GET /api/events`: the moves of all tasks, live, or of those that are asked for.
//!
//! Told by the processes over Redis ([`MoveFeed`](crate::stream::MoveFeed)): nothing is stored, and a client that was
//! away has missed what came meanwhile.

use super::State;
use super::caller::Caller;
use super::openapi::MoveFilter;
use super::parameters::{self, Pairs, named, several, status, unknown};
use super::problem::Problem;
use super::sse::{self, KEEP_ALIVE, Place, STILL_HERE};
use super::task_json::{Id, Time};
use crate::stream::{Heard, Move, MoveInbox};
use crate::task::{Status, name};
use actix_web::HttpResponse;
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::stream::unfold;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const KNOWN: &str = "queue, name, status";
/// Between two looks whether the client would be let in still.
const REVIEW: Duration = Duration::from_secs(1);
/// Moves in one piece of the answer.
const TOGETHER: usize = 256;

#[derive(serde::Serialize)]
struct MoveJson<'a> {
    id: Id,
    name: &'a str,
    queue: &'a str,
    status: &'static str,
    attempt: u32,
    at: Time,
}

/// Streams moves.
#[utoipa::path(
    get, path = "/api/events", tag = "Events", operation_id = "streamMoves",
    summary = "Follow everything",
    description = "Server-sent events. `move`: a task has changed its status; `missed`: so many moves were not told, since the client was too slow. Nothing is kept: a client that was away has missed what came meanwhile.",
    params(MoveFilter),
    responses((
        status = 200, description = "The stream. It does not end.", content_type = "text/event-stream", body = String,
        example = json!("event: move\ndata: {\"id\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\"name\":\"echo\",\"queue\":\"mail\",\"status\":\"running\",\"attempt\":1,\"at\":\"2030-01-31T12:00:00.021345Z\"}\n\n")
    ))
)]
pub(super) async fn of_all(state: Data<State>, caller: Caller, query: Pairs) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let mut wanted = Wanted::read(&query)?;
    wanted.nothing = !caller.narrow_to(&mut wanted.queues, &mut wanted.names);
    let place = state.streams.enter()?;
    let (inbox, stop) = (services.moves.listen(), services.stop.clone());
    let review_at = Instant::now() + REVIEW;
    let listener =
        Listener { wanted, inbox, stop, state: state.clone(), caller, review_at, greeted: false, _place: place };
    Ok(sse::answer(unfold(listener, async |mut listener| Some((Ok(listener.next().await?), listener)))))
}

/// One client.
struct Listener {
    wanted: Wanted,
    inbox: MoveInbox,
    stop: CancellationToken,
    state: Data<State>,
    caller: Caller,
    review_at: Instant,
    greeted: bool,
    _place: Place,
}

impl Listener {
    /// The next bytes; None: it is over.
    async fn next(&mut self) -> Option<Bytes> {
        // At once, so that the client knows that it is connected.
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(STILL_HERE));
        }
        let silent = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(silent);
        loop {
            let heard = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.review_at) => {
                    if !self.state.access.still(&self.caller).await {
                        return None;
                    }
                    self.review_at = Instant::now() + REVIEW;
                    continue;
                }
                heard = self.inbox.next() => heard?,
                () = &mut silent => return Some(Bytes::from_static(STILL_HERE)),
            };
            let mut events = Vec::new();
            self.write(&mut events, &heard);
            for _ in 1..TOGETHER {
                let Some(heard) = self.inbox.ready() else { break };
                self.write(&mut events, &heard);
            }
            if !events.is_empty() {
                return Some(events.into());
            }
        }
    }

    fn write(&self, events: &mut Vec<u8>, heard: &Heard) {
        match heard {
            Heard::Missed(count) => sse::event(events, "missed", None, &format!("{{\"count\":{count}}}")),
            Heard::Move(told) if self.wanted.wants(told) => {
                let Move { id, attempt, status, at, queue, name } = told;
                let json =
                    MoveJson { id: Id(id.0), name, queue, status: status.as_str(), attempt: *attempt, at: Time(*at) };
                sse::event(events, "move", None, &serde_json::to_string(&json).unwrap_or_default());
            }
            Heard::Move(_) => {}
        }
    }
}

/// Which moves. Several values of one kind mean any of them; different kinds all hold.
#[derive(Debug, Default)]
struct Wanted {
    queues: Vec<String>,
    names: Vec<String>,
    statuses: Vec<Status>,
    /// The client may see none of what it asks for.
    nothing: bool,
}

impl Wanted {
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        parameters::read(pairs, |key, value| match key {
            "queue" => several(&mut wanted.queues, value, |word| named(word, name::MAX_QUEUE)),
            "name" => several(&mut wanted.names, value, |word| named(word, name::MAX_NAME)),
            "status" => several(&mut wanted.statuses, value, status),
            _ => unknown(KNOWN),
        })?;
        Ok(wanted)
    }

    fn wants(&self, told: &Move) -> bool {
        let any = |wanted: &[String], word: &str| wanted.is_empty() || wanted.iter().any(|one| one == word);
        !self.nothing
            && any(&self.queues, &told.queue)
            && any(&self.names, &told.name)
            && (self.statuses.is_empty() || self.statuses.contains(&told.status))
    }
}
