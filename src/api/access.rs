//! Who may ask. With a key configured, whoever has it. Without one, only this machine: the
//! daemon then listens on loopback alone, and requests whose `Host` or `Origin` is not
//! loopback are refused, so that no web page can reach it through a browser (DNS rebinding).

use super::problem::Problem;
use super::routes::{Listed, Needs};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use sha2::{Digest, Sha256};
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The rules of this process.
#[derive(Debug, Clone)]
pub struct Access {
    /// SHA-256 of the bootstrap key. None: loopback only.
    key: Option<[u8; 32]>,
    /// Whether `/metrics` wants a key too.
    metrics_need_key: bool,
}

/// Who asks. A handler takes it as an argument.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    actor: Arc<str>,
}

impl Caller {
    /// Who that is, for what is kept of who did what.
    pub(super) fn actor(&self) -> &str {
        &self.actor
    }

    fn named(actor: &str) -> Self {
        Self { actor: actor.into() }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // There behind `Access::check`; whoever came another way is nobody.
        ready(request.extensions().get().cloned().ok_or_else(|| Problem::unauthorized(NO_KEY)))
    }
}

const NO_KEY: &str = "a key is needed: Authorization: Bearer <key>";

impl Access {
    /// With this key, or with none.
    #[must_use]
    pub fn new(key: Option<&str>, metrics_need_key: bool) -> Self {
        Self { key: key.map(hash), metrics_need_key }
    }

    /// Who asks for this route (None: for a path that is none), where they may.
    pub(super) fn check(&self, request: &ServiceRequest, route: Option<&Listed>) -> Result<Option<Caller>, Problem> {
        let method = request.method();
        match route.map(|route| route.needs(method)) {
            Some(Some(Needs::Nothing)) => return Ok(None),
            Some(Some(Needs::MetricsKey)) if !self.metrics_need_key => return Ok(None),
            // The methods of a route are in the specification, which is open.
            Some(None) if method == Method::OPTIONS && self.key.is_some() => return Ok(None),
            _ => {}
        }
        match &self.key {
            Some(key) => {
                let given = header(request, AUTHORIZATION).and_then(bearer);
                let given = given.ok_or_else(|| Problem::unauthorized(NO_KEY))?;
                // Hashes of equal length, compared in constant time.
                let right: bool = hash(given).ct_eq(key).into();
                if right { Ok(Some(Caller::named("key"))) } else { Err(Problem::unauthorized("this key is not valid")) }
            }
            None => {
                let host = header(request, HOST).is_some_and(|host| is_loopback(without_port(host)));
                let origin = header(request, ORIGIN).is_none_or(|origin| {
                    origin.split_once("://").is_some_and(|(_, host)| is_loopback(without_port(host)))
                });
                if host && origin {
                    return Ok(Some(Caller::named("local")));
                }
                let detail = "without API keys only requests to and from this machine are accepted; set TASKRUNNERX_API_KEY to serve others";
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
        }
    }
}

fn header(request: &ServiceRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;
    use actix_web::test::TestRequest;

    fn allowed(access: &Access, path: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = TestRequest::with_uri(path);
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let route = routes::listed().into_iter().find(|route| route.path == path);
        access.check(&request.to_srv_request(), route.as_ref()).is_ok()
    }

    #[test]
    fn without_a_key_only_loopback_hosts_and_origins() {
        let access = Access::new(None, false);
        let good = ["localhost", "localhost:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "LOCALHOST"];
        for host in good {
            assert!(allowed(&access, "/api/tasks", &[("host", host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1:8000", "[::2]", "127.0.0.1.evil.example", ""] {
            assert!(!allowed(&access, "/api/tasks", &[("host", host)]), "{host}");
        }
        assert!(allowed(&access, "/api/tasks", &[("host", "localhost"), ("origin", "http://localhost:3000")]));
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            assert!(!allowed(&access, "/api/tasks", &[("host", "localhost"), ("origin", origin)]), "{origin}");
        }
        assert!(allowed(&access, "/health", &[("host", "anything")]));
    }

    #[test]
    fn with_a_key_it_is_needed_everywhere_but_on_the_open_endpoints() {
        let access = Access::new(Some("trx_0123456789abcdef"), false);
        assert!(allowed(&access, "/api/tasks", &[("authorization", "Bearer trx_0123456789abcdef")]));
        for value in ["Bearer trx_0123456789abcdeF", "Bearer ", "trx_0123456789abcdef", "Basic trx_0123456789abcdef"] {
            assert!(!allowed(&access, "/api/tasks", &[("authorization", value)]), "{value}");
        }
        assert!(!allowed(&access, "/nothing", &[("host", "localhost")]));
        assert!(allowed(&access, "/metrics", &[]));
        assert!(!allowed(&Access::new(Some("trx_0123456789abcdef"), true), "/metrics", &[]));
    }
}
