//! `roles` and `bind`: what this process does, and where it listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Flags;
use super::form::{List, Why, Word, why};
use super::layers::{Key, Layers};

const DEFAULT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8_000);

/// The roles of this process; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Serves the REST interface.
    pub api: bool,
    /// Runs tasks.
    pub worker: bool,
    /// Fires schedules and purges.
    pub scheduler: bool,
}

impl Roles {
    /// Everything in one process.
    pub const ALL: Self = Self { api: true, worker: true, scheduler: true };
}

const ROLES: List<Roles> = List {
    takes: "one or more of api, worker, scheduler and all (a comma list; in the file also a list)",
    read: read_roles,
    show: show_roles,
};

const BIND: Word<SocketAddr> = Word {
    takes: "an IP address and port, such as 127.0.0.1:8000, 0.0.0.0:8000, [::1]:8000 or localhost:8000",
    read: read_bind,
    show: SocketAddr::to_string,
};

pub(super) fn roles(layers: &mut Layers, flags: &Flags) -> Roles {
    layers.value(Key::new("roles").flag("--role", flags.roles.as_ref()), &ROLES, Roles::ALL)
}

pub(super) fn bind(layers: &mut Layers, flags: &Flags) -> SocketAddr {
    layers.value(Key::new("bind").flag("--bind", flags.bind.as_ref()), &BIND, DEFAULT_BIND)
}

fn read_roles(words: Vec<String>) -> Result<Roles, Why> {
    let mut roles = Roles { api: false, worker: false, scheduler: false };
    for word in &words {
        match word.as_str() {
            "api" => roles.api = true,
            "worker" => roles.worker = true,
            "scheduler" => roles.scheduler = true,
            "all" => roles = Roles::ALL,
            _ => return Err(None),
        }
    }
    if words.is_empty() { why("names no role") } else { Ok(roles) }
}

fn show_roles(roles: &Roles) -> String {
    if *roles == Roles::ALL {
        return "all".to_owned();
    }
    let words = [(roles.api, "api"), (roles.worker, "worker"), (roles.scheduler, "scheduler")];
    words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
}

fn read_bind(text: &str) -> Result<SocketAddr, Why> {
    match text.split_once(':') {
        // Not looked up: a name may have several addresses, and a listener has one.
        Some(("localhost", port)) => {
            port.parse().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).or(Err(None))
        }
        _ => text.parse().or(Err(None)),
    }
}
