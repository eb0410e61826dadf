//! The open endpoints, in every role.

use super::State;
use super::health::Report;
use super::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::Data;

/// To the documentation, for whoever opens the address in a browser.
#[utoipa::path(
    get, path = "/", tag = "Process", operation_id = "getRoot",
    summary = "To the documentation",
    responses((
        status = 307, description = "The documentation is at `/docs`.",
        headers(("Location" = String, description = "`docs`."))
    ))
)]
pub(super) async fn root() -> HttpResponse {
    // Beside where the client is, who may know this server below a path.
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, "docs")).finish()
}

/// The process answers.
#[utoipa::path(
    get, path = "/livez", tag = "Process", operation_id = "isAlive",
    summary = "Whether the process answers",
    responses((status = 200, description = "It does.", body = String, example = json!("ok\n")))
)]
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// 200 when submissions would be accepted (with the api role), and the other roles' services
/// run: so also without Redis.
#[utoipa::path(
    get, path = "/readyz", tag = "Process", operation_id = "isReady",
    summary = "Whether submissions would be accepted",
    description = "Also without Redis, which costs latency only.",
    responses(
        (status = 200, description = "They would.", body = String, example = json!("ready\n")),
        (status = 503, description = "They would not; `detail` says why."),
    )
)]
pub(super) async fn readyz(state: Data<State>) -> Result<HttpResponse, Problem> {
    match state.health.readiness() {
        Ok(()) => Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n")),
        Err(why) => Err(Problem::unavailable(why)),
    }
}

/// How the parts are: 200 for `ok` and `degraded`, 503 for `down`.
#[utoipa::path(
    get, path = "/health", tag = "Process", operation_id = "getHealth",
    summary = "How the parts are",
    responses(
        (status = 200, description = "`ok`, or `degraded`: it works, and something is to be mended.", body = Report),
        (status = 503, description = "`down`: without the database nothing is accepted.", body = Report),
    )
)]
pub(super) async fn health(state: Data<State>) -> HttpResponse {
    let report = state.health.report();
    let mut response = if report.is_down() { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    response.json(report)
}

/// Prometheus text.
#[utoipa::path(
    get, path = "/metrics", tag = "Process", operation_id = "getMetrics",
    summary = "Metrics for Prometheus",
    description = "Open, unless `metrics.require_key` is set.",
    responses((
        status = 200, description = "Prometheus text, of this process.", body = String,
        content_type = "text/plain; version=0.0.4; charset=utf-8",
        example = json!("taskrunnerx_build_info{version=\"0.1.0\"} 1\n")
    ))
)]
pub(super) async fn metrics(state: Data<State>) -> Result<HttpResponse, Problem> {
    let text = state.metrics.render().map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")).body(text))
}
