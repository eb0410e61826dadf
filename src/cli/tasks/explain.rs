//! `tasks explain`.

use crate::cli::connection::Connection;
use crate::cli::table::{Cell, Tone, details};
use crate::cli::terminal::{Style, harmless, say};
use crate::cli::{Failure, fields, words};
use crate::task::TaskId;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Say why a task does not run, or what became of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks explain 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks explain 0190163d-8694-739b-aea5-966c26f8ad91 --json | jq -r '.causes[].code'

Exit codes: 0 done, 1 there is no such task, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The task's id
    id: TaskId,
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct Explanation {
    status: String,
    summary: String,
    #[serde(default)]
    causes: Vec<Cause>,
    next: Option<Next>,
}

/// What comes by itself.
#[derive(Debug, Deserialize)]
struct Next {
    at: Option<String>,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct Cause {
    code: String,
    detail: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { id, json, connection } = args;
    let reply = connection.client()?.explain(id).await?;
    if json {
        say(&reply.text());
        return Ok(());
    }
    say(&shown(&reply.read()?, Style::detect()));
    Ok(())
}

fn shown(explanation: &Explanation, style: Style) -> String {
    let Explanation { status, summary, causes, next } = explanation;
    let head = style.paint(Tone::of_status(status).code(), status);
    let mut text = format!("{head}: {}", harmless(summary));
    for Cause { code, detail, fields } in causes {
        text.push_str(&format!("\n\n{}: {}", style.paint("1", code), harmless(detail)));
        let found: Vec<(&str, Cell)> = fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), Cell::new(fields::text(value))))
            .collect();
        for line in details(found, style).lines() {
            text.push_str(&format!("\n  {line}"));
        }
    }
    if let Some(Next { at, detail }) = next {
        let at = at.as_deref().map_or(String::new(), |at| format!(" (at {})", words::time(at)));
        text.push_str(&format!("\n\n{}: {}{at}", style.paint("1", "next"), harmless(detail)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_with_its_fields() {
        let json = r#"{"status": "queued", "summary": "its queue is paused", "causes": [{"code": "paused",
            "detail": "the queue mail is paused", "queue": "mail", "by": "ops", "resume_at": null}], "next": {"at": "2026-11-25T10:00:00.5Z", "detail": "it resumes"}}"#;
        let text = shown(&serde_json::from_str(json).unwrap(), Style::PLAIN);
        assert_eq!(
            text,
            "queued: its queue is paused\n\npaused: the queue mail is paused\n  by     ops\n  queue  mail\n\n\
             next: it resumes (at 2026-11-25T10:00:00Z)"
        );
    }
}
