//! One keep-alive connection: one request at a time, driven by the task that asks.
//!
//! The usual way is a task a connection that moves its bytes, and a channel to it: two tasks to
//! wake for each answer. Here the caller's own future moves the bytes, so that an answer costs one.

use super::error::{ClientError, Problem};
use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, timeout};

/// The largest answer that is read: 64 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A request that may be sent again and again: a copy shares its body.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(super) request: Request<Full<Bytes>>,
    /// How long its answer may take.
    pub(super) limit: Duration,
}

/// A status and a whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// The body of an answer that says yes.
    ///
    /// # Errors
    /// `Refused` where the server said no.
    pub fn accepted(self) -> Result<Bytes, ClientError> {
        if self.status.is_success() {
            Ok(self.body)
        } else {
            Err(ClientError::Refused { status: self.status, problem: Problem::read(&self.body) })
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection had ended before: the request never left.
    Unsent,
    Failed(ClientError),
}

impl From<Fault> for ClientError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsent => ClientError::Broken("the server closed the connection".to_owned()),
            Fault::Failed(error) => error,
        }
    }
}

/// A connection to the server.
pub struct Connection {
    url: String,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Box<dyn Socket>>, Full<Bytes>>,
    /// The driver has ended, and must not be polled again.
    over: bool,
    /// One timer for all requests: to move it into the future is cheap, a new one is not.
    deadline: Pin<Box<Sleep>>,
}

/// An answer that goes on and on; dropped, its connection ends.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) body: Incoming,
    _moving: JoinSet<()>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).field("over", &self.over).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) async fn new(url: String, socket: Box<dyn Socket>) -> Result<Self, ClientError> {
        let (sender, driver) = http1::Builder::new()
            // Bodies are small: one copy costs less than a list of two buffers for the kernel.
            .writev(false)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        Ok(Self { url, sender, driver, over: false, deadline: Box::pin(tokio::time::sleep(Duration::ZERO)) })
    }

    /// Sends a request and reads the whole answer. After an error the connection is of no more use.
    ///
    /// # Errors
    /// `Unreachable` where the answer does not come in time, `Broken` where the connection ends
    /// before it. A refusal is an answer.
    pub async fn send(&mut self, prepared: &Prepared) -> Result<Answer, ClientError> {
        Ok(self.exchange(prepared).await?)
    }

    /// Sends a request whose answer goes on and on. Its bytes are moved by a task of its own.
    pub(super) async fn stream(self, prepared: &Prepared) -> Result<(StatusCode, Streamed), ClientError> {
        let Self { url, mut sender, driver, .. } = self;
        let mut moving = JoinSet::new();
        // How it ended is told to the one who reads.
        moving.spawn(async move { _ = driver.await });
        let sent = async {
            sender.ready().await.map_err(fault)?;
            sender.send_request(prepared.request.clone()).await.map_err(fault)
        };
        let response = timeout(prepared.limit, sent).await.map_err(|_| {
            let why = format!("no answer within {:?}", prepared.limit);
            ClientError::Unreachable { url, why }
        })??;
        Ok((response.status(), Streamed { body: response.into_body(), _moving: moving }))
    }

    /// Whether another request may be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.over && !self.sender.is_closed()
    }

    pub(super) async fn exchange(&mut self, prepared: &Prepared) -> Result<Answer, Fault> {
        let Self { url, sender, driver, over, deadline } = self;
        deadline.as_mut().reset(Instant::now() + prepared.limit);
        let mut asked = pin!(ask(sender, prepared.request.clone()));
        poll_fn(|context| {
            if let Poll::Ready(answer) = asked.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            *over = *over || drive(driver, context);
            // What the driver has just read is taken at once, not at the next wake-up.
            if let Poll::Ready(answer) = asked.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if *over {
                return Poll::Ready(Err(Fault::Unsent));
            }
            deadline.as_mut().poll(context).map(|()| {
                let why = format!("no answer within {:?}", prepared.limit);
                Err(Fault::Failed(ClientError::Unreachable { url: url.clone(), why }))
            })
        })
        .await
    }
}

/// Moves bytes; true when the connection is over.
fn drive<D: Future + Unpin>(driver: &mut D, context: &mut Context<'_>) -> bool {
    // How it ended is told to the one who waits for an answer.
    Pin::new(driver).poll(context).is_ready()
}

async fn ask(sender: &mut http1::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
    sender.ready().await.map_err(fault)?;
    let response = sender.send_request(request).await.map_err(fault)?;
    let status = response.status();
    Ok(Answer { status, body: read(response.into_body()).await? })
}

fn fault(error: hyper::Error) -> Fault {
    if error.is_canceled() || error.is_closed() {
        return Fault::Unsent;
    }
    let source = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
    // What a listener with TLS answers to plain HTTP is no HTTP.
    let hint = if error.is_parse() { " (where the server speaks TLS, https:// in the URL reaches it)" } else { "" };
    Fault::Failed(ClientError::Broken(format!(
        "the connection failed before the answer was there: {error}{source}{hint}"
    )))
}

/// The whole body; one that came in one piece is not copied.
async fn read(mut body: Incoming) -> Result<Bytes, Fault> {
    let mut whole: Option<Bytes> = None;
    let mut more = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame.map_err(fault)?.into_data() else { continue };
        if more.len() + data.len() > MAX_ANSWER_BYTES {
            let why = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes");
            return Err(Fault::Failed(ClientError::Broken(why)));
        }
        match whole.take() {
            None if more.is_empty() => whole = Some(data),
            None => more.extend_from_slice(&data),
            Some(first) => {
                more.extend_from_slice(&first);
                more.extend_from_slice(&data);
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(whole.unwrap_or_else(|| more.freeze()))
}
