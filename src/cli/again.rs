//! What goes on over a server that comes and goes: one line when it goes, one when it is back.

use super::Failure;
use super::terminal::{harmless, say_aside};
use crate::client::ClientError;
use std::time::Duration;

/// Tries in a row, before it is given up; and the wait before each.
pub(super) const TRIES: u32 = 10;
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// How often a server that was there is tried again.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// It has answered once: what it is asked for is there.
    reached: bool,
    failed: u32,
}

impl Patience {
    /// It answers.
    pub(super) fn reached(&mut self) {
        if self.failed > 0 {
            say_aside("connected again");
        }
        *self = Self { reached: true, failed: 0 };
    }

    /// It does not, or no more (None: it has ended the answer itself): waits before the next try.
    ///
    /// # Errors
    /// Where it has never answered, for ten seconds no more, or another try cannot mend it.
    pub(super) async fn lost(&mut self, error: Option<ClientError>) -> Result<(), Failure> {
        let why = match error {
            Some(error) if !self.reached || self.failed >= TRIES || is_final(&error) => return Err(error.into()),
            Some(error) => error.to_string(),
            None => "the server has ended the stream".to_owned(),
        };
        if self.failed == 0 {
            say_aside(&format!("{}; connecting again", harmless(&why)));
        }
        self.failed += 1;
        tokio::time::sleep(WAIT).await;
        Ok(())
    }
}

/// Whether another try cannot mend it.
pub(super) fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Broken(_) => false,
        ClientError::Refused { status, .. } => !status.is_server_error(),
    }
}
