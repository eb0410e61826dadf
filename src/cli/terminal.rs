//! What is known of the terminal, if there is one; and how the command line writes to it or into a pipe.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write, stdout};

/// Columns of a terminal whose width nobody tells.
const DEFAULT_WIDTH: usize = 100;
/// Narrower than this the text is left to the terminal's own folding.
const LEAST_WIDTH: usize = 60;

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) colour: bool,
    /// None: for a pipe, where nothing is folded or shortened.
    pub(super) width: Option<usize>,
}

impl Style {
    /// For a pipe.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { colour: false, width: None };

    /// For standard output as it is.
    pub(super) fn detect() -> Self {
        let terminal = stdout().is_terminal();
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let told = variable("COLUMNS").and_then(|columns| columns.parse().ok());
        let width = terminal.then(|| told.or_else(columns).unwrap_or(DEFAULT_WIDTH));
        Self {
            colour: terminal && variable("NO_COLOR").is_none() && variable("TERM").as_deref() != Some("dumb"),
            width: width.filter(|width| *width >= LEAST_WIDTH),
        }
    }

    pub(super) fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !code.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// As the terminal itself says; None where it does not know, as in some containers.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether somebody can be asked: both what is said and what is answered go over a terminal.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A text and a line's end on standard output. Where nobody reads it any more, as behind `head`, there is nothing left
/// to do; where it cannot be written, as on a full disk, the program has failed.
pub(super) fn say(text: &str) {
    write(format!("{text}\n").as_bytes());
}

/// The same as it stands, without a line's end.
pub(super) fn write(bytes: &[u8]) {
    let Err(error) = written(bytes) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    say_aside(&format!("taskrunnerx: {}", unwritten(&error)));
    std::process::exit(1);
}

/// A line about one of several changes, of which others follow: whoever does not read what was done wants it done all
/// the same.
///
/// # Errors
/// When it cannot be written, but for a reader that has gone: the changes are to go on, and the program fails at its end.
pub(super) fn report(text: &str) -> std::io::Result<()> {
    match written(format!("{text}\n").as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// What is told this once: that nobody reads it is a failure too.
///
/// # Errors
/// When it cannot be written, or its reader has gone.
pub(super) fn deliver(text: &str) -> std::io::Result<()> {
    written(format!("{text}\n").as_bytes())
}

/// Why what was done is not told.
pub(super) fn unwritten(error: &std::io::Error) -> String {
    format!("standard output cannot be written: {error}")
}

fn written(bytes: &[u8]) -> std::io::Result<()> {
    let mut output = stdout();
    output.write_all(bytes)?;
    output.flush()
}

/// On standard output, of a daemon: it has more to do than to say this.
pub(super) fn announce(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

/// On standard error, where it is in no program's way.
pub(super) fn say_aside(text: &str) {
    // Where nobody reads it, nobody is to be told.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text without what would move the cursor or colour the screen: what a task has said may be anybody's.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A line of somebody's as it goes to standard output: a terminal gets it harmless, a pipe as it stands.
pub(super) fn quoted(line: &str) -> Cow<'_, str> {
    if stdout().is_terminal() { harmless(line).into() } else { line.into() }
}

/// Columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The longest beginning of a text that fits, with a sign that there was more.
pub(super) fn shortened(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut taken = 0;
    let mut short = String::new();
    for c in text.chars() {
        taken += columns_of(c);
        if taken >= room {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

/// Ranges of characters that take two columns: East Asian wide and full width, and pictures.
const WIDE: [(u32, u32); 12] = [
    (0x1100, 0x115f),
    (0x2e80, 0x303e),
    (0x3041, 0x33ff),
    (0x3400, 0x4dbf),
    (0x4e00, 0x9fff),
    (0xa000, 0xa4cf),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xfe30, 0xfe6f),
    (0xff00, 0xff60),
    (0x1f300, 0x1faff),
    (0x20000, 0x3fffd),
];
/// Those that take none: they change the character before them.
const NONE: [(u32, u32); 6] =
    [(0x300, 0x36f), (0x1ab0, 0x1aff), (0x200b, 0x200f), (0x20d0, 0x20ff), (0xfe00, 0xfe0f), (0xfe20, 0xfe2f)];

fn columns_of(c: char) -> usize {
    let code = u32::from(c);
    let within = |ranges: &[(u32, u32)]| ranges.iter().any(|(first, last)| (*first..=*last).contains(&code));
    match code {
        0..0x300 => 1,
        _ if within(&NONE) => 0,
        _ if within(&WIDE) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_what_a_terminal_shows() {
        assert_eq!([width("task"), width("タスク"), width("e\u{301}té"), width("🦀!"), width("")], [4, 6, 3, 3, 0]);
    }

    #[test]
    fn what_is_too_long_ends_with_a_sign_of_it() {
        assert_eq!(shortened("a queue", 7), "a queue");
        assert_eq!(shortened("a queue", 5), "a qu…");
        // A wide character that would stand half outside is left out.
        assert_eq!((shortened("タスク", 4), shortened("タスク", 6)), ("タ…".to_owned(), "タスク".to_owned()));
    }

    #[test]
    fn nothing_that_a_task_said_reaches_the_terminal_as_a_command() {
        assert_eq!(harmless("a\u{1b}[31mb\nc\td\u{9b}"), "a [31mb c d ");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(Style { colour: true, width: None }.paint("32", "x"), "\u{1b}[32mx\u{1b}[0m");
        assert_eq!(Style { colour: true, width: None }.paint("", "x"), "x");
        assert_eq!(Style::PLAIN.paint("32", "x"), "x");
    }
}
