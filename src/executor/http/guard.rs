//! The one way from a task type's URL to a connection: look up, check every address, connect to a checked one.
//!
//! Nothing is looked up again between the check and the connection, so a name that answers with a public address first
//! and a private one later (DNS rebinding) gains nothing: each new connection asks once, and is made to what it checked.

use crate::config::{AllowPrivate, Endpoint, Refused};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;
use url::Host;

/// More addresses of a name than this are not looked at.
const MAX_ADDRESSES: usize = 16;

/// Looks names up and connects: the system's way, or a test's.
pub(super) trait Network: Send + Sync + 'static {
    fn look_up(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// The system's resolver and sockets.
pub(super) struct System;

impl Network for System {
    fn look_up(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let name = name.to_owned();
        async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) }.boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        TcpStream::connect(address).boxed()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    /// Another attempt finds the same, unless the name or the configuration changes.
    #[error("not called: {host} has an address that tasks may not call: {refused}")]
    Refused { host: Host<String>, refused: Refused },
    #[error("{0} cannot be looked up: {1}")]
    Name(Host<String>, io::Error),
    #[error("{0} has no address")]
    NoAddress(Host<String>),
    #[error("no connection to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("no TLS with {0}: {1}")]
    Tls(SocketAddr, io::Error),
    #[error("no connection within {} (http.connect_timeout)", crate::task::duration::format(*.0))]
    TimedOut(Duration),
}

/// Makes the connections of one task type, all to the same host: it goes nowhere else, whatever it is asked for.
#[derive(Clone)]
pub(super) struct Connector(Arc<Target>);

pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) allow_private: AllowPrivate,
    /// With the name that the certificate must have.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) limit: Duration,
    pub(super) network: Arc<dyn Network>,
}

impl Connector {
    pub(super) fn new(target: Target) -> Self {
        Self(Arc::new(target))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Socket>>;
    type Error = NoConnection;
    type Future = BoxFuture<'static, Result<Self::Response, NoConnection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoConnection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.0);
        async move {
            let opened = timeout(target.limit, target.open()).await;
            opened.unwrap_or(Err(NoConnection::TimedOut(target.limit))).map(TokioIo::new)
        }
        .boxed()
    }
}

impl Target {
    async fn open(&self) -> Result<Box<dyn Socket>, NoConnection> {
        let until = Instant::now() + self.limit;
        let addresses = self.checked_addresses().await?;
        let (address, stream) = self.first_that_answers(&addresses, until).await?;
        // A small call is one packet, and is not to wait for another.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((tls, name)) => {
                let wrapped = tls.connect(name.clone(), stream).await;
                Ok(Box::new(wrapped.map_err(|error| NoConnection::Tls(address, error))?))
            }
        }
    }

    /// What the host stands for; one address that may not be called condemns them all.
    async fn checked_addresses(&self) -> Result<Vec<SocketAddr>, NoConnection> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let addresses = match host {
            Host::Ipv4(address) => vec![SocketAddr::new((*address).into(), *port)],
            Host::Ipv6(address) => vec![SocketAddr::new((*address).into(), *port)],
            Host::Domain(name) => {
                let looked_up = self.network.look_up(name, *port).await;
                looked_up.map_err(|error| NoConnection::Name(host.clone(), error))?
            }
        };
        for address in &addresses {
            let checked = self.allow_private.check(host, address.ip());
            checked.map_err(|refused| NoConnection::Refused { host: host.clone(), refused })?;
        }
        Ok(addresses)
    }

    /// One after the other, each with its share of the time that is left: the first may be a black hole.
    async fn first_that_answers(
        &self,
        addresses: &[SocketAddr],
        until: Instant,
    ) -> Result<(SocketAddr, TcpStream), NoConnection> {
        let mut last = NoConnection::NoAddress(self.endpoint.host.clone());
        let addresses = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
        for (left, address) in (1..=u32::try_from(addresses.len()).unwrap_or(1)).rev().zip(addresses) {
            let share = until.saturating_duration_since(Instant::now()) / left;
            let until = Instant::now() + share;
            last = match timeout_at(until, self.network.connect(*address)).await {
                Ok(Ok(stream)) => return Ok((*address, stream)),
                Ok(Err(error)) => NoConnection::Connect(*address, error),
                Err(_) => NoConnection::Connect(*address, io::ErrorKind::TimedOut.into()),
            };
        }
        Err(last)
    }
}

/// A connection, with TLS or without.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Connection for Box<dyn Socket> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
