//! The signature of [Standard Webhooks](https://www.standardwebhooks.com): by it a receiver knows who calls, that the
//! body is what was sent, and, by the time that is signed with it, that it is no old call played again.

use crate::config::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// Signs with every key, so that a receiver that knows one of them is content: keys can be changed without a gap.
#[derive(Clone)]
pub(super) struct Signer(Vec<Hmac<Sha256>>);

impl Signer {
    /// None: without keys there is no signature.
    pub(super) fn new(keys: &[SigningKey]) -> Option<Self> {
        // A key of any length will do.
        let keyed: Vec<_> = keys.iter().filter_map(|key| Hmac::new_from_slice(key.expose()).ok()).collect();
        (!keyed.is_empty()).then_some(Self(keyed))
    }

    /// `webhook-signature` of a message: `v1,` and base64 for each key, with a space between.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut signature = String::new();
        for keyed in &self.0 {
            let mut mac = keyed.clone();
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            let gap = if signature.is_empty() { "" } else { " " };
            let _ = write!(signature, "{gap}v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        }
        signature
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({} keys)", self.0.len())
    }
}
