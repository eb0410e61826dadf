//! `[tls]`: keys that have their names and rules, and nothing behind them in this version.
//!
//! Taking them in silence would be a lie about who can read the traffic, so setting one is a fault that says what to do
//! instead.

use super::form::Word;
use super::layers::{Key, Layers};

const TLS_INSTEAD: &str = "TLS is not part of this version: terminate it in front, at a reverse proxy or load balancer";

const PATH: Word<String> =
    Word { takes: "the path of a PEM file", read: |text| Ok(text.to_owned()), show: String::clone };

/// `tls.cert` and `tls.key`: both or none, and for now none.
pub(super) fn tls(layers: &mut Layers) {
    let cert = layers.optional(Key::new("tls.cert"), &PATH, "none");
    let key = layers.optional(Key::new("tls.key"), &PATH, "none");
    for (name, given, other) in
        [("tls.cert", &cert, key.as_ref().ok_or("tls.key")), ("tls.key", &key, cert.as_ref().ok_or("tls.cert"))]
    {
        match (given, other) {
            (None, _) => {}
            (Some(_), Ok(_)) => layers.fault(name, format!("is set, but {TLS_INSTEAD}")),
            (Some(_), Err(missing)) => {
                layers
                    .fault(name, format!("is set without {missing}, and the two go together; besides, {TLS_INSTEAD}"));
            }
        }
    }
}
