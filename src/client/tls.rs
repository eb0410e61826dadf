//! TLS to servers that have it, or a proxy in front that has: rustls with ring, and the certificate authorities of this
//! machine or of a file.

use super::error::{ClientError, SetupError};
use crate::executor::http::tls::{client_config, client_config_of};
use std::path::Path;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// What every TLS connection of a client shares.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// Whose authorities are trusted, for messages.
    trusts: String,
}

impl Tls {
    /// `ca`: a file of authorities in place of the machine's.
    pub(super) fn new(host: &str, ca: Option<&Path>) -> Result<Self, SetupError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| SetupError(format!("{host:?} is no name that a certificate can have: {error}")))?;
        let (config, trusts) = match ca {
            None => (client_config(), "this machine's; --ca or TASKRUNNERX_CA names others".to_owned()),
            Some(file) => (client_config_of(file), format!("those in {}", file.display())),
        };
        let config = config.map_err(|error| match ca {
            None => SetupError(error),
            Some(_) => SetupError(format!("--ca or TASKRUNNERX_CA: {error}")),
        })?;
        Ok(Self { connector: TlsConnector::from(config), name, trusts })
    }

    pub(super) async fn wrap(&self, stream: TcpStream, url: &str) -> Result<TlsStream<TcpStream>, ClientError> {
        self.connector.connect(self.name.clone(), stream).await.map_err(|error| {
            let error = error.to_string();
            let hint = if error.contains("CaUsedAsEndEntity") {
                "; the server's certificate is that of an authority: make one for the server, \
                 with openssl req -addext basicConstraints=critical,CA:FALSE"
            } else if error.contains("InvalidContentType") {
                "; what answers there may speak HTTP: http:// in the URL reaches it"
            } else {
                ""
            };
            let why = format!("TLS: {error} (the authorities are {}){hint}", self.trusts);
            ClientError::Unreachable { url: url.to_owned(), why }
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}
