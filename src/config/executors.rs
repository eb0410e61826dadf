//! What makes a `[tasks.NAME]` a task type of its own: exactly one of `command`, `http` and `pull`.

use std::path::PathBuf;
use std::time::Duration;

use super::entries::Entry;
use super::form::{Form, Given, List, Size, Span, Switch, Whole, Why, Word, Wrong, why};
use super::http::{self, HttpCall};
use super::layers::Layers;
use super::reach::AllowPrivate;

/// Bytes of address space: less, and hardly a program starts.
const MIN_MEMORY: usize = 16 << 20;
const MAX_MEMORY: usize = 1 << 40;

/// Who runs the tasks of a type that the configuration makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Executor {
    /// A program of this host.
    Command(Command),
    /// A call.
    Http(HttpCall),
    /// A worker outside, which claims them over REST.
    Pull,
}

/// `command` and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The program, then its arguments: never a shell.
    pub argv: Vec<String>,
    /// Its working directory; None: the process's.
    pub cwd: Option<PathBuf>,
    /// Variables that it gets besides its own: `NAME`, as this process has it, or `NAME=value`.
    pub env: Vec<(String, Option<String>)>,
    /// The user it runs as; None: the process's.
    pub user: Option<String>,
    /// Most bytes of address space, of each of its processes.
    pub memory: Option<u64>,
    /// Most processor time, of each of its processes.
    pub cpu: Option<Duration>,
    /// Most open files, of each of its processes.
    pub files: Option<u64>,
}

const ARGV: Argv = Argv;
const CWD: Word<PathBuf> = Word {
    takes: "the path of a directory",
    read: |text| if text.is_empty() || text.contains('\0') { Err(None) } else { Ok(text.into()) },
    show: |path| path.display().to_string(),
};
const ENV: List<Vec<(String, Option<String>)>> = List {
    takes: r#"a list of variables: "NAME" as this process has it, or "NAME=value""#,
    read: read_env,
    // Values may be secrets.
    show: |list| list.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","),
};
const USER: Word<String> = Word {
    takes: "the name of a user of this host, or a numeric user id",
    read: |text| if text.is_empty() || text.contains(['\0', ':']) { Err(None) } else { Ok(text.to_owned()) },
    show: String::clone,
};
const MEMORY: Size = Size { min: MIN_MEMORY, max: MAX_MEMORY };
const CPU: Span = Span { min: Duration::from_secs(1), max: Duration::from_secs(30 * 86_400) };
const FILES: Whole<u32> = Whole { min: 8, max: 1_048_576 };

/// The executor keys there are, for the message when several are given.
const KEYS: [&str; 3] = ["command", "http", "pull"];
/// Keys that go with `command` alone.
const COMMAND_KEYS: [&str; 6] = ["cwd", "env", "user", "memory", "cpu", "files"];

/// None: the type is the binary's, or what was given left its faults.
pub(super) fn read<'a>(
    layers: &mut Layers<'a>,
    entry: &mut Entry<'a>,
    allow_private: &AllowPrivate,
) -> Option<Executor> {
    let argv = entry.optional(layers, "command", &ARGV);
    let call = http::read(layers, entry, allow_private);
    let pull = entry.optional(layers, "pull", &Switch);
    let given: Vec<&str> = KEYS.into_iter().filter(|key| entry.has(key)).collect();
    if given.len() > 1 {
        let problem = format!("{} are given; takes exactly one of {}", given.join(" and "), KEYS.join(", "));
        entry.fault(layers, given.last().copied().unwrap_or_default(), problem);
    }
    if pull == Some(false) {
        entry.fault(layers, "pull", "got false; takes true, or leave it out");
    }
    let command = Command {
        argv: argv.clone().unwrap_or_default(),
        cwd: entry.optional(layers, "cwd", &CWD),
        env: entry.optional(layers, "env", &ENV).unwrap_or_default(),
        user: entry.optional(layers, "user", &USER),
        memory: entry.optional(layers, "memory", &MEMORY).and_then(|bytes| u64::try_from(bytes).ok()),
        cpu: entry.optional(layers, "cpu", &CPU),
        files: entry.optional(layers, "files", &FILES).map(u64::from),
    };
    if !entry.has("command") {
        for key in COMMAND_KEYS.into_iter().filter(|key| entry.has(key)) {
            entry.fault(layers, key, "goes with `command`, and there is none");
        }
    }
    match (argv, call, pull) {
        (Some(_), None, None) => Some(Executor::Command(command)),
        (None, Some(call), None) => Some(Executor::Http(call)),
        (None, None, Some(true)) => Some(Executor::Pull),
        _ => None,
    }
}

/// A program and its arguments.
struct Argv;

impl Form for Argv {
    type Value = Vec<String>;

    fn takes(&self) -> String {
        r#"a list of texts, the program first and then its arguments, such as ["/usr/bin/convert", "-", "out.png"]; no shell reads it"#
            .to_owned()
    }

    fn read(&self, given: &Given) -> Result<Vec<String>, Vec<Wrong>> {
        let Given::Typed(toml::Value::Array(values)) = given else { return Err(vec![Wrong::Unfit(None)]) };
        let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        let read: Result<Vec<String>, Why> = match texts {
            None => Err(None),
            Some(texts) if texts.first().is_none_or(String::is_empty) => why("names no program"),
            Some(texts) if texts.iter().any(|text| text.contains('\0')) => why("holds a NUL character"),
            Some(texts) => Ok(texts),
        };
        read.map_err(|reason| vec![Wrong::Unfit(reason)])
    }

    fn show(&self, value: &Vec<String>) -> String {
        // The program alone: arguments may hold secrets.
        match value.as_slice() {
            [program] => program.clone(),
            [program, rest @ ..] => format!("{program} (and {} arguments)", rest.len()),
            [] => String::new(),
        }
    }
}

fn read_env(texts: Vec<String>) -> Result<Vec<(String, Option<String>)>, Why> {
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        if name.is_empty() || text.contains('\0') {
            return why("has an entry without a name");
        }
        if name.starts_with("TASKRUNNERX_") {
            return why(format!("names {name}, and TASKRUNNERX_* is set by the worker"));
        }
        list.push((name.to_owned(), value));
    }
    Ok(list)
}
