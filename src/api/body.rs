//! Request bodies: JSON text within a limit.
//!
//! Whatever has a body to be read takes no parameter, and says so here: `?dry_run=true` beside a verb would otherwise do
//! what it was to try. [`read_beside_parameters`] is for the one route that has some.

use super::problem::Problem;
use super::{BODY_SLACK, parameters};
use crate::task::Fault;
use crate::task::fields::Fields;
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A body may take this long to arrive, whatever its size.
const GRACE: Duration = Duration::from_secs(15);
/// And so much longer for each KiB that has arrived: whoever sends more slowly than 4 KiB/s only holds a connection.
const PER_KIB: Duration = Duration::from_millis(250);
const KIB: usize = 1024;

/// Reads a JSON body of at most `limit` bytes: 415 for another media type, 413 for a larger body. 422 for parameters.
pub(super) async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    parameters::none_of(request)?;
    read_beside_parameters(request, payload, limit).await
}

/// The same of a route that has read its parameters.
pub(super) async fn read_beside_parameters(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<Bytes, Problem> {
    check_media_type(request)?;
    collect(request, payload, limit).await
}

/// The same; no body, of whatever media type, is an empty object.
pub(super) async fn read_or_empty(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    parameters::none_of(request)?;
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
    if request.headers().get_all(CONTENT_TYPE).nth(1).is_some() {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the header Content-Type stands twice; takes one",
        ));
    }
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

/// What is compressed may be anything when it is not: how large it is would be found out too late.
fn check_encoding(request: &HttpRequest) -> Result<(), Problem> {
    let Some(encoding) = request.headers().get(CONTENT_ENCODING) else { return Ok(()) };
    let encoding = encoding.to_str().unwrap_or("something else");
    if encoding.trim().eq_ignore_ascii_case("identity") {
        return Ok(());
    }
    let got = crate::task::name::quoted(encoding);
    let detail = format!("got the Content-Encoding {got}; takes bodies as they are, without any");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

async fn collect(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"));
    check_encoding(request)?;
    let announced = header(request, CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let began = Instant::now();
    // Most bodies come in one piece, which is then the body.
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let got = first.len().max(all.len());
        let kib = u32::try_from(got / KIB).unwrap_or(u32::MAX);
        let piece = match timeout_at(began + GRACE + PER_KIB.saturating_mul(kib), payload.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => {
                return Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}")));
            }
            Ok(None) => return Ok(if all.is_empty() { first } else { all.freeze() }),
            Err(_) => return Err(too_slow(got)),
        };
        if piece.len() > limit.saturating_sub(got) {
            return Err(too_large());
        }
        if got == 0 {
            first = piece;
            continue;
        }
        if all.is_empty() {
            // By what has come, not by what was announced: a promise costs nothing.
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
    }
}

fn too_slow(got: usize) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body came too slowly: {got} bytes were here in time"))
}

/// The body as text.
pub(super) fn text(bytes: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| malformed(&format!("the body is not UTF-8: {error}")))
}

/// The fields of the body, which is an object.
pub(super) fn fields(bytes: &Bytes) -> Result<Fields<'_>, Problem> {
    Fields::read(text(bytes)?).map_err(|error| unreadable(&error))
}

/// 422 with what is wrong with the fields, and with those that nobody has taken.
pub(super) fn no_faults(fields: Fields<'_>) -> Result<(), Problem> {
    Problem::unless(fields.finish())
}

/// For a request that says nothing: no body, or an empty object.
pub(super) async fn nothing(request: &HttpRequest, payload: Payload) -> Result<(), Problem> {
    no_faults(fields(&read_or_empty(request, payload, BODY_SLACK).await?)?)
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
