//! TLS to servers behind a proxy: rustls with ring, and the certificate authorities of this machine.

use super::error::{ClientError, SetupError};
use crate::executor::http::tls::client_config;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// What every TLS connection of a client shares.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(host: &str) -> Result<Self, SetupError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| SetupError(format!("{host:?} is no name that a certificate can have: {error}")))?;
        let config = client_config().map_err(SetupError)?;
        Ok(Self { connector: TlsConnector::from(config), name })
    }

    pub(super) async fn wrap(&self, stream: TcpStream, url: &str) -> Result<TlsStream<TcpStream>, ClientError> {
        self.connector.connect(self.name.clone(), stream).await.map_err(|error| ClientError::Unreachable {
            url: url.to_owned(),
            why: format!("TLS: {error} (the authorities are this machine's; SSL_CERT_FILE names others)"),
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}
