//! `http`: an attempt is a call. The payload goes out, signed; what comes back says how the task goes on.
//!
//! ```text
//! config::http    the URL, the keys and the headers, read once and checked: scheme, no credentials,
//!                 no literal address that is not public
//!   └─ mod        one client a task type: the request, the time-outs, the stop
//!        ├─ sign     webhook-id, webhook-timestamp, webhook-signature (Standard Webhooks)
//!        ├─ guard    look up, check every address, connect to a checked one; never anywhere else
//!        │    └─ config::reach    the one table of addresses, and what `http.allow_private` adds to it
//!        ├─ tls      rustls, this machine's authorities
//!        └─ answer   status, Retry-After, the result up to `limits.result`
//! ```
//!
//! What keeps a call from reaching what only this host can reach, from the outside in:
//!
//! 1. The URL is the operator's: a payload never chooses where it goes.
//! 2. The URL is normalised before it is looked at (`0x7f.1`, `2130706433`, `①②⑦.1`, `[::ffff:7f00:1]` are all
//!    127.0.0.1), and a literal address that is not public stops the start.
//! 3. A name is looked up once for each connection. All of its addresses are checked, and the connection is made to one of
//!    those, not to the name.
//! 4. Redirects are not followed and no proxy is used: there is no second address.
//! 5. A refusal is a permanent error that names the address and the key that would allow it.
//!
//! A connection is used again for as long as calls follow each other; it stays with the address that was checked for it.

mod answer;
mod guard;
mod sign;
pub(crate) mod tls;

#[cfg(test)]
mod tests;

use super::handler::chain;
use super::{Context, Handler, TaskError, TaskResult};
use crate::config::{AllowPrivate, Endpoint, HttpCall};
use crate::task::duration;
use answer::Expected;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use guard::{Connector, Network, NoConnection, System, Target};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sign::Signer;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

const AGENT: &str = concat!("taskrunnerx/", env!("CARGO_PKG_VERSION"));
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TASK_NAME: HeaderName = HeaderName::from_static("taskrunnerx-task-name");
const ATTEMPT: HeaderName = HeaderName::from_static("taskrunnerx-attempt");
const MAX_ATTEMPTS: HeaderName = HeaderName::from_static("taskrunnerx-max-attempts");

/// A connection that nobody uses is kept for less time than servers do, some of which close theirs after 5 s: a call
/// that is sent while the other side closes is lost.
const IDLE: Duration = Duration::from_secs(4);
/// The most that is read of an answer's head.
const MAX_HEAD: usize = 64 * 1024;
/// A shorter text is no secret, and would take words out of errors.
const MIN_HIDDEN: usize = 4;

/// What all http task types have in common: what may be called, and what TLS trusts.
#[derive(Debug)]
pub(crate) struct Calls {
    allow_private: AllowPrivate,
    max_result: usize,
    /// Read when the first type needs it.
    tls: Option<Arc<ClientConfig>>,
}

impl Calls {
    /// `max_result` is the most bytes that are kept of an answer.
    pub(crate) fn new(allow_private: AllowPrivate, max_result: usize) -> Self {
        Self { allow_private, max_result, tls: None }
    }

    /// The handler of the type `name`.
    ///
    /// # Errors
    /// The URL is https, and TLS cannot be set up.
    pub(crate) fn handler(&mut self, name: &str, call: &HttpCall) -> Result<HttpHandler, String> {
        self.handler_over(name, call, Arc::new(System))
    }

    fn handler_over(&mut self, name: &str, call: &HttpCall, network: Arc<dyn Network>) -> Result<HttpHandler, String> {
        let tls = if call.endpoint.https { Some(self.tls(&call.endpoint)?) } else { None };
        let connector = Connector::new(Target {
            endpoint: call.endpoint.clone(),
            allow_private: self.allow_private.clone(),
            tls,
            limit: call.connect_timeout,
            network,
        });
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(HttpHandler(Arc::new(Call {
            title: format!("{} {}", call.method, call.endpoint),
            uri: call.endpoint.uri.clone(),
            method: call.method.clone(),
            headers: headers(name, call),
            signer: Signer::new(&call.keys),
            hidden: hidden(&call.headers),
            response_timeout: call.response_timeout,
            total_timeout: call.total_timeout,
            max_result: self.max_result,
            client,
        })))
    }

    fn tls(&mut self, endpoint: &Endpoint) -> Result<(TlsConnector, ServerName<'static>), String> {
        let name = match &endpoint.host {
            url::Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| format!("{name:?} is no name that a certificate can have: {error}"))?,
            url::Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(*address)),
            url::Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(*address)),
        };
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => Arc::clone(self.tls.insert(tls::client_config()?)),
        };
        Ok((TlsConnector::from(config), name))
    }
}

/// What every call of the type has.
fn headers(name: &str, call: &HttpCall) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if call.method != Method::GET {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // A task's name has no character that a header may not.
    headers.extend(HeaderValue::from_str(name).ok().map(|name| (TASK_NAME, name)));
    headers.extend(call.headers.clone());
    headers
}

/// The configured values of headers, whole and without the scheme before them (`Bearer …`): a receiver may quote them.
fn hidden(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.values().filter_map(|value| value.to_str().ok());
    let parts = texts.flat_map(|text| [Some(text), text.split_once(' ').map(|(_, token)| token)]);
    parts.flatten().filter(|text| text.len() >= MIN_HIDDEN).map(str::to_owned).collect()
}

/// Calls a URL for each attempt.
#[derive(Debug)]
pub(crate) struct HttpHandler(Arc<Call>);

struct Call {
    /// As errors name it: `POST https://example.com`, without the path, which may be a secret.
    title: String,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    signer: Option<Signer>,
    hidden: Vec<String>,
    response_timeout: Duration,
    total_timeout: Duration,
    max_result: usize,
    client: Client<Connector, Full<Bytes>>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Call").field(&self.title).finish()
    }
}

impl Handler for HttpHandler {
    fn executor(&self) -> &'static str {
        "http"
    }

    fn run(&self, context: Context, payload: Arc<str>) -> BoxFuture<'static, TaskResult> {
        let call = Arc::clone(&self.0);
        async move {
            let ended = tokio::select! {
                biased;
                // The call goes with its future, and its connection with it.
                () = context.cancelled() => Err(TaskError::retryable("stopped before the answer was there")),
                ended = timeout(call.total_timeout, call.attempt(&context, payload)) => ended.unwrap_or_else(|_| {
                    Err(call.late("no whole answer", call.total_timeout, "total_timeout"))
                }),
            };
            if let Err(error) = &ended {
                // `last_error` has the latest attempt's alone.
                context.log(error.message());
            }
            ended
        }
        .boxed()
    }
}

/// A payload as the bytes of a body, without a copy.
struct Payload(Arc<str>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Call {
    async fn attempt(&self, context: &Context, payload: Arc<str>) -> TaskResult {
        let request = self.request(context, payload);
        let response = match timeout(self.response_timeout, self.client.request(request)).await {
            Err(_) => return Err(self.late("no answer", self.response_timeout, "response_timeout")),
            Ok(Err(error)) => return Err(self.failed(&error)),
            Ok(Ok(response)) => response,
        };
        let expected = Expected { call: &self.title, max_result: self.max_result, hidden: &self.hidden };
        answer::read(response, expected).await
    }

    fn request(&self, context: &Context, payload: Arc<str>) -> Request<Full<Bytes>> {
        let body = if self.method == Method::GET { Bytes::new() } else { Bytes::from_owner(Payload(payload)) };
        let id = context.task_id().to_string();
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let mut headers = self.headers.clone();
        if let Some(signer) = &self.signer {
            set(&mut headers, SIGNATURE, &signer.sign(&id, &timestamp, &body));
        }
        set(&mut headers, ID, &id);
        set(&mut headers, TIMESTAMP, &timestamp);
        headers.insert(ATTEMPT, context.attempt().into());
        headers.insert(MAX_ATTEMPTS, context.max_attempts().into());
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = self.uri.clone();
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = headers;
        request
    }

    fn late(&self, what: &str, limit: Duration, key: &str) -> TaskError {
        TaskError::retryable(format_args!("{}: {what} within {} (http.{key})", self.title, duration::format(limit)))
    }

    /// Everything that goes wrong between here and the receiver may be different next time, but for what the guard
    /// refused.
    fn failed(&self, error: &hyper_util::client::legacy::Error) -> TaskError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(this) = cause {
            if let Some(none) = this.downcast_ref::<NoConnection>() {
                let said = format!("{}: {}", self.title, chain(none));
                return match none {
                    NoConnection::Refused { .. } => TaskError::permanent(said),
                    _ => TaskError::retryable(said),
                };
            }
            cause = this.source();
        }
        TaskError::retryable(format_args!("{}: no answer: {}", self.title, chain(error)))
    }
}

/// Ids, numbers and base64: every character of theirs may stand in a header.
fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
}
