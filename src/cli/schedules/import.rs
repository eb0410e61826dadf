//! `schedules import-crontab`.

use super::apply::{How, apply};
use super::crontab::{self, Crontab, Job, Refused};
use super::naming;
use super::written::{self, key, string};
use crate::cli::connection::Connection;
use crate::cli::terminal::{harmless, report, say_aside, unwritten};
use crate::cli::words::counted;
use crate::cli::{EXIT_USAGE, Failure, input, values};
use crate::task::schedule::Definition;
use chrono_tz::Tz;
use serde::Serialize;
use std::collections::BTreeMap;

/// Turn a crontab into a file that `apply` takes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crontab -l | taskrunnerx schedules import-crontab - --timezone Europe/Berlin > schedules.toml
  taskrunnerx schedules import-crontab /var/spool/cron/crontabs/web --queue cron
  taskrunnerx schedules import-crontab jobs.cron --task shell --apply

Each line becomes a schedule, named after its command, with a task type of the same name. The types are
printed as comments, for the configuration of the workers: what runs on a machine is for its operator to
say. With --task all lines submit that one type, with {\"command\": LINE} as the payload. As with cron, what
is missed is not made up for and what fails is not run again. Variables, SHELL, HOME, CRON_TZ, RANDOM_DELAY
and % mean what they mean to cron.

What cron gives a command by itself, a task does not have: the user of the crontab and the home directory to
start in, HOME and LOGNAME. A task runs as the worker does, where its type does not say `user`, `cwd` and `env`.
PATH is the worker's, standard input is the payload, and a run ends at the timeout. The file says so too.

Exit codes: 0 done, 1 a line cannot be taken (the others are), or with --apply something was refused, 2
usage, or the file cannot be read, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The crontab of a user; - is standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// The queue of the tasks
    #[arg(long, value_name = "NAME", value_parser = values::queue)]
    queue: Option<String>,
    /// One task type for all lines, which runs the command of its payload
    #[arg(long, value_name = "TYPE", value_parser = values::word)]
    task: Option<String>,
    /// The zone of the machine that the crontab is from, where no CRON_TZ says another [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    timezone: Option<String>,
    /// Put the schedules too, as `schedules apply` does
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    connection: Connection,
}

fn zone(text: &str) -> Result<String, String> {
    match text.parse::<Tz>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("takes an IANA time zone, such as Europe/Berlin".to_owned()),
    }
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { file, queue, task, timezone, apply: applies, connection } = args;
    let text = input::text(&file)
        .await
        .map_err(|error| Failure::with_code(EXIT_USAGE, format!("{file}: cannot be read: {error}")))?;
    let crontab = crontab::parse(&text, timezone.as_deref());
    let taken = take(&crontab.jobs, task.as_deref(), queue.as_deref())?;
    let page = page(&crontab, &taken, task.as_deref())?;
    let applied = if applies {
        let wanted: BTreeMap<String, Definition> = taken.into_iter().collect();
        apply(&connection.client()?, &wanted, How { aside: true, ..How::default() }).await
    } else {
        Ok(())
    };
    let told = report(page.trim_end());
    for (line, name) in &crontab.unused {
        say_aside(&format!("line {line}: {name} is passed over: what a task says is in its log"));
    }
    if crontab.jobs.iter().any(|job| job.zone.is_none()) {
        say_aside("the crontab names no zone: its times are taken as UTC; --timezone says another");
    }
    for Refused { line, why } in &crontab.refused {
        say_aside(&format!("line {line}: {}", harmless(why)));
    }
    applied?;
    match crontab.refused.len() {
        0 => told.map_err(|error| Failure::new(unwritten(&error))),
        refused => Err(Failure::new(format!("{} cannot be taken", counted(refused, "line")))),
    }
}

/// A line's schedule. As cron has it, nothing is made up for, and there is no second try.
#[derive(Debug, Serialize)]
struct Schedule<'a> {
    cron: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'a str>,
    misfire: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<String>,
    task: Submission<'a>,
}

#[derive(Debug, Serialize)]
struct Submission<'a> {
    name: &'a str,
    max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
}

/// For a type that runs what it is told to.
#[derive(Debug, Serialize)]
struct Payload<'a> {
    command: &'a str,
}

/// Each job's name and schedule, in their order.
fn take(jobs: &[Job], task: Option<&str>, queue: Option<&str>) -> Result<Vec<(String, Definition)>, Failure> {
    let names = naming::names(jobs.iter().map(|job| job.command.as_str()));
    let one = |(name, job): (String, &Job)| {
        let payload = task.map(|_| Payload { command: &job.script });
        let submission = Submission { name: task.unwrap_or(&name), max_attempts: 1, queue, payload };
        let jitter = (job.delay > 0).then(|| format!("{}m", job.delay));
        let zone = job.zone.as_deref();
        let schedule = Schedule { cron: &job.expression, timezone: zone, misfire: "skip", jitter, task: submission };
        let text = serde_json::to_string(&schedule).map_err(Failure::new)?;
        let read = Definition::from_json(&text, usize::MAX)
            .map_err(|why| Failure::new(format!("line {}: {why}", job.line)))?;
        Ok((name, read.definition))
    };
    names.into_iter().zip(jobs).map(one).collect()
}

/// What a command has from cron and a task has not, unless something says so.
const UNLIKE_CRON: &str = "#
# What cron gives a command by itself and a task does not have; beside `command`, its type may say it:
#   user           the crontab's; here the worker's            user = \"web\", which needs root
#   directory      that user's home; here the worker's own     cwd = \"/home/web\"
#   HOME, LOGNAME  that user's; here not set                   env = [\"HOME=/home/web\", \"LOGNAME=web\"]
#   PATH           /usr/bin:/bin; here the worker's            env = [\"PATH=/usr/bin:/bin\"]
#   input          empty; here the payload, as JSON
#   time           as long as it takes; here the timeout       timeout = \"6h\"
# What the crontab itself says of these (HOME, PATH, %) is in the commands below already.
";

/// The file: the task types that it needs as comments, then a table for each job.
fn page(crontab: &Crontab, taken: &[(String, Definition)], task: Option<&str>) -> Result<String, Failure> {
    let mut page =
        "# Made from a crontab by `taskrunnerx schedules import-crontab`, for `taskrunnerx schedules apply`.\n\
                    # As with cron, what is missed is not made up for, and what fails is not run again.\n"
            .to_owned();
    if !taken.is_empty() {
        page.push_str(UNLIKE_CRON);
        page.push_str(&types(crontab, taken, task));
    }
    for ((name, definition), job) in taken.iter().zip(&crontab.jobs) {
        page.push_str(&format!("\n# line {}: {}\n", job.line, harmless(&job.text)));
        page.push_str(&written::schedule(name, definition).map_err(|faults| Failure::new(faults.join("\n")))?);
    }
    Ok(page)
}

fn types(crontab: &Crontab, taken: &[(String, Definition)], task: Option<&str>) -> String {
    let mut text = "#\n# The workers' taskrunnerx.toml needs:\n".to_owned();
    if let Some(task) = task {
        let run = r#"["/bin/sh", "-c", 'eval "$(jq -r .command)"']"#;
        text.push_str(&format!(
            "#\n# [tasks.{}]   # or a type of your own: whoever may submit to this one may run anything\n# command = {run}\n",
            key(task)
        ));
        return text;
    }
    for ((name, _), job) in taken.iter().zip(&crontab.jobs) {
        let argv = format!("[\"/bin/sh\", \"-c\", {}]", string(&job.script));
        text.push_str(&format!("#\n# [tasks.{}]\n# command = {argv}\n", key(name)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{diff, files};
    use super::*;

    const CRONTAB: &str = "SHELL=/bin/bash\nRANDOM_DELAY=5\n0 3 * * * /usr/bin/backup \"all\"\n@hourly mail x%hi\n";

    fn imported(task: Option<&str>) -> (String, Vec<(String, Definition)>) {
        let crontab = crontab::parse(CRONTAB, Some("Europe/Berlin"));
        let taken = take(&crontab.jobs, task, Some("cron")).unwrap();
        (page(&crontab, &taken, task).unwrap(), taken)
    }

    #[test]
    fn each_line_becomes_a_schedule_and_the_type_that_it_needs_a_comment() {
        let (text, taken) = imported(None);
        let (name, _) = &taken[0];
        let table = format!(
            "\n# line 3: 0 3 * * * /usr/bin/backup \"all\"\n[schedules.{name}]\ncron = \"0 3 * * *\"\n\
             timezone = \"Europe/Berlin\"\nmisfire = \"skip\"\njitter = \"5m\"\n\n[schedules.{name}.task]\n\
             name = \"{name}\"\nmax_attempts = 1\nqueue = \"cron\"\n"
        );
        assert!(text.contains(&table), "{table}\nis not in\n{text}");
        // What is a comment is a configuration, byte for byte what is to run.
        let types: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with("[tasks.") || line.starts_with("command = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let types: toml::Table = types.parse().unwrap();
        let jobs = crontab::parse(CRONTAB, None).jobs;
        for ((name, _), job) in taken.iter().zip(jobs) {
            let argv: Vec<&str> =
                types["tasks"][name]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            assert_eq!(argv, ["/bin/sh", "-c", &job.script]);
        }
    }

    #[test]
    fn what_a_task_does_not_have_of_cron_stands_in_the_file_and_in_the_help() {
        let (text, _) = imported(None);
        let command = <Args as clap::Args>::augment_args(clap::Command::new("x"));
        let help = command.get_after_help().unwrap().to_string();
        for word in ["user", "cwd", "HOME", "LOGNAME", "PATH", "env", "timeout"] {
            assert!(text.contains(word), "{word} is not in {text}");
            assert!(help.contains(word), "{word} is not in {help}");
        }
        assert!(text.lines().take_while(|line| !line.starts_with("# [tasks.")).any(|line| line.contains("HOME")));
    }

    #[test]
    fn what_is_printed_is_what_apply_reads() {
        for task in [None, Some("shell")] {
            let (text, taken) = imported(task);
            let read = files::parse(&text).unwrap();
            assert_eq!(read.len(), taken.len());
            for (name, definition) in &taken {
                assert_eq!(diff::changes(definition, &read[name]), [], "{text}");
            }
        }
    }

    #[test]
    fn one_type_for_all_gets_the_command_as_its_payload() {
        let (text, taken) = imported(Some("shell"));
        let task: serde_json::Value = serde_json::from_str(&taken[0].1.task).unwrap();
        assert_eq!(task["name"], "shell");
        assert_eq!(task["payload"]["command"], "exec /bin/bash -c '/usr/bin/backup \"all\"'");
        assert!(text.contains("# [tasks.shell]   # or a type") && !text.contains("[tasks.backup"), "{text}");
    }

    #[test]
    fn a_zone_that_is_none_is_a_fault_of_usage() {
        assert!(zone("Europe/Berlin").is_ok());
        assert!(zone("Berlin").unwrap_err().contains("IANA"));
    }
}
