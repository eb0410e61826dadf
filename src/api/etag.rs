//! What tells whether a task has changed since a client read it: `ETag`, `If-None-Match`, 304.

use crate::task::Task;
use actix_web::http::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A task's tag: weak, since it is made from what changes in its row, not from the answer's bytes. What is large in it
/// changes only with these.
pub(super) fn of(task: &Task) -> HeaderValue {
    let mut hash = DefaultHasher::new();
    let state = (task.status, task.reason, task.attempt, task.forgiven, task.max_attempts, task.priority);
    let times = (task.run_at, task.cancel_requested_at, task.started_at, task.finished_at);
    let progress = (task.progress.map(f64::to_bits), &task.progress_note);
    (state, times, task.worker_id, progress).hash(&mut hash);
    // Hexadecimal digits are a header's value.
    HeaderValue::try_from(format!("W/\"{:016x}\"", hash.finish())).unwrap_or(HeaderValue::from_static("W/\"0\""))
}

/// Whether a client has what this tag is of.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    if !headers.contains_key(IF_NONE_MATCH) {
        return false;
    }
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(ours) = tag.to_str().map(opaque) else { return false };
    let known = headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    known.map(opaque).any(|tag| tag == "*" || tag == ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_a_list_strong_or_weak_and_by_a_star() {
        let tag = HeaderValue::from_static("W/\"0123456789abcdef\"");
        let table: [(&[&'static str], bool); 7] = [
            (&["W/\"0123456789abcdef\""], true),
            (&["\"0123456789abcdef\""], true),
            (&["\"x\", W/\"0123456789abcdef\""], true),
            (&["\"x\"", "\"0123456789abcdef\""], true),
            (&["*"], true),
            (&["0123456789abcdef"], false),
            (&["\"x\""], false),
        ];
        for (values, known) in table {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| headers.append(IF_NONE_MATCH, HeaderValue::from_static(value)));
            assert_eq!(is_known(&headers, &tag), known, "{values:?}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
