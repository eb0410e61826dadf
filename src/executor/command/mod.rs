//! The `command` executor: a program of this host, without a shell.
//!
//! ```text
//!  worker ──rope──► leash ──► stage ══exec══► program ──► whatever it starts
//!    │ payload, then "stop"     │ limits, user    its own process group
//!    ◄────────── stdout, stderr, exit ───────────┘
//! ```
//!
//! The worker starts no program itself but a [`leash`]: this binary once more, which starts the program and
//! outlives it. The worker holds the one end of its standard input, the rope: when the worker lets
//! go, be it by `kill -9`, the leash kills everything that the program has started. It can, because orphans
//! come to it (a *subreaper*): double forks and sessions of their own do not escape, and where the host lets it
//! the kernel ends them all at once ([`cgroup`]). The program's own processes end before the attempt does.

mod capture;
mod cgroup;
mod leash;
mod user;

pub(crate) use leash::{LEASH, STAGE, run_leash, run_stage};

use super::{Context, Handler, TaskError, TaskResult};
use crate::config;
use crate::task::Timestamp;
use capture::{Said, capture, lines};
use chrono::SecondsFormat;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use leash::{Limits, Order};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{ChildStdin, Command as Process};
use user::User;

/// Where programs are looked for in a process without a PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Between TERM and KILL.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// From there until the leash has killed everything and said so.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// When everything that held the pipes is gone, what is in them is read within this time.
const PIPE_LIMIT: Duration = Duration::from_secs(1);
/// Exit codes that no retry mends: usage, data (sysexits.h), not executable, not found (POSIX shells).
const PERMANENT: [i32; 4] = [64, 65, 126, 127];

/// Runs one command for each attempt.
#[derive(Debug)]
pub(crate) struct Command {
    spec: config::Command,
    user: Option<User>,
    /// The most bytes of a result.
    max_result: usize,
}

impl Command {
    /// `here`: this process starts the program, so it must be there.
    ///
    /// # Errors
    /// Key and fault of what cannot be run, all of them.
    pub(crate) fn new(spec: config::Command, max_result: usize, here: bool) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut user = None;
        if here {
            faults.extend(missing_program(&spec));
            if let Some(cwd) = spec.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
                faults.push(format!("cwd: {} is no directory of this host", cwd.display()));
            }
            match spec.user.as_deref().map(User::find).transpose() {
                Ok(found) => user = found,
                Err(fault) => faults.push(format!("user: {fault}")),
            }
        }
        if faults.is_empty() { Ok(Self { spec, user, max_result }) } else { Err(faults) }
    }

    fn order(&self, context: &Context, payload: &str) -> Order {
        let config::Command { argv, cwd, env, memory, cpu, files, .. } = &self.spec;
        let own = |name: &str| std::env::var(name).ok();
        let mut variables = vec![("PATH".to_owned(), own("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned()))];
        variables.extend(own("LANG").map(|lang| ("LANG".to_owned(), lang)));
        for (name, value) in env {
            variables.extend(value.clone().or_else(|| own(name)).map(|value| (name.clone(), value)));
        }
        let deadline: Timestamp = chrono::Utc::now() + context.remaining();
        for (name, value) in [
            ("TASK_ID", context.task_id().to_string()),
            ("TASK_NAME", context.name().to_owned()),
            ("ATTEMPT", context.attempt().to_string()),
            ("MAX_ATTEMPTS", context.max_attempts().to_string()),
            ("QUEUE", context.queue().to_owned()),
            ("DEADLINE", deadline.to_rfc3339_opts(SecondsFormat::Millis, true)),
        ] {
            variables.push((format!("TASKRUNNERX_{name}"), value));
        }
        Order {
            argv: argv.clone(),
            cwd: cwd.clone(),
            env: variables,
            user: self.user,
            limits: Limits { memory: *memory, cpu: cpu.map(|cpu| cpu.as_secs()), files: *files },
            term_grace_ms: u64::try_from(TERM_GRACE.as_millis()).unwrap_or(u64::MAX),
            payload: payload.to_owned(),
        }
    }
}

impl Handler for Command {
    fn run(&self, context: Context, payload: Arc<str>) -> BoxFuture<'static, TaskResult> {
        let (order, max_result) = (self.order(&context, &payload), self.max_result);
        async move { run(context, &order, max_result).await }.boxed()
    }

    fn executor(&self) -> &'static str {
        "command"
    }

    fn stop_grace(&self) -> Duration {
        TERM_GRACE + KILL_GRACE
    }
}

async fn run(context: Context, order: &Order, max_result: usize) -> TaskResult {
    let order = serde_json::to_vec(order).map_err(TaskError::permanent)?;
    // This binary, even where its file has been replaced since.
    let mut leash = Process::new("/proc/self/exe");
    leash.arg(LEASH).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C at the worker's terminal is the worker's alone.
    let mut leash = leash.env_clear().process_group(0).spawn()?;
    let (Some(mut rope), Some(stdout), Some(stderr)) = (leash.stdin.take(), leash.stdout.take(), leash.stderr.take())
    else {
        return Err(TaskError::retryable("the command's pipes are missing"));
    };
    let exited = async {
        give(&mut rope, &order).await?;
        let stop = async {
            context.cancelled().await;
            let _ = rope.write_all(leash::STOP).await;
            std::future::pending().await
        };
        tokio::select! {
            status = leash.wait() => status,
            never = stop => never,
        }
    };
    let (status, said) = listen(exited, stdout, stderr, &context, max_result).await?;
    outcome(status, said, max_result)
}

async fn give(rope: &mut ChildStdin, order: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(order.len()).map_err(std::io::Error::other)?;
    rope.write_all(&length.to_le_bytes()).await?;
    rope.write_all(order).await?;
    rope.flush().await
}

/// Reads both pipes until the program has exited and they are closed, or held for too long after.
async fn listen(
    exited: impl Future<Output = std::io::Result<ExitStatus>>,
    stdout: impl AsyncRead + Unpin,
    stderr: impl AsyncRead + Unpin,
    context: &Context,
    max_result: usize,
) -> std::io::Result<(ExitStatus, Said)> {
    let mut said = Said::default();
    let status = {
        let Said { result, cut, last_line } = &mut said;
        let reading =
            async { tokio::join!(capture(stdout, max_result, result, cut), lines(stderr, context, last_line)) };
        tokio::pin!(exited, reading);
        let mut read = false;
        let status = loop {
            tokio::select! {
                status = &mut exited => break status?,
                _ = &mut reading, if !read => read = true,
            }
        };
        if !read {
            let _ = tokio::time::timeout(PIPE_LIMIT, reading).await;
        }
        status
    };
    Ok((status, said))
}

fn outcome(status: ExitStatus, said: Said, max_result: usize) -> TaskResult {
    let last_line = &said.last_line;
    let because = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(capture::result(&said, max_result)),
        (Some(code), _) if PERMANENT.contains(&code) => {
            Err(TaskError::permanent(format_args!("exit status {code}{because}")))
        }
        (Some(code), _) => Err(TaskError::retryable(format_args!("exit status {code}{because}"))),
        (None, Some(signal)) => Err(TaskError::retryable(format_args!("killed by signal {signal}{because}"))),
        (None, None) => Err(TaskError::retryable(format_args!("ended without a status{because}"))),
    }
}

/// Looks for the program where the start of it would.
fn missing_program(spec: &config::Command) -> Option<String> {
    let program = spec.argv.first()?;
    if program.contains('/') {
        let path = spec.cwd.as_deref().unwrap_or(Path::new("")).join(program);
        return match std::fs::metadata(&path) {
            Err(error) => Some(format!("command: {} cannot be run: {error}", path.display())),
            Ok(found) if !is_program(&found) => Some(format!("command: {} is not executable", path.display())),
            Ok(_) => None,
        };
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let there = std::env::split_paths(&path)
        .any(|folder: PathBuf| std::fs::metadata(folder.join(program)).is_ok_and(|found| is_program(&found)));
    (!there).then(|| format!("command: there is no program {program:?} in PATH ({path}); give its whole path"))
}

fn is_program(found: &std::fs::Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o111 != 0
}
