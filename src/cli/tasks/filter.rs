//! Which tasks a command is about: the same options everywhere.

use crate::cli::values;
use crate::client::TaskFilter;
use crate::task::Status;

/// Several values of one option, comma-separated or repeated, mean any of them; different options all hold.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which tasks")]
pub(super) struct FilterArgs {
    /// In these states: scheduled, queued, running, completed, failed, cancelled
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    status: Vec<String>,
    /// In these queues
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::queue)]
    queue: Vec<String>,
    /// Of these task types
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = values::word)]
    name: Vec<String>,
    /// With one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::word)]
    tag: Vec<String>,
    /// Submitted since this time, or as long ago as 90m or 7d
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<String>,
    /// Submitted before this time, or as long ago as 90m or 7d
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    until: Option<String>,
}

impl FilterArgs {
    pub(super) fn read(self) -> TaskFilter {
        let Self { status, queue, name, tag, since, until } = self;
        TaskFilter {
            statuses: status,
            queues: queue,
            names: name,
            tags: tag,
            created_after: since,
            created_before: until,
            fingerprint: None,
        }
    }
}

fn status(word: &str) -> Result<String, String> {
    match Status::parse(word) {
        Some(status) => Ok(status.as_str().to_owned()),
        None => Err(format!("takes {}", Status::ALL.map(Status::as_str).join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn parsed(words: &[&str]) -> Result<TaskFilter, clap::Error> {
        Command::try_parse_from([&["x"], words].concat()).map(|command| command.filter.read())
    }

    #[test]
    fn values_add_up_with_commas_and_by_repetition() {
        let filter = parsed(&["--status", "queued,running", "--status", "failed", "--tag", "a,b"]).unwrap();
        assert_eq!(filter.statuses, ["queued", "running", "failed"]);
        assert_eq!(filter.tags, ["a", "b"]);
        assert_eq!(parsed(&[]).unwrap(), TaskFilter::default());
    }

    #[test]
    fn a_slip_says_what_is_taken() {
        let fault = parsed(&["--status", "done"]).unwrap_err();
        assert_eq!(fault.exit_code(), 2);
        assert!(fault.to_string().contains("takes scheduled, queued, running"), "{fault}");
        assert!(parsed(&["--since", "yesterday"]).unwrap_err().to_string().contains("how long ago"));
    }
}
