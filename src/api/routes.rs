//! Every route, with the methods it takes and the scope that each needs: the one place to look.
//!
//! The same list is read three ways: as routes of the server, as the table by which [`super::access`] judges a
//! request before anything else is done with it, and as what the specification has to describe.

use super::problem;
use super::{
    docs, events, explain, failures, journal, keys, listing, moves, openapi, ops, pull, queues, schedule_fires,
    schedule_verbs, schedules, stats, task_types, tasks, verbs, workers,
};
use crate::task::Scope;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::web::{self, ServiceConfig, to};
use actix_web::{HttpResponse, Route, guard};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a request must have to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: whoever reaches the process.
    Nothing,
    /// A key, where `metrics.require_key` says so.
    MetricsKey,
    /// A key of this scope.
    Scope(Scope),
}

/// A method of a route.
pub(super) struct Verb {
    method: Method,
    needs: Needs,
    /// Whether HEAD is answered by it too.
    head: bool,
    route: Route,
}

fn get(needs: Needs, route: Route) -> Verb {
    // HEAD is what load balancers probe with; the server leaves the body out.
    let route = route.guard(guard::Any(guard::Get()).or(guard::Head()));
    Verb { method: Method::GET, needs, head: true, route }
}

/// A GET whose answer goes on and on: there is nothing to tell of it beforehand.
fn stream(needs: Needs, route: Route) -> Verb {
    Verb { method: Method::GET, needs, head: false, route: route.guard(guard::Get()) }
}

fn post(needs: Needs, route: Route) -> Verb {
    Verb { method: Method::POST, needs, head: false, route: route.guard(guard::Post()) }
}

fn put(needs: Needs, route: Route) -> Verb {
    Verb { method: Method::PUT, needs, head: false, route: route.guard(guard::Put()) }
}

fn delete(needs: Needs, route: Route) -> Verb {
    Verb { method: Method::DELETE, needs, head: false, route: route.guard(guard::Delete()) }
}

/// Registers every route. A path with a fixed word comes before one with a parameter in its place.
fn register(at: &mut impl FnMut(&'static str, Vec<Verb>)) {
    const READ: Needs = Needs::Scope(Scope::Read);
    const SUBMIT: Needs = Needs::Scope(Scope::Submit);
    const WORK: Needs = Needs::Scope(Scope::Work);
    const OPERATE: Needs = Needs::Scope(Scope::Operate);
    const ADMIN: Needs = Needs::Scope(Scope::Admin);

    at("/", vec![get(Needs::Nothing, to(ops::root))]);
    at("/livez", vec![get(Needs::Nothing, to(ops::livez))]);
    at("/readyz", vec![get(Needs::Nothing, to(ops::readyz))]);
    at("/health", vec![get(Needs::Nothing, to(ops::health))]);
    at("/metrics", vec![get(Needs::MetricsKey, to(ops::metrics))]);

    at("/docs", vec![get(Needs::Nothing, to(docs::page))]);
    at("/api/openapi.json", vec![get(Needs::Nothing, to(openapi::serve))]);

    at("/api/tasks", vec![get(READ, to(listing::list)), post(SUBMIT, to(tasks::submit))]);
    at("/api/tasks/bulk", vec![post(SUBMIT, to(tasks::submit_bulk))]);
    at("/api/tasks/cancel", vec![post(OPERATE, to(verbs::cancel_many))]);
    at("/api/tasks/retry", vec![post(OPERATE, to(verbs::retry_many))]);
    at("/api/tasks/{id}", vec![get(READ, to(tasks::get)), delete(OPERATE, to(verbs::delete))]);
    at("/api/tasks/{id}/attempts", vec![get(READ, to(journal::attempts))]);
    at("/api/tasks/{id}/logs", vec![get(READ, to(journal::logs))]);
    at("/api/tasks/{id}/events", vec![stream(READ, to(events::of_task))]);
    at("/api/tasks/{id}/explain", vec![get(READ, to(explain::explain))]);
    at("/api/tasks/{id}/cancel", vec![post(OPERATE, to(tasks::cancel))]);
    at("/api/tasks/{id}/retry", vec![post(OPERATE, to(verbs::retry))]);
    at("/api/tasks/{id}/run", vec![post(OPERATE, to(verbs::run))]);
    at("/api/tasks/{id}/complete", vec![post(WORK, to(pull::complete))]);
    at("/api/tasks/{id}/fail", vec![post(WORK, to(pull::fail))]);

    at("/api/workers", vec![get(READ, to(workers::list))]);
    at("/api/workers/claim", vec![post(WORK, to(pull::claim))]);
    at("/api/workers/{id}/heartbeat", vec![post(WORK, to(pull::heartbeat))]);

    at("/api/queues", vec![get(READ, to(queues::list))]);
    at("/api/queues/{queue}", vec![get(READ, to(queues::get))]);
    at("/api/queues/{queue}/pause", vec![post(OPERATE, to(queues::pause))]);
    at("/api/queues/{queue}/resume", vec![post(OPERATE, to(queues::resume))]);

    at("/api/failures", vec![get(READ, to(failures::list))]);
    at("/api/stats", vec![get(READ, to(stats::stats))]);
    at("/api/schedules", vec![get(READ, to(schedules::list))]);
    at(
        "/api/schedules/{name}",
        vec![get(READ, to(schedules::get)), put(OPERATE, to(schedules::put)), delete(OPERATE, to(schedules::delete))],
    );
    at("/api/schedules/{name}/pause", vec![post(OPERATE, to(schedule_verbs::pause))]);
    at("/api/schedules/{name}/resume", vec![post(OPERATE, to(schedule_verbs::resume))]);
    at("/api/schedules/{name}/run", vec![post(OPERATE, to(schedule_verbs::run))]);
    at("/api/schedules/{name}/backfill", vec![post(OPERATE, to(schedule_verbs::backfill))]);
    at("/api/schedules/{name}/fires", vec![get(READ, to(schedule_fires::fires))]);
    at("/api/schedules/{name}/next", vec![get(READ, to(schedule_fires::next))]);

    at("/api/task-types", vec![get(READ, to(task_types::list))]);
    at("/api/events", vec![stream(READ, to(moves::of_all))]);

    at("/api/keys", vec![get(ADMIN, to(keys::list)), post(ADMIN, to(keys::create))]);
    at("/api/keys/{id}", vec![delete(ADMIN, to(keys::revoke))]);
    at("/api/keys/{id}/rotate", vec![post(ADMIN, to(keys::rotate))]);
}

/// A route as the table has it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) path: &'static str,
    pub(super) methods: Vec<(Method, Needs)>,
    /// The value of `Allow`.
    allow: String,
}

/// The routes by their patterns.
static TABLE: LazyLock<HashMap<&'static str, Listed>> =
    LazyLock::new(|| listed().into_iter().map(|route| (route.path, route)).collect());

/// Every route, in the order in which they are matched.
pub(super) fn listed() -> Vec<Listed> {
    let mut routes = Vec::new();
    register(&mut |path, verbs| {
        let mut allow: Vec<&str> = Vec::new();
        for Verb { method, head, .. } in &verbs {
            allow.push(method.as_str());
            allow.extend(head.then_some("HEAD"));
        }
        allow.push("OPTIONS");
        let allow = allow.join(", ");
        routes.push(Listed { path, methods: verbs.into_iter().map(|verb| (verb.method, verb.needs)).collect(), allow });
    });
    routes
}

/// A method of a route, as it is described: `docs/reference/api.md` is made from these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub method: Method,
    pub path: &'static str,
    /// The word of the scope that it needs; None: nothing.
    pub scope: Option<&'static str>,
}

/// Every method of every route.
#[must_use]
pub fn reference() -> Vec<Described> {
    let methods = |Listed { path, methods, .. }: Listed| {
        methods.into_iter().map(move |(method, needs)| Described {
            method,
            path,
            scope: match needs {
                Needs::Nothing | Needs::MetricsKey => None,
                Needs::Scope(scope) => Some(scope.as_str()),
            },
        })
    };
    listed().into_iter().flat_map(methods).collect()
}

/// The route that a request's path belongs to, whatever its method: of the path as the router will match it, with its
/// escapes decoded. The request's own `match_pattern` looks at the path as it was sent, and would know another route
/// than the one that answers.
pub(super) fn of(request: &ServiceRequest) -> Option<&'static Listed> {
    TABLE.get(request.resource_map().match_pattern(request.match_info().as_str())?.as_str())
}

impl Listed {
    /// Whether its GET answers HEAD.
    pub(super) fn takes_head(&self) -> bool {
        self.allow.contains("HEAD")
    }

    /// What a request by this method needs; None: the route does not take it.
    pub(super) fn needs(&self, method: &Method) -> Option<Needs> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().find(|(listed, _)| listed == method).map(|(_, needs)| *needs)
    }
}

/// The routes of a server.
pub(super) fn configure(config: &mut ServiceConfig) {
    register(&mut |path, verbs| {
        let allow = TABLE.get(path).map_or("", |route| route.allow.as_str());
        let options = to(move || async move { HttpResponse::NoContent().insert_header((ALLOW, allow)).finish() });
        let resource = verbs.into_iter().fold(web::resource(path), |resource, verb| resource.route(verb.route));
        config.service(
            resource
                .route(options.guard(guard::Options()))
                .default_service(to(move || problem::method_not_allowed(allow))),
        );
    });
}
