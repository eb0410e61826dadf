//! One change for each of several things that are named. One that is refused does not keep the others from theirs, and
//! each is told of as it is done.

use super::Failure;
use super::terminal::{harmless, report, say_aside, unwritten};
use super::words::counted;
use crate::client::ClientError;
use crate::lifecycle::access::AccessError;
use std::fmt::Display;

/// Why one of them was not done.
pub(super) trait Refusal: Display + Into<Failure> {
    /// Whether it says nothing of this one alone: the others would only be refused too.
    fn concerns_all(&self) -> bool;
}

impl Refusal for ClientError {
    fn concerns_all(&self) -> bool {
        match self {
            // Without a good key. A good one may be restricted, and of the others some may be its own: 403 is of this one.
            Self::Refused { status, .. } => status.as_u16() == 401,
            Self::Unreachable { .. } | Self::Broken(_) => true,
        }
    }
}

impl Refusal for AccessError {
    fn concerns_all(&self) -> bool {
        match self {
            Self::Store(_) | Self::TooMany => true,
            Self::NoAdmin | Self::LastAdmin(_) | Self::Unknown(_) | Self::Over(_) => false,
        }
    }
}

/// What is said of one that was deleted, of which the server says nothing.
pub(super) fn gone(field: &str, which: impl Display, json: bool) -> String {
    let which = which.to_string();
    if json { serde_json::json!({ field: which, "deleted": true }).to_string() } else { format!("{which} deleted") }
}

/// Does it to each, and prints the line that it gives for each, if it is not empty.
///
/// # Errors
/// When one was refused, at the end; at once, with how many are left, when all that follow would be. When what was
/// done cannot be told, also at the end.
pub(super) async fn each<T: Clone + Display, E: Refusal>(
    items: &[T],
    noun: &str,
    call: impl AsyncFn(T) -> Result<String, E>,
) -> Result<(), Failure> {
    let mut refused = 0;
    let mut untold = None;
    for (before, item) in items.iter().enumerate() {
        match call(item.clone()).await {
            Ok(line) if line.is_empty() => {}
            Ok(line) => untold = untold.or(report(&line).err()),
            Err(error) if items.len() == 1 => return Err(error.into()),
            Err(error) if error.concerns_all() => {
                let left = items.len() - before;
                let Failure { code, message } = error.into();
                let message = format!("{item}: {message}\n{left} of {} not done", counted(items.len(), noun));
                return Err(Failure { code, message });
            }
            Err(error) => {
                say_aside(&format!("taskrunnerx: {item}: {}", harmless(&error.to_string())));
                refused += 1;
            }
        }
    }
    match untold {
        _ if refused > 0 => Err(Failure::new(format!("{refused} of {} refused", counted(items.len(), noun)))),
        Some(error) => Err(Failure::new(unwritten(&error))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;
    use std::cell::RefCell;

    /// What was tried where the second is refused like this, and how it ended.
    async fn tried(status: u16) -> (Vec<u8>, Failure) {
        let tried = RefCell::new(Vec::new());
        let ended = each(&[1, 2, 3], "task", async |n| {
            tried.borrow_mut().push(n);
            let status = status.try_into().unwrap();
            if n == 2 {
                return Err(ClientError::Refused { status, problem: Problem::default() });
            }
            Ok(String::new())
        });
        let failure = ended.await.unwrap_err();
        (tried.into_inner(), failure)
    }

    #[tokio::test]
    async fn a_refusal_of_one_keeps_no_other_back_and_one_of_the_key_ends_it() {
        for status in [403, 404, 409, 422, 429, 500, 503] {
            let (tried, failure) = tried(status).await;
            assert_eq!(
                (tried, failure.code, &*failure.message),
                (vec![1, 2, 3], 1, "1 of 3 tasks refused"),
                "{status}"
            );
        }
        let (tried, failure) = tried(401).await;
        assert_eq!((tried, failure.code), (vec![1, 2], 1));
        let Failure { message, .. } = failure;
        assert!(message.starts_with("2: ") && message.ends_with("\n2 of 3 tasks not done"), "{message}");
    }
}
