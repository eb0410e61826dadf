//! What comes from outside of the program, from a command or over HTTP, as a task's result.

/// JSON text for the task's `result`: JSON as it is, anything else as a text, nothing as none. What was cut is a text, and
/// so is what JSON takes more than `max` bytes to write, cut to them.
pub(super) fn result(bytes: &[u8], cut: bool, max: usize) -> Option<Box<str>> {
    if !cut && let Ok(text) = std::str::from_utf8(bytes) {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            return Some(text.into());
        }
    }
    let text = String::from_utf8_lossy(bytes);
    // A character that the cut went through.
    let text = if cut { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text };
    let mut room = max.checked_sub(2)?; // the quotes
    let end = text.char_indices().find(|(_, c)| {
        let written = match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            c => c.len_utf8(),
        };
        match room.checked_sub(written) {
            None => true,
            Some(left) => {
                room = left;
                false
            }
        }
    });
    let kept = end.and_then(|(at, _)| text.get(..at)).unwrap_or(text);
    serde_json::to_string(kept).ok().map(String::into_boxed_str)
}
