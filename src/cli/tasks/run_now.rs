//! `tasks run`.

use super::line;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::each::each;
use crate::client::ClientError;
use crate::task::TaskId;

/// Run tasks now that wait for their time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks run 0190163d-8694-739b-aea5-966c26f8ad91

Only a scheduled task can be: one that waits for its time, or for its next attempt.

Exit codes: 0 done, 1 one of them is not there or not scheduled, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The tasks' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<TaskId>,
    /// The tasks as the JSON that the server gives, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { ids, json, connection } = args;
    let client = connection.client()?;
    each(&ids, "task", async |id| Ok::<_, ClientError>(line(id, &client.run_now(id).await?, json, "queued"))).await
}
