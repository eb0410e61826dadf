//! A job server with Rust handlers of its own: the same daemon and command line as
//! `taskrunnerx`, with two more task types.
//!
//! Start it on private servers (the API, the worker and the scheduler in one process):
//!
//! ```text
//! cargo run --example greeter -- dev
//! ```
//!
//! and submit to it:
//!
//! ```text
//! curl -s http://127.0.0.1:8000/api/tasks -H 'content-type: application/json' \
//!     -d '{"name": "greet", "payload": {"name": "Ada", "language": "de"}}'
//! curl -s http://127.0.0.1:8000/api/tasks -H 'content-type: application/json' \
//!     -d '{"name": "greet-all", "payload": {"names": ["Ada", "Grace"], "pause_ms": 500}}'
//! curl -s 'http://127.0.0.1:8000/api/tasks?limit=2'
//! ```
//!
//! `cargo run --example greeter -- serve --role worker` is a worker of several: every process
//! of one installation runs the same program, so that each knows every task type.

use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::Duration;
use taskrunnerx::task::Backoff;
use taskrunnerx::{Context, Registry, TaskError};
use tokio::io::AsyncWriteExt;

/// The payload of `greet`. One that does not fit fails at once, without another attempt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greet {
    name: String,
    #[serde(default)]
    language: Language,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum Language {
    #[default]
    En,
    De,
}

/// Its result: what `GET /api/tasks/{id}` gives as `result`.
#[derive(Serialize)]
struct Greeting {
    text: String,
    /// 1, or more after a retry.
    attempt: u32,
}

async fn greet(context: Context, payload: Greet) -> Result<Greeting, TaskError> {
    if payload.name.trim().is_empty() {
        // No other attempt would find a name in this payload.
        return Err(TaskError::permanent("there is nobody to greet: the name is empty"));
    }
    let text = greeting(&payload.name, payload.language);
    // Any error is a retryable one with `?`: a full disk may have room at the next attempt.
    write_down(&context, &text).await?;
    Ok(Greeting { text, attempt: context.attempt() })
}

fn greeting(name: &str, language: Language) -> String {
    match language {
        Language::En => format!("Hello, {name}!"),
        Language::De => format!("Hallo, {name}!"),
    }
}

/// Appends to a guest book. Delivery is at-least-once, so an attempt may follow one that has
/// written already: the task's id, the same in each, lets a reader drop the second line.
async fn write_down(context: &Context, text: &str) -> std::io::Result<()> {
    let path = std::env::temp_dir().join("greeter-guest-book.txt");
    let mut book = tokio::fs::OpenOptions::new().append(true).create(true).open(path).await?;
    book.write_all(format!("{} {text}\n", context.task_id()).as_bytes()).await?;
    book.flush().await
}

/// The payload of `greet-all`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GreetAll {
    names: Vec<String>,
    #[serde(default)]
    pause_ms: u64,
}

/// Takes its time, and listens: once the attempt is to end (its timeout has passed, or the
/// worker's drain is over) it has a second to return before it is dropped.
async fn greet_all(context: Context, payload: GreetAll) -> Result<Vec<String>, TaskError> {
    let mut greetings = Vec::new();
    for name in &payload.names {
        tokio::select! {
            () = context.cancelled() => {
                let (done, all) = (greetings.len(), payload.names.len());
                return Err(TaskError::retryable(format_args!("stopped after {done} of {all}")));
            }
            () = tokio::time::sleep(Duration::from_millis(payload.pause_ms)) => {}
        }
        greetings.push(greeting(name, Language::En));
        // In `GET /api/tasks/{id}` and its `/logs` and `/events` while it runs.
        context.log(format!("greeted {name}"));
        let part = f64::from(u32::try_from(greetings.len())?) / f64::from(u32::try_from(payload.names.len())?);
        context.progress_note(part, format!("{} greeted", greetings.len()));
    }
    Ok(greetings)
}

fn main() -> ExitCode {
    let mut registry = Registry::new();
    // For submissions that say nothing themselves; `[tasks.greet]` in the file lies over them.
    registry.register("greet", greet).max_attempts(3).backoff(Backoff::fixed(Duration::from_secs(2)));
    registry.register("greet-all", greet_all).queue("slow").timeout(Duration::from_secs(60));
    taskrunnerx::cli::main(registry)
}
