//! Who may ask. With a key, whoever has it: the bootstrap key of the configuration, or one of the database. Where there
//! is neither, and never was one, only this machine: the daemon then listens on loopback alone, and requests whose
//! `Host` or `Origin` is not loopback are refused, so that no web page can reach it through a browser (DNS rebinding).
//!
//! ```text
//!  the route is open? ──► the bootstrap key? ──► a key of the database, valid? ──► not too often? ──► its scope? ──► handler
//! ```

use super::caller::{Caller, Kind, Rights};
use super::keyring::{Found, Keyring, Snapshot};
use super::pace::Standing;
use super::problem::Problem;
use super::refusals::{Refusal, Refusals};
use super::routes::{Listed, Needs};
use crate::lifecycle::access::{Admin, hash};
use crate::store::Store;
use crate::store::api_keys::Hash;
use crate::task::Scope;
use crate::telemetry::Metrics;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use actix_web::http::{Method, StatusCode};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use subtle::ConstantTimeEq;

/// What the configuration says of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// The bootstrap key.
    pub key: Option<&'a str>,
    /// Whether `/metrics` wants a key too.
    pub metrics_need_key: bool,
    /// Whether the listener is reached from this machine alone: only then may it do without any key.
    pub loopback: bool,
    /// Requests a second of keys that have no limit of their own.
    pub rate: Option<NonZeroU32>,
}

/// The rules of this process.
#[derive(Debug)]
pub struct Access {
    /// SHA-256 of the bootstrap key.
    key: Option<Hash>,
    metrics_need_key: bool,
    loopback: bool,
    rate: Option<NonZeroU32>,
    /// None: the database is not there yet.
    keyring: OnceLock<Keyring>,
    bootstrap: Caller,
    local: Caller,
    pub(super) refusals: Refusals,
}

/// What a request came to.
pub(super) struct Checked {
    /// Who asks, where that had to be known.
    pub(super) caller: Result<Option<Caller>, Problem>,
    /// How it stands with the key's limit, where it has one.
    pub(super) standing: Option<Standing>,
}

impl From<Result<Option<Caller>, Problem>> for Checked {
    fn from(caller: Result<Option<Caller>, Problem>) -> Self {
        Self { caller, standing: None }
    }
}

const NO_KEY: &str = "a key is needed: Authorization: Bearer <key>";
const TWO_KEYS: &str = "the header Authorization stands twice; takes one key";
const BAD_KEY: &str = "this key is not valid";
const EXPIRED: &str = "this key has expired, or has been rotated and its overlap is over";
const NOT_YET: &str = "this process is still starting: it cannot ask the database who may ask";
const FOREIGN: &str = "without API keys only requests to and from this machine are accepted; set TASKRUNNERX_API_KEY or make a key with `taskrunnerx apikey create ops --scope admin` to serve others";

impl Access {
    /// Until [`Self::open`], only the bootstrap key lets anybody in.
    #[must_use]
    pub fn new(rules: Rules<'_>, metrics: &Metrics) -> Self {
        let Rules { key, metrics_need_key, loopback, rate } = rules;
        Self {
            key: key.map(hash),
            metrics_need_key,
            loopback,
            rate,
            keyring: OnceLock::new(),
            bootstrap: Caller::new("key", Kind::Bootstrap, Rights::default()),
            local: Caller::new("local", Kind::Local, Rights::default()),
            refusals: Refusals::new(metrics),
        }
    }

    /// The database is there, and has the table of keys.
    pub fn open(&self, store: Store) {
        _ = self.keyring.set(Keyring::new(store, self.rate));
    }

    /// Who asks for this route (None: for a path that is none), where they may.
    pub(super) async fn check(&self, request: &ServiceRequest, route: Option<&Listed>) -> Checked {
        let method = request.method();
        let needs = match route.map(|route| route.needs(method)) {
            Some(Some(Needs::Nothing)) => return Ok(None).into(),
            Some(Some(Needs::MetricsKey)) if !self.metrics_need_key => return Ok(None).into(),
            // The methods of a route are in the specification, which is open.
            Some(None) if method == Method::OPTIONS => return self.check_open(request).await.into(),
            Some(Some(needs)) => Some(needs),
            // A path or a method that there is not: whoever has a key may hear so.
            Some(None) | None => None,
        };
        let Checked { caller, standing } = self.identify(request).await;
        let caller = caller.and_then(|caller| {
            let Some(who) = &caller else { return Ok(caller) };
            self.allow(who, needs).inspect_err(|_| self.refusals.count(Refusal::Scope))?;
            Ok(caller)
        });
        Checked { caller, standing }
    }

    fn allow(&self, caller: &Caller, needs: Option<Needs>) -> Result<(), Problem> {
        match needs {
            Some(Needs::Scope(scope)) => caller.needs(scope),
            // They tell of every queue.
            Some(Needs::MetricsKey) if caller.is_restricted() => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "metrics are of all queues and task types, and this key is restricted",
            )),
            Some(Needs::MetricsKey) => caller.needs(Scope::Read),
            Some(Needs::Nothing) | None => Ok(()),
        }
    }

    /// For what anybody may ask of a server that has keys.
    async fn check_open(&self, request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
        if self.key.is_some() || !self.is_unlocked(&*self.snapshot().await?) {
            return Ok(None);
        }
        self.check_local(request)
    }

    async fn identify(&self, request: &ServiceRequest) -> Checked {
        if request.headers().get_all(AUTHORIZATION).nth(1).is_some() {
            // What stands between might look at the other one.
            return Err(self.unauthorized(request, Refusal::BadKey, TWO_KEYS)).into();
        }
        let given = header(request, AUTHORIZATION).and_then(bearer).map(hash);
        if let (Some(key), Some(given)) = (&self.key, &given) {
            // Hashes of equal length, compared in constant time.
            let right: bool = given.ct_eq(key).into();
            if right {
                return Ok(Some(self.bootstrap.clone())).into();
            }
        }
        if given.is_none() && self.key.is_some() {
            return Err(self.unauthorized(request, Refusal::NoKey, NO_KEY)).into();
        }
        let snapshot = match self.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(problem) => return Err(problem).into(),
        };
        if self.is_unlocked(&snapshot) {
            return self.check_local(request).into();
        }
        let Some(given) = given else { return Err(self.unauthorized(request, Refusal::NoKey, NO_KEY)).into() };
        match snapshot.find(&given) {
            Found::Unknown => Err(self.unauthorized(request, Refusal::BadKey, BAD_KEY)).into(),
            Found::Expired => Err(self.unauthorized(request, Refusal::ExpiredKey, EXPIRED)).into(),
            Found::Valid(known) => {
                self.keyring.get().inspect(|keyring| keyring.used(&known));
                let standing = known.pace.as_ref().map(super::pace::Pace::step);
                if standing.is_some_and(Standing::is_over) {
                    self.refusals.count(Refusal::Rate);
                    return Checked { caller: Err(Problem::too_often()), standing };
                }
                Checked { caller: Ok(Some(known.caller.by(given))), standing }
            }
        }
    }

    /// Whether one of the database's keys must be left that may make others.
    pub(super) fn admin(&self) -> Admin {
        if self.key.is_some() { Admin::Elsewhere } else { Admin::Kept }
    }

    /// Whether it does without any key.
    fn is_unlocked(&self, snapshot: &Snapshot) -> bool {
        self.loopback && self.key.is_none() && snapshot.is_empty()
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        let keyring = self.keyring.get().ok_or_else(|| Problem::unavailable(NOT_YET))?;
        Ok(keyring.current().await?)
    }

    fn check_local(&self, request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
        if is_from_here(request) {
            return Ok(Some(self.local.clone()));
        }
        self.refusals.alarm(Refusal::Foreign, request.peer_addr());
        Err(Problem::new(StatusCode::FORBIDDEN, FOREIGN))
    }

    fn unauthorized(&self, request: &ServiceRequest, why: Refusal, detail: &str) -> Problem {
        self.refusals.alarm(why, request.peer_addr());
        Problem::unauthorized(detail)
    }

    /// Whether somebody who was let in would be so still: for answers that go on and on. Where that cannot be told,
    /// they would not.
    pub(super) async fn still(&self, caller: &Caller) -> bool {
        match caller.kind() {
            Kind::Bootstrap => true,
            Kind::Local => self.snapshot().await.is_ok_and(|snapshot| self.is_unlocked(&snapshot)),
            // The secret, and not the key: one that was rotated away is no longer good.
            Kind::Key(_) => self.snapshot().await.is_ok_and(|snapshot| {
                caller.secret().is_some_and(|secret| matches!(snapshot.find(secret), Found::Valid(_)))
            }),
        }
    }
}

/// Whether a request is to this machine, and from no page of another.
fn is_from_here(request: &ServiceRequest) -> bool {
    let host = header(request, HOST).is_some_and(|host| is_loopback(without_port(host)))
        && request.uri().host().is_none_or(is_loopback);
    let origin = header(request, ORIGIN)
        .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| is_loopback(without_port(host))));
    host && origin
}

fn header(request: &ServiceRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
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

    fn request(path: &str, headers: &[(&str, &str)]) -> ServiceRequest {
        let mut request = TestRequest::with_uri(path);
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        request.to_srv_request()
    }

    #[test]
    fn only_loopback_hosts_and_origins_are_from_here() {
        let local = |headers: &[(&str, &str)]| is_from_here(&request("/api/tasks", headers));
        let good = ["localhost", "localhost:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "LOCALHOST"];
        for host in good {
            assert!(local(&[("host", host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1:8000", "[::2]", "127.0.0.1.evil.example", ""] {
            assert!(!local(&[("host", host)]), "{host}");
        }
        assert!(local(&[("host", "localhost"), ("origin", "http://localhost:3000")]));
        // A target that names another host than `Host` does.
        let target = |path: &str| is_from_here(&request(path, &[("host", "localhost")]));
        assert!(target("http://localhost/api/tasks") && !target("http://evil.example/api/tasks"));
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            assert!(!local(&[("host", "localhost"), ("origin", origin)]), "{origin}");
        }
    }

    /// What a request comes to while the database is not there.
    async fn checked(rules: Rules<'_>, path: &str, headers: &[(&str, &str)]) -> Result<Option<Kind>, StatusCode> {
        use actix_web::ResponseError;
        let access = Access::new(rules, &Metrics::new().unwrap());
        let route = routes::listed().into_iter().find(|route| route.path == path);
        let caller = access.check(&request(path, headers), route.as_ref()).await.caller;
        caller.map(|caller| caller.map(|caller| caller.kind())).map_err(|problem| problem.status_code())
    }

    #[tokio::test]
    async fn without_the_database_only_the_bootstrap_key_and_the_open_endpoints() {
        let key = "trx_0123456789abcdef";
        let with = Rules { key: Some(key), loopback: true, ..Rules::default() };
        let without = Rules { loopback: true, ..Rules::default() };
        let (bearer, local) = (format!("Bearer {key}"), ("host", "localhost"));
        let right = [("authorization", bearer.as_str()), local];
        let (refused, unavailable) = (Err(StatusCode::UNAUTHORIZED), Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(checked(with, "/api/tasks", &right).await, Ok(Some(Kind::Bootstrap)));
        assert_eq!(checked(with, "/nothing", &right).await, Ok(Some(Kind::Bootstrap)));
        for value in ["trx_0123456789abcdef", "Basic trx_0123456789abcdef"] {
            assert_eq!(checked(with, "/api/tasks", &[("authorization", value), local]).await, refused, "{value}");
        }
        for value in ["Bearer trx_0123456789abcdeF", "Bearer "] {
            assert_eq!(checked(with, "/api/tasks", &[("authorization", value), local]).await, unavailable, "{value}");
        }
        assert_eq!(checked(with, "/nothing", &[local]).await, refused);
        // Neither the first nor the last one counts, also where none is needed.
        let wrong = ("authorization", "Bearer trx_0123456789abcdeF");
        for headers in [[right[0], wrong, local], [wrong, right[0], local], [right[0], right[0], local]] {
            assert_eq!(checked(with, "/api/tasks", &headers).await, refused);
            assert_eq!(checked(without, "/api/tasks", &headers).await, refused);
        }
        // Whether there is a key at all is not known yet.
        assert_eq!(checked(without, "/api/tasks", &[local]).await, unavailable);
        assert_eq!(checked(without, "/api/tasks", &right).await, unavailable);
        for rules in [with, without] {
            assert_eq!(checked(rules, "/health", &[("host", "anything")]).await, Ok(None));
            assert_eq!(checked(rules, "/metrics", &[]).await, Ok(None));
            assert!(checked(Rules { metrics_need_key: true, ..rules }, "/metrics", &[local]).await.is_err());
        }
    }
}
