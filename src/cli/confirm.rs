//! Asks before much is changed at once.

use super::terminal::is_interactive;
use super::{EXIT_USAGE, Failure};
use std::io::Write;

/// Asks on the terminal; anything but yes ends the command. Where nobody can be asked, `--yes` is wanted.
pub(super) async fn confirm(question: &str) -> Result<(), Failure> {
    if !is_interactive() {
        return Err(Failure::with_code(EXIT_USAGE, unasked(question)));
    }
    let mut screen = std::io::stderr();
    let _ = write!(screen, "{question} [y/N] ").and_then(|()| screen.flush());
    // Off the runtime: Ctrl-C must end it while it waits.
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(Failure::new)?.map_err(Failure::new)?;
    if is_yes(&line) { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

fn unasked(question: &str) -> String {
    format!("{question}\nThere is no terminal to ask on: repeat it with --yes, or look first with --dry-run.")
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!([" y\n", "YES\n", "yes"].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yep\n", "ja\n"].into_iter().any(is_yes));
    }
}
