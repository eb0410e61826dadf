//! The REST client: what the client commands and `bench` talk to a server with.
//!
//! ```text
//!  Client      where the server is, who asks; typed calls over connections that it keeps
//!    │ connect
//!    ▼
//!  Connection  one keep-alive connection, for callers that keep their own
//! ```
//!
//! Nothing is printed here, and nothing is asked twice, but for a request that never left.

mod answers;
mod connection;
mod error;
mod events;
mod listing;
mod overview;
mod query;
mod queues;
mod reply;
mod schedules;
mod target;
mod tasks;
mod tls;

pub use answers::{Accepted, LogLine, LogPage, TaskView};
pub use connection::{Answer, Connection, Prepared};
pub use error::{ClientError, Fault, Problem, SetupError};
pub use events::{Event, Events};
pub use listing::Listing;
pub use overview::{FailureRow, HealthPart, HealthReport, TaskTypeRow, TaskTypes, WorkerRow};
pub use queues::{Depths, PauseRow, QueueRow, Queues};
pub use reply::Reply;
pub use schedules::{FireRow, LatestTask, ScheduleRow};
pub use target::Target;
pub use tasks::{AttemptRow, Attempts, Moved, Sweep, Swept, TaskFilter, TaskRow, Verb};

use crate::task::TaskId;
use bytes::Bytes;
use connection::Socket;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tls::Tls;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// How long a connection may take to come about, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take. The server itself gives up on its database before that.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Connections that are kept for the next call.
const MAX_IDLE: usize = 16;

/// A server, and who asks it.
#[derive(Debug)]
pub struct Client {
    target: Target,
    url: String,
    headers: HeaderMap,
    tls: Option<Tls>,
    /// What the host's name stands for, asked once.
    addresses: OnceCell<Vec<SocketAddr>>,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    /// `key`: the API key, where the server wants one. `ca`: a PEM file of the authorities that an https server's
    /// certificate is checked with, in place of this machine's.
    ///
    /// # Errors
    /// When the key cannot be in a header, the file is none, or TLS cannot be set up here.
    pub fn new(target: Target, key: Option<&str>, ca: Option<&Path>) -> Result<Self, SetupError> {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&target.authority)
            .map_err(|_| SetupError(format!("{:?} cannot be in a Host header", target.authority)))?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("taskrunnerx/", env!("CARGO_PKG_VERSION"))));
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| SetupError("the key has characters that no key has".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let tls = if target.tls { Some(Tls::new(&target.host, ca)?) } else { None };
        let url = target.to_string();
        Ok(Self { target, url, headers, tls, addresses: OnceCell::new(), idle: Mutex::default() })
    }

    /// The server's URL, for people.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection of the caller's own.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        let connecting = async {
            let addresses = self
                .addresses
                .get_or_try_init(async || {
                    let found = tokio::net::lookup_host((self.target.host.as_str(), self.target.port)).await?;
                    Ok::<_, std::io::Error>(found.collect())
                })
                .await
                .map_err(|error| self.unreachable(&error))?;
            let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| self.unreachable(&error))?;
            stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
            let socket: Box<dyn Socket> = match &self.tls {
                None => Box::new(stream),
                Some(tls) => Box::new(tls.wrap(stream, &self.url).await?),
            };
            Connection::new(self.url.clone(), socket).await
        };
        timeout(CONNECT_LIMIT, connecting)
            .await
            .unwrap_or_else(|_| Err(self.unreachable(&format!("no connection within {CONNECT_LIMIT:?}"))))
    }

    /// Sends a request over a connection that is kept, or a new one.
    ///
    /// # Errors
    /// Those of [`Client::connect`] and [`Connection::send`].
    pub async fn call(&self, prepared: &Prepared) -> Result<Answer, ClientError> {
        while let Some(mut connection) = self.take_idle() {
            match connection.exchange(prepared).await {
                Ok(answer) => {
                    self.keep(connection);
                    return Ok(answer);
                }
                // It was closed while nobody used it.
                Err(connection::Fault::Unsent) => {}
                Err(connection::Fault::Failed(error)) => return Err(error),
            }
        }
        let mut connection = self.connect().await?;
        let answer = connection.send(prepared).await?;
        self.keep(connection);
        Ok(answer)
    }

    /// The submission of one task: its JSON.
    ///
    /// # Errors
    /// `Broken` where the request cannot be made.
    pub fn submission(&self, task: Bytes) -> Result<Prepared, ClientError> {
        self.prepare(Method::POST, "/api/tasks", task)
    }

    /// The submission of several tasks: `{"tasks": [...]}`.
    ///
    /// # Errors
    /// `Broken` where the request cannot be made.
    pub fn bulk_submission(&self, tasks: Bytes) -> Result<Prepared, ClientError> {
        self.prepare(Method::POST, "/api/tasks/bulk", tasks)
    }

    /// These tasks, as far as they are there, in any order. At most 500 ids.
    ///
    /// # Errors
    /// As every call.
    pub async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<TaskView>, ClientError> {
        let mut path = format!("/api/tasks?limit={}&id=", ids.len().max(1));
        for (i, id) in ids.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(path, "{}{id}", if i == 0 { "" } else { "," });
        }
        let answer = self.call(&self.prepare(Method::GET, &path, Bytes::new())?).await?;
        answers::page(&answer.accepted()?)
    }

    async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.reply(&self.prepare(Method::GET, path, Bytes::new())?).await
    }

    async fn post(&self, path: &str, body: Bytes) -> Result<Reply, ClientError> {
        self.reply(&self.prepare(Method::POST, path, body)?).await
    }

    async fn reply(&self, prepared: &Prepared) -> Result<Reply, ClientError> {
        Reply::accepted(self.call(prepared).await?)
    }

    fn prepare(&self, method: Method, path: &str, body: Bytes) -> Result<Prepared, ClientError> {
        let uri: Uri = format!("{}{path}", self.target.base)
            .parse()
            .map_err(|error| ClientError::Broken(format!("{path:?} is no path: {error}")))?;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if !body.is_empty() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Prepared { request, limit: ANSWER_LIMIT })
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.is_open() && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), why: why.to_string() }
    }
}
