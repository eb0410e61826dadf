//! `[tls]`: the certificate with which the listener speaks HTTPS.
//!
//! Only the paths are looked at here. The files are for who reads them, and reads them again when they change: the listener.

use super::form::{Why, Word, why};
use super::layers::{Key, Layers};
use std::path::PathBuf;

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and behind it those of its issuers, in PEM.
    pub cert: PathBuf,
    /// Its private key in PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

const CERT: Word<String> = Word {
    takes: "the path of a PEM file: the certificate, and behind it those of its issuers",
    read,
    show: String::clone,
};
const KEY: Word<String> =
    Word { takes: "the path of a PEM file: the certificate's private key, not encrypted", read, show: String::clone };

/// Both or none.
pub(super) fn tls(layers: &mut Layers) -> Option<Tls> {
    let cert = layers.optional(Key::new("tls.cert"), &CERT, "none: HTTP");
    let key = layers.optional(Key::new("tls.key"), &KEY, "none: HTTP");
    match (cert, key) {
        (Some(cert), Some(key)) => return Some(Tls { cert: cert.into(), key: key.into() }),
        (None, None) => {}
        // Where the other one is there and wrong, that has been said.
        _ if layers.faults.iter().any(|fault| fault.key.starts_with("tls.")) => {}
        (Some(_), None) => layers.fault("tls.cert", "is set without tls.key, and the two go together"),
        (None, Some(_)) => layers.fault("tls.key", "is set without tls.cert, and the two go together"),
    }
    None
}

fn read(text: &str) -> Result<String, Why> {
    if text.trim().is_empty() {
        return why("is empty");
    }
    if text.starts_with("-----BEGIN") {
        return why("is the text of a PEM file, not its path");
    }
    Ok(text.to_owned())
}
