//! `health`: for people, and for the health checks of containers.

use super::Failure;
use super::connection::Connection;
use super::table::{Cell, Column, Table, Tone, details};
use super::terminal::{Style, say};
use crate::client::{HealthPart, HealthReport};
use crate::config::{Config, Environment, Flags};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Ask a server how it and what it stands on are
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx health
  taskrunnerx health --url http://10.0.0.5:8000 --json | jq .parts
  taskrunnerx health --url https://localhost:8000 --ca /etc/taskrunnerx/cert.pem
  taskrunnerx health --ready        only whether it would accept submissions, as /readyz

Without --url and TASKRUNNERX_URL it asks where this configuration has the listener (bind, tls.cert), as serve
reads it. In a Dockerfile: HEALTHCHECK CMD [\"taskrunnerx\", \"health\", \"--ready\"]

Exit codes: 0 it works, also degraded (without Redis, or with settings that may lose tasks), 1 it is down
or not ready, 2 usage, 3 it cannot be reached.")]
pub(super) struct Args {
    /// Only whether submissions would be accepted, as /readyz
    #[arg(long)]
    ready: bool,
    /// The JSON that the server gives
    #[arg(long, conflicts_with = "ready")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args, config: Option<PathBuf>) -> Result<(), Failure> {
    let Args { ready, json, connection } = args;
    let own = || {
        let flags = Flags { config, ..Flags::default() };
        let (bind, tls) = Config::listener(&flags, &Environment::of_process());
        reached(bind, tls)
    };
    let client = connection.or_at(own).client()?;
    if ready {
        client.ready().await?;
        say("ready");
        return Ok(());
    }
    let reply = client.health().await?;
    let report: HealthReport = reply.read()?;
    if json {
        say(&reply.text());
    } else {
        say(&shown(&report, Style::detect()));
    }
    // It has been said.
    if reply.is_success() { Ok(()) } else { Err(Failure::new("")) }
}

/// The URL by which a listener is reached from its own host.
fn reached(bind: SocketAddr, tls: bool) -> String {
    let (ip, port) = (bind.ip(), bind.port());
    // Certificates have names, and hardly ever the address of loopback.
    if tls && (ip.is_loopback() || ip.is_unspecified()) {
        return format!("https://localhost:{port}");
    }
    let ip = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{}://{}", if tls { "https" } else { "http" }, SocketAddr::new(ip, port))
}

fn shown(report: &HealthReport, style: Style) -> String {
    let HealthReport { status, version, roles, parts } = report;
    let mut table = Table::new(&[Column::Text("PART"), Column::Text("STATUS"), Column::Long("DETAIL")]);
    for (name, HealthPart { status, detail, warnings }) in parts {
        let detail = detail.iter().chain(warnings).cloned().collect::<Vec<_>>().join("; ");
        table.row(vec![Cell::new(name), Cell::toned(status, tone(status)), Cell::new(detail)]);
    }
    let whole = vec![
        ("status", Cell::toned(status, tone(status))),
        ("version", Cell::new(version)),
        ("roles", Cell::list(roles)),
    ];
    format!("{}\n\n{}", details(whole, style), table.render(style))
}

fn tone(status: &str) -> Tone {
    match status {
        "ok" => Tone::Good,
        "down" => Tone::Bad,
        _ => Tone::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_by_its_address_or_by_this_hosts_own() {
        for (bind, tls, url) in [
            ("127.0.0.1:8000", false, "http://127.0.0.1:8000"),
            ("0.0.0.0:81", false, "http://127.0.0.1:81"),
            ("[::]:81", false, "http://[::1]:81"),
            ("10.0.0.5:81", false, "http://10.0.0.5:81"),
            ("0.0.0.0:81", true, "https://localhost:81"),
            ("127.0.0.1:81", true, "https://localhost:81"),
            ("10.0.0.5:81", true, "https://10.0.0.5:81"),
        ] {
            assert_eq!(reached(bind.parse().unwrap(), tls), url);
        }
    }
}
