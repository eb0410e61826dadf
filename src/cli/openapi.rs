//! `openapi`.

use super::Failure;
use super::connection::Connection;
use super::terminal::say;

/// Print the specification of the REST API (OpenAPI 3.1), as a server has it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx openapi > openapi.json
  taskrunnerx openapi | jq '.paths | keys'

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    say(args.connection.client()?.openapi().await?.text().trim_end());
    Ok(())
}
