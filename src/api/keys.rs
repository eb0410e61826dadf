//! `GET` and `POST /api/keys`, `POST /api/keys/{id}/rotate`, `DELETE /api/keys/{id}`.
//!
//! What is answered here holds in every process, see [`crate::lifecycle::access`]: so each change takes a second.

use super::caller::Caller;
use super::openapi::{KeyPath, KeyRequest, RotateRequest, ScopeWord};
use super::parameters::{self, Pairs};
use super::problem::Problem;
use super::task_json::{Id, Time};
use super::{BODY_SLACK, State, body};
use crate::config::Secret;
use crate::lifecycle::access::{self, AccessError, Made, NewKey};
use crate::store::api_keys::{KeyRow, MAX_KEY_NAME, MAX_SPAN};
use crate::task::fields::{Fields, got};
use crate::task::{KeyId, Scope, duration, name, submission};
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::value::RawValue;
use std::time::Duration;

/// Most queues, and most task types, that one key is restricted to.
pub(super) const MAX_NAMES: usize = 64;
/// Highest limit of a key, in requests a second.
pub(super) const MAX_RATE: u32 = 1_000_000;
/// Shortest life of a key.
pub(super) const MIN_LIFE: Duration = Duration::from_secs(1);

/// Every key, the oldest first.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Keys)]
pub(super) struct KeysJson {
    keys: Vec<KeyJson>,
}

/// A key.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyJson {
    id: Id,
    name: String,
    /// The secret, in the answer that makes it and in no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[schema(value_type = Vec<ScopeWord>)]
    scopes: Vec<&'static str>,
    /// Null: every queue.
    queues: Option<Vec<String>>,
    /// Task types. Null: every one.
    names: Option<Vec<String>>,
    /// Requests a second of one process. Null: as `limits.rate` says.
    rate_limit: Option<u32>,
    created_at: Time,
    created_by: String,
    expires_at: Option<Time>,
    /// To the minute.
    last_used_at: Option<Time>,
    revoked_at: Option<Time>,
    /// Until when the secret from before the last rotation works too.
    previous_until: Option<Time>,
}

impl KeyJson {
    fn new(row: KeyRow, secret: Option<&Secret>) -> Self {
        Self {
            id: Id(row.id.0),
            name: row.name,
            key: secret.map(|secret| secret.expose().to_owned()),
            scopes: row.scopes.iter().map(|scope| scope.as_str()).collect(),
            queues: row.queues,
            names: row.names,
            rate_limit: row.rate_limit,
            created_at: Time(row.created_at),
            created_by: row.created_by,
            expires_at: row.expires_at.map(Time),
            last_used_at: row.last_used_at.map(Time),
            revoked_at: row.revoked_at.map(Time),
            previous_until: row.previous_until.map(Time),
        }
    }
}

/// Every key, the oldest first, with the latest of those revoked.
#[utoipa::path(
    get, path = "/api/keys", tag = "Keys", operation_id = "listKeys",
    summary = "List keys",
    responses((status = 200, description = "Every key, the oldest first, with the latest of those revoked.", body = KeysJson))
)]
pub(super) async fn list(state: Data<State>, query: Pairs) -> Result<HttpResponse, Problem> {
    parameters::none(&query)?;
    let rows = access::list(&state.services()?.tools.store).await?;
    Ok(HttpResponse::Ok().json(KeysJson { keys: rows.into_iter().map(|row| KeyJson::new(row, None)).collect() }))
}

/// Makes a key: 201 with its secret.
#[utoipa::path(
    post, path = "/api/keys", tag = "Keys", operation_id = "createKey",
    summary = "Make a key",
    description = "Every process lets it in from here on. Its secret is in this answer and in no other: only its hash is kept.",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "The key, with its secret.", body = KeyJson),
        (status = 409, description = "There are too many keys: revoke some. Or it is the first and has not the scope `admin`: nobody could make another."),
    )
)]
pub(super) async fn create(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let bytes = body::read(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let key = NewKey {
        name: title(&mut fields),
        scopes: scopes(&mut fields),
        queues: names(&mut fields, "queues", name::MAX_QUEUE),
        names: names(&mut fields, "names", name::MAX_NAME),
        expires_in: fields.take("expires_in", |text| submission::bounded(text, MIN_LIFE, MAX_SPAN)),
        rate_limit: fields.number("rate_limit", 1..=MAX_RATE),
        by: caller.actor().to_owned(),
    };
    let restricted = [("/queues", key.queues.is_some()), ("/names", key.names.is_some())];
    for (pointer, _) in restricted.into_iter().filter(|(_, is)| *is && key.scopes.contains(&Scope::Admin)) {
        fields.fault(pointer, "goes with no admin scope: such a key could make one for itself that is not restricted");
    }
    body::no_faults(fields)?;
    Ok(shown(StatusCode::CREATED, access::create(&services.tools.store, key, state.access.admin()).await?))
}

/// Gives a key another secret: 200 with it.
#[utoipa::path(
    post, path = "/api/keys/{id}/rotate", tag = "Keys", operation_id = "rotateKey",
    summary = "Give a key another secret",
    description = "The one before works on for `overlap`, if that is asked for.",
    params(KeyPath),
    request_body = Option<RotateRequest>,
    responses(
        (status = 200, description = "The key, with its new secret.", body = KeyJson),
        (status = 409, description = "It is revoked, or has expired."),
    )
)]
pub(super) async fn rotate(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    let bytes = body::read_or_empty(&request, payload, BODY_SLACK).await?;
    let mut fields = body::fields(&bytes)?;
    let overlap = fields.take("overlap", |text| submission::bounded(text, Duration::ZERO, duration::MAX.min(MAX_SPAN)));
    body::no_faults(fields)?;
    let made = access::rotate(&services.tools.store, id, overlap.unwrap_or_default(), caller.actor()).await?;
    Ok(shown(StatusCode::OK, made))
}

/// Revokes a key, also one that is so already: 204 when no process lets it in any more.
#[utoipa::path(
    delete, path = "/api/keys/{id}", tag = "Keys", operation_id = "revokeKey",
    summary = "Revoke a key",
    description = "Also one that is revoked already.",
    params(KeyPath),
    responses(
        (status = 204, description = "It is revoked: no process lets it in any more."),
        (status = 409, description = "It is the last key with the scope `admin`: make another first."),
    )
)]
pub(super) async fn revoke(
    state: Data<State>,
    caller: Caller,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let services = state.services()?;
    let id = parse_id(&id)?;
    body::nothing(&request, payload).await?;
    access::revoke(&services.tools.store, id, caller.actor(), state.access.admin()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The one answer with the secret; no cache may keep it.
fn shown(status: StatusCode, made: Made) -> HttpResponse {
    let Made { key, secret } = made;
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(KeyJson::new(key, Some(&secret)))
}

fn title(fields: &mut Fields<'_>) -> String {
    let takes = format!("1 to {MAX_KEY_NAME} characters that say whose it is");
    let read = |text: &str| match serde_json::from_str::<String>(text) {
        Ok(title) if is_title(&title) => Ok(title),
        _ => Err(got(text, &takes)),
    };
    let title = match fields.raw_or_null("name") {
        None => Err(format!("is missing; takes {takes}")),
        Some(text) => read(text),
    };
    title.unwrap_or_else(|fault| {
        fields.fault("/name", fault);
        String::new()
    })
}

/// It stands in logs and tables: one line, with something in it.
fn is_title(text: &str) -> bool {
    let count = text.chars().count();
    (1..=MAX_KEY_NAME).contains(&count) && text.trim() == text && !text.chars().any(char::is_control)
}

fn scopes(fields: &mut Fields<'_>) -> Vec<Scope> {
    let words = Scope::ALL.map(Scope::as_str).join(", ");
    let mut scopes = Vec::new();
    let items = fields.items("scopes", Scope::ALL.len(), &format!("of {words}")).unwrap_or_default();
    for (n, item) in items.into_iter().enumerate() {
        let scope = serde_json::from_str::<String>(item.get()).ok().and_then(|word| Scope::parse(&word));
        match scope {
            Some(scope) if scopes.contains(&scope) => {}
            Some(scope) => scopes.push(scope),
            None => fields.fault(&format!("/scopes/{n}"), got(item.get(), &words)),
        }
    }
    scopes
}

/// A restriction; None where there is none.
fn names(fields: &mut Fields<'_>, field: &'static str, longest: usize) -> Option<Vec<String>> {
    let takes = format!("a list of 1 to {MAX_NAMES} names; leave it out for all");
    let items = fields.take(field, |text| match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(items) if (1..=MAX_NAMES).contains(&items.len()) => Ok(items),
        _ => Err(got(text, &takes)),
    })?;
    let mut names: Vec<String> = Vec::with_capacity(items.len());
    for (n, item) in items.into_iter().enumerate() {
        let checked = match serde_json::from_str::<String>(item.get()) {
            Ok(word) => name::check(&word, longest).map(|()| word).map_err(|fault| fault.to_string()),
            Err(_) => Err(got(item.get(), "a name")),
        };
        match checked {
            Ok(word) if names.contains(&word) => {}
            Ok(word) => names.push(word),
            Err(fault) => fields.fault(&format!("/{field}/{n}"), fault),
        }
    }
    Some(names)
}

fn parse_id(text: &str) -> Result<KeyId, Problem> {
    text.parse().map_err(|fault| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the key's id {} {fault}", name::quoted(text)))
    })
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Unknown(_) => Problem::new(StatusCode::NOT_FOUND, error.to_string()),
            AccessError::TooMany | AccessError::NoAdmin | AccessError::LastAdmin(_) | AccessError::Over(_) => {
                Problem::new(StatusCode::CONFLICT, error.to_string())
            }
        }
    }
}
