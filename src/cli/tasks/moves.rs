//! `tasks list --follow`: tasks as they move, over connections that come and go.

use crate::cli::Failure;
use crate::cli::again::Patience;
use crate::cli::table::Tone;
use crate::cli::terminal::{Style, harmless, say, say_aside};
use crate::cli::words;
use crate::client::{Client, Event, Moved, TaskFilter};

const TITLES: [&str; 6] = ["AT", "STATUS", "ATTEMPT", "ID", "NAME", "QUEUE"];

/// Shows each move until it is interrupted, or the server is away for too long.
pub(super) async fn run(client: &Client, filter: &TaskFilter, json: bool) -> Result<(), Failure> {
    let style = Style::detect();
    if !json {
        say(&style.paint("1", &line(TITLES, Style { colour: false, ..style })));
    }
    let mut patience = Patience::default();
    loop {
        let lost = match client.moves(filter).await {
            Ok(mut events) => {
                patience.reached();
                loop {
                    match events.next().await {
                        Ok(Some(event)) => show(&event, json, style),
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                }
            }
            Err(error) => Some(error),
        };
        patience.lost(lost).await?;
    }
}

fn show(event: &Event, json: bool, style: Style) {
    match event.name.as_str() {
        "move" if json => say(&event.data.replace(['\n', '\r'], " ")),
        "move" => {
            if let Ok(Moved { id, name, queue, status, attempt, at }) = serde_json::from_str(&event.data) {
                say(&line([&words::time(&at), &status, &attempt.to_string(), &id, &name, &queue], style));
            }
        }
        "missed" => say_aside("some moves were missed: there were more than could be told"),
        _ => {}
    }
}

/// Columns as wide as what is usual: the next line is not known yet.
fn line(fields: [&str; 6], style: Style) -> String {
    let [at, status, attempt, id, name, queue] = fields.map(harmless);
    let status = style.paint(Tone::of_status(&status).code(), &format!("{status:9}"));
    format!("{at:20}  {status}  {attempt:>7}  {id:36}  {name:20}  {queue}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_a_line_under_its_titles() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        let titles = line(TITLES, Style::PLAIN);
        let moved = line(["2026-11-25T10:00:00Z", "completed", "1", id, "noop", "default"], Style::PLAIN);
        for (title, value) in [("STATUS", "completed"), ("ID", id), ("NAME", "noop"), ("QUEUE", "default")] {
            assert_eq!(titles.find(title), moved.find(value), "{titles}\n{moved}");
        }
    }
}
