//! `GET /docs`: the specification for people, from assets within the program. The page is rendered in the browser from
//! `/api/openapi.json`, and needs nothing from anywhere else.

use super::etag;
use super::openapi::{IfNoneMatch, tag};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const HTML: &str = include_str!("index.html");
const STYLE: &str = include_str!("docs.css");
const SCRIPT: &str = include_str!("docs.js");

struct Page {
    html: String,
    etag: HeaderValue,
    policy: String,
}

/// One document: the style and the script stand in it, and the policy names their hashes, so that no other runs.
static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = HTML.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    Page { etag: tag(html.as_bytes()), html, policy }
});

/// The documentation page.
#[utoipa::path(
    get, path = "/docs", tag = "Process", operation_id = "getDocumentation", params(IfNoneMatch),
    summary = "The documentation page",
    description = "This specification for people, with a form that tries each call.",
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html; charset=utf-8", example = json!("<!doctype html>\n<html lang=\"en\">...")),
        (status = 304, description = "The client has it: its `If-None-Match` names this version."),
    )
)]
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    let page = &*PAGE;
    let known = etag::is_known(request.headers(), &page.etag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((ETAG, page.etag.clone()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, page.policy.as_str()))
        .insert_header((HeaderName::from_static("referrer-policy"), "no-referrer"))
        .insert_header((HeaderName::from_static("x-content-type-options"), "nosniff"));
    if known {
        return response.finish();
    }
    response.insert_header((CONTENT_TYPE, "text/html; charset=utf-8")).body(page.html.as_str())
}
