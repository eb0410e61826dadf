//! `openapi`.

use super::Failure;
use super::connection::Connection;
use super::terminal::say;

/// Print the specification of the REST API (OpenAPI 3.1)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx openapi > openapi.json           of this program, without any server
  taskrunnerx openapi --server | jq -r .info.version

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// As a running server has it, which may be of another version
    #[arg(long)]
    server: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { server, connection } = args;
    if server {
        say(connection.client()?.openapi().await?.text().trim_end());
    } else {
        say(crate::api::openapi_json().trim_end());
    }
    Ok(())
}
