//! `api_key`: the first administrator's key, from before there are any in the database.

use super::form::{Why, Word, why};
use super::layers::{Key, Layers, hidden};
use super::secret::Secret;

/// Fewer characters than this can be guessed.
const MIN_CHARACTERS: usize = 16;
const MAX_CHARACTERS: usize = 256;

const API_KEY: Word<Secret> =
    Word { takes: "16 to 256 visible ASCII characters without spaces", read: read_api_key, show: hidden };

pub(super) fn read(layers: &mut Layers) -> Option<Secret> {
    layers.optional(Key::new("api_key").secret(), &API_KEY, "none: loopback only")
}

fn read_api_key(text: &str) -> Result<Secret, Why> {
    // Anything else cannot be sent in an Authorization header, so nobody could ever use it.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return why("has characters that cannot be sent");
    }
    match text.len() {
        0..MIN_CHARACTERS => why("is too short"),
        MIN_CHARACTERS..=MAX_CHARACTERS => Ok(Secret::new(text)),
        _ => why("is too long"),
    }
}
