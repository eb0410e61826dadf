//! The mutation gate: a guard without a test that fails when the guard is removed is not a guard.
//!
//! `guards.toml` lists the guards of the protocol, each with the change that takes it out and the
//! tests that must then fail. `make mutants` makes the changes one at a time in a copy of the
//! sources, builds, and runs those tests; one that still passes has a hole in it. That takes the
//! better part of an hour, most of it building. What every `make test` checks is that the list
//! still fits the sources, so that it cannot rot in between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "a test that meets what it does not expect should stop there"
)]

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A mutant whose tests have not ended after this time hangs, which is noticed as well as a failure.
const LIMIT: Duration = Duration::from_secs(150);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    guard: String,
    file: PathBuf,
    find: String,
    #[serde(default)]
    put: String,
    #[serde(default)]
    also: Vec<Change>,
    /// The library's own tests instead of those of `it`.
    #[serde(default)]
    lib: bool,
    tests: Vec<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Change {
    file: PathBuf,
    find: String,
    put: String,
}

impl Mutant {
    fn changes(&self) -> Vec<Change> {
        let first = Change { file: self.file.clone(), find: self.find.clone(), put: self.put.clone() };
        [vec![first], self.also.clone()].concat()
    }
}

fn binary(lib: bool) -> &'static [&'static str] {
    if lib { &["--lib"] } else { &["--test", "it"] }
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn mutants() -> Vec<Mutant> {
    let text = std::fs::read_to_string(root().join("tests/mutants/guards.toml")).unwrap();
    toml::from_str::<List>(&text).unwrap().mutant
}

#[test]
fn each_guard_stands_where_the_list_says() {
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for mutant in mutants() {
        assert!(names.insert(mutant.guard.clone()), "twice: {}", mutant.guard);
        assert!(!mutant.tests.is_empty(), "{} names no tests", mutant.guard);
        for Change { file, find, put } in mutant.changes() {
            let source = std::fs::read_to_string(root().join(&file)).unwrap();
            let times = source.matches(&find).count();
            if times != 1 || find == put {
                wrong.push(format!("{}: {times} times in {}: {find}", mutant.guard, file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What became of a mutant.
#[derive(PartialEq)]
enum Fate {
    /// These many tests failed.
    Noticed(usize),
    Hung,
    Survived,
    /// A change that does not compile shows nothing.
    DidNotCompile(String),
}

/// The copy in which the changes are made, with a build directory of its own.
struct Copy {
    tree: PathBuf,
    build: PathBuf,
}

impl Copy {
    fn make() -> Self {
        let place = root().join("target/mutants");
        let copy = Self { tree: place.join("tree"), build: place.join("build") };
        let _ = std::fs::remove_dir_all(&copy.tree);
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
        for name in String::from_utf8(listed.stdout).unwrap().split('\0').filter(|name| !name.is_empty()) {
            let to = copy.tree.join(name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(root().join(name), &to).unwrap();
        }
        copy
    }

    fn cargo(&self, binary: &[&str], rest: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--quiet", "--locked"]).args(binary).args(rest);
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build).stdin(Stdio::null());
        command
    }

    /// Makes a change; gives the file as it was.
    fn change(&self, change: &Change) -> (PathBuf, String) {
        let at = self.tree.join(&change.file);
        let source = std::fs::read_to_string(&at).unwrap();
        std::fs::write(&at, source.replacen(&change.find, &change.put, 1)).unwrap();
        (at, source)
    }

    fn fate(&self, mutant: &Mutant) -> Fate {
        let before: Vec<_> = mutant.changes().iter().map(|change| self.change(change)).collect();
        let fate = self.build_and_run(binary(mutant.lib), &mutant.tests);
        before.into_iter().rev().for_each(|(at, source)| std::fs::write(at, source).unwrap());
        fate
    }

    fn build_and_run(&self, binary: &[&str], tests: &[String]) -> Fate {
        let built = self.cargo(binary, &["--no-run"]).output().unwrap();
        if !built.status.success() {
            return Fate::DidNotCompile(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        let mut run = self.cargo(binary, &["--"]);
        let log = self.tree.with_extension("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut child = run.args(tests).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                return Fate::Hung;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let said = std::fs::read_to_string(&log).unwrap();
        if status.success() {
            assert!(!said.contains("running 0 tests"), "no test is called {tests:?}");
            return Fate::Survived;
        }
        let failed: BTreeSet<&str> = said.lines().filter(|line| line.starts_with("---- ")).collect();
        assert!(!failed.is_empty(), "the tests ended badly, and none of them failed:\n{said}");
        Fate::Noticed(failed.len())
    }
}

#[test]
#[ignore = "the better part of an hour: make mutants"]
fn each_guard_is_missed_when_it_is_gone() {
    // MUTANT='claim|sweep: spares': those whose names contain one of these.
    let only = std::env::var("MUTANT").unwrap_or_default();
    let chosen = |mutant: &Mutant| only.split('|').any(|part| mutant.guard.contains(part));
    let mutants: Vec<Mutant> = mutants().into_iter().filter(chosen).collect();
    let copy = Copy::make();
    eprintln!("{} mutants; first the tests as they are", mutants.len());
    for lib in [true, false] {
        let of: BTreeSet<String> = mutants.iter().filter(|m| m.lib == lib).flat_map(|m| m.tests.clone()).collect();
        if !of.is_empty() {
            let fate = copy.build_and_run(binary(lib), &of.into_iter().collect::<Vec<_>>());
            assert!(fate == Fate::Survived, "without a change every test must pass");
        }
    }
    let (mut holes, began) = (Vec::new(), Instant::now());
    for (i, mutant) in mutants.iter().enumerate() {
        let word = match copy.fate(mutant) {
            Fate::Noticed(tests) => format!("noticed by {tests}"),
            Fate::Hung => "noticed: hangs".to_owned(),
            Fate::Survived => {
                holes.push(&mutant.guard);
                "NOT NOTICED".to_owned()
            }
            Fate::DidNotCompile(why) => {
                holes.push(&mutant.guard);
                format!("DID NOT COMPILE\n{why}")
            }
        };
        eprintln!("{:>3}/{}  {:>5} s  {:<62} {word}", i + 1, mutants.len(), began.elapsed().as_secs(), mutant.guard);
    }
    eprintln!("{} of {} guards are missed when they are gone", mutants.len() - holes.len(), mutants.len());
    assert!(holes.is_empty(), "{holes:#?}");
}
