//! `stats`.

use super::connection::Connection;
use super::table::details;
use super::terminal::{Style, say};
use super::{Failure, fields};

/// Show totals
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx stats
  taskrunnerx stats --json | jq .

Exit codes: 0 done, 1 failed, 2 usage, 3 the server cannot be reached.")]
pub(super) struct Args {
    /// The JSON that the server gives
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { json, connection } = args;
    let reply = connection.client()?.stats().await?;
    if json {
        say(&reply.text());
        return Ok(());
    }
    let found = fields::flat(&reply.read()?);
    let found = found.iter().map(|(name, cell)| (name.as_str(), cell.clone())).collect();
    say(&details(found, Style::detect()));
    Ok(())
}
