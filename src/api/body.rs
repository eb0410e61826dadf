//! Request bodies: JSON text within a limit.

use super::problem::Problem;
use crate::task::Fault;
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use actix_web::web::{Bytes, Payload};

/// Reads a JSON body of at most `limit` bytes: 415 for another media type, 413 for a larger body.
pub(super) async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    check_media_type(request)?;
    collect(request, payload, limit).await
}

/// The same; no body, of whatever media type, is an empty object.
pub(super) async fn read_or_empty(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let bytes = collect(request, payload, limit).await?;
    if bytes.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    check_media_type(request)?;
    Ok(bytes)
}

fn header(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

fn check_media_type(request: &HttpRequest) -> Result<(), Problem> {
    let media_type = header(request, CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let got = if media_type.is_empty() { "no Content-Type" } else { media_type };
        let detail =
            format!("got {got}; takes application/json (with curl: --json, or -H 'content-type: application/json')");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

async fn collect(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"));
    let announced = header(request, CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match payload.to_bytes_limited(limit).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))),
        Err(_) => Err(too_large()),
    }
}

/// The body as text.
pub(super) fn text(bytes: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| malformed(&format!("the body is not UTF-8: {error}")))
}

/// JSON that is no object is a fault of the input; anything else is no JSON.
pub(super) fn unreadable(error: &serde_json::Error) -> Problem {
    match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(vec![Fault::at("", error)]),
        _ => malformed(&format!("the body is not JSON: {error}")),
    }
}

/// 400: not JSON at all.
pub(super) fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
