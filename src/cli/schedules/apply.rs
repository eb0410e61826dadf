//! `schedules apply`.

use super::diff::{self, Action, BY_FILE, Kept, Step};
use super::files;
use crate::cli::connection::Connection;
use crate::cli::each::Refusal;
use crate::cli::terminal::{Style, report, say_aside, unwritten};
use crate::cli::{EXIT_USAGE, Failure};
use crate::client::{Client, ClientError};
use crate::task::schedule::Definition;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Schedules that are asked for at once.
const AT_ONCE: usize = 8;

/// Make the server's schedules what files say, and show what differs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx schedules apply -f schedules.toml
  taskrunnerx schedules apply -f schedules.toml --dry-run
  taskrunnerx schedules apply -f web.toml -f mail.toml --prune
  taskrunnerx schedules export > schedules.toml && taskrunnerx schedules apply -f schedules.toml

A file has [schedules.NAME] tables as the configuration has them, or the same as JSON: {\"schedules\":
{NAME: {...}}}. All files are read first, and nothing is changed if something is wrong with one. Each
schedule that is put is then managed by `file`; --prune removes those of them that are in none of these
files. Pauses stay as they are. What the configuration manages is left as it is, and said.

Exit codes: 0 done, with --dry-run nothing would change, 1 something was refused or is the configuration's,
with --dry-run something would change, 2 usage, or a file is wrong, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// A file; - is standard input; repeatable
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Change nothing, show what would be
    #[arg(long)]
    dry_run: bool,
    /// Remove schedules that an earlier apply has put and that are in none of these files
    #[arg(long)]
    prune: bool,
    /// What was done, or would be, as JSON: {dry_run, schedules}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { files, dry_run, prune, json, connection } = args;
    let wanted = files::read(&files).await.map_err(|faults| wrong(&faults))?;
    if wanted.is_empty() && prune {
        return Err(Failure::with_code(
            EXIT_USAGE,
            "the files have no schedules, and --prune would remove every one; `schedules delete` does that by name",
        ));
    }
    apply(&connection.client()?, &wanted, How { dry_run, prune, json, aside: false }).await
}

fn wrong(faults: &[String]) -> Failure {
    Failure::with_code(EXIT_USAGE, format!("nothing was changed:\n{}", faults.join("\n")))
}

/// What is done, and how it is told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    pub(super) dry_run: bool,
    pub(super) prune: bool,
    pub(super) json: bool,
    /// On standard error: standard output is taken.
    pub(super) aside: bool,
}

/// Compares, puts and removes, and tells of it.
///
/// # Errors
/// When something was refused, or would change with `dry_run`; when the server cannot be reached, then at once.
pub(super) async fn apply(client: &Client, wanted: &BTreeMap<String, Definition>, how: How) -> Result<(), Failure> {
    let mut steps = plan(client, wanted, how.prune).await?;
    let mut taken = 0;
    let mut failure = None;
    for step in steps.iter_mut().filter(|_| !how.dry_run) {
        match take(client, step, wanted.get(&step.name)).await {
            Ok(refused) => step.refused = refused,
            Err(why) => {
                failure = Some(why);
                break;
            }
        }
        taken += 1;
    }
    // What was not come to is not told as done.
    if failure.is_some() {
        steps.truncate(taken);
    }
    let told = tell(&steps, how);
    let differs = |step: &Step| step.action != Action::Nothing;
    let undone = |step: &Step| step.refused.is_some() || step.action == Action::Leave;
    let fails = if how.dry_run { steps.iter().any(differs) } else { steps.iter().any(undone) };
    match failure {
        Some(failure) => Err(failure),
        // All has been said.
        None if fails => Err(Failure::new("")),
        None => told.map_err(|error| Failure::new(unwritten(&error))),
    }
}

/// After all is done. Who does not read it still gets the exit code of what was done.
fn tell(steps: &[Step], how: How) -> std::io::Result<()> {
    if how.json {
        return report(&diff::to_json(steps, how.dry_run));
    }
    let style = if how.aside { Style { colour: false, width: None } } else { Style::detect() };
    for text in steps.iter().filter_map(|step| step.render(style)) {
        if how.aside { say_aside(&text) } else { report(&text)? }
    }
    say_aside(&diff::summary(steps, how.dry_run));
    Ok(())
}

/// What is to be done, in the order of names; removals last.
async fn plan(client: &Client, wanted: &BTreeMap<String, Definition>, prune: bool) -> Result<Vec<Step>, Failure> {
    let step = |name: &str, action| Step { name: name.to_owned(), action, refused: None };
    let mut steps: Vec<Step> = stream::iter(wanted)
        .map(async |(name, definition)| {
            let kept = kept(client, name).await?;
            Ok::<_, ClientError>(step(name, diff::action(kept.as_ref(), definition)))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    if prune {
        let all = client.schedules(u32::MAX, None).await?;
        for row in all.read::<HashMap<String, Box<RawValue>>>()? {
            let kept = Kept::read(row).map_err(ClientError::Broken)?;
            if kept.is_filed() && !wanted.contains_key(&kept.name) {
                steps.push(step(&kept.name, Action::Prune));
            }
        }
    }
    Ok(steps)
}

/// None: there is none of this name.
async fn kept(client: &Client, name: &str) -> Result<Option<Kept>, ClientError> {
    match client.schedule(name).await {
        Ok(reply) => Kept::of(&reply).map(Some),
        Err(ClientError::Refused { status, .. }) if status.as_u16() == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a step; Some: why the server refused it. One that is refused does not keep the others from theirs.
async fn take(client: &Client, step: &Step, wanted: Option<&Definition>) -> Result<Option<String>, Failure> {
    let taken = match (&step.action, wanted) {
        (Action::Create | Action::Change(_), Some(definition)) => {
            client.put_schedule(&step.name, body(definition)?.into()).await.map(|_| ())
        }
        (Action::Prune, _) => client.delete_schedule(&step.name).await.map(|_| ()),
        _ => return Ok(None),
    };
    match taken {
        Ok(()) => Ok(None),
        Err(error) if error.concerns_all() => Err(error.into()),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// The definition, and who manages it.
fn body(definition: &Definition) -> Result<Vec<u8>, Failure> {
    let kept = definition.to_json();
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_str(&kept).map_err(Failure::new)?;
    let by = serde_json::value::to_raw_value(BY_FILE).map_err(Failure::new)?;
    members.insert("managed_by", &by);
    serde_json::to_vec(&members).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_the_definition_byte_for_byte_and_who_manages_it() {
        let text = r#"{"every": "5m", "task": {"name": "x", "payload":  {"b": 1.50, "a": 12345678901234567890123}}}"#;
        let read = Definition::from_json(text, usize::MAX).unwrap();
        assert_eq!(
            String::from_utf8(body(&read.definition).unwrap()).unwrap(),
            r#"{"every":"5m","managed_by":"file","task":{"name": "x", "payload":  {"b": 1.50, "a": 12345678901234567890123}}}"#
        );
    }
}
