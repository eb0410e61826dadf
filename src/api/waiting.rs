//! Waiting for a task's end: `Prefer: wait=N` of a submission (RFC 7240), and `?wait=` of a submission or a reader.
//!
//! An answer comes when the task has ended, the wait is over, or the process stops: with the task as it is then. A
//! client that has gone is not waited for, since its request is dropped with its connection.

use super::Services;
use super::parameters::{self, unknown};
use super::problem::Problem;
use crate::lifecycle::wait::Waiter;
use crate::store::StoreError;
use crate::task::fields::got;
use crate::task::{Task, TaskId, duration, name};
use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The longest wait.
pub(super) const MOST: Duration = Duration::from_mins(1);

/// The seconds that a request prefers to wait, bounded by [`MOST`]. None: it has no such preference, or one that
/// cannot be read, which RFC 7240 says to ignore as every other that is not known. The first one counts.
pub(super) fn preferred(headers: &HeaderMap) -> Option<u64> {
    let mut preferences =
        headers.get_all(PREFER).filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let value = preferences.find_map(|preference| {
        // Parameters may follow, and this preference has none.
        let (token, value) = preference.split(';').next()?.split_once('=')?;
        token.trim().eq_ignore_ascii_case("wait").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than a number holds are more than the most, too.
    Some(value.parse().unwrap_or(u64::MAX).min(MOST.as_secs()))
}

/// How long a request asks to wait: seconds, or a duration. None: it does not.
pub(super) fn asked(request: &HttpRequest) -> Result<Option<Duration>, Problem> {
    if request.query_string().is_empty() {
        return Ok(None);
    }
    let mut wait = None;
    parameters::read(&parameters::of(request), |key, value| match key {
        "wait" => span(value).map(|span| wait = Some(span)),
        _ => unknown("wait"),
    })?;
    Ok(wait)
}

fn span(value: &str) -> Result<Duration, String> {
    // As it was written: a duration is rounded to the millisecond.
    let within = |seconds: &f64| *seconds <= MOST.as_secs_f64();
    let seconds = value.parse::<f64>().ok().filter(within).and_then(|seconds| duration::from_seconds(seconds).ok());
    let span = seconds.or_else(|| duration::parse(value).ok()).filter(|span| *span <= MOST);
    span.ok_or_else(|| got(&name::quoted(value), "seconds or a duration, at most 60s"))
}

/// Waits until a task has ended, for so long at most. Gives it as it is then; None: it is gone.
pub(super) async fn end_of(
    services: &Services,
    id: TaskId,
    mut waiter: Waiter,
    wait: Duration,
) -> Result<Option<Task>, StoreError> {
    let until = Instant::now() + wait;
    loop {
        let over = tokio::select! {
            () = services.stop.cancelled() => true,
            ended = timeout_at(until, waiter.ended()) => ended.is_err(),
        };
        let task = services.lookup.task(id).await?;
        // One that was retried by hand goes on.
        if over || task.as_ref().is_none_or(|task| task.status.is_terminal()) {
            return Ok(task);
        }
    }
}

/// The same for a task that was just accepted. Whatever happens, accepted it is: where it cannot be read any more it is
/// given as it was. None: too many wait, so that nobody waited.
pub(super) async fn end_of_accepted(services: &Services, task: &Task, wait: Duration) -> Option<Option<Task>> {
    let waiter = services.waits.begin(task.id).ok()?;
    let ended = end_of(services, task.id, waiter, wait).await;
    Some(ended.ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    #[test]
    fn a_preference_is_found_among_others_and_one_that_is_none_is_ignored() {
        let table: [(&[&str], Option<u64>); 14] = [
            (&["wait=10"], Some(10)),
            (&["WAIT = 10"], Some(10)),
            (&["wait=\"10\""], Some(10)),
            (&["respond-async, wait=5; x=y, return=minimal"], Some(5)),
            (&["respond-async", "wait=7"], Some(7)),
            (&["wait=1, wait=2"], Some(1)),
            (&["wait=0"], Some(0)),
            (&["wait=61"], Some(60)),
            (&["wait=99999999999999999999999"], Some(60)),
            (&["wait"], None),
            (&["wait=-1"], None),
            (&["wait=1.5"], None),
            (&["wait=10s"], None),
            (&["handling=lenient"], None),
        ];
        for (values, expected) in table {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| headers.append(PREFER, HeaderValue::from_static(value)));
            assert_eq!(preferred(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn a_reader_says_seconds_or_a_duration_and_every_other_parameter_is_a_fault() {
        let asked = |query: &str| asked(&TestRequest::with_uri(&format!("/x{query}")).to_http_request());
        for (query, millis) in [("?wait=30", 30_000), ("?wait=1m", 60_000), ("?wait=2.5", 2_500), ("?wait=0", 0)] {
            assert_eq!(asked(query).unwrap(), Some(Duration::from_millis(millis)), "{query}");
        }
        assert_eq!(asked("").unwrap(), None);
        for query in
            ["?wait=", "?wait=61", "?wait=61s", "?wait=-1", "?wait=soon", "?wait=NaN", "?wait=inf", "?colour=red"]
        {
            assert!(asked(query).unwrap_err().to_string().contains("422"), "{query}");
        }
        assert!(asked("?wait=x&colour=red").unwrap_err().to_string().contains("2 faults"));
        assert!(asked("?wait=1&wait=2").unwrap_err().to_string().contains("stands twice"));
    }
}
