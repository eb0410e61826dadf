//! Compression of answers that are worth it, for clients that take it. A small answer costs one comparison: most are
//! one task, and packing that takes longer than sending it. Streams of events have no size, and are left alone.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, fn_service};
use actix_web::error::ErrorInternalServerError;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use actix_web::middleware::Compress;
use std::cell::Cell;
use std::future::ready;
use std::rc::Rc;

/// Smaller answers go as they are, in bytes.
const LEAST: u64 = 1024;

/// The answer, compressed where that is worth it and the client takes it.
pub(super) async fn compressed(mut answer: ServiceResponse<BoxBody>) -> actix_web::Result<ServiceResponse<BoxBody>> {
    if !matches!(answer.response().body().size(), BodySize::Sized(bytes) if bytes >= LEAST)
        || !is_text(answer.headers())
    {
        return Ok(answer);
    }
    // Of an answer to HEAD the size is told, and nothing sent.
    if *answer.request().method() == Method::HEAD || !takes_gzip(answer.request().headers()) {
        answer.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        return Ok(answer);
    }
    // The framework's own, around a service that has the answer already.
    let (request, response) = answer.into_parts();
    let response = Rc::new(Cell::new(Some(response)));
    let answered = fn_service(move |request: ServiceRequest| {
        ready(match response.take() {
            Some(response) => Ok(request.into_response(response)),
            None => Err(ErrorInternalServerError("answered twice")),
        })
    });
    let Ok(compress) = Compress::default().new_transform(answered).await else {
        return Err(ErrorInternalServerError("compression could not be set up"));
    };
    let mut request = ServiceRequest::from_request(request);
    // What was judged above, in the words of who judges it once more: it does not know what `*` stands for.
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let answer = compress.call(request).await?;
    Ok(answer.map_body(|_, body| body.boxed()))
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let text =
        kind.starts_with("text/") || kind.ends_with("json") || kind.ends_with("javascript") || kind.ends_with("+xml");
    text && !headers.contains_key(CONTENT_ENCODING)
}

/// Whether the client takes gzip, and does not like the answer as it is better (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut rest) = (None, None, None);
    let values = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
    for coding in values.flat_map(|text| text.split(',')) {
        let mut parts = coding.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
        });
        let slot = match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => &mut gzip,
            "identity" => &mut identity,
            "*" => &mut rest,
            _ => continue,
        };
        *slot = Some(weight.unwrap_or(1.0));
    }
    let gzip = gzip.or(rest).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it_and_like_it_no_less_than_the_answer_as_it_is() {
        let table: [(&[&'static str], bool); 14] = [
            (&[], false),
            (&["gzip"], true),
            (&["GZIP"], true),
            (&["br, gzip;q=0.5"], true),
            (&["deflate", "gzip"], true),
            (&["*"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["*;q=0"], false),
            (&["br, deflate"], false),
            (&["identity"], false),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0.5, identity;q=0.2"], true),
            (&["gzip;q=x"], false),
        ];
        for (values, takes) in table {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value)));
            assert_eq!(takes_gzip(&headers), takes, "{values:?}");
        }
    }
}
