//! The open endpoints, in every role.

use super::State;
use super::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::Data;

/// To the documentation, for whoever opens the address in a browser.
pub(super) async fn root() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, "/docs")).finish()
}

/// The process answers.
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// 200 when submissions would be accepted (with the api role), and the other roles' services
/// run: so also without Redis.
pub(super) async fn readyz(state: Data<State>) -> Result<HttpResponse, Problem> {
    match state.health.readiness() {
        Ok(()) => Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n")),
        Err(why) => Err(Problem::unavailable(why)),
    }
}

/// How the parts are: 200 for `ok` and `degraded`, 503 for `down`.
pub(super) async fn health(state: Data<State>) -> HttpResponse {
    let report = state.health.report();
    let mut response = if report.is_down() { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    response.json(report)
}

/// Prometheus text.
pub(super) async fn metrics(state: Data<State>) -> Result<HttpResponse, Problem> {
    let text = state.metrics.render().map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")).body(text))
}
