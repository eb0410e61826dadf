//! The documents: what they show is run, what they link to is there, and the tests that they name exist.
//!
//! The blocks of one document are run in their order in one shell (`set -euo pipefail`), in a working directory and
//! on a database of their own, with `taskrunnerx` in the path; a failure says the document's line. The words behind the
//! fence say what is done with a block:
//!
//! | fence | |
//! |---|---|
//! | `sh` | run in the document's shell; the first one starts `taskrunnerx serve`, unless there is a server |
//! | `sh server` | the server, in a terminal of its own; one that is there is stopped by Ctrl-C |
//! | `sh terminal` | anything else that goes on, in a terminal of its own |
//! | `python` | run as a script |
//! | `text` | what the block before it prints; `...` stands for anything, alone in its line for any lines |
//! | `toml` | loaded as a configuration |
//! | `json` | parsed |
//! | `rust` | a test of rustdoc's; README.md alone has such (`src/lib.rs`) |
//! | any of these and a file's name | written to that file |
//! | `help` | what `--help` prints, on a page that `reference.rs` makes |
//! | `console`, `yaml` | not run: each stands in `NOT_RUN`, with its reason |

mod document;
mod output;
mod session;

use crate::harness::root;
use document::{Block, Document};
use session::Session;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use taskrunnerx::config::{Config, Environment, Flags};
use taskrunnerx::lifecycle::explain::Code;
use taskrunnerx::store::statements::statements;
use taskrunnerx::task::Scope;
use taskrunnerx::task::cron::Cron;
use taskrunnerx::task::schedule::Outcome;

/// Blocks that are not run: the document, the block's first line, and why.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "$ make run     # installs what is missing (with apt, where there is one), builds, and runs everything",
        BUILDS,
    ),
    (
        "README.md",
        "$ export DATABASE_URL=mysql://trx:secret@db.internal/trx REDIS_URL=redis://cache.internal",
        "names servers that are the reader's",
    ),
    ("docs/tutorial.md", "$ make setup build", BUILDS),
    (
        "CONTRIBUTING.md",
        "$ make test      # installs what is missing, where apt can, and runs every test: they start their own servers",
        BUILDS,
    ),
    (
        "docs/how-to/deploy.md",
        "$ deploy/secrets.sh                                                 # passwords and the API key, in deploy/secrets",
        INSTALLS,
    ),
    (
        "docs/how-to/deploy.md",
        "$ echo TASKRUNNERX_IMAGE=ghcr.io/OWNER/NAME:0.1.0 >deploy/.env      # of the repository that made the release",
        INSTALLS,
    ),
    ("docs/how-to/deploy.md", "$ mysql -u root -p <<'SQL'", "makes an account; `deploy.rs` runs its statements"),
    ("docs/how-to/backup.md", "$ docker compose -f deploy/compose.yaml stop api worker scheduler", INSTALLS),
    ("docs/how-to/deploy.md", "# install -m 0755 taskrunnerx /usr/local/bin/", INSTALLS),
    ("docs/how-to/deploy.md", "$ kubectl apply -k deploy/kubernetes", INSTALLS),
    (
        "docs/how-to/metrics.md",
        "rule_files: [taskrunnerx.rules.yml]     # from `taskrunnerx ops alerts`, below",
        "is for Prometheus, which is not installed",
    ),
];

const INSTALLS: &str = "changes the machine or a cluster; `deploy.rs` looks at what it starts";
const BUILDS: &str = "installs programs and builds a release, of which this test is a part";

/// The documents with rustdoc's tests, which `src/lib.rs` includes.
const TESTED_BY_RUSTDOC: &[&str] = &["README.md"];

/// A test for each document, and the list of them.
macro_rules! documents {
    ($($test:ident: $path:literal,)*) => {
        mod blocks {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::run($path).await;
            })*
        }

        const DOCUMENTS: &[&str] = &[$($path),*];
    };
}

documents! {
    readme: "README.md",
    contributing: "CONTRIBUTING.md",
    index: "docs/README.md",
    architecture: "docs/architecture.md",
    operations: "docs/operations.md",
    performance: "docs/performance.md",
    reliability: "docs/reliability.md",
    task_types: "docs/task-types.md",
    tutorial: "docs/tutorial.md",
    backup: "docs/how-to/backup.md",
    command_line: "docs/how-to/command-line.md",
    commands_and_calls: "docs/how-to/commands-and-calls.md",
    delays: "docs/how-to/delays.md",
    deploy: "docs/how-to/deploy.md",
    explain: "docs/how-to/explain.md",
    failures: "docs/how-to/failures.md",
    idempotency: "docs/how-to/idempotency.md",
    keys: "docs/how-to/keys.md",
    limits: "docs/how-to/limits.md",
    many: "docs/how-to/many.md",
    metrics: "docs/how-to/metrics.md",
    pausing: "docs/how-to/pausing.md",
    pull_workers: "docs/how-to/pull-workers.md",
    retries: "docs/how-to/retries.md",
    schedules: "docs/how-to/schedules.md",
    tls: "docs/how-to/tls.md",
    upgrade: "docs/how-to/upgrade.md",
    waiting: "docs/how-to/waiting.md",
    reference_api: "docs/reference/api.md",
    reference_command_line: "docs/reference/command-line.md",
    reference_configuration: "docs/reference/configuration.md",
    reference_metrics: "docs/reference/metrics.md",
}

async fn run(path: &str) {
    play(&Document::read(path)).await;
}

async fn play(document: &Document) {
    let runs = |block: &Block| ["sh", "python", "text"].contains(&&*block.language);
    if !document.blocks.iter().any(runs) {
        for block in &document.blocks {
            check(document, block);
        }
        return;
    }
    let mut session = Session::begin(&document.path).await;
    for block in &document.blocks {
        check(document, block);
        match (block.language.as_str(), block.word.as_deref()) {
            ("sh", Some("server")) => session.server(block).await,
            ("sh", Some("terminal")) => session.terminal(block).await,
            ("rust", _) => {}
            (_, Some(name)) => session.write(block, name),
            ("sh" | "python", None) => session.run(block).await,
            ("text", None) => session.compare(block),
            _ => {}
        }
    }
    session.end().await;
}

/// What can be said of a block without running it.
fn check(document: &Document, block: &Block) {
    let at = format!("{}:{}", document.path, block.line);
    match block.language.as_str() {
        "sh" | "python" | "text" => {}
        "help" => assert!(document.path.starts_with("docs/reference/"), "{at}: no test looks at this"),
        "toml" => loads(&at, &block.text),
        "json" => {
            serde_json::from_str::<serde_json::Value>(&block.text).unwrap_or_else(|error| panic!("{at}: {error}"));
        }
        "rust" => assert!(TESTED_BY_RUSTDOC.contains(&&*document.path), "{at}: no test looks at this"),
        "console" | "yaml" => {
            let first = block.text.lines().next().unwrap_or_default();
            let known = NOT_RUN.iter().any(|(path, line, _)| *path == document.path && *line == first);
            assert!(known, "{at}: a block that is not run, and NOT_RUN does not say why");
        }
        other => panic!("{at}: no test knows what to do with {other:?}"),
    }
}

/// A configuration is loaded as the program loads it; what it takes from outside is there. Whether programs that it
/// names are there is not asked.
fn loads(at: &str, text: &str) {
    let names = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
    let variables = names.filter(|name| !name.starts_with("file:")).map(|name| (name, "c2VjcmV0"));
    let text = text.to_owned();
    let file = move |path: &Path| match path.to_str() {
        Some("taskrunnerx.toml") => Ok(text.clone()),
        _ => Ok("whsec_c2VjcmV0".to_owned()),
    };
    let check_cron = |expression: &str, zone: &str| {
        Cron::parse(expression, zone).map(|_| ()).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    };
    let environment = Environment::new(variables, file);
    Config::load(&Flags::default(), &environment, check_cron).unwrap_or_else(|error| panic!("{at}: {error}"));
}

/// What a document of this text fails with.
async fn fault(text: &'static str) -> String {
    let document = Document::parse("made/up.md", text);
    let runtime = tokio::runtime::Handle::current();
    let failed = tokio::task::spawn_blocking(move || runtime.block_on(play(&document))).await.unwrap_err();
    *failed.into_panic().downcast::<String>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_document_is_found_with_its_line() {
    for (text, says) in [
        ("# x\n```sh\ntrue\nfalse\n```\n", "made/up.md: line 4: exit status 1: false"),
        ("```sh\necho $nothing\n```\n", "made/up.md: line 2: nothing: unbound variable"),
        ("```sh\nfalse | cat\n```\n", "exit status 1"),
        (
            "```sh\necho a\n```\n\n```text\nb\n```\n",
            "made/up.md:6: the block in line 2 did not print this; it printed:\na",
        ),
        ("```text\nb\n```\n", "nothing was run that could print this"),
        ("```python\nprint(1 / 0)\n```\n", "ZeroDivisionError"),
        ("```sh server\ntaskrunnerx serve --role nobody\n```\n", "the server ended"),
        ("```toml\n[worker]\nlaese = \"1s\"\n```\n", "worker.laese"),
        ("```json\n{,}\n```\n", "made/up.md:2: key must be a string"),
        ("```console\n$ rm -rf /\n```\n", "NOT_RUN does not say why"),
        ("```perl\n1\n```\n", "no test knows what to do"),
    ] {
        let found = fault(text).await;
        assert!(found.contains(says), "{text} -> {found}");
    }
    assert_eq!(dead("docs/README.md", "nowhere.md").unwrap(), "there is no nowhere.md");
    assert!(dead("docs/README.md", "../README.md#no-such-thing").is_some());
    assert!(dead("docs/README.md", "../README.md#try-it").is_none());
}

#[test]
fn every_document_is_run() {
    let listed: Vec<&str> = DOCUMENTS.to_vec();
    let found = document::paths();
    let forgotten: Vec<&String> = found.iter().filter(|path| !listed.contains(&path.as_str())).collect();
    assert!(forgotten.is_empty(), "DOCUMENTS lacks {forgotten:?}");
}

#[test]
fn what_is_not_run_is_there() {
    for (path, line, reason) in NOT_RUN {
        assert!(!reason.is_empty(), "{path}: {line}");
        let there = Document::read(path).blocks.iter().any(|block| block.text.lines().next() == Some(*line));
        assert!(there, "NOT_RUN has a block that {path} does not have: {line}");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for path in document::paths() {
        for link in Document::read(&path).links {
            if let Some(fault) = dead(&path, &link.target) {
                faults.push(format!("{path}:{}: {fault}", link.line));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Why a link is dead, if it is one within the repository.
fn dead(from: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = match file {
        "" => root().join(from),
        _ => root().join(from).parent().unwrap().join(file),
    };
    let Ok(path) = path.canonicalize() else { return Some(format!("there is no {file}")) };
    let anchor = anchor?;
    let path = path.strip_prefix(root().canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned();
    (!Document::read(&path).anchors.iter().any(|known| known == anchor)).then(|| format!("{path} has no #{anchor}"))
}

/// A name of five words or more between backticks is that of a test.
const WORDS_OF_A_TEST: usize = 5;
/// What other long names begin with: metrics, and settings of MySQL.
const SETTINGS: &[&str] = &["taskrunnerx_", "innodb_"];

#[test]
fn tests_that_are_named_exist() {
    let known = functions();
    let mut faults = Vec::new();
    for path in document::paths() {
        for (number, line) in Document::read(&path).prose {
            for name in code(&line).filter_map(|name| name.rsplit("::").next()) {
                let is_name =
                    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
                let is_setting = SETTINGS.iter().any(|prefix| name.starts_with(prefix));
                if is_name && !is_setting && name.split('_').count() >= WORDS_OF_A_TEST && !known.contains(name) {
                    faults.push(format!("{path}:{number}: there is no test {name}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The words in the first column of the table with this title.
fn column(path: &str, title: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let begins = format!("| {title} |");
    let rows =
        text.lines().skip_while(|line| !line.starts_with(&begins)).skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1)).flat_map(code).map(str::to_owned).collect()
}

#[test]
fn each_word_that_programs_may_rely_on_stands_in_its_table() {
    let words = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let outcomes = words(Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect());
    assert_eq!(column("docs/how-to/schedules.md", "outcome"), outcomes);
    let causes = words(Code::ALL.iter().map(|code| code.as_str()).collect());
    assert_eq!(column("docs/how-to/explain.md", "code"), causes);
    let scopes = words(Scope::ALL.iter().map(|scope| scope.as_str()).collect());
    assert_eq!(column("docs/how-to/keys.md", "scope"), scopes);
}

/// Every function of the code and of the tests.
fn functions() -> BTreeSet<String> {
    sources().iter().flat_map(|path| functions_of(path)).collect()
}

fn functions_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("fn ").skip(1).filter_map(|part| Some(part.split(['(', '<']).next()?.to_owned())).collect()
}

/// Every file of the code, of the tests and beside them.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories: Vec<_> = ["src", "tests", "examples", "benches"].map(|name| root().join(name)).into();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// What stands between backticks in a line.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn files_that_are_named_exist() {
    let known = sources();
    let mut faults = Vec::new();
    for path in document::paths() {
        for (number, line) in Document::read(&path).prose {
            for name in code(&line).filter(|name| name.ends_with(".rs") && !name.contains([' ', '*', '{'])) {
                if !known.iter().any(|file| file.ends_with(name)) {
                    faults.push(format!("{path}:{number}: there is no {name}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The last section of the architecture: each row's function is in its file, and its statement is one.
#[test]
fn the_walk_through_a_tasks_life_goes_where_it_says() {
    let statements: Vec<&str> = statements(1).into_iter().map(|(name, _)| name).collect();
    let prose = Document::read("docs/architecture.md").prose;
    let walk = prose.iter().skip_while(|(_, line)| line != "## One task, step by step");
    let mut steps = 0;
    for (number, row) in walk.filter(|(_, line)| line.contains(".rs` | ")) {
        let cells: Vec<&str> = row.split(" |").collect();
        let [_, file, function, statement, ..] = cells.as_slice() else { panic!("{number}: {row}") };
        for (file, function) in code(file).zip(code(function)) {
            let functions = functions_of(&root().join("src").join(file));
            assert!(functions.iter().any(|known| known == function), "line {number}: {file} has no {function}");
        }
        for name in code(statement) {
            assert!(statements.contains(&name), "line {number}: there is no statement {name}");
        }
        steps += 1;
    }
    assert!(steps > 15, "{steps}");
}
