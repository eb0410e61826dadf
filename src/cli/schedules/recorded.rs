//! `schedules fires --follow`: the rows of a ledger as they are recorded, over a server that comes and goes.

use crate::cli::again::{Patience, WAIT};
use crate::cli::terminal::{Style, harmless, say};
use crate::cli::{Failure, words};
use crate::client::{Client, FireRow};
use serde_json::value::RawValue;
use std::collections::HashSet;

/// The newest rows that are looked at, once in [`WAIT`].
const ROWS: u32 = 500;
const TITLES: [&str; 6] = ["INSTANT", "OUTCOME", "TASK", "RECORDED", "INSTANTS", "SINCE"];

/// What tells a row from another, and from itself as it was: an instant that waits is recorded again when it fires.
type Seen = HashSet<(String, String, String)>;

/// Shows each row that is recorded from now on, until it is interrupted, or the server is away for too long.
pub(super) async fn run(client: &Client, name: &str, json: bool) -> Result<(), Failure> {
    let style = Style::detect();
    if !json {
        say(&style.paint("1", &line(TITLES)));
    }
    let mut seen: Option<Seen> = None;
    let mut patience = Patience::default();
    loop {
        match client.fires(name, ROWS, None).await {
            Ok(found) => {
                patience.reached();
                let rows: Vec<FireRow> = found.read()?;
                let texts: Vec<Box<RawValue>> = found.read()?;
                if let Some(seen) = &seen {
                    // The newest comes last.
                    for (row, text) in rows.iter().zip(&texts).rev().filter(|(row, _)| !seen.contains(&key(row))) {
                        if json { say(&text.get().replace(['\n', '\r'], " ")) } else { say(&shown(row)) }
                    }
                }
                seen = Some(rows.iter().map(key).collect());
                tokio::time::sleep(WAIT).await;
            }
            Err(error) => patience.lost(Some(error)).await?,
        }
    }
}

fn key(row: &FireRow) -> (String, String, String) {
    (row.fire_at.clone(), row.outcome.clone(), row.recorded_at.clone())
}

fn shown(row: &FireRow) -> String {
    let FireRow { fire_at, outcome, task_id, recorded_at, instants, since } = row;
    let since = since.as_deref().map_or_else(|| "-".to_owned(), words::time);
    let task = task_id.as_deref().unwrap_or("-");
    line([&words::time(fire_at), outcome, task, &words::time(recorded_at), &instants.to_string(), &since])
}

/// Columns as wide as what is usual: the next line is not known yet.
fn line(fields: [&str; 6]) -> String {
    let [at, outcome, task, recorded, instants, since] = fields.map(harmless);
    format!("{at:20}  {outcome:15}  {task:36}  {recorded:20}  {instants:>8}  {since}")
}
