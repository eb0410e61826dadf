//! A process whose clock is an hour ahead: libfaketime before it, with the monotonic clocks left
//! alone, as on a host whose time is set wrong.

use serde_json::Value;
use std::path::PathBuf;

/// How far ahead, as libfaketime takes it.
const AHEAD: &str = "+3600s";
/// The least that must show.
const SHOWN: chrono::TimeDelta = chrono::TimeDelta::minutes(50);

/// What makes a process's clock go ahead.
///
/// # Panics
/// Where libfaketime is not installed: a suite that leaves this out has not shown it.
pub(crate) fn environment() -> Vec<(String, String)> {
    let library = library().unwrap_or_else(|| {
        panic!("libfaketime is not installed, and one scheduler's clock must be an hour ahead: run `make setup`")
    });
    [("LD_PRELOAD", &*library.to_string_lossy()), ("FAKETIME", AHEAD), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
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

/// Checks by a line of its log that a process's clock is ahead.
pub(crate) fn assert_ahead(line: &str) {
    let event: Value = serde_json::from_str(line).unwrap();
    let stamp = event["timestamp"].as_str().unwrap();
    let stamp = chrono::DateTime::parse_from_rfc3339(stamp).unwrap().to_utc();
    assert!(stamp - chrono::Utc::now() > SHOWN, "its clock should be an hour ahead, and it says {stamp}");
}
