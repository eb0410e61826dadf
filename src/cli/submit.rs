//! `submit`: one task, and its result if it is waited for.

use super::connection::Connection;
use super::tasks::{Screen, State, follow};
use super::terminal::{harmless, say, say_aside};
use super::values::{self, Span};
use super::{EXIT_STILL_RUNNING, EXIT_UNREACHABLE, EXIT_USAGE, Failure, input};
use crate::client::Client;
use crate::task::position::MAX_PRIORITY;
use crate::task::submission::MAX_ATTEMPTS;
use crate::task::{Status, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::IsTerminal;
use std::time::Duration;

/// Submit a task to a running server, and wait for its result if asked
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx submit echo '{\"hello\": \"world\"}'
  taskrunnerx submit thumbnail @photo.json --queue media --priority 5 --tag customer-7
  taskrunnerx submit report --delay 90s --max-attempts 3 --backoff 10s
  taskrunnerx submit mail '{\"to\": \"a@example.com\"}' --idempotency-key order-4711
  taskrunnerx submit echo '[1, 2]' --wait | jq .[0]
  taskrunnerx submit transcode @clip.json --wait=5m || echo failed, or not done yet

It prints the task's id, and with --wait its result instead; the rest goes to standard error. To wait takes a
key of the scope read.

Exit codes: 0 accepted, with --wait completed, 1 refused, with --wait failed or cancelled, 2 usage,
3 the server cannot be reached, 4 accepted, and the wait is over or was refused (the task goes on),
130 interrupted (the task goes on).")]
pub(super) struct Args {
    /// The task type
    #[arg(value_parser = values::word)]
    name: String,
    /// The payload as JSON; @FILE reads a file, - reads standard input [default: null]
    #[arg(value_name = "PAYLOAD|@FILE|-")]
    payload: Option<String>,
    #[command(flatten)]
    options: Options,
    /// A submission that is repeated with the same key gives the first one's task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until the task has ended, for at most DURATION if given, and print its result
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = values::span)]
    wait: Option<Option<Span>>,
    /// The task as the JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What goes into the submission beside its name and payload; what is left out is for the task type's defaults.
#[derive(Debug, clap::Args)]
struct Options {
    /// The queue
    #[arg(long, value_name = "NAME", value_parser = values::queue)]
    queue: Option<String>,
    /// From 0 to 9; higher starts first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=i64::from(MAX_PRIORITY)))]
    priority: Option<u8>,
    /// Not before this time has passed, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = values::span, conflicts_with = "run_at")]
    delay: Option<Span>,
    /// Not before this time, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    run_at: Option<String>,
    /// How long one attempt may take
    #[arg(long, value_name = "DURATION", value_parser = values::span)]
    timeout: Option<Span>,
    /// Attempts in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ATTEMPTS)))]
    max_attempts: Option<u32>,
    /// The wait between attempts, always this long; or a JSON object of kind, base, factor, max and jitter
    #[arg(long, value_name = "DURATION|JSON", value_parser = values::backoff)]
    backoff: Option<Box<RawValue>>,
    /// Give it up if it has not started within this time
    #[arg(long, value_name = "DURATION", value_parser = values::span)]
    expires_in: Option<Span>,
    /// A tag to find it by; repeatable
    #[arg(long = "tag", value_name = "TAG", value_parser = values::word)]
    tags: Vec<String>,
    /// A JSON object that is kept with it
    #[arg(long, value_name = "JSON", value_parser = values::json)]
    metadata: Option<Box<RawValue>>,
    /// While a task of this type with this key waits or runs, a submission gives that one
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Hold the key for this long after the submission, also when the task has ended before
    #[arg(long, value_name = "DURATION", value_parser = values::span, requires = "unique_key")]
    unique_for: Option<Span>,
}

/// The body.
#[derive(Debug, Serialize)]
struct Submission<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_for: Option<&'a str>,
}

impl Options {
    fn submission<'a>(&'a self, name: &'a str, payload: Option<&'a RawValue>) -> Submission<'a> {
        Submission {
            name,
            payload,
            queue: self.queue.as_deref(),
            priority: self.priority,
            delay: text(self.delay.as_ref()),
            run_at: self.run_at.as_deref(),
            timeout: text(self.timeout.as_ref()),
            max_attempts: self.max_attempts,
            backoff: self.backoff.as_deref(),
            expires_in: text(self.expires_in.as_ref()),
            tags: &self.tags,
            metadata: self.metadata.as_deref(),
            unique_key: self.unique_key.as_deref(),
            unique_for: text(self.unique_for.as_ref()),
        }
    }
}

fn text(span: Option<&Span>) -> Option<&str> {
    span.map(|span| span.text.as_str())
}

/// What is told of a task that was accepted.
#[derive(Debug, Deserialize)]
struct Accepted {
    id: String,
    name: String,
    queue: String,
    priority: u32,
    status: String,
    run_at: String,
    #[serde(default)]
    warnings: Vec<String>,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { name, payload, options, idempotency_key, wait, json, connection } = args;
    let client = connection.client()?;
    let payload = match payload {
        Some(given) => Some(read_payload(given).await.map_err(|fault| Failure::with_code(EXIT_USAGE, fault))?),
        None => None,
    };
    let submission = options.submission(&name, payload.as_deref());
    let body = serde_json::to_vec(&submission).map_err(Failure::new)?;
    let reply = client.submit(body.into(), idempotency_key.as_deref()).await?;
    let accepted: Accepted = reply.read()?;
    tell_aside(&accepted, reply.is_created(), wait.is_some());
    match wait {
        Some(limit) => wait_for(&client, &accepted.id, limit.map(|span| span.length), json).await,
        None => {
            say(if json { reply.text() } else { accepted.id.into() }.trim_end());
            Ok(())
        }
    }
}

async fn read_payload(given: String) -> Result<Box<RawValue>, String> {
    let text = match given.strip_prefix('@') {
        Some(path) => input::text(path).await.map_err(|error| format!("PAYLOAD: cannot read {path}: {error}"))?,
        None if given == input::STDIN => {
            input::text(input::STDIN).await.map_err(|error| format!("PAYLOAD: cannot read standard input: {error}"))?
        }
        None => given,
    };
    values::json(&text).map_err(|fault| format!("PAYLOAD: {fault}"))
}

/// What a person wants to know, and what everybody must.
fn tell_aside(accepted: &Accepted, created: bool, waits: bool) {
    let Accepted { id, name, queue, priority, status, run_at, warnings } = accepted;
    let person = std::io::stderr().is_terminal();
    if !created {
        say_aside(&format!("an earlier submission counts: task {id} is {status}"));
    } else if person || waits {
        let when = if status == "scheduled" { format!(" until {run_at}") } else { String::new() };
        // Where its result is printed instead, this is where its id is.
        say_aside(&format!("task {id}: {name} {status}{when} in queue {queue}, priority {priority}"));
    }
    for warning in warnings {
        say_aside(&format!("warning: {}", harmless(warning)));
    }
}

/// What of a task its result is.
#[derive(Debug, Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// Follows the task to its end, or for so long.
async fn wait_for(client: &Client, id: &str, limit: Option<Duration>, json: bool) -> Result<(), Failure> {
    let id: TaskId =
        id.parse().map_err(|fault| Failure::new(format!("the answer has a task id that is none: {fault}")))?;
    let screen = Screen::aside();
    let mut last = String::new();
    let following = follow(client, id, |event| {
        if event.name == "task" {
            last.clone_from(&event.data);
            screen.show_state(event);
        }
    });
    let ended = match limit {
        None => Some(following.await),
        Some(limit) => tokio::time::timeout(limit, following).await.ok(),
    };
    screen.clear();
    let Some(state) = ended.transpose().map_err(|failure| unfollowed(id, failure))? else {
        if json {
            say(client.task(id).await?.text().trim_end());
        }
        return Err(Failure::with_code(
            EXIT_STILL_RUNNING,
            format!("the wait is over, and task {id} goes on; follow it with: taskrunnerx tasks watch {id}"),
        ));
    };
    if json {
        say(&last);
    } else if let Outcome { result: Some(result) } = serde_json::from_str(&last).map_err(Failure::new)? {
        say(result.get());
    }
    outcome(id, &state)
}

/// It was accepted, whatever became of the wait: with a key that may submit and not read, for one.
fn unfollowed(id: TaskId, Failure { code, message }: Failure) -> Failure {
    let code = if code == EXIT_UNREACHABLE { code } else { EXIT_STILL_RUNNING };
    Failure::with_code(code, format!("task {id} was accepted, and cannot be waited for: {message}"))
}

/// As an exit code.
fn outcome(id: TaskId, state: &State) -> Result<(), Failure> {
    if state.status() == Some(Status::Completed) {
        return Ok(());
    }
    let why = state.last_error.as_deref().or(state.reason.as_deref()).unwrap_or("nothing is said of why");
    let attempts = format!("attempt {} of {}", state.attempt, state.max_attempts);
    Err(Failure::new(format!("task {id} is {}, {attempts}: {}", state.status, harmless(why))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        Command::try_parse_from([&["submit"], words].concat()).map(|command| command.args)
    }

    fn body(words: &[&str]) -> String {
        let args = parsed(words).unwrap();
        let payload = args.payload.map(|given| values::json(&given).unwrap());
        let submission = args.options.submission(&args.name, payload.as_deref());
        serde_json::to_string(&submission).unwrap()
    }

    #[test]
    fn what_is_left_out_is_left_to_the_server_and_the_payload_stays_byte_for_byte() {
        assert_eq!(body(&["noop"]), r#"{"name":"noop"}"#);
        assert_eq!(
            body(&["echo", r#"{"b": 12345678901234567890123,  "a": 1.50}"#, "--queue", "q", "--priority", "0"]),
            r#"{"name":"echo","payload":{"b": 12345678901234567890123,  "a": 1.50},"queue":"q","priority":0}"#
        );
        let all = ["x", "--delay", "90s", "--timeout", "1m", "--max-attempts", "2", "--backoff", "5s"];
        let more = ["--expires-in", "1h", "--tag", "a", "--tag", "b", "--metadata", "{}"];
        let keys = ["--unique-key", "k", "--unique-for", "1d"];
        assert_eq!(
            body(&[&all[..], &more, &keys].concat()),
            r#"{"name":"x","delay":"90s","timeout":"1m","max_attempts":2,"backoff":"5s","expires_in":"1h","tags":["a","b"],"metadata":{},"unique_key":"k","unique_for":"1d"}"#
        );
    }

    #[test]
    fn a_wait_has_a_limit_or_none_and_takes_no_payload_for_one() {
        assert_eq!(parsed(&["x"]).unwrap().wait, None);
        assert_eq!(parsed(&["x", "--wait"]).unwrap().wait, Some(None));
        assert_eq!(parsed(&["x", "--wait=90s"]).unwrap().wait.unwrap().unwrap().length, Duration::from_secs(90));
        let args = parsed(&["x", "--wait", "7"]).unwrap();
        assert_eq!((args.payload.as_deref(), args.wait), (Some("7"), Some(None)));
    }

    #[tokio::test]
    async fn slips_are_faults_of_usage() {
        let wrong: [&[&str]; 9] = [
            &[],
            &["a b"],
            &["x", "--priority", "10"],
            &["x", "--delay", "90"],
            &["x", "--delay", "1s", "--run-at", "2030-01-31T12:00:00Z"],
            &["x", "--run-at", "tomorrow"],
            &["x", "--unique-for", "1s"],
            &["x", "--metadata", "{a}"],
            &["x", "--backoff", "5"],
        ];
        for words in wrong {
            assert_eq!(parsed(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        assert!(read_payload("@/no/such/file".to_owned()).await.unwrap_err().contains("/no/such/file"));
        assert!(read_payload("hello".to_owned()).await.unwrap_err().contains("Quote it for the shell"));
    }
}
