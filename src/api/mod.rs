//! HTTP: routes, extractors, the shape of answers. No rules and no SQL: those are below.
//!
//! Every process has the listener, if only for the open endpoints (`/livez`, `/readyz`,
//! `/health`, `/metrics`); the rest is there with the api role. It listens before the database
//! is there: until the services are up every route of `/api` answers 503.

mod access;
mod believed;
mod body;
mod caller;
mod census;
mod compression;
mod depths;
mod docs;
mod etag;
mod events;
mod explain;
mod failures;
mod health;
mod idempotency;
mod journal;
mod keyring;
mod keys;
mod listing;
mod moves;
mod openapi;
mod ops;
mod pace;
mod parameters;
mod problem;
mod pull;
mod queues;
mod refusals;
mod request;
mod routes;
mod schedule_fires;
mod schedule_json;
mod schedule_verbs;
mod schedules;
mod selection;
mod serving;
mod sse;
mod stats;
mod task_json;
mod task_types;
mod tasks;
mod tls;
mod unread;
mod verbs;
mod waiting;
mod workers;

pub use access::{Access, Rules};
pub use census::count;
pub use health::{Health, monitor};
#[doc(hidden)]
pub use openapi::openapi_json;
pub use routes::{Described, reference};
#[doc(hidden)]
pub use task_json::to_json;
pub use tls::{Certificate, TlsError};

use crate::lifecycle::Tools;
use crate::lifecycle::fire::Firing;
use crate::lifecycle::follow::Follow;
use crate::lifecycle::lookup::Lookup;
use crate::lifecycle::pull::Desk;
use crate::lifecycle::submit::{Defaults, Submitter};
use crate::lifecycle::wait::Waits;
use crate::store::tasks::Recent;
use crate::stream::MoveFeed;
use crate::task::WorkerId;
use crate::telemetry::Metrics;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use believed::Believed;
use depths::Depths;
use problem::Problem;
use serving::Serving;
use sse::Streams;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A body may be this much larger than the largest payload: the other fields, and white space.
const BODY_SLACK: usize = 64 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// An idle connection is kept for longer than usual clients keep theirs in a pool (90 s and
/// less): whoever closes last never meets a request that is on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// A client that speaks TLS has said hello, and all that goes with it, within this time.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Handshakes under way at once, in each thread of the listener. Beyond them nobody is accepted: with the usual 256
/// whoever connects and says nothing would keep the others out.
const MAX_HANDSHAKES: usize = 4096;
/// Seconds that a stopping server waits for requests under way.
pub const STOP_SECONDS: u64 = 10;
/// Streams of events that clients may have open at once.
const MAX_STREAMS: usize = 1000;

/// Requests that may wait for tasks to end at once.
pub const MAX_WAITS: usize = 5000;

/// What the routes of `/api` work with, once the process has started.
#[derive(Debug)]
pub struct Services {
    pub tools: Tools,
    pub submitter: Submitter,
    pub lookup: Lookup,
    pub desk: Desk,
    pub firing: Firing,
    pub follow: Follow,
    pub moves: MoveFeed,
    pub waits: Waits,
    /// Streams of events and waits end when it is cancelled.
    pub stop: CancellationToken,
    pub defaults: Defaults,
    /// `limits.payload`, in bytes.
    pub max_payload: usize,
    /// `limits.result`, in bytes.
    pub max_result: usize,
    pub bulk: BulkLimits,
    /// `retention.idempotency`.
    pub retain_keys: Duration,
}

/// What one bulk submission may hold.
#[derive(Debug, Clone, Copy)]
pub struct BulkLimits {
    /// `limits.bulk`.
    pub tasks: usize,
    /// `limits.bulk_body`, in bytes.
    pub body: usize,
}

/// What every route sees.
#[derive(Debug)]
pub struct State {
    pub metrics: Metrics,
    pub health: Arc<Health>,
    pub access: Access,
    /// None: without the api role.
    services: Option<OnceLock<Services>>,
    serving: Serving,
    depths: Depths,
    busy: Believed<HashMap<WorkerId, u64>>,
    recent: Believed<Recent>,
    streams: Streams,
    /// When the process was.
    began: Instant,
}

impl State {
    /// `api`: whether this process has the api role.
    #[must_use]
    pub fn new(metrics: Metrics, health: Arc<Health>, access: Access, api: bool) -> Self {
        let services = api.then(OnceLock::new);
        let streams = Streams::new(MAX_STREAMS, metrics.event_streams.clone());
        Self {
            metrics,
            health,
            access,
            services,
            serving: Serving::default(),
            depths: Depths::default(),
            busy: Believed::default(),
            recent: Believed::default(),
            streams,
            began: Instant::now(),
        }
    }

    /// Opens the routes of `/api`.
    pub fn serve(&self, services: Services) {
        if let Some(slot) = &self.services {
            let _ = slot.set(services);
        }
    }

    fn services(&self) -> Result<&Services, Problem> {
        let slot = self.services.as_ref().ok_or_else(Problem::no_api_role)?;
        slot.get().ok_or_else(|| Problem::unavailable("this process is still starting"))
    }
}

/// Binds the listener and builds the server; it runs when awaited. `workers` are its threads. With a certificate it
/// speaks HTTPS, and nothing else.
///
/// # Errors
/// When the address cannot be bound.
pub fn server(
    bind: SocketAddr,
    workers: usize,
    state: Arc<State>,
    certificate: Option<&Arc<Certificate>>,
) -> std::io::Result<(Server, Vec<SocketAddr>)> {
    let data = web::Data::from(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(request::observe))
            .configure(routes::configure)
            .default_service(web::to(problem::not_found))
    })
    .workers(workers)
    .keep_alive(KEEP_ALIVE)
    .backlog(BACKLOG)
    // A client that has gone is noticed, and nothing more is done for it: it may be waiting for a task.
    .h1_allow_half_closed(false)
    .shutdown_timeout(STOP_SECONDS)
    .disable_signals()
    .server_hostname("taskrunnerx")
    .tls_handshake_timeout(HANDSHAKE_LIMIT)
    .max_connection_rate(MAX_HANDSHAKES);
    let server = match certificate {
        None => server.bind(bind)?,
        Some(certificate) => {
            server.bind_rustls_0_23(bind, certificate.server_config().map_err(std::io::Error::other)?)?
        }
    };
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}
