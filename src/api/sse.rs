//! Server-sent events: how they are written, how many streams there may be, and how one ends.

use super::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use bytes::Bytes;
use futures_util::Stream;
use prometheus::IntGauge;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A stream that has nothing to say says so after this time: proxies close what is silent.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
pub(super) const STILL_HERE: &[u8] = b": keep-alive\n\n";

/// The streams that are open, which are bounded.
#[derive(Debug)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    limit: usize,
    open: IntGauge,
}

/// One stream's place among them.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Streams {
    pub(super) fn new(limit: usize, open: IntGauge) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)), limit, open }
    }

    /// A place for one more.
    pub(super) fn enter(&self) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Problem::unavailable(format!("this process has {} streams of events open, and takes no more", self.limit))
        })?;
        self.open.inc();
        Ok(Place { _permit: permit, open: self.open.clone() })
    }
}

/// Writes one event. `data` is JSON text, which may have line breaks between its tokens.
pub(super) fn event(into: &mut Vec<u8>, name: &str, id: Option<&str>, data: &str) {
    let mut field = |key: &str, value: &str| {
        for part in [key, ": ", value, "\n"] {
            into.extend_from_slice(part.as_bytes());
        }
    };
    field("event", name);
    if let Some(id) = id {
        field("id", id);
    }
    for line in data.split(['\n', '\r']) {
        field("data", line);
    }
    into.push(b'\n');
}

/// The answer whose body the stream is.
pub(super) fn answer(stream: impl Stream<Item = Result<Bytes, Infallible>> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // Proxies that would otherwise wait for more.
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        .streaming(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_within_data_are_lines_of_data() {
        let mut written = Vec::new();
        event(&mut written, "task", None, "{\"a\":\r\n1}");
        event(&mut written, "log", Some("l1.1.2"), "{}");
        let expected = "event: task\ndata: {\"a\":\ndata: \ndata: 1}\n\nevent: log\nid: l1.1.2\ndata: {}\n\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn there_are_no_more_streams_than_may_be_and_a_place_that_was_left_is_free() {
        let open = IntGauge::new("open", "open").unwrap();
        let streams = Streams::new(2, open.clone());
        let (first, _second) = (streams.enter().unwrap(), streams.enter().unwrap());
        assert!(streams.enter().unwrap_err().to_string().contains("503"));
        assert_eq!(open.get(), 2);
        drop(first);
        assert_eq!(open.get(), 1);
        assert!(streams.enter().is_ok());
    }
}
