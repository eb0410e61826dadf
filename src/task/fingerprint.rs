//! The fingerprint of a failure: tasks of one type that failed for the same reason have the same one, though their
//! errors name other ids, paths, numbers and times.
//!
//! It is kept in the database. A change of what is taken out of an error begins new groups, and the old ones go with
//! their tasks.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// So much of an error's first line is looked at, in characters.
pub const MAX_CHARS: usize = 500;

/// What a failed task and its like have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

/// The text was no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a fingerprint of 16 hexadecimal digits, such as 00c0ffee00c0ffee")]
pub struct NotAFingerprint;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        // The printed form alone: `from_str_radix` would also take a sign.
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(NotAFingerprint);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAFingerprint)
    }
}

impl Fingerprint {
    /// Of a task of this type that failed with this error.
    #[must_use]
    pub fn of(name: &str, error: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        hash.update([0]); // in no name
        hash.update(normalised(error).as_bytes());
        Self(hash.finalize().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

/// The first line of an error that says anything, as it was sent and cut at [`MAX_CHARS`]: the sample of a group.
#[must_use]
pub fn sample(error: &str) -> String {
    let line = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(MAX_CHARS).collect()
}

/// The same with what varies from one failure to the next replaced: quoted texts by `"…"`, words that hold a digit
/// (numbers, times, UUIDs, hexadecimal addresses) by `#`. So `/tmp/job-17/part 3` is `/tmp/#/part #`.
#[must_use]
pub fn normalised(error: &str) -> String {
    let line = sample(error);
    let mut out = String::with_capacity(line.len());
    let mut rest = line.as_str();
    let mut in_word = false;
    while let Some(c) = rest.chars().next() {
        // The apostrophe of "can't" opens nothing.
        let quotation = quotation(rest).filter(|_| !in_word);
        in_word = is_word(c);
        if let Some((quoted, behind)) = quotation {
            out.push_str(quoted);
            rest = behind;
        } else if in_word {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            out.push_str(if varies(word) { "#" } else { word });
            rest = behind;
        } else {
            out.push(if c.is_whitespace() { ' ' } else { c });
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

/// What holds together as one value: `2026-11-27T10:00:00.5Z`, `0x7f`, `10.0.0.1:3306`, a UUID. A point, a colon or a
/// sign at its end belongs to the sentence, which is why it makes no difference that it is taken along.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.:+".contains(c)
}

/// Whether a word is a value. Hexadecimal without a digit is a word of some language as well.
fn varies(word: &str) -> bool {
    word.chars().any(char::is_numeric)
}

/// At the start of a quoted text, which ends in the same line: what stands for it, and what comes behind it.
fn quotation(text: &str) -> Option<(&'static str, &str)> {
    let open = text.chars().next()?;
    let (close, stands) = match open {
        '"' => ('"', "\"…\""),
        '\'' => ('\'', "'…'"),
        '`' => ('`', "`…`"),
        '“' => ('”', "“…”"),
        '«' => ('»', "«…»"),
        _ => return None,
    };
    let inner = text.get(open.len_utf8()..)?;
    let end = inner.find(close)?;
    Some((stands, inner.get(end + close.len_utf8()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_varies_is_taken_out_and_what_was_said_stays() {
        for (error, rest) in [
            ("no such file", "no such file"),
            ("timeout after 30s", "timeout after #"),
            ("row 17 of 20", "row # of #"),
            ("row 4711 of 99999.5", "row # of #"),
            ("worker 0190163d-8694-739b-aea5-966c26f8ad91 died", "worker # died"),
            ("at 0x7ffdeadbeef0: segfault", "at # segfault"),
            ("at 2026-11-27T10:00:00.123456Z", "at #"),
            ("at 2026-11-27 10:00:00", "at # #"),
            ("cannot reach 10.0.0.1:3306", "cannot reach #"),
            ("cannot reach db.example.com", "cannot reach db.example.com"),
            ("open /var/spool/job-17/part 3: denied", "open /var/spool/#/part # denied"),
            ("unknown user \"alice 17\"", "unknown user \"…\""),
            ("unknown user 'bob' and `x`", "unknown user '…' and `…`"),
            ("it \"never ends", "it \"never ends"),
            ("can't open 'alice': isn't there", "can't open '…': isn't there"),
            ("first\nsecond 17", "first"),
            ("\n\n  third\tand\tmore\r\nx", "third and more"),
            ("HTTP 503", "HTTP #"),
            ("deadbeef", "deadbeef"),
            ("", ""),
        ] {
            assert_eq!(normalised(error), rest, "{error:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_the_name_and_of_what_was_said() {
        let of = Fingerprint::of;
        assert_eq!(of("a", "row 17 of 20"), of("a", "row 3 of 4\nand a trace"));
        assert_ne!(of("a", "row 17 of 20"), of("b", "row 17 of 20"));
        assert_ne!(of("a", "row 17 of 20"), of("a", "line 17 of 20"));
        assert_ne!(of("a", ""), of("", "a"));
        // It is in databases: it does not change from one release to the next.
        assert_eq!(of("resize", "exit code 1").to_string(), "c49d38a620db8527");
    }

    #[test]
    fn only_the_printed_form_reads_back() {
        assert_eq!("00c0ffee00c0ffee".parse(), Ok(Fingerprint(0x00c0_ffee_00c0_ffee)));
        for text in ["", "c0ffee", "00C0FFEE00C0FFEE", "+0c0ffee00c0ffee", "00c0ffee00c0ffee0", "00c0ffee00c0ffeg"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NotAFingerprint), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_one_and_it_reads_back(name in ".*", error in "(?s).*") {
            let print = Fingerprint::of(&name, &error);
            prop_assert_eq!(print.to_string().parse(), Ok(print));
            prop_assert!(sample(&error).chars().count() <= MAX_CHARS && !normalised(&error).contains('\n'));
        }

        #[test]
        fn numbers_ids_and_what_is_quoted_make_no_difference(
            a in any::<u64>(), b in any::<u64>(), ids in any::<(u128, u128)>(), said in "[a-z ]{0,20}", other in "[a-z0-9 ]{0,20}",
        ) {
            let error = |n: u64, id: u128, text: &str| {
                format!("part {n} of {}: row \"{text}\" at 0x{n:x}", uuid::Uuid::from_u128(id))
            };
            let print = |n, id, text| Fingerprint::of("t", &error(n, id, text));
            prop_assert_eq!(print(a, ids.0, &said), print(b, ids.1, &other));
        }

        #[test]
        fn no_digit_is_left_outside_of_a_quotation(error in "[a-z0-9 /:.]{0,80}") {
            prop_assert!(!normalised(&error).contains(|c: char| c.is_ascii_digit()));
        }
    }
}
