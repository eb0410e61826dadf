//! A module imports only from floors below its own, and a technology lives in one folder:
//! this reads the code and fails on a forbidden arrow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "a test that meets what it does not expect should stop there"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rooms of each floor. Those of F0, F1 and F3 never import each other; F2's may.
const FLOORS: [(&str, u8); 12] = [
    ("seam", 0),
    ("task", 0),
    ("telemetry", 0),
    ("config", 1),
    ("store", 1),
    ("stream", 1),
    ("executor", 2),
    ("lifecycle", 2),
    ("api", 3),
    ("worker", 3),
    ("scheduler", 3),
    ("client", 3),
];
/// The top floor may import everything.
const TOP: &str = "cli";

/// Crates that a room keeps to itself. HTTP is spoken in two: to a server of ours, and to whom http tasks call.
const KEPT: [(&str, &[&str]); 13] = [
    ("diesel", &["store"]),
    ("diesel_async", &["store"]),
    ("diesel_migrations", &["store"]),
    ("mysql_async", &["store"]),
    ("redis", &["stream"]),
    ("deadpool_redis", &["stream"]),
    ("hyper", &["client", "executor"]),
    ("hyper_util", &["client", "executor"]),
    ("tokio_rustls", &["api", "client", "executor"]),
    ("hmac", &["executor"]),
    ("clap", &["cli"]),
    ("sd_notify", &["cli"]),
    ("utoipa", &["api"]),
];

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The words that stand directly behind `prefix` in a line of code.
fn behind<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    line.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
        })
        .collect()
}

/// Every forbidden arrow in one file's text.
fn faults(room: &str, text: &str) -> Vec<String> {
    let floors = BTreeMap::from(FLOORS);
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut complain = |what: String| faults.push(format!("line {}: {what}", number + 1));
        for target in behind(code, "crate::") {
            if target == room || room == TOP {
                continue;
            }
            match (floors.get(room), floors.get(target)) {
                (Some(own), Some(other)) if other < own || (*own == 2 && other == own) => {}
                (Some(_), Some(_)) => complain(format!("{room} imports {target}, which is not below it")),
                (_, None) if target == TOP => complain(format!("{room} imports {TOP}")),
                _ => {}
            }
        }
        for (name, owners) in KEPT {
            let used = behind(code, &format!("use {name}")).iter().any(|rest| rest.is_empty())
                || code.contains(&format!(" {name}::"))
                || code.contains(&format!("({name}::"));
            if used && !owners.contains(&room) {
                complain(format!("{room} uses {name}, which belongs to {}", owners.join(" and ")));
            }
        }
    }
    faults
}

#[test]
fn every_import_looks_down_and_every_technology_has_one_room() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    let mut all = Vec::new();
    let mut rooms = std::collections::BTreeSet::new();
    for path in found {
        let relative = path.strip_prefix(&source).unwrap();
        let Some(room) = relative.iter().next().and_then(|part| part.to_str()).filter(|part| !part.ends_with(".rs"))
        else {
            continue;
        };
        rooms.insert(room.to_owned());
        for fault in faults(room, &std::fs::read_to_string(&path).unwrap()) {
            all.push(format!("{}: {fault}", relative.display()));
        }
    }
    assert!(all.is_empty(), "{all:#?}");
    let known: std::collections::BTreeSet<String> =
        FLOORS.iter().map(|(room, _)| (*room).to_owned()).chain([TOP.to_owned()]).collect();
    assert_eq!(rooms, known, "every folder of src has a floor, and every floor its folder");
}

#[test]
fn the_reader_finds_what_is_forbidden() {
    assert_eq!(faults("store", "use crate::stream::Stream;").len(), 1, "a neighbour");
    assert_eq!(faults("task", "use crate::store::Store;").len(), 1, "a floor above");
    assert_eq!(faults("worker", "let x = crate::api::State::new();").len(), 1, "without a use");
    assert_eq!(faults("worker", "use crate::cli::main;").len(), 1, "the top floor");
    assert_eq!(faults("api", "use diesel::QueryDsl;").len(), 1, "another's technology");
    assert_eq!(faults("worker", "let c = redis::cmd(\"PING\");").len(), 1, "another's technology without a use");
    assert_eq!(faults("lifecycle", "use crate::executor::Registry; // crate::api::x"), Vec::<String>::new());
    assert_eq!(faults("store", "use diesel::QueryDsl;\nuse crate::task::Task;"), Vec::<String>::new());
}
