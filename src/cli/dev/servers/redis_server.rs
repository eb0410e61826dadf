//! What Redis and Valkey are run with, and the sign that they are ready.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Durability;
use super::directory::DataDirectory;
use super::error::ServersError;
use super::server::{Answer, Recipe, abandonment};

const PONG: &[u8; 7] = b"+PONG\r\n";

/// Says how the server is run. It is configured by arguments alone.
///
/// # Errors
/// When its directory cannot be made.
pub(super) fn recipe(
    program: &Path,
    directory: &DataDirectory,
    durability: Durability,
) -> Result<Recipe, ServersError> {
    let home = directory.server("redis")?;
    let data = directory.server("redis/data")?;
    let socket = directory.socket("redis.sock");
    let append_only = match durability {
        Durability::Full => "yes",
        Durability::Relaxed => "no",
    };
    let mut arguments: Vec<OsString> = Vec::new();
    let mut setting = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        arguments.push(format!("--{name}").into());
        arguments.push(value.as_ref().to_owned());
    };
    setting("port", &"0");
    setting("unixsocket", &socket);
    setting("unixsocketperm", &"700");
    setting("dir", &data);
    setting("daemonize", &"no");
    setting("appendonly", &append_only);
    setting("appendfsync", &"everysec");
    setting("save", &"");
    // A queue that silently loses entries is worse than one that refuses them.
    setting("maxmemory-policy", &"noeviction");
    Ok(Recipe {
        name: "Redis",
        program: program.to_owned(),
        arguments,
        socket,
        answer: Answer::Pong,
        initialisation: None,
        abandonment: abandonment(directory),
        directory: home,
    })
}

/// While Redis still loads its data it answers PING with an error.
///
/// # Errors
/// When nobody listens yet, or the connection breaks.
pub(super) async fn answers_ping(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; PONG.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == *PONG)
}
