//! TLS to servers behind a proxy: rustls with ring, and the certificate authorities of this machine.

use super::error::{ClientError, SetupError};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

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
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let why = found.errors.first().map_or(String::new(), |error| format!(" ({error})"));
            return Err(SetupError(format!(
                "this machine has no certificate authorities to check an https server with{why}; \
                 install ca-certificates, or name a file of them in SSL_CERT_FILE"
            )));
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupError(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
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
