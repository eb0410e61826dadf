//! Where a client command finds its server, and what it says when the server does not give what it asked for.

use super::terminal::harmless;
use super::{EXIT_UNREACHABLE, EXIT_USAGE, Failure};
use crate::client::{Client, ClientError, SetupError, Target};
use std::path::PathBuf;

/// Where the daemon listens unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8000";
/// The variable that names a file with the key.
const KEY_FILE: &str = "TASKRUNNERX_API_KEY_FILE";

/// The server that a client command talks to.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct Connection {
    /// Where the server is [default: http://127.0.0.1:8000]
    // Read by `client`, and not shown: a fault of clap's own repeats what it got, and somebody may have put a password in.
    #[arg(long, env = "TASKRUNNERX_URL", value_name = "URL", hide_env_values = true)]
    url: Option<String>,
    /// The API key, where the server wants one; better in the variable, where no list of processes shows it
    #[arg(long, env = "TASKRUNNERX_API_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificate authorities (PEM) that an https server is checked with, in place of this machine's
    #[arg(long, env = "TASKRUNNERX_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Connection {
    /// With this URL where none was given.
    pub(super) fn or_at(mut self, url: impl FnOnce() -> String) -> Self {
        self.url.get_or_insert_with(url);
        self
    }

    /// The client.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let usage = |error: SetupError| Failure::with_code(EXIT_USAGE, format!("--url or TASKRUNNERX_URL: {error}"));
        let target: Target = self.url.as_deref().unwrap_or(DEFAULT_URL).parse().map_err(usage)?;
        let given = self.key.clone().filter(|key| !key.is_empty());
        let key = match (given, std::env::var_os(KEY_FILE)) {
            (None, Some(path)) => Some(key_in(&path)?),
            (given, _) => given,
        };
        let ca = self.ca.as_deref().filter(|path| !path.as_os_str().is_empty());
        Client::new(target, key.as_deref(), ca).map_err(|error| Failure::with_code(EXIT_USAGE, error))
    }
}

fn key_in(path: &std::ffi::OsStr) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::with_code(EXIT_USAGE, format!("{KEY_FILE}: cannot read {}: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}

impl From<ClientError> for Failure {
    /// With what to do next.
    fn from(error: ClientError) -> Self {
        // A proxy may have answered, or anybody.
        let said = harmless(&error.to_string());
        match &error {
            ClientError::Unreachable { .. } => Self::with_code(
                EXIT_UNREACHABLE,
                format!("{said}\nStart one (taskrunnerx dev), or say where it is with --url or TASKRUNNERX_URL."),
            ),
            ClientError::Refused { status, .. } => Self::new(match status.as_u16() {
                401 => format!("the server refused: {said}\nGive a key with --key or TASKRUNNERX_API_KEY."),
                403 => format!(
                    "the server refused: {said}\nGive a key that may do this with --key or TASKRUNNERX_API_KEY."
                ),
                429 | 503 => format!("the server refused: {said}\nTry again later."),
                _ => format!("the server refused: {said}"),
            }),
            ClientError::Broken(_) => Self::new(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        connection: Connection,
    }

    #[test]
    fn a_url_that_is_none_is_a_fault_of_usage_and_a_password_in_it_is_not_repeated() {
        let fault = |url: &str| {
            let Command { connection } = Command::try_parse_from(["x", "--url", url]).unwrap();
            let Failure { code, message } = connection.client().unwrap_err();
            assert_eq!(code, 2, "{url}: {message}");
            message
        };
        let message = fault("localhost:8000");
        assert!(message.starts_with("--url or ") && message.contains("takes http://HOST:PORT"), "{message}");
        for url in ["http://me:secret@host", "me:secret@host:8000", "ftp://me:secret@host", "http://me:se cret@host"] {
            let message = fault(url);
            assert!(message.contains("--key") && !message.contains("cret"), "{message}");
        }
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let unreachable = ClientError::Unreachable { url: "http://h".to_owned(), why: "refused".to_owned() };
        let failure = Failure::from(unreachable);
        assert_eq!(failure.code, 3);
        assert!(failure.message.contains("http://h") && failure.message.contains("--url"), "{}", failure.message);
        let broken = Failure::from(ClientError::Broken("<\u{1b}[2J>".to_owned()));
        assert_eq!((broken.code, &*broken.message), (1, "< [2J>"));
    }
}
