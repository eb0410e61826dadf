//! What an answer means for the task: its status, how long to wait, and what is kept of its body.

use crate::executor::handler::chain;
use crate::executor::{TaskError, TaskResult, output};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{DATE, HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use std::time::{Duration, SystemTime};

/// What an error quotes of a body, in bytes, and how long it is waited for.
const EXCERPT: usize = 1024;
/// So much is read: a secret that the cut would split is still seen whole.
const EXCERPT_READ: usize = 4 * 1024;
const EXCERPT_WAIT: Duration = Duration::from_secs(2);

/// What the caller knows that the answer does not.
pub(super) struct Expected<'a> {
    /// What was called, as errors name it.
    pub(super) call: &'a str,
    /// Most bytes of the result.
    pub(super) max_result: usize,
    /// Texts that no error may show.
    pub(super) hidden: &'a [String],
}

/// Reads the answer and says what it means.
pub(super) async fn read(response: Response<Incoming>, expected: Expected<'_>) -> TaskResult {
    let (head, mut body) = response.into_parts();
    let Expected { call, max_result, hidden } = expected;
    if head.status.is_success() {
        let (bytes, cut) = read_up_to(&mut body, max_result)
            .await
            .map_err(|error| TaskError::retryable(format_args!("{call}: the answer broke off: {}", chain(&error))))?;
        return Ok(output::result(&bytes, cut, max_result));
    }
    let excerpt = tokio::time::timeout(EXCERPT_WAIT, excerpt(&mut body, hidden)).await.unwrap_or_default();
    let said = format!("{call} answered {}{excerpt}", status_line(head.status));
    if !may_be_mended(head.status) {
        return Err(TaskError::permanent(said));
    }
    Err(match retry_after(&head.headers, SystemTime::now()) {
        Some(wait) => TaskError::retry_after(said, wait),
        None => TaskError::retryable(said),
    })
}

/// Of what is no success: whether the receiver may think otherwise later.
fn may_be_mended(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500..=599)
}

fn status_line(status: StatusCode) -> String {
    let line = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    if status.is_redirection() { format!("{line}, and redirects are not followed") } else { line }
}

/// The wait that `Retry-After` asks for, in seconds or as a date. A date is compared with the answer's own, if it has
/// one: the two clocks need not agree.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number has are a long time all the same.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let until = date(text)?;
    let theirs = headers.get(DATE).and_then(|value| date(value.to_str().ok()?));
    Some(until.duration_since(theirs.unwrap_or(now)).unwrap_or_default())
}

/// At most `max` bytes, and whether there were more. The rest is not read: the connection is closed over it.
async fn read_up_to(body: &mut Incoming, max: usize) -> Result<(Vec<u8>, bool), hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = max.saturating_sub(bytes.len());
        bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

/// The beginning of a body, on one line, ready to stand behind a status.
async fn excerpt(body: &mut Incoming, hidden: &[String]) -> String {
    let (bytes, _) = read_up_to(body, EXCERPT_READ).await.unwrap_or_default();
    let mut text = String::from_utf8_lossy(&bytes).replace(char::is_control, " ");
    for secret in hidden {
        text = text.replace(secret, "***");
    }
    let whole = text.trim();
    let kept = whole.get(..whole.floor_char_boundary(EXCERPT)).unwrap_or(whole);
    match (kept.is_empty(), kept.len() < whole.len()) {
        (true, _) => String::new(),
        (false, false) => format!(": {kept}"),
        (false, true) => format!(": {kept} […]"),
    }
}
