//! Events, as they come: server-sent events over a connection of their own.

use super::connection::{Answer, Connection, Prepared, Streamed};
use super::error::ClientError;
use bytes::{Bytes, BytesMut};
use hyper::body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// A server that has nothing to say says so every 15 s: one that is silent for longer has gone.
const SILENCE: Duration = Duration::from_secs(45);
/// The largest event that is read: a task with its payload and its result.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// `task` or `log`; `move` or `missed`.
    pub name: String,
    /// Of a `log` event: from where a later stream may go on.
    pub id: Option<String>,
    /// JSON text.
    pub data: String,
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    url: String,
    streamed: Streamed,
    reader: Reader,
}

impl Events {
    pub(super) async fn open(url: String, connection: Connection, prepared: &Prepared) -> Result<Self, ClientError> {
        let (status, mut streamed) = connection.stream(prepared).await?;
        if status.is_success() {
            return Ok(Self { url, streamed, reader: Reader::default() });
        }
        let mut body = BytesMut::new();
        while let Some(data) = next_piece(&url, &mut streamed).await? {
            body.extend_from_slice(&data);
            if body.len() > MAX_EVENT_BYTES {
                break;
            }
        }
        let refused = Answer { status, body: body.freeze() };
        Err(refused.accepted().err().unwrap_or_else(|| ClientError::Broken("the answer is no stream".to_owned())))
    }

    /// The next event. None: the server has ended the stream.
    ///
    /// # Errors
    /// `Unreachable` where it is silent for too long, `Broken` where the connection ends within an event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.reader.take() {
                return Ok(Some(event));
            }
            let Some(data) = next_piece(&self.url, &mut self.streamed).await? else { return Ok(None) };
            self.reader.push(&data)?;
        }
    }
}

async fn next_piece(url: &str, streamed: &mut Streamed) -> Result<Option<Bytes>, ClientError> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut streamed.body).poll_frame(context));
        let frame = timeout(SILENCE, frame).await.map_err(|_| {
            let why = format!("it has said nothing for {SILENCE:?}");
            ClientError::Unreachable { url: url.to_owned(), why }
        })?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| ClientError::Broken(format!("the stream broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Takes pieces, gives events.
#[derive(Debug, Default)]
struct Reader {
    buffer: Vec<u8>,
    /// How much of it has been searched for an event's end.
    searched: usize,
}

impl Reader {
    fn push(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        if self.buffer.len() + piece.len() > MAX_EVENT_BYTES {
            return Err(ClientError::Broken(format!("an event is larger than {MAX_EVENT_BYTES} bytes")));
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    fn take(&mut self) -> Option<Event> {
        loop {
            let from = self.searched;
            let Some(at) = self.buffer.get(from..)?.windows(2).position(|pair| pair == b"\n\n") else {
                self.searched = self.buffer.len().saturating_sub(1);
                return None;
            };
            let block: Vec<u8> = self.buffer.drain(..from + at + 2).collect();
            self.searched = 0;
            // A comment alone is no event.
            if let Some(event) = read(&String::from_utf8_lossy(&block)) {
                return Some(event);
            }
        }
    }
}

fn read(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut data: Vec<&str> = Vec::new();
    for line in block.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match key {
            "event" => event.name = value.to_owned(),
            "id" => event.id = Some(value.to_owned()),
            "data" => data.push(value),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (!data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut_into_pieces() {
        let text = ": keep-alive\n\nevent: task\ndata: {\"a\":\ndata: \"é\"}\n\nevent: log\nid: l1.1.7\ndata: {}\n\n: x\n\nevent: ta";
        for size in 1..=text.len() {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                reader.push(piece).unwrap();
                events.extend(std::iter::from_fn(|| reader.take()));
            }
            let task = Event { name: "task".to_owned(), id: None, data: "{\"a\":\n\"é\"}".to_owned() };
            let log = Event { name: "log".to_owned(), id: Some("l1.1.7".to_owned()), data: "{}".to_owned() };
            assert_eq!(events, [task, log], "pieces of {size}");
        }
    }
}
