//! With real servers and, for the leash, with real processes that are killed.

mod leash;
mod parts;
mod servers;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Durability, Options};

/// For everything that ought to happen at once.
const LIMIT: Duration = Duration::from_secs(20);

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn alive(pid: u32) -> bool {
    let kill = Command::new("/bin/sh").args(["-c", "kill -0 \"$1\" 2>/dev/null", "alive", &pid.to_string()]).status();
    kill.unwrap().success()
}

fn options(data_dir: impl Into<PathBuf>, ephemeral: bool) -> Options {
    Options { data_dir: data_dir.into(), ephemeral, durability: Durability::Relaxed }
}
