//! The daemon's side: a task type whose payload says how it behaves, and whose every start and
//! end is one line, written by one `write` to a file opened for appending. Lines of several
//! processes never mix, and a line that is there was written before whatever came after it.

use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use taskrunnerx::{Context, Registry, TaskError};

/// The variable that names the journal.
pub(crate) const JOURNAL: &str = "CHAOS_JOURNAL";
/// The task type.
pub(crate) const NAME: &str = "journal";
/// What the panics that were ordered say.
pub(crate) const PANIC: &str = "panics as it was told";

const LONG: Duration = Duration::from_secs(60);

/// How a task behaves: its payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Names the submission: its payload is what tells a row of an unknown submission.
    pub(crate) nonce: u64,
    /// How long it works.
    pub(crate) ms: u64,
    /// Fails, retryably, in every attempt below this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) fail_below: u32,
    /// Panics in every attempt below this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) panic_below: u32,
    /// Works for a minute in every attempt below this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) long_below: u32,
    /// Fails for good.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) permanent: bool,
    /// Works on a thread of its own that nothing stops.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deaf: bool,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What a task returns: which attempt's result a row holds can be told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) attempt: u32,
    pub(crate) pid: u32,
}

/// Milliseconds since the epoch on this process's clock.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The command line of the crate with the journal's task type.
pub(crate) fn daemon() -> ExitCode {
    // The test holds the other end: whatever becomes of it, its daemons go too.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(70);
    });
    let path = std::env::var_os(JOURNAL).unwrap();
    let journal = Arc::new(OpenOptions::new().append(true).create(true).open(path).unwrap());
    let mut registry = Registry::new();
    registry.register(NAME, move |context: Context, order: Order| work(Arc::clone(&journal), context, order));
    taskrunnerx::cli::main(registry)
}

async fn work(journal: Arc<File>, context: Context, order: Order) -> Result<Receipt, TaskError> {
    write(&journal, &context, "start");
    let attempt = context.attempt();
    let time = if attempt < order.long_below { LONG } else { Duration::from_millis(order.ms) };
    if order.deaf {
        let (journal, context) = (Arc::clone(&journal), context.clone());
        let thread = tokio::task::spawn_blocking(move || {
            std::thread::sleep(time);
            write(&journal, &context, "end");
        });
        thread.await?;
    } else {
        tokio::select! {
            () = context.cancelled() => return Err(TaskError::retryable("stopped")),
            () = tokio::time::sleep(time) => {}
        }
        assert!(attempt >= order.panic_below, "{PANIC}");
        write(&journal, &context, "end");
    }
    if order.permanent {
        return Err(TaskError::permanent("fails for good as it was told"));
    }
    if attempt < order.fail_below {
        return Err(TaskError::retryable("fails as it was told"));
    }
    Ok(Receipt { attempt, pid: std::process::id() })
}

fn write(mut journal: &File, context: &Context, word: &str) {
    let line = format!("{} {} {word} {} {}\n", context.task_id(), context.attempt(), std::process::id(), now_ms());
    // One write: half a line would be a line that lies.
    assert_eq!(journal.write(line.as_bytes()).unwrap(), line.len());
}
