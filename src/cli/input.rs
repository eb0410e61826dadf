//! Text that a command is given: in a file, or on its standard input.

use std::io;

/// The path that stands for standard input.
pub(super) const STDIN: &str = "-";

/// A file's text; [`STDIN`] is standard input. It may be long in coming, from somebody who types or from a pipe with a
/// name: so it is read off the runtime, and Ctrl-C ends the command meanwhile.
///
/// # Errors
/// When it cannot be read, or is no UTF-8.
pub(super) async fn text(path: &str) -> io::Result<String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || match path.as_str() {
        STDIN => io::read_to_string(io::stdin()),
        path => std::fs::read_to_string(path),
    });
    read.await.map_err(io::Error::other)?
}
