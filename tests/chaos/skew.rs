//! A process whose clock is an hour ahead or behind: libfaketime before it, with the monotonic clocks
//! left alone, as on a host whose time is set wrong.

use serde_json::Value;
use std::path::PathBuf;

/// How a clock is wrong, by seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skew(i64);

/// An hour.
pub(crate) const AHEAD: Skew = Skew(3600);
pub(crate) const BEHIND: Skew = Skew(-3600);
/// What a start and a look at it may take of that.
const TAKES: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

impl Skew {
    /// What makes a process's clock so.
    ///
    /// # Panics
    /// Where libfaketime is not installed: a suite that leaves this out has not shown it.
    pub(crate) fn environment(self) -> Vec<(String, String)> {
        let library = library().unwrap_or_else(|| {
            panic!("libfaketime is not installed, and one scheduler's clock must be an hour off: run `make setup`")
        });
        let by = format!("{:+}s", self.0);
        [("LD_PRELOAD", &*library.to_string_lossy()), ("FAKETIME", &by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// Checks by a line of its log that a process's clock is so.
    pub(crate) fn assert_shown(self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap();
        let stamp = event["timestamp"].as_str().unwrap();
        let stamp = chrono::DateTime::parse_from_rfc3339(stamp).unwrap().to_utc();
        let off = stamp - chrono::Utc::now();
        let wrong = (off - chrono::TimeDelta::seconds(self.0)).abs();
        assert!(wrong < TAKES, "its clock should be off by {} s, and it says {stamp}", self.0);
    }
}

fn library() -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> =
        ["/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime"].map(PathBuf::from).into();
    // Debian has a directory for each architecture.
    let architectures = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    directories.extend(architectures.map(|entry| entry.path().join("faketime")));
    // The one for programs with threads, where there are two.
    let names = ["libfaketimeMT.so.1", "libfaketime.so.1"];
    names.iter().flat_map(|name| directories.iter().map(move |d| d.join(name))).find(|path| path.exists())
}
