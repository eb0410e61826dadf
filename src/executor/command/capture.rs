//! What a program says: its standard output becomes the result, its standard error the task's log.
//! Whatever it writes is read, so that it never waits for a reader; only so much of it is kept.

use super::super::{Context, output};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Read at a time.
const CHUNK: usize = 64 << 10;
/// Bytes of a log line; what is longer is cut, and the rest of the line dropped.
const MAX_LINE: usize = 8 << 10;
/// Begins a line that says how far the program is: `::progress 0.5 half of it`.
const PROGRESS: &str = "::progress ";
/// Characters of the last line, for the error's message.
const MAX_LAST: usize = 500;

/// What was kept.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The beginning of standard output.
    pub(super) result: Vec<u8>,
    /// There was more.
    pub(super) cut: bool,
    /// The last line on standard error that is not blank.
    pub(super) last_line: String,
}

/// Keeps the first `max` bytes.
pub(super) async fn capture(mut from: impl AsyncRead + Unpin, max: usize, kept: &mut Vec<u8>, cut: &mut bool) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let room = max.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(read.min(room)));
        *cut |= read > room;
    }
}

/// Hands on each line as it comes.
pub(super) async fn lines(mut from: impl AsyncRead + Unpin, context: &Context, last: &mut String) {
    let mut chunk = vec![0; CHUNK];
    let mut line: Vec<u8> = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let mut parts = chunk.get(..read).unwrap_or_default().split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            line.extend(part.iter().take(MAX_LINE.saturating_sub(line.len())));
            if parts.peek().is_some() {
                say(&mut line, context, last);
            }
        }
    }
    if !line.is_empty() {
        say(&mut line, context, last);
    }
}

fn say(line: &mut Vec<u8>, context: &Context, last: &mut String) {
    let text = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
    line.clear();
    if let Some((fraction, note)) = progress(&text) {
        return match note {
            "" => context.progress(fraction),
            note => context.progress_note(fraction, note),
        };
    }
    if !text.trim().is_empty() {
        *last = text.trim().chars().take(MAX_LAST).collect();
    }
    context.log(text);
}

/// How far, 0 to 1, and a word about it. None: it is any other line.
fn progress(line: &str) -> Option<(f64, &str)> {
    let said = line.strip_prefix(PROGRESS)?;
    let (fraction, note) = said.split_once(' ').unwrap_or((said, ""));
    let fraction = fraction.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction))?;
    Some((fraction, note.trim()))
}

/// JSON text of at most `max` bytes. None: nothing was written.
pub(super) fn result(said: &Said, max: usize) -> Option<Box<str>> {
    // The line break at the end is the terminal's.
    let text = said.result.trim_ascii_end();
    if text.is_empty() { None } else { output::result(text, said.cut, max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &[u8], cut: bool, max: usize) -> Option<String> {
        result(&Said { result: text.to_vec(), cut, last_line: String::new() }, max).map(String::from)
    }

    #[test]
    fn json_stays_as_it_is_and_anything_else_becomes_a_text() {
        for (text, expected) in [
            ("", None),
            (" \n", None),
            (" {\"a\": 12345678901234567890}\n", Some("{\"a\": 12345678901234567890}")),
            ("done\n", Some("\"done\"")),
            ("a\nb\n", Some("\"a\\nb\"")),
            ("1 2", Some("\"1 2\"")),
        ] {
            assert_eq!(given(text.as_bytes(), false, 1000).as_deref(), expected, "{text:?}");
        }
        assert_eq!(given(b"\xff!", false, 1000).as_deref(), Some("\"\u{fffd}!\""));
    }

    #[test]
    fn what_is_too_long_is_cut_to_a_text_that_fits() {
        // Cut already: what is left may look like JSON.
        assert_eq!(given(b"12", true, 1000).as_deref(), Some("\"12\""));
        assert_eq!(given(b"abcdef", true, 6).as_deref(), Some("\"abcd\""));
        assert_eq!(given("äöü".as_bytes(), true, 6).as_deref(), Some("\"äö\""));
        assert_eq!(given(b"\n\n\n\n", true, 6), None);
        assert_eq!(given(b"x\x01\x01", true, 10).as_deref(), Some("\"x\\u0001\""));
    }

    #[test]
    fn a_line_says_how_far_it_is_or_is_any_other() {
        for (line, said) in [
            ("::progress 0.5", Some((0.5, ""))),
            ("::progress 1 all of it ", Some((1.0, "all of it"))),
            ("::progress 50", None),
            ("::progress NaN", None),
            ("::progress", None),
            (" ::progress 0.5", None),
        ] {
            assert_eq!(progress(line), said, "{line:?}");
        }
    }

    #[tokio::test]
    async fn of_a_gigabyte_only_the_beginning_is_kept() {
        let (mut kept, mut cut) = (Vec::new(), false);
        capture(tokio::io::repeat(b'x').take(1 << 30), 1000, &mut kept, &mut cut).await;
        assert_eq!((kept.len(), kept.capacity() < 4096, cut), (1000, true, true));
    }
}
