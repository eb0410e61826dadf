//! The process's surroundings as a value: variables and a way to read files.
//!
//! Loading looks at nothing else, so a test brings its own world and needs no global state.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// The prefix of every variable of ours but `DATABASE_URL`, `REDIS_URL` and `RUST_LOG`.
pub(super) const PREFIX: &str = "TASKRUNNERX_";

/// The largest file that is read, configuration or secret: 1 MiB, far above any sensible one.
const MAX_FILE_BYTES: u64 = 1_048_576;

type ReadFile = Box<dyn Fn(&Path) -> io::Result<String> + Send + Sync>;

/// Environment variables, and a function that reads a whole text file.
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    read_file: ReadFile,
}

impl Environment {
    /// The process's own variables and files (of at most 1 MiB).
    #[must_use]
    pub fn of_process() -> Self {
        let named = |(name, value): (OsString, OsString)| name.into_string().ok().map(|name| (name, value));
        Self { variables: std::env::vars_os().filter_map(named).collect(), read_file: Box::new(read_bounded) }
    }

    /// A made-up one.
    #[must_use]
    pub fn new<N, V>(
        variables: impl IntoIterator<Item = (N, V)>,
        read_file: impl Fn(&Path) -> io::Result<String> + Send + Sync + 'static,
    ) -> Self
    where
        N: Into<String>,
        V: Into<OsString>,
    {
        Self {
            variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            read_file: Box::new(read_file),
        }
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn raw(&self, name: &str) -> Option<&OsString> {
        self.variables.get(name)
    }

    /// The variable as text; an error says why it is none.
    pub(super) fn text(&self, name: &str) -> Option<Result<&str, &'static str>> {
        Some(self.raw(name)?.to_str().ok_or("got a value that is not UTF-8; takes UTF-8 text"))
    }

    /// The names of our own variables, known or not.
    pub(super) fn ours(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str).filter(|name| name.starts_with(PREFIX))
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        (self.read_file)(path)
    }
}

impl Default for Environment {
    /// No variables and no files: everything has its default.
    fn default() -> Self {
        Self { variables: BTreeMap::new(), read_file: Box::new(|_| Err(io::ErrorKind::NotFound.into())) }
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables.keys()).finish_non_exhaustive()
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= MAX_FILE_BYTES) {
        Ok(text)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"))
    }
}

/// The environment variable of a key: `worker.lease` is `TASKRUNNERX_WORKER__LEASE`.
///
/// The two server addresses have the names that every platform gives them.
pub(super) fn variable_of(key: &str) -> String {
    let name = key.replace('.', "__").to_ascii_uppercase();
    match key {
        "database_url" | "redis_url" => name,
        _ => format!("{PREFIX}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_variables_after_keys() {
        for (key, variable) in [
            ("database_url", "DATABASE_URL"),
            ("redis_url", "REDIS_URL"),
            ("redis_prefix", "TASKRUNNERX_REDIS_PREFIX"),
            ("worker.drain_timeout", "TASKRUNNERX_WORKER__DRAIN_TIMEOUT"),
        ] {
            assert_eq!(variable_of(key), variable);
        }
    }

    #[test]
    fn reads_files_up_to_a_bound_and_shows_names_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        fs::write(&path, "text\n").expect("written");
        assert_eq!(read_bounded(&path).expect("read"), "text\n");
        fs::write(&path, "x".repeat(1_048_577)).expect("written");
        assert_eq!(read_bounded(&path).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);

        let environment = Environment::new([("TASKRUNNERX_API_KEY", "hunter2")], |_| Ok(String::new()));
        let shown = format!("{environment:?}");
        assert!(shown.contains("TASKRUNNERX_API_KEY") && !shown.contains("hunter2"), "{shown}");
        assert!(format!("{:?}", Environment::of_process()).starts_with("Environment"));
    }
}
