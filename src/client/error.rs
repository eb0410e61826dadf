//! What may go wrong between a client and its server.

use hyper::StatusCode;
use std::fmt;

/// Characters of a refusal that is no problem document that are kept.
const MAX_TEXT: usize = 300;

/// Why a call gave no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there, or not in time. Nothing is known of what became of the request.
    #[error("no server answers at {url}: {why}")]
    Unreachable { url: String, why: String },
    /// The server said no.
    #[error("{status}: {problem}")]
    Refused { status: StatusCode, problem: Problem },
    /// What came is no answer of Task Runner X, or the connection ended within it.
    #[error("{0}")]
    Broken(String),
}

/// Why a client cannot be made: its settings are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub(super) String);

/// The server's reasons, as in RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default)]
pub struct Problem {
    pub title: String,
    pub detail: String,
    /// Each fault of the input.
    pub errors: Vec<Fault>,
}

/// One fault of the input.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default)]
pub struct Fault {
    pub pointer: String,
    pub detail: String,
}

impl Problem {
    /// Reads a refusal's body. A proxy's page of HTML is shortened.
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(MAX_TEXT).collect();
            Self { detail: text, ..Self::default() }
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            // The detail of a single fault repeats it.
            [] | [_] => f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail }),
            several => {
                let all: Vec<String> = several.iter().map(|e| format!("{} {}", e.pointer, e.detail)).collect();
                f.write_str(&all.join("; "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_all_that_is_wrong() {
        let one = Problem::read(
            br##"{"title": "Unprocessable", "status": 422, "detail": "#/name is unknown",
            "errors": [{"pointer": "#/name", "detail": "is unknown"}]}"##,
        );
        assert_eq!(one.to_string(), "#/name is unknown");
        let two = Problem::read(
            br##"{"detail": "2 faults; errors lists each",
            "errors": [{"pointer": "#/a", "detail": "x"}, {"pointer": "#/b", "detail": "y"}]}"##,
        );
        assert_eq!(two.to_string(), "#/a x; #/b y");
        assert_eq!(Problem::read(br#"{"title": "Not Found"}"#).to_string(), "Not Found");
        assert_eq!(Problem::read(b" <html>bad gateway</html>\n").to_string(), "<html>bad gateway</html>");
    }
}
