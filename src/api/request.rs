//! Around every request: who may ask, its id, its metrics, its log line.

use super::access::Checked;
use super::refusals::Refusal;
use super::{State, compression, problem, routes, unread};
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id, or one with other characters than these, is replaced.
const MAX_ID: usize = 64;

/// The middleware. Nothing in it is worth more than the request: a span is made only where somebody
/// reads it, which is at the level `debug`; a failure is logged here, with the request's id.
pub(super) async fn observe(
    state: Data<State>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let began = Instant::now();
    let id = request_id(&request);
    let route = routes::of(&request);
    let chunks = unread::watch(&mut request);
    let Checked { caller, standing } = state.access.check(&request, route).await;
    let judged = caller.is_err();
    let answered = match caller.map(|caller| caller.map(|caller| request.extensions_mut().insert(caller))) {
        Err(problem) => Ok(request.error_response(problem)),
        Ok(_) if tracing::enabled!(tracing::Level::DEBUG) => {
            let span = tracing::debug_span!(
                "request",
                request.id = id.to_str().unwrap_or_default(),
                http.method = %request.method(),
                http.path = request.path(),
                task.id = tracing::field::Empty,
            );
            next.call(request).instrument(span).await.map(ServiceResponse::map_into_boxed_body)
        }
        Ok(_) => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
    };
    let mut response = answered?;
    let seconds = began.elapsed();
    let status = response.status();
    if status == StatusCode::FORBIDDEN && !judged {
        state.access.refusals.count(Refusal::Restricted);
    }
    let request = response.request();
    problem::answered(status, request.path());
    if let Some(cause) = response.response().error().and_then(problem::cause) {
        let id = id.to_str().unwrap_or_default();
        tracing::error!(request.id = id, http.method = %request.method(), http.path = request.path(), error = cause, "a request failed");
    }
    // A bounded set: the patterns of routes, the methods that exist.
    let route = route.map_or("other", |route| route.path);
    let method = request.method().as_str();
    let method =
        if ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"].contains(&method) { method } else { "other" };
    state.metrics.http_requests.with_label_values(&[method, route, status.as_str()]).inc();
    state.metrics.http_seconds.with_label_values(&[method, route]).observe(seconds.as_secs_f64());
    tracing::debug!(
        request.id = id.to_str().unwrap_or_default(),
        http.status = status.as_u16(),
        duration_ms = millis(seconds),
        "request answered"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(standing) = standing {
        standing.tell(response.headers_mut());
    }
    if is_read(response.request().method()) && !response.headers().contains_key(CACHE_CONTROL) {
        // It says how things are now.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(unread::hang_up(compression::compressed(response).await?, chunks))
}

/// Others' answers nobody keeps unless he is told to.
fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Milliseconds with three decimals.
fn millis(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1e3
}

/// The client's id where it is a sensible one, else a new one.
fn request_id(request: &ServiceRequest) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=MAX_ID).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    request.headers().get(REQUEST_ID).filter(sensible).cloned().unwrap_or_else(fresh_id)
}

/// Told apart from other processes' by a random part, from this one's by a count.
fn fresh_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let text = format!("{:016x}-{:x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none")) // hexadecimal digits are a header's value
}
