//! What a TLS client of this program trusts and speaks: rustls with ring, the certificate authorities of this machine,
//! HTTP/1.1.

use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Reads the machine's authorities anew.
///
/// # Errors
/// There are none; the text says what to do.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map_or(String::new(), |error| format!(" ({error})"));
        return Err(format!(
            "this machine has no certificate authorities to check an https server with{why}; \
             install ca-certificates, or name a file of them in SSL_CERT_FILE"
        ));
    }
    trusting(roots)
}

/// Trusts the authorities in this PEM file, and no others.
///
/// # Errors
/// It cannot be read, or holds none; the text says what is taken.
pub(crate) fn client_config_of(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let takes = "takes a PEM file with certificates of authorities, or with the server's own if it has signed itself";
    let name = file.display();
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| format!("cannot read {name}: {error}; {takes}"))?;
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 {
        return Err(format!("{name} holds no certificate; {takes}"));
    }
    trusting(roots)
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
