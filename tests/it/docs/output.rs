//! What a document says that a block prints, against what it printed.
//!
//! `...` within a line stands for anything, and a line that is only `...` for any lines.

const ANYTHING: &str = "...";

/// Whether an output is as it was said to be; blank ends of lines and of the whole do not count.
pub(super) fn is_as_said(said: &str, printed: &str) -> bool {
    fn lines(text: &str) -> Vec<&str> {
        text.trim_end().lines().map(str::trim_end).collect()
    }
    fits(&lines(said), &lines(printed), &|said, line| line_fits(said, line))
}

/// Sequences with elisions: of lines, and within a line of characters.
fn fits<T: Copy>(said: &[&str], printed: &[T], one: &dyn Fn(&str, T) -> bool) -> bool {
    match said {
        [] => printed.is_empty(),
        [first, rest @ ..] if first.trim() == ANYTHING => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..], one))
        }
        [first, rest @ ..] => {
            printed.split_first().is_some_and(|(line, more)| one(first, *line) && fits(rest, more, one))
        }
    }
}

fn line_fits(said: &str, line: &str) -> bool {
    let Some((before, after)) = said.split_once(ANYTHING) else { return said == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    // The shortest first; the end of the line is always tried.
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_fits(after, &rest[at..]))
}

#[test]
fn elisions_stand_for_anything_and_nothing_else_does() {
    for (said, printed) in [
        ("", "\n"),
        ("a\nb", "a  \nb\n\n"),
        ("a\n...\nd", "a\nb\nc\nd"),
        ("a\n...", "a"),
        ("...\nb", "b"),
        ("id ... of ...", "id 7 of 9"),
        ("{\"id\":\"...\"}", "{\"id\":\"018f\"}"),
        ("  ...\nb", "a\nb"),
    ] {
        assert!(is_as_said(said, printed), "{said:?} {printed:?}");
    }
    for (said, printed) in [
        ("", "a"),
        ("a", ""),
        ("a\nb", "a\nc"),
        ("a\n...\nd", "a\nb"),
        ("id ... of 9", "id 7 of 8"),
        ("a", "a\nb"),
        (" a", "a"),
        ("[]", "..."),
    ] {
        assert!(!is_as_said(said, printed), "{said:?} {printed:?}");
    }
}
