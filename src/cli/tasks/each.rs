//! One call for each task that is named. One that is refused does not keep the others from theirs.

use crate::cli::Failure;
use crate::cli::terminal::{say, say_aside};
use crate::cli::words::counted;
use crate::client::{ClientError, Reply};
use crate::task::TaskId;

/// Calls for each, and prints a line for each: in words, or the server's JSON.
///
/// # Errors
/// When one was refused, or the server cannot be reached: then at once.
pub(super) async fn each(
    ids: &[TaskId],
    json: bool,
    call: impl AsyncFn(TaskId) -> Result<Reply, ClientError>,
    words: impl Fn(&Reply) -> &'static str,
) -> Result<(), Failure> {
    let mut refused = 0;
    for id in ids {
        match call(*id).await {
            Ok(reply) if json => {
                let text = reply.text();
                // 204 says nothing.
                if !text.is_empty() {
                    say(text.trim_end());
                }
            }
            Ok(reply) => say(&format!("{id} {}", words(&reply))),
            Err(error @ ClientError::Refused { .. }) if ids.len() > 1 => {
                say_aside(&format!("taskrunnerx: {id}: {error}"));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if refused == 0 {
        return Ok(());
    }
    Err(Failure::new(format!("{refused} of {} refused", counted(ids.len(), "task"))))
}
