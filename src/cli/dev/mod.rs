//! `dev`: a private database and Redis as child processes, and everything on them in one
//! process. The same code path as production: only who starts the servers differs.

pub mod servers;

use super::terminal::announce;
use super::{Failure, daemon, load};
use crate::config::{Environment, Flags, Tls};
use crate::executor::Registry;
use servers::{Durability, Options, Servers};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Try it out: start a private database and Redis and run everything on them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx dev                      data is kept between starts
  taskrunnerx dev --ephemeral          data goes when it ends
  taskrunnerx dev --data-dir ./data --bind 127.0.0.1:9000

Needs mariadbd or mysqld, and redis-server or valkey-server, on PATH.

Exit codes: 0 stopped by a signal, 1 failed, 2 usage or configuration.")]
pub(super) struct Args {
    /// Where the servers keep their data [default: ~/.local/share/taskrunnerx/dev]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Begin empty, and remove the data at the end
    #[arg(long)]
    ephemeral: bool,
    /// Where it listens [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
}

pub(super) async fn run(args: Args, config: Option<PathBuf>, registry: Registry) -> Result<(), Failure> {
    let flags = Flags { bind: args.bind, config, ..Flags::default() };
    // Checked before anything is started; the servers' addresses come after.
    let (early, warnings) = load(&flags, &Environment::of_process())?;
    daemon::start_logging(&early.log).map_err(Failure::new)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let data_dir = args.data_dir.unwrap_or_else(|| default_data_dir(args.ephemeral));
    let options = Options { data_dir: data_dir.clone(), ephemeral: args.ephemeral, durability: Durability::Full };
    let stop = daemon::stop_on_signals();
    let mut servers = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        started = Servers::start(&options) => started.map_err(Failure::new)?,
    };
    let environment =
        Environment::of_process().with("DATABASE_URL", &servers.database_url).with("REDIS_URL", &servers.redis_url);
    let (config, _) = load(&flags, &environment)?;
    let ephemeral = args.ephemeral;
    let tls = config.tls.clone();
    // Its terminal's end is its own.
    let mut daemon = std::pin::pin!(daemon::run(config, registry, None, stop.clone(), move |address| {
        announce(&welcome(tls.as_ref(), address, &data_dir, ephemeral));
    }));
    let result = tokio::select! {
        ended = &mut daemon => ended.map_err(|error| Failure::with_code(error.exit_code(), error)),
        error = servers.ended() => {
            // What still runs is drained as far as that goes without the server.
            stop.cancel();
            let _ = daemon.await;
            Err(Failure::new(error))
        }
    };
    servers.stop().await;
    result
}

/// What to try, with lines that work as pasted: also where the certificate is of no authority that curl knows. Of the
/// names that it is for only its owner knows; most that are made for this are for localhost.
fn welcome(tls: Option<&Tls>, address: SocketAddr, data_dir: &Path, ephemeral: bool) -> String {
    let data = if ephemeral { "gone when this ends".to_owned() } else { data_dir.display().to_string() };
    let (curl, url) = match tls {
        None => ("curl -sS".to_owned(), format!("http://{address}")),
        Some(Tls { cert, .. }) => {
            let here: [IpAddr; 4] = [
                Ipv4Addr::LOCALHOST.into(),
                Ipv6Addr::LOCALHOST.into(),
                Ipv4Addr::UNSPECIFIED.into(),
                Ipv6Addr::UNSPECIFIED.into(),
            ];
            let url = if here.contains(&address.ip()) {
                format!("https://localhost:{}", address.port())
            } else {
                format!("https://{address}")
            };
            // Whoever pastes it may be elsewhere.
            let cert = std::path::absolute(cert).unwrap_or_else(|_| cert.clone());
            (format!("curl -sS --cacert {}", in_shell(&cert.display().to_string())), url)
        }
    };
    format!(
        "
  Task Runner X is ready on {url}    (data: {data})

  Submit a task, and look at it:
    {curl} {url}/api/tasks -H 'content-type: application/json' -d '{{\"name\": \"echo\", \"payload\": {{\"hello\": \"world\"}}}}'
    {curl} '{url}/api/tasks?limit=1'

  Watch it work:
    {curl} {url}/health
    {curl} {url}/metrics

  Ctrl-C stops it: it waits for what is running.
"
    )
}

/// A word as a shell takes it.
fn in_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn default_data_dir(ephemeral: bool) -> PathBuf {
    if ephemeral {
        return std::env::temp_dir().join(format!("taskrunnerx-dev-{}", std::process::id()));
    }
    let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = home("XDG_DATA_HOME").or_else(|| home("HOME").map(|home| home.join(".local/share")));
    share.unwrap_or_else(std::env::temp_dir).join("taskrunnerx/dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tls: Option<&Tls>, address: &str) -> Vec<String> {
        let said = welcome(tls, address.parse().unwrap(), Path::new("/data"), false);
        assert!(said.contains("(data: /data)"), "{said}");
        said.lines().filter_map(|line| line.trim().strip_prefix("curl ").map(str::to_owned)).collect()
    }

    #[test]
    fn the_lines_to_try_say_what_went_wrong_and_know_the_certificate() {
        let plain = lines(None, "127.0.0.1:8000");
        assert_eq!(plain.len(), 4);
        assert!(
            plain.iter().all(|line| line.starts_with("-sS ") && line.contains("http://127.0.0.1:8000/")),
            "{plain:?}"
        );
        let tls = Tls { cert: "/etc/it's here.pem".into(), key: "/k".into() };
        for (address, expected) in
            [("127.0.0.1:8000", "https://localhost:8000/"), ("10.0.0.5:80", "https://10.0.0.5:80/")]
        {
            let wrapped = lines(Some(&tls), address);
            assert_eq!(wrapped.len(), 4);
            let begins = r"-sS --cacert '/etc/it'\''s here.pem' ";
            assert!(wrapped.iter().all(|line| line.starts_with(begins) && line.contains(expected)), "{wrapped:?}");
        }
        assert_eq!((in_shell("a/b.pem"), in_shell("")), ("a/b.pem".to_owned(), "''".to_owned()));
    }
}
