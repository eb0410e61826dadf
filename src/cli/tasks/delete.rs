//! `tasks delete`.

use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::each::{each, gone};
use crate::client::ClientError;
use crate::task::TaskId;

/// Remove tasks that have ended
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx tasks delete 0190163d-8694-739b-aea5-966c26f8ad91

Those that have not ended are to be cancelled first. What has ended goes by itself after its retention.

Exit codes: 0 done, 1 one of them is not there or has not ended, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The tasks' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<TaskId>,
    /// One JSON object a task: {id, deleted}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { ids, json, connection } = args;
    let client = connection.client()?;
    let call = async |id| {
        client.delete(id).await?;
        Ok::<_, ClientError>(gone("id", id, json))
    };
    each(&ids, "task", call).await
}
