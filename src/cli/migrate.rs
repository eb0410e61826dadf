//! `migrate`: the schema.

use super::table::{Cell, Column, Table, Tone};
use super::terminal::{Style, say};
use super::{Failure, database};
use crate::store::Store;
use std::path::PathBuf;

/// Bring the database's schema up to date, as `serve` does at its start.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx migrate            apply what is pending (waits for another instance that is at it)
  taskrunnerx migrate --status   show what is applied and what is pending; exit 1 if something is

Interrupted, it goes on from there the next time: each migration looks first at what is done already.

Exit codes: 0 done, 1 failed or something is pending, 2 usage or configuration,
3 the database cannot be reached, 130 interrupted.")]
pub(super) struct Args {
    /// Only show what is applied and what is pending
    #[arg(long)]
    status: bool,
}

pub(super) async fn run(args: Args, config: Option<PathBuf>) -> Result<(), Failure> {
    let store = database::open(config)?;
    if args.status {
        return status(&store).await;
    }
    let done = database::migrate(&store).await?;
    for name in &done {
        say(&format!("applied {name}"));
    }
    if done.is_empty() {
        say("the database is up to date");
    }
    Ok(())
}

async fn status(store: &Store) -> Result<(), Failure> {
    let migrations = store.migration_status().await?;
    let mut table = Table::new(&[Column::Text("MIGRATION"), Column::Text("STATUS")]);
    for m in &migrations {
        let (status, tone) = match (m.applied, m.known) {
            (true, true) => ("applied", Tone::Good),
            (false, _) => ("pending", Tone::Waiting),
            (true, false) => ("applied by a newer taskrunnerx", Tone::Bad),
        };
        table.row(vec![Cell::new(&m.name), Cell::toned(status, tone)]);
    }
    say(&table.render(Style::detect()));
    let open = migrations.iter().filter(|m| !m.applied || !m.known).count();
    if open == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("{open} of {} migrations need attention", migrations.len())))
    }
}
