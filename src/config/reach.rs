//! Which addresses http tasks may call: public ones, and what `http.allow_private` lists.
//!
//! Whoever may submit a task chooses at most what is sent, never where to; but the name in a type's URL belongs to
//! somebody, and whoever answers for it in the DNS could point it at what only this host can reach: a metadata service,
//! a database, another tenant. So every address is judged by this one table, wherever it came from: a literal in the
//! configuration (refused at the start), a name's answer before each connection (see `executor::http`).
//!
//! Of IPv4 everything is public but what IANA's registry of special purposes lists; of IPv6 nothing is but 2000::/3,
//! less its exceptions. What carries an IPv4 address inside is judged by it where the network would take it there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

use super::form::{List, Why, why};
use super::layers::{Key, Layers};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, f: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, f, 0, 0, 0), prefix)
}

const NOT_PUBLIC_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "an address of this host (0.0.0.0/8)"),
    (v4(10, 0, 0, 0, 8), "a private address (10.0.0.0/8)"),
    (v4(100, 64, 0, 0, 10), "a carrier's shared address (100.64.0.0/10)"),
    (v4(127, 0, 0, 0, 8), "a loopback address (127.0.0.0/8)"),
    // Where clouds have their metadata service.
    (v4(169, 254, 0, 0, 16), "a link-local address (169.254.0.0/16)"),
    (v4(172, 16, 0, 0, 12), "a private address (172.16.0.0/12)"),
    // Looks public, and is the host's agent on Azure.
    (v4(168, 63, 129, 16, 32), "a cloud's own service (168.63.129.16)"),
    (v4(192, 0, 0, 0, 24), "a protocol's address (192.0.0.0/24)"),
    (v4(192, 0, 2, 0, 24), "an address for documentation (192.0.2.0/24)"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay's address (192.88.99.0/24)"),
    (v4(192, 168, 0, 0, 16), "a private address (192.168.0.0/16)"),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks (198.18.0.0/15)"),
    (v4(198, 51, 100, 0, 24), "an address for documentation (198.51.100.0/24)"),
    (v4(203, 0, 113, 0, 24), "an address for documentation (203.0.113.0/24)"),
    (v4(224, 0, 0, 0, 4), "a multicast address (224.0.0.0/4)"),
    (v4(255, 255, 255, 255, 32), "the broadcast address"),
    (v4(240, 0, 0, 0, 4), "a reserved address (240.0.0.0/4)"),
];

/// The first that matches says why; the public ones come after their exceptions.
const V6: [(Ipv6Net, Option<&str>); 19] = [
    (v6(0, 0, 0, 0, 96), Some("an address of this host, or an IPv4-compatible one (::/96)")),
    // An IPv4-mapped one is judged as IPv4 before it comes here.
    (v6(0, 0, 0, 0xffff, 96), Some("an IPv4-translated address (::ffff:0:0:0/96)")),
    (v6(0x64, 0xff9b, 1, 0, 48), Some("a local NAT64 address (64:ff9b:1::/48)")),
    (v6(0x100, 0, 0, 0, 64), Some("a discard address (100::/64)")),
    (v6(0x2001, 0, 0, 0, 32), Some("a Teredo address (2001::/32)")),
    (v6(0x2001, 2, 0, 0, 48), Some("an address for benchmarks (2001:2::/48)")),
    (v6(0x2001, 0, 0, 0, 23), Some("a protocol's address (2001::/23)")),
    (v6(0x2001, 0xdb8, 0, 0, 32), Some("an address for documentation (2001:db8::/32)")),
    (v6(0x2002, 0, 0, 0, 16), Some("a 6to4 address (2002::/16)")),
    (v6(0x3fff, 0, 0, 0, 20), Some("an address for documentation (3fff::/20)")),
    (v6(0x3ffe, 0, 0, 0, 16), Some("an address of the former 6bone (3ffe::/16)")),
    (v6(0x2000, 0, 0, 0, 3), None),
    (v6(0x5f00, 0, 0, 0, 16), Some("a segment routing address (5f00::/16)")),
    // Where some clouds have their metadata service.
    (v6(0xfc00, 0, 0, 0, 7), Some("a unique-local address (fc00::/7)")),
    (v6(0xfe80, 0, 0, 0, 10), Some("a link-local address (fe80::/10)")),
    (v6(0xfec0, 0, 0, 0, 10), Some("a site-local address (fec0::/10)")),
    (v6(0xff00, 0, 0, 0, 8), Some("a multicast address (ff00::/8)")),
    (v6(0, 0, 0, 0, 8), Some("a reserved address (::/8)")),
    (v6(0, 0, 0, 0, 0), Some("an address outside of 2000::/3, which holds all public ones")),
];

const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 0, 96);

/// Why this address is none of the public internet's. None: it is one.
fn not_public(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => NOT_PUBLIC_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            not_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => V6.iter().find(|(net, _)| net.contains(&address)).and_then(|(_, what)| *what),
    }
}

/// An address that is not called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    address: IpAddr,
    what: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, what } = self;
        write!(f, "{address} is {what}, and http.allow_private does not list it")
    }
}

/// What of the addresses that are not public may be called all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowPrivate {
    networks: Vec<IpNet>,
    /// In lower case and ASCII, without a last dot.
    names: Vec<String>,
    shown: Vec<String>,
}

impl AllowPrivate {
    /// Whether this address, which `host` stands for, may be called.
    ///
    /// # Errors
    /// It is not public, and neither it nor a network that holds it nor the host's name is listed.
    pub fn check(&self, host: &Host<String>, address: IpAddr) -> Result<(), Refused> {
        let canonical = address.to_canonical();
        let Some(what) = not_public(canonical) else { return Ok(()) };
        let named = matches!(host, Host::Domain(name) if self.names.iter().any(|listed| listed == without_dot(name)));
        if named || self.networks.iter().any(|network| network.contains(&canonical)) {
            return Ok(());
        }
        Err(Refused { address, what })
    }

    /// As [`check`](Self::check) for a host that is an address by itself; a name says nothing yet.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_literal(&self, host: &Host<String>) -> Result<(), Refused> {
        match host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check(host, (*address).into()),
            Host::Ipv6(address) => self.check(host, (*address).into()),
        }
    }

    /// Reads the entries of the list.
    ///
    /// # Errors
    /// The first entry that is none.
    pub(super) fn read(entries: Vec<String>) -> Result<Self, Why> {
        let mut list = Self::default();
        for entry in entries {
            if let Ok(network) = entry.parse::<IpNet>() {
                list.networks.push(unmapped(network));
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                list.networks.push(address.to_canonical().into());
            } else {
                match Host::parse(&entry) {
                    Ok(Host::Domain(name)) if is_host_name(without_dot(&name)) => {
                        list.names.push(without_dot(&name).to_owned());
                    }
                    Ok(Host::Ipv4(address)) => list.networks.push(IpAddr::from(address).into()),
                    Ok(Host::Ipv6(address)) => list.networks.push(IpAddr::from(address).to_canonical().into()),
                    Ok(Host::Domain(_)) | Err(_) => {
                        return why(format!("has the entry {entry:?}, which is neither"));
                    }
                }
            }
            list.shown.push(entry);
        }
        Ok(list)
    }
}

/// A network of IPv4-mapped addresses as the IPv4 one that it is: addresses are compared in that form.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(net) = network else { return network };
    match (net.addr().to_ipv4_mapped(), net.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
        _ => network,
    }
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

const LIST: List<AllowPrivate> = List {
    takes: r#"a list of addresses, networks and host names, such as ["10.1.2.3", "10.0.0.0/8", "fd00::/8", "billing.internal"]"#,
    read: AllowPrivate::read,
    show: |list| list.shown.join(","),
};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// `http.allow_private`; empty unless the operator says otherwise.
    pub allow_private: AllowPrivate,
}

pub(super) fn read(layers: &mut Layers) -> Http {
    Http { allow_private: layers.value(Key::new("http.allow_private"), &LIST, AllowPrivate::default()) }
}
