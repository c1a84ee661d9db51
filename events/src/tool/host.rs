//! Hosts, and the patterns that a permission document names them by.
//!
//! A host is read by the same parser as a URL's is when the request is made (`url`), so that the one
//! who checks and the one who connects never disagree: case, IDNA, percent signs and every notation
//! of an address (`127.1`, `0x7f.1`, `017700000001`, `[::ffff:7f00:1]`) are settled there. A matcher
//! of our own on the text of the URL is what most of the known ways around such lists get past.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::pattern::Pattern;

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
const MAX_PATTERN: usize = 320;

/// Whom a request goes to, in the one form that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name: lower case, punycode, no dot at the end.
    Name(String),
    /// An address, in whatever notation it was written; IPv4 in IPv6 is the IPv4 that it means.
    Address(IpAddr),
}

impl Host {
    /// Reads a URL's host; an IPv6 address may stand in brackets or not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_PATTERN {
            return Err("is too long for a host");
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        match url::Host::parse(text) {
            Ok(url::Host::Ipv4(address)) => Ok(Self::Address(address.into())),
            Ok(url::Host::Ipv6(address)) => Ok(Self::Address(IpAddr::V6(address).to_canonical())),
            Ok(url::Host::Domain(name)) => check_name(&name).map(Self::Name),
            Err(_) => Err("is neither a host's name nor an address"),
        }
    }
}

fn check_name(name: &str) -> Result<String, &'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    let label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(fits);
    if name.len() <= MAX_NAME && name.split('.').all(label) {
        Ok(name.to_owned())
    } else {
        Err("is not a host's name")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// One entry of `allowed_hosts`: a name, `*.` and a name for everything below it (not the name
/// itself), `*` for every name, or an address; then perhaps `:8443` or `:*`. Without a port it
/// means 80 and 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    hosts: Hosts,
    ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    AnyName,
    /// With the dot in front.
    Below(String),
    One(Host),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    Web,
    One(u16),
    Any,
}

impl HostPattern {
    /// Whether a host and port are meant.
    pub fn matches(&self, host: &Host, port: u16) -> bool {
        let host = match (&self.hosts, host) {
            (Hosts::AnyName, host) => matches!(host, Host::Name(_)),
            (Hosts::Below(suffix), Host::Name(name)) => is_below(name, suffix),
            (Hosts::Below(_), Host::Address(_)) => false,
            (Hosts::One(one), host) => one == host,
        };
        host && self.ports.contain(port)
    }

    /// Whether exactly this address is named, and not a pattern that it falls under.
    pub fn names_address(&self, address: IpAddr, port: u16) -> bool {
        self.hosts == Hosts::One(Host::Address(address.to_canonical())) && self.ports.contain(port)
    }
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}

impl Ports {
    fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "*" => Ok(Self::Any),
            _ if text.starts_with('+') => Err("has a port that is no number"),
            _ => match text.parse() {
                Ok(0) | Err(_) => Err("has a port that is no number from 1 to 65535"),
                Ok(port) => Ok(Self::One(port)),
            },
        }
    }

    fn contain(self, port: u16) -> bool {
        match self {
            Self::Web => matches!(port, 80 | 443),
            Self::One(one) => one == port,
            Self::Any => true,
        }
    }

    fn both(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, ports) | (ports, Self::Any) => Some(ports),
            (Self::Web, Self::Web) => Some(Self::Web),
            (Self::One(port), ports) | (ports, Self::One(port)) => {
                ports.contain(port).then_some(Self::One(port))
            }
        }
    }
}

impl Hosts {
    fn both(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::AnyName, Self::One(Host::Address(_)))
            | (Self::One(Host::Address(_)), Self::AnyName) => None,
            (Self::AnyName, hosts) | (hosts, Self::AnyName) => Some(hosts.clone()),
            (Self::Below(a), Self::Below(b)) if a.ends_with(b.as_str()) => Some(self.clone()),
            (Self::Below(a), Self::Below(b)) if b.ends_with(a.as_str()) => Some(other.clone()),
            (Self::Below(_), Self::Below(_)) => None,
            (Self::Below(suffix), Self::One(one)) | (Self::One(one), Self::Below(suffix)) => {
                let below = matches!(one, Host::Name(name) if is_below(name, suffix));
                below.then(|| Self::One(one.clone()))
            }
            (Self::One(a), Self::One(b)) => (a == b).then(|| self.clone()),
        }
    }
}

impl FromStr for HostPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_PATTERN {
            return Err("is too long for a host");
        }
        let odd = |c: char| "/@\\%?#".contains(c) || c.is_whitespace() || c.is_control();
        if text.contains(odd) {
            return Err("is more than a host: name only that, without scheme, path or user");
        }
        let (host, ports) = split_port(text)?;
        let hosts = if host == "*" {
            Hosts::AnyName
        } else if let Some(name) = host.strip_prefix("*.") {
            match Host::parse(name)? {
                Host::Name(name) => Hosts::Below(format!(".{name}")),
                Host::Address(_) => return Err("has nothing below an address"),
            }
        } else if host.contains('*') {
            return Err("may have a star only as its first label");
        } else {
            Hosts::One(Host::parse(host)?)
        };
        Ok(Self { hosts, ports })
    }
}

impl Pattern for HostPattern {
    fn both(&self, other: &Self) -> Option<Self> {
        Some(Self {
            hosts: self.hosts.both(&other.hosts)?,
            ports: self.ports.both(other.ports)?,
        })
    }
}

fn split_port(text: &str) -> Result<(&str, Ports), &'static str> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or("has no closing bracket")?;
        let (host, rest) = text.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Ports::read(port)?)),
            None if rest.is_empty() => Ok((host, Ports::Web)),
            None => Err("has something behind its bracket that is no port"),
        };
    }
    match text.split_once(':') {
        None => Ok((text, Ports::Web)),
        Some((_, rest)) if rest.contains(':') => Ok((text, Ports::Web)),
        Some((host, port)) => Ok((host, Ports::read(port)?)),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::AnyName => f.write_str("*")?,
            Hosts::Below(suffix) => write!(f, "*{suffix}")?,
            Hosts::One(host) => host.fmt(f)?,
        }
        match self.ports {
            Ports::Web => Ok(()),
            Ports::One(port) => write!(f, ":{port}"),
            Ports::Any => f.write_str(":*"),
        }
    }
}
