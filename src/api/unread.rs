//! A request's body that nobody has read to its end when the answer goes out.
//!
//! Of one whose length was announced the server reads no more, and hangs up. One that comes in chunks it would go on
//! reading for as long as the client likes, who need not send more than a byte now and then. So the rest of such a body
//! is held until the answer is out, which the server takes as a reason to hang up too.

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures_util::Stream;
use std::cell::RefCell;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A body in chunks, for its reader and for who looks whether there is more of it.
#[derive(Clone)]
pub(super) struct Chunks(Rc<RefCell<State>>);

struct State {
    payload: Payload,
    over: bool,
}

impl Stream for Chunks {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let state = &mut *self.0.borrow_mut();
        let next = Pin::new(&mut state.payload).poll_next(cx);
        state.over |= matches!(next, Poll::Ready(None));
        next
    }
}

/// An answer's body, with what is left of the request's.
struct Holding {
    body: BoxBody,
    _rest: Chunks,
}

impl MessageBody for Holding {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Keeps an eye on the request's body, where it comes in chunks.
pub(super) fn watch(request: &mut ServiceRequest) -> Option<Chunks> {
    request.headers().get(TRANSFER_ENCODING)?;
    let chunks = Chunks(Rc::new(RefCell::new(State { payload: request.take_payload(), over: false })));
    request.set_payload(Payload::Stream { payload: Box::pin(chunks.clone()) });
    Some(chunks)
}

/// Has the server hang up behind an answer whose request has not been read to its end.
pub(super) fn hang_up(response: ServiceResponse<BoxBody>, chunks: Option<Chunks>) -> ServiceResponse<BoxBody> {
    match chunks.filter(|chunks| !chunks.0.borrow().over) {
        Some(rest) => response.map_body(|_, body| BoxBody::new(Holding { body, _rest: rest })),
        None => response,
    }
}
