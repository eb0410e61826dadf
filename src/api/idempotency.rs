//! `Idempotency-Key`: a request that may be repeated, and is answered as the first time.

use super::problem::Problem;
use crate::store::tasks::Idempotency;
use crate::task::key::MAX_KEY;
use crate::task::name::quoted;
use crate::task::{KeyHash, RequestHash};
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use std::time::Duration;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// What a key looks like in its header, bare and quoted.
pub(super) const KEY: &str = r#"^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#;
/// Says that an answer is not the first one to its request.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request with this body, if it has one. It belongs to `asker`: another one's is another key.
pub(super) fn of(
    request: &HttpRequest,
    asker: &str,
    body: &[u8],
    retain: Duration,
) -> Result<Option<Idempotency>, Problem> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refused("stands twice"));
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let key = read(&text).ok_or_else(|| refused(&format!("got {}", quoted(&text))))?;
    Ok(Some(Idempotency { hash: KeyHash::idempotency(asker, &key), request: RequestHash::of(body), retain }))
}

fn refused(what: &str) -> Problem {
    let takes = format!("1 to {MAX_KEY} visible ASCII characters, bare or as a string in double quotes");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the header Idempotency-Key {what}; takes {takes}"))
}

/// The key itself, of a header's value: bare as nearly everybody sends it, or quoted as the
/// draft (draft-ietf-httpapi-idempotency-key-header, a string of RFC 9651) has it. Both are the same key.
fn read(value: &str) -> Option<String> {
    let key = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(rest) => unquoted(rest)?,
    };
    let fits = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(key)
}

/// What stands before the closing quote, which must be the last character.
fn unquoted(rest: &str) -> Option<String> {
    let (mut key, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|next| ['"', '\\'].contains(next))?),
            other => key.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    #[test]
    fn what_is_no_key_is_quoted_as_it_came() {
        let request = TestRequest::default().insert_header((HEADER, HeaderValue::from_bytes("ü".as_bytes()).unwrap()));
        let problem = of(&request.to_http_request(), "somebody", b"{}", Duration::ZERO).unwrap_err().to_string();
        assert!(problem.contains("got \"ü\""), "{problem}");
    }

    #[test]
    fn a_key_is_bare_or_a_string() {
        let long = "k".repeat(MAX_KEY);
        for (value, key) in [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("\"8e03978e-40d5-43dd\"", "8e03978e-40d5-43dd"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#"a"b\c"#, r#"a"b\c"#),
            (&long, &long),
            (&format!("\"{long}\""), &long),
        ] {
            assert_eq!(read(value).as_deref(), Some(key), "{value}");
        }
        let longer = "k".repeat(MAX_KEY + 1);
        let quoted = format!("\"{longer}\"");
        for value in ["", "a b", "\"a b\"", "\"\"", "\"", "\"a", "\"a\";b=1", "\"a\\", r#""a\b""#, &longer, &quoted] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
