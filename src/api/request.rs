//! Around every request: its id, its span, its metrics.

use super::{State, problem};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use std::time::{Duration, Instant};
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id, or one with other characters than these, is replaced.
const MAX_ID: usize = 64;

/// The middleware.
pub(super) async fn observe(
    state: Data<State>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let began = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        request.id = %id,
        http.method = %method,
        http.path = request.path(),
        task.id = tracing::field::Empty,
    );
    let mut response = match next.call(request).instrument(span.clone()).await {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => return Err(error),
    };
    let seconds = began.elapsed();
    let status = response.status();
    problem::answered(status, response.request().path());
    // A bounded set: the patterns of routes, the methods that exist.
    let route = response.request().match_pattern().unwrap_or_else(|| "other".to_owned());
    let method = if method.as_str().len() <= 7 { method.as_str() } else { "other" };
    let method =
        if ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"].contains(&method) { method } else { "other" };
    state.metrics.http_requests.with_label_values(&[method, &route, status.as_str()]).inc();
    state.metrics.http_seconds.with_label_values(&[method, &route]).observe(seconds.as_secs_f64());
    span.in_scope(|| tracing::debug!(http.status = status.as_u16(), duration_ms = millis(seconds), "request answered"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// Milliseconds with three decimals.
fn millis(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1e3
}

/// The client's id where it is a sensible one, else a new one.
fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sensible = |id: &&str| {
        (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    given.filter(sensible).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}
