//! Where the server is: its URL, read once.

use super::error::SetupError;
use hyper::Uri;
use std::fmt;
use std::str::FromStr;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// As it goes into the `Host` header.
    pub(super) authority: String,
    /// What stands before `/api`, behind a proxy that gives it a place of its own; without a slash at its end.
    pub(super) base: String,
}

impl FromStr for Target {
    type Err = SetupError;

    fn from_str(text: &str) -> Result<Self, SetupError> {
        // First of all: every message below repeats what it got.
        if text.contains('@') {
            return Err(SetupError("got a URL with a user or a password (an @); a key is given with --key".to_owned()));
        }
        let unfit = |why: &str| {
            SetupError(format!(
                "got {text:?}{why}; takes http://HOST:PORT or https://HOST, such as http://127.0.0.1:8000"
            ))
        };
        let uri: Uri = text.trim().parse().map_err(|error| unfit(&format!(", which is no URL: {error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(unfit("")),
        };
        let authority = uri.authority().ok_or_else(|| unfit(""))?;
        if uri.query().is_some() {
            return Err(unfit(", which has a query"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(unfit(", which has no host"));
        }
        Ok(Self {
            tls,
            host,
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_shown_as_it_was() {
        let target: Target = "http://127.0.0.1:8000/".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port, target.base.as_str()), ("127.0.0.1", 8000, ""));
        assert_eq!(target.to_string(), "http://127.0.0.1:8000");
        let target: Target = "https://jobs.example.com/trx/".parse().unwrap();
        assert_eq!((target.tls, target.port, target.base.as_str()), (true, 443, "/trx"));
        assert_eq!(target.to_string(), "https://jobs.example.com/trx");
        let target: Target = "http://[::1]:81".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port, target.authority.as_str()), ("::1", 81, "[::1]:81"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_taken() {
        for wrong in ["", "localhost:8000", "ftp://a", "http://", "http://a?b=c", "http://a b"] {
            let error = wrong.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("takes http://HOST:PORT"), "{error}");
        }
        for wrong in ["http://me:secret@host", "me:secret@host", "http://me:secret@host:x", "://me:secret@"] {
            let error = wrong.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("--key") && !error.contains("secret"), "{error}");
        }
    }
}
