//! `tasks cancel` and `tasks retry`: the tasks that are named, or all that a filter finds, step by step.

use super::filter::FilterArgs;
use super::line;
use crate::cli::confirm::confirm;
use crate::cli::connection::Connection;
use crate::cli::each::each;
use crate::cli::terminal::{is_interactive, say};
use crate::cli::words::counted;
use crate::cli::{EXIT_USAGE, Failure, values};
use crate::client::{Client, ClientError, Sweep, Swept, TaskFilter, Verb};
use crate::task::TaskId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::io::IsTerminal;

const TEMPLATE: &str = "{msg:10} {wide_bar} {human_pos}/{human_len}  {elapsed}";

/// Stop tasks: those named, or all that a filter finds
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks cancel 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks cancel --queue mail --status queued --dry-run
  taskrunnerx tasks cancel --tag customer-7 --yes
  taskrunnerx tasks cancel --all

A task that waits is cancelled at once; one that runs ends when its worker has heard of it. A filter asks before
it changes anything, and needs --yes where there is no terminal.

Exit codes: 0 done, 1 one of them is not there or has ended, 2 usage, 3 the server cannot be reached.")]
pub(super) struct CancelArgs {
    #[command(flatten)]
    pub(super) asked: Asked,
}

/// Run tasks again that failed or were cancelled: those named, or all that a filter finds
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks retry 0190163d-8694-739b-aea5-966c26f8ad91
  taskrunnerx tasks retry --status failed --name mail --since 2h --dry-run
  taskrunnerx tasks retry --fingerprint 1f8a2c4490d7b3e1 --yes

A fingerprint is a group of `taskrunnerx failures`. A filter without --status means those that have failed. It
asks before it changes anything, and needs --yes where there is no terminal.

Exit codes: 0 done, 1 one of them is not there, or waits, runs or has completed, 2 usage,
3 the server cannot be reached.")]
pub(super) struct RetryArgs {
    #[command(flatten)]
    pub(super) asked: Asked,
    /// Those that failed with the same error
    #[arg(long, value_name = "FINGERPRINT", value_parser = values::word, conflicts_with = "ids", help_heading = "Which tasks")]
    pub(super) fingerprint: Option<String>,
}

/// What both take.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// The tasks' ids
    #[arg(value_name = "ID", conflicts_with_all = ["status", "queue", "name", "tag", "since", "until", "all", "dry_run"])]
    ids: Vec<TaskId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Every task: every one that waits or runs, or that has failed
    #[arg(long, help_heading = "Which tasks")]
    all: bool,
    /// Only say how many a filter finds
    #[arg(long, help_heading = "Options")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short, help_heading = "Options")]
    yes: bool,
    /// The JSON that the server gives: {matched, changed}, of ids the tasks, one a line
    #[arg(long, help_heading = "Options")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(verb: Verb, asked: Asked, fingerprint: Option<String>) -> Result<(), Failure> {
    let Asked { ids, filter, all, dry_run, yes, json, connection } = asked;
    if !ids.is_empty() {
        return named(&connection.client()?, verb, &ids, json).await;
    }
    let filter = TaskFilter { fingerprint, ..filter.read() };
    if (filter == TaskFilter::default()) != all {
        return Err(Failure::with_code(EXIT_USAGE, unnamed(verb, all)));
    }
    let client = connection.client()?;
    let sweep = |dry_run| Sweep { filter: (!all).then(|| filter.clone()), all, dry_run, cursor: None };
    if dry_run {
        let found = steps(&client, verb, sweep(true), |_| {}).await?;
        say(&report(verb, &found, true, json));
        return Ok(());
    }
    let mut expected = None;
    if !yes {
        if !is_interactive() {
            return confirm(&format!("{} every task that the filter finds?", title(verb))).await;
        }
        let found = steps(&client, verb, sweep(true), |_| {}).await?.matched;
        if found == 0 {
            say("no task matches");
            return Ok(());
        }
        confirm(&format!("{} {}?", title(verb), counted(found, "task"))).await?;
        expected = Some(found);
    }
    let bar = bar(verb, expected, json);
    let done = steps(&client, verb, sweep(false), |done| bar.set_position(done.changed)).await?;
    bar.finish_and_clear();
    say(&report(verb, &done, false, json));
    Ok(())
}

fn unnamed(verb: Verb, all: bool) -> String {
    let verb = verb.as_str();
    if all {
        return "--all stands beside a filter; takes one of the two".to_owned();
    }
    format!(
        "which tasks? Takes ids, a filter such as --queue or --status, or --all\n\
         See taskrunnerx tasks {verb} --help."
    )
}

async fn named(client: &Client, verb: Verb, ids: &[TaskId], json: bool) -> Result<(), Failure> {
    let call = async |id| {
        let (reply, words) = match verb {
            Verb::Cancel => {
                let reply = client.cancel(id).await?;
                let words = if reply.is_accepted() { "runs, and has been asked to stop" } else { "cancelled" };
                (reply, words)
            }
            Verb::Retry => (client.retry(id).await?, "queued again"),
        };
        Ok::<_, ClientError>(line(id, &reply, json, words))
    };
    each(ids, "task", call).await
}

/// Step after step until all is done; gives what they add up to.
async fn steps(client: &Client, verb: Verb, mut sweep: Sweep, mut each: impl FnMut(&Swept)) -> Result<Swept, Failure> {
    let mut whole = Swept { matched: 0, changed: 0, held: 0, complete: false, next_cursor: None };
    loop {
        let step = client.sweep(verb, &sweep).await.map_err(|error| cut_short(error, &whole, verb))?;
        whole.matched += step.matched;
        whole.changed += step.changed;
        whole.held += step.held;
        each(&whole);
        match (step.complete, step.next_cursor) {
            (true, _) => return Ok(Swept { complete: true, ..whole }),
            (false, Some(next)) => sweep.cursor = Some(next),
            (false, None) => {
                return Err(Failure::new("the answer is not complete, and has no cursor to go on from"));
            }
        }
    }
}

/// With what was done before.
fn cut_short(error: ClientError, whole: &Swept, verb: Verb) -> Failure {
    let Failure { code, message } = error.into();
    if whole.changed == 0 {
        return Failure { code, message };
    }
    let done = counted(whole.changed, "task");
    Failure { code, message: format!("{message}\n{done} had been {}; repeat it to go on.", past(verb)) }
}

/// Shown on a terminal alone; a count of unknown length where nobody has counted before.
fn bar(verb: Verb, expected: Option<u64>, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(expected, target).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template(if expected.is_some() { TEMPLATE } else { "{msg} {human_pos}" }) {
        bar.set_style(style);
    }
    bar.set_message(past(verb));
    bar
}

fn report(verb: Verb, swept: &Swept, dry_run: bool, json: bool) -> String {
    let Swept { matched, changed, held, complete, next_cursor: _ } = swept;
    if json {
        return format!("{{\"matched\":{matched},\"changed\":{changed},\"held\":{held},\"complete\":{complete}}}");
    }
    let kept = match held {
        0 => String::new(),
        held => format!("; {held} more cannot be, since another task holds the unique key"),
    };
    if dry_run {
        return format!("{} would be {}{kept}", counted(matched.saturating_sub(*held), "task"), past(verb));
    }
    let rest = matched.saturating_sub(*changed).saturating_sub(*held);
    let moved = if rest == 0 { String::new() } else { format!("; {rest} more had moved on meanwhile") };
    let stopping =
        if verb == Verb::Cancel && *changed > 0 { "; those that run end when their worker hears of it" } else { "" };
    format!("{} {}{kept}{moved}{stopping}", counted(*changed, "task"), past(verb))
}

const fn title(verb: Verb) -> &'static str {
    match verb {
        Verb::Cancel => "Cancel",
        Verb::Retry => "Retry",
    }
}

const fn past(verb: Verb) -> &'static str {
    match verb {
        Verb::Cancel => "cancelled",
        Verb::Retry => "queued again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        retry: RetryArgs,
    }

    fn fault(words: &[&str]) -> Option<i32> {
        Command::try_parse_from([&["x"], words].concat()).err().map(|error| error.exit_code())
    }

    #[test]
    fn tasks_are_named_by_id_or_by_a_filter_but_not_by_both() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(fault(&[id, id]), None);
        assert_eq!(fault(&["--queue", "a", "--dry-run"]), None);
        for words in
            [&[id, "--queue", "a"][..], &[id, "--all"], &[id, "--fingerprint", "f"], &[id, "--dry-run"], &["7"]]
        {
            assert_eq!(fault(words), Some(2), "{words:?}");
        }
    }

    #[test]
    fn what_was_done_is_said_in_words_and_in_json() {
        let swept = Swept { matched: 3, changed: 2, held: 0, complete: true, next_cursor: None };
        assert_eq!(report(Verb::Retry, &swept, false, false), "2 tasks queued again; 1 more had moved on meanwhile");
        assert_eq!(report(Verb::Cancel, &swept, true, false), "3 tasks would be cancelled");
        let kept = "1 more cannot be, since another task holds the unique key";
        let held = Swept { held: 1, ..swept.clone() };
        assert_eq!(report(Verb::Retry, &held, true, false), format!("2 tasks would be queued again; {kept}"));
        assert_eq!(report(Verb::Retry, &held, false, false), format!("2 tasks queued again; {kept}"));
        assert_eq!(report(Verb::Cancel, &swept, false, true), r#"{"matched":3,"changed":2,"held":0,"complete":true}"#);
    }
}
