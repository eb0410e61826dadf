//! The one pattern that task names, schedule names, tags and queues share:
//! `[A-Za-z0-9][A-Za-z0-9._:-]*`, up to [`MAX_NAME`] or [`MAX_QUEUE`] characters in all.
//!
//! The pattern is narrow on purpose. A name goes unescaped into URLs, Redis keys, metric labels and log lines, and it
//! holds none of the characters that any of them gives a meaning to.

use thiserror::Error;

/// The longest task name, schedule name or tag, in characters (which are bytes here).
pub const MAX_NAME: usize = 128;

/// The longest queue name, in characters.
pub const MAX_QUEUE: usize = 64;

/// How many characters of a refused text are shown before it is cut.
const SHOWN: usize = 64;

/// Why a text is not a name. Each message says what was given and what is taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameFault {
    /// There is nothing in it.
    #[error("got an empty name; takes {}", accepted(*.max))]
    Empty {
        /// The limit that the caller asked for, in characters.
        max: usize,
    },
    /// More characters than the limit.
    #[error("got {got}, which has {length} characters; takes {}", accepted(*.max))]
    TooLong {
        /// The text, quoted and shortened.
        got: String,
        /// Its length in characters.
        length: usize,
        /// The limit that the caller asked for, in characters.
        max: usize,
    },
    /// A character that the pattern does not have, or does not have at the start.
    #[error("got {got}, where {found:?} may not stand; takes {}", accepted(*.max))]
    Character {
        /// The text, quoted and shortened.
        got: String,
        /// The first character that does not fit.
        found: char,
        /// The limit that the caller asked for, in characters.
        max: usize,
    },
}

fn accepted(max: usize) -> String {
    format!("1 to {max} characters of A-Z a-z 0-9 . _ : - that start with a letter or digit")
}

/// Checks that `text` is a name of at most `max_len` characters.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(text: &str, max_len: usize) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty { max: max_len });
    }
    let misplaced = |&(position, character): &(usize, char)| match character {
        'A'..='Z' | 'a'..='z' | '0'..='9' => false,
        '.' | '_' | ':' | '-' => position == 0,
        _ => true,
    };
    if let Some((_, found)) = text.char_indices().find(misplaced) {
        return Err(NameFault::Character { got: quoted(text), found, max: max_len });
    }
    // Only ASCII is left, so bytes are characters.
    if text.len() > max_len {
        return Err(NameFault::TooLong { got: quoted(text), length: text.len(), max: max_len });
    }
    Ok(())
}

/// A refused text as an error message shows it: in quotes, escaped onto one line, cut after 64 characters.
///
/// Never for a secret.
#[must_use]
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}…", text.get(..cut).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_what_the_pattern_takes() {
        for good in ["a", "0", "Z9", "mail.send", "a:b-c_d.e", "a.", "9-"] {
            assert_eq!(check(good, MAX_NAME), Ok(()), "{good}");
        }
        assert_eq!(check(&"q".repeat(64), MAX_QUEUE), Ok(()));
        assert_eq!(check(&"n".repeat(128), MAX_NAME), Ok(()));
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        assert_eq!(check("", MAX_NAME), Err(NameFault::Empty { max: 128 }));
        for (bad, found) in [
            (".a", '.'),
            ("-", '-'),
            ("_x", '_'),
            (":x", ':'),
            ("a b", ' '),
            ("a/b", '/'),
            ("a\n", '\n'),
            ("ä", 'ä'),
            ("a*", '*'),
            ("{a}", '{'),
            ("a\0", '\0'),
        ] {
            assert_eq!(check(bad, MAX_NAME), Err(NameFault::Character { got: quoted(bad), found, max: 128 }), "{bad}");
        }
        let long = check(&"q".repeat(65), MAX_QUEUE).expect_err("65 characters").to_string();
        assert!(long.contains("65 characters; takes 1 to 64 characters"), "{long}");
    }

    #[test]
    fn shows_a_long_or_hostile_text_on_one_short_line() {
        let shown = check(&format!("a\n{}", "é".repeat(100_000)), MAX_NAME).expect_err("a newline").to_string();
        assert!(shown.len() < 400 && !shown.contains('\n'), "{shown}");
    }

    proptest! {
        #[test]
        fn agrees_with_the_pattern(text in "[A-Za-z0-9._:é -]{0,70}") {
            let head = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
            let tail = text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
            prop_assert_eq!(check(&text, MAX_QUEUE).is_ok(), head && tail && text.len() <= MAX_QUEUE);
        }
    }
}
