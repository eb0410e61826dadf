//! Keys that make a submission count once: who repeats an idempotency key repeats a request, who
//! repeats a unique key means the task that lives under it.
//!
//! The database knows a key by its hash alone, which is of one length and says what kind of key it is
//! and whose: neither kind meets the other, and no scope another.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Longest key, in characters. Each has at least one.
pub const MAX_KEY: usize = 255;

/// What a key is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of an idempotency key, which belongs to who asks.
    #[must_use]
    pub fn idempotency(asker: &str, key: &str) -> Self {
        Self::of("idempotency", asker, key)
    }

    /// Of a unique key, which belongs to the task type.
    #[must_use]
    pub fn unique(name: &str, key: &str) -> Self {
        Self::of("unique", name, key)
    }

    /// Each part is preceded by its length: no two triples have the same bytes.
    fn of(kind: &str, scope: &str, key: &str) -> Self {
        let mut hasher = Sha256::new();
        for part in [kind, scope, key] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// From its bytes in a row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a request with an idempotency key is known by: its body, to the byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHash([u8; 32]);

impl RequestHash {
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// From its bytes in a row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A task's unique key: while the task lives, no other of its type has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Unique {
    pub key: Arc<str>,
    /// It is held for this long after the task was accepted, also when that has ended before.
    pub held_for: Option<Duration>,
}

/// Checks a unique key.
///
/// # Errors
/// A message of what was got and what is taken.
pub fn check_unique(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if (1..=MAX_KEY).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!(
        "got {} of {length} characters; takes a string of 1 to {MAX_KEY} characters, none of them a control character",
        super::name::quoted(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_scopes_and_keys_are_told_apart() {
        let hashes = [
            KeyHash::idempotency("local", "k"),
            KeyHash::idempotency("locals", "k"),
            KeyHash::idempotency("local", "sk"),
            KeyHash::idempotency("", "localk"),
            KeyHash::idempotency("localk", ""),
            KeyHash::unique("local", "k"),
            KeyHash::unique("local", "K"),
            KeyHash::unique("local", "k "),
        ];
        for (i, one) in hashes.iter().enumerate() {
            assert!(hashes.iter().skip(i + 1).all(|other| other != one), "{i}");
        }
        assert_eq!(KeyHash::unique("local", "k"), hashes[5]);
    }

    #[test]
    fn the_hash_of_a_key_is_the_same_for_ever() {
        // Rows outlive the program that wrote them.
        assert_eq!(format!("{:?}", KeyHash::unique("noop", "k")), "c0e4232e");
    }

    #[test]
    fn a_unique_key_is_text_that_can_be_shown() {
        for good in ["k", "order 17", "größe/ß☃", &"é".repeat(MAX_KEY)] {
            assert_eq!(check_unique(good), Ok(()), "{good}");
        }
        for bad in ["", "a\nb", "\u{0}", &"é".repeat(MAX_KEY + 1)] {
            assert!(check_unique(bad).is_err(), "{bad}");
        }
    }
}
