//! Errors as RFC 9457 `application/problem+json`. A 500 says nothing but its request id; the
//! log says the rest.

use crate::lifecycle::submit::SubmitError;
use crate::store::StoreError;
use crate::task::Fault;
use crate::telemetry::Episode;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use std::fmt;

/// Seconds after which a client may try again: while the database is away, or its key's limit is passed.
const RETRY_SECONDS: &str = "1";

/// A refused or failed request.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<Fault>,
    header: Option<(HeaderName, &'static str)>,
    /// For the log, not for the client.
    cause: Option<Box<str>>,
}

/// What the log says of an error beyond its answer.
pub(super) fn cause(error: &actix_web::Error) -> Option<&str> {
    error.as_error::<Problem>()?.cause.as_deref()
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), header: None, cause: None }
    }

    /// The input was understood and is wrong: every fault at once.
    pub(super) fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{} {}", only.pointer, only.detail),
            several => format!("{} faults; errors lists each", several.len()),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// The same, where there is a fault.
    pub(super) fn unless(errors: Vec<Fault>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self::invalid(errors)) }
    }

    /// Try again later.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self { header: Some((RETRY_AFTER, RETRY_SECONDS)), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The unique key at this place is held, and there is no task to answer with.
    pub(super) fn gone_holder(pointer: &str, error: &SubmitError) -> Self {
        Self::new(StatusCode::GONE, format!("#{pointer} {error}; nothing was accepted"))
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self { header: Some((WWW_AUTHENTICATE, "Bearer")), ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// The key's limit is passed; within a second there is room again.
    pub(super) fn too_often() -> Self {
        let detail = "this key has sent more requests than it may in a second; RateLimit-Policy says how many";
        Self { header: Some((RETRY_AFTER, RETRY_SECONDS)), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// Unique keys at these places are held by tasks that the caller must not see; so many others were accepted.
    pub(super) fn held_outside(errors: Vec<Fault>, accepted: usize) -> Self {
        let detail = format!("unique keys are held by tasks that this key may not see; {accepted} tasks were accepted");
        Self { errors, ..Self::new(StatusCode::CONFLICT, detail) }
    }

    /// Outside of what the key is restricted to: each place.
    pub(super) fn restricted(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{} {}", only.pointer, only.detail),
            several => format!("this key is restricted, and {} places are outside; errors lists each", several.len()),
        };
        Self { errors, ..Self::new(StatusCode::FORBIDDEN, detail) }
    }

    pub(super) fn no_api_role() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "this process does not have the api role; it serves /livez, /readyz, /health and /metrics",
        )
    }

    /// Nothing is said outside; the cause is logged with the request's id.
    pub(super) fn internal(cause: &dyn fmt::Display) -> Self {
        let detail = "internal error; the log has more under this answer's x-request-id";
        Self { cause: Some(cause.to_string().into()), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        };
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = HttpResponse::build(self.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some((name, value)) = &self.header {
            response.insert_header((name.clone(), HeaderValue::from_static(value)));
        }
        response.body(text)
    }
}

/// One line when requests begin to be answered 503 and one when that is over: their number is the
/// clients' choice.
static OUTAGE: Episode = Episode::new("requests that need the database");

/// An answer went out; one that says yes ends an outage.
pub(super) fn answered(status: StatusCode, path: &str) {
    if status.is_success() && path.starts_with("/api/") {
        OUTAGE.succeeded();
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) | StoreError::Lost(_) | StoreError::TimedOut | StoreError::Contended(_) => {
                tracing::debug!(%error, "a request was answered 503");
                OUTAGE.failed(&error);
                Self::unavailable("the database cannot be reached at the moment")
            }
            StoreError::Refused(_) | StoreError::Unexpected(_) => Self::internal(&error),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::TooManyQueues { .. } => Self::invalid(vec![Fault::at("/queue", &error)]),
            SubmitError::HolderGone { .. } => Self::gone_holder("/unique_key", &error),
            SubmitError::InFlight => Self {
                header: Some((RETRY_AFTER, RETRY_SECONDS)),
                ..Self::new(StatusCode::CONFLICT, error.to_string())
            },
            SubmitError::OtherRequest => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            SubmitError::FirstGone(_) => Self::new(StatusCode::GONE, error.to_string()),
            SubmitError::Stopping => Self::unavailable("this process is stopping"),
        }
    }
}

/// Any path that is no route.
pub(super) async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "no such route; /api/openapi.json lists the routes, /docs shows them, /health says how the process is",
    ))
}

/// Any method that a route does not have.
pub(super) async fn method_not_allowed(allowed: &'static str) -> Result<HttpResponse, Problem> {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("this route takes {allowed}"));
    Err(Problem { header: Some((ALLOW, allowed)), ..problem })
}
