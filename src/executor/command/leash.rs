//! The leash: a small process between the worker and a program, which sees to it that nothing of the program
//! outlives the attempt or the worker. Without a runtime and without threads that outlive their use.
//!
//! It reads its [`Order`] from standard input and starts the *stage*, this binary a third time: limits are set there,
//! in the program's process and not in this one, before it becomes the program.

use super::cgroup::{self, Cgroup};
use super::user::User;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpid, getppid, kill_process, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The first argument that makes this binary a leash, and a stage.
pub(crate) const LEASH: &str = "__leash";
pub(crate) const STAGE: &str = "__stage";
/// Through the rope: end the program in good order.
pub(super) const STOP: &[u8] = b"T";
/// Between two looks for what is left.
const SWEEP_WAIT: Duration = Duration::from_millis(2);
/// Looks with a pause between; after that, whatever is left was not ours to kill.
const SWEEPS: u32 = 500;
/// Exit codes as POSIX shells have them.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// The leash itself failed.
const FAILED: u8 = 70;
/// In place of an argument that is not given.
const NOTHING: &str = "-";

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) argv: Vec<String>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) env: Vec<(String, String)>,
    pub(super) user: Option<User>,
    pub(super) limits: Limits,
    /// Milliseconds between TERM and KILL.
    pub(super) term_grace_ms: u64,
    /// For the program's standard input.
    pub(super) payload: String,
}

/// Of each process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Bytes of address space.
    pub(super) memory: Option<u64>,
    /// Seconds of processor time.
    pub(super) cpu: Option<u64>,
    pub(super) files: Option<u64>,
}

/// Why the leash woke.
enum Event {
    Exited(ExitStatus),
    /// To end it in good order.
    Stop,
    /// The worker has let go.
    Gone,
}

/// The leash's whole life. Its exit status is the program's.
pub(crate) fn run_leash() -> ExitCode {
    match leash() {
        Ok(status) => mirror(status),
        Err((code, why)) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::from(code)
        }
    }
}

fn leash() -> Result<ExitStatus, (u8, String)> {
    let failed = |what: &str, error: &dyn std::fmt::Display| (FAILED, format!("{what}: {error}"));
    let mut rope = std::io::stdin().lock();
    let order = read_order(&mut rope).map_err(|error| failed("the order could not be read", &error))?;
    drop(rope);
    set_child_subreaper(Some(getpid())).map_err(|error| failed("orphans cannot be held", &error))?;
    let cgroup = Cgroup::make();
    let mut program = match start(&order, cgroup.as_ref()) {
        Ok(program) => program,
        Err(error) => {
            cgroup.into_iter().for_each(Cgroup::kill);
            return Err(failed("the program could not be started", &error));
        }
    };
    let group = Pid::from_child(&program);
    let (tell, events) = mpsc::channel();
    if let Some(mut stdin) = program.stdin.take() {
        let payload = order.payload;
        // A program need not read it.
        std::thread::spawn(move || _ = stdin.write_all(payload.as_bytes()));
    }
    let watching = tell.clone();
    std::thread::spawn(move || watch(&watching));
    std::thread::spawn(move || _ = program.wait().map(|status| tell.send(Event::Exited(status))));
    let mut grace = None;
    let status = loop {
        let event = match grace {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(grace) => events.recv_timeout(grace),
        };
        match event {
            Ok(Event::Exited(status)) => break Some(status),
            Ok(Event::Stop) => {
                let _ = kill_process_group(group, Signal::TERM);
                grace = Some(Duration::from_millis(order.term_grace_ms));
            }
            Ok(Event::Gone) | Err(_) => break None,
        }
    };
    let _ = kill_process_group(group, Signal::KILL);
    if let Some(cgroup) = cgroup {
        cgroup.kill();
    }
    sweep();
    Ok(status.unwrap_or_else(|| ExitStatus::from_raw(Signal::KILL.as_raw())))
}

fn read_order(rope: &mut impl Read) -> std::io::Result<Order> {
    let mut length = [0; 4];
    rope.read_exact(&mut length)?;
    let mut order = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap_or(0)];
    rope.read_exact(&mut order)?;
    Ok(serde_json::from_slice(&order)?)
}

fn start(order: &Order, cgroup: Option<&Cgroup>) -> std::io::Result<Child> {
    let given = |value: Option<u64>| value.map_or(NOTHING.to_owned(), |value| value.to_string());
    let Limits { memory, cpu, files } = order.limits;
    let (uid, gid) = order.user.map_or((None, None), |user| (Some(user.uid.into()), Some(user.gid.into())));
    let mut stage = Command::new("/proc/self/exe");
    stage.arg(STAGE).arg(getpid().to_string());
    stage.arg(cgroup.map_or(Path::new(NOTHING), Cgroup::folder));
    stage.args([uid, gid, memory, cpu, files].map(given)).args(&order.argv);
    stage.env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
    if let Some(cwd) = &order.cwd {
        stage.current_dir(cwd);
    }
    let started = stage.process_group(0).stdin(Stdio::piped()).spawn()?;
    // Only the program holds its pipes now: the worker sees their ends when they are.
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(started)
}

/// What comes through the rope. The worker's end closes when it lets go, and when it dies.
fn watch(tell: &mpsc::Sender<Event>) {
    let mut rope = std::io::stdin().lock();
    let mut byte = [0; 1];
    loop {
        let event = match rope.read(&mut byte) {
            Ok(1..) => Event::Stop,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => Event::Gone,
        };
        let gone = matches!(event, Event::Gone);
        if tell.send(event).is_err() || gone {
            return;
        }
    }
}

/// Kills what is left of the program's family until there is none. They are stopped first: what is stopped forks no
/// more.
fn sweep() {
    for _ in 0..SWEEPS {
        if !reap() {
            return;
        }
        let mut stopped = 0;
        loop {
            let family = family();
            for pid in &family {
                let _ = kill_process(*pid, Signal::STOP);
            }
            // As many as before: nobody has come since.
            if family.len() <= stopped {
                family.into_iter().for_each(|pid| _ = kill_process(pid, Signal::KILL));
                break;
            }
            stopped = family.len();
        }
        std::thread::sleep(SWEEP_WAIT);
    }
}

/// Lets those go that have ended; says whether there are others. Orphans are children of this process.
fn reap() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// All that descends from this process.
fn family() -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = Vec::new();
    let mut next = vec![getpid().as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            family.extend(Pid::from_raw(child));
            next.push(child);
        }
    }
    family
}

/// From `/proc/PID/stat`: behind the name, which may hold anything, come the state and the parent.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Ends as the program ended.
fn mirror(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // No core dump besides the program's own.
            let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
            let _ = kill_process(getpid(), signal);
        }
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(FAILED));
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// Becomes the program: `PARENT CGROUP UID GID MEMORY CPU FILES PROGRAM [ARGUMENT…]`, each of the first ones a `-` where there is
/// none. Returns only when it could not.
pub(crate) fn run_stage(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (code, why) = stage(arguments);
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::from(code)
}

fn number(text: impl AsRef<OsStr>) -> Option<u64> {
    text.as_ref().to_str()?.parse().ok()
}

fn stage(mut arguments: impl Iterator<Item = OsString>) -> (u8, String) {
    let leash = arguments.next().unwrap_or_default();
    let parent = number(&leash);
    let folder = arguments.next().filter(|folder| folder != NOTHING);
    // Where that fails the leash looks for its processes one by one.
    let _ = folder.map(|folder| cgroup::enter(Path::new(&folder)));
    let (uid, gid) = (arguments.next().and_then(number), arguments.next().and_then(number));
    let id = |id: Option<u64>| id.and_then(|id| u32::try_from(id).ok());
    if let (Some(uid), Some(gid)) = (id(uid), id(gid)) {
        // Once more, as that user: what follows does not outlive the change.
        let mut again = Command::new("/proc/self/exe");
        again.arg(STAGE).arg(leash).args([NOTHING; 3]).args(arguments).uid(uid).gid(gid);
        return (FAILED, format!("the user cannot be changed: {}", again.exec()));
    }
    let mut next = || arguments.next().and_then(number);
    let limits = [(Resource::As, next()), (Resource::Cpu, next()), (Resource::Nofile, next())];
    // The last resort, for when somebody kills the leash.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return (FAILED, format!("the leash cannot be tied: {error}"));
    }
    let is_leash = |pid: Pid| u64::try_from(pid.as_raw_nonzero().get()).ok() == parent;
    if !getppid().is_some_and(is_leash) {
        return (FAILED, "the leash has gone".to_owned());
    }
    for (resource, limit) in limits {
        let Some(limit) = limit else { continue };
        if let Err(error) = setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) }) {
            return (FAILED, format!("the limit of {limit} for {resource:?} cannot be set: {error}"));
        }
    }
    let Some(program) = arguments.next() else { return (FAILED, "no program is named".to_owned()) };
    let error = Command::new(&program).args(arguments).exec();
    let code = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    (code, format!("{} cannot be run: {error}", program.to_string_lossy()))
}
