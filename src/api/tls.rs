//! HTTPS at the listener: rustls with ring, TLS 1.2 and 1.3.
//!
//! HTTP/1.1 is all that is offered. Actix announces h2 only where it is built with it, and it is not: what a client may
//! do here (how slowly it may send, how much, and when it is hung up on) is proven for HTTP/1.1 alone.
//!
//! Certificates are renewed every few weeks by programs that know nothing of this one. So both files are read again and
//! again, and taken where they have changed and go together; there is nothing to call after a renewal.

mod validity;

use crate::config::Tls;
use crate::telemetry::{Episode, Metrics};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use tokio_util::sync::CancellationToken;
use validity::not_after;

/// Between two looks at the files.
const INTERVAL: Duration = Duration::from_secs(10);
/// What lies behind is not read: no certificate and no key is so long.
const MAX_BYTES: u64 = 1 << 20;
/// Others than the owner and the group can read it, or the group can write it.
const TOO_OPEN: u32 = 0o027;

/// What is wrong with the certificate or its key: the key of the configuration, the file, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// The listener's certificate with its key, as the files had them last.
pub struct Certificate {
    files: Tls,
    current: RwLock<Arc<Loaded>>,
}

/// A pair that goes together.
struct Loaded {
    /// What the files held.
    texts: [Vec<u8>; 2],
    pair: Arc<CertifiedKey>,
    /// When it expires, in seconds since 1970. None: it does not say so in a way that is understood.
    not_after: Option<i64>,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// When one cannot be read, is none, or the two do not go together.
    pub fn load(files: &Tls) -> Result<Self, TlsError> {
        let loaded = Loaded::build(files, texts(files)?)?;
        Ok(Self { files: files.clone(), current: RwLock::new(Arc::new(loaded)) })
    }

    /// What the listener speaks.
    ///
    /// # Errors
    /// There are none that a user could cause.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        Ok(ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(format!("TLS cannot be set up: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(resolver))
    }

    /// What may be wrong, and does not keep anybody from using it.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let path = self.files.key.display();
        let mode = std::fs::metadata(&self.files.key).ok()?.mode() & 0o777;
        (mode & TOO_OPEN != 0).then(|| {
            format!("tls.key: {path} can be read or written by others than its owner (mode {mode:o}): chmod 600 {path}")
        })
    }

    /// When it expires, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> Option<i64> {
        self.current().not_after
    }

    /// Takes what the files have, as soon as they have something new that goes together; until stopped.
    pub async fn watch(&self, metrics: &Metrics, stop: CancellationToken) {
        let trouble = Episode::new("certificate of the listener");
        loop {
            self.show(metrics);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let (files, before) = (self.files.clone(), self.current());
            // They may lie on a file system that answers late.
            let looked = tokio::task::spawn_blocking(move || {
                let texts = texts(&files)?;
                if texts == before.texts { Ok(None) } else { Loaded::build(&files, texts).map(Some) }
            });
            match looked.await {
                Ok(Ok(None)) => trouble.succeeded(),
                Ok(Ok(Some(loaded))) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                    trouble.succeeded();
                    tracing::info!(not_after = self.not_after(), "the listener has a new certificate");
                }
                // What it has is used on. One of two files may be new, and the other will be soon.
                Ok(Err(error)) => trouble.failed(&error),
                Err(error) => trouble.failed(&error),
            }
        }
    }

    fn show(&self, metrics: &Metrics) {
        let seconds = Duration::from_secs(u64::try_from(self.not_after().unwrap_or(0)).unwrap_or(0));
        metrics.tls_not_after.set(seconds.as_secs_f64());
    }

    fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().pair))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Loaded {
    fn build(files: &Tls, texts: [Vec<u8>; 2]) -> Result<Self, TlsError> {
        let [cert, key] = &texts;
        let (cert_path, key_path) = (files.cert.display(), files.key.display());
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>().map_err(|error| {
                TlsError(format!("tls.cert: {cert_path} is no proper PEM file: {error}; takes {CERT_TAKES}"))
            })?;
        let Some(first) = chain.first() else {
            let hint = if has(cert, " PRIVATE KEY-----") { ", but a private key: is it that of tls.key?" } else { "" };
            return Err(TlsError(format!("tls.cert: {cert_path} holds no certificate{hint}; takes {CERT_TAKES}")));
        };
        let not_after = not_after(first);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            let hint = if has(key, "BEGIN ENCRYPTED PRIVATE KEY") || has(key, "Proc-Type: 4,ENCRYPTED") {
                ", but an encrypted one (openssl pkey -in ENCRYPTED -out PLAIN decrypts it)"
            } else if has(key, "BEGIN CERTIFICATE-----") {
                ", but a certificate: is it that of tls.cert?"
            } else {
                ""
            };
            TlsError(format!("tls.key: {key_path} holds no private key that can be used{hint}; takes {KEY_TAKES}"))
        })?;
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError(format!(
                "tls.key: {key_path} is not the private key of the first certificate in {cert_path} (tls.cert); takes the key \
                 that the certificate was made for"
            )),
            Error::InvalidCertificate(why) => {
                TlsError(format!("tls.cert: the first certificate in {cert_path} cannot be read: {why:?}; takes {CERT_TAKES}"))
            }
            other => TlsError(format!("tls.key: the key in {key_path} cannot be used: {other}; takes {KEY_TAKES}")),
        })?;
        Ok(Self { texts, pair: Arc::new(pair), not_after })
    }
}

const CERT_TAKES: &str = "a PEM file with the certificate, and behind it those of its issuers";
const KEY_TAKES: &str = "a PEM file with an RSA, ECDSA or Ed25519 key (PKCS#8, PKCS#1 or SEC1) that is not encrypted";

fn has(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

fn texts(files: &Tls) -> Result<[Vec<u8>; 2], TlsError> {
    let read = |key: &str, path: &Path, takes: &str| {
        bytes(path).map_err(|error| TlsError(format!("{key}: cannot read {}: {error}; takes {takes}", path.display())))
    };
    Ok([read("tls.cert", &files.cert, CERT_TAKES)?, read("tls.key", &files.key, KEY_TAKES)?])
}

fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}
