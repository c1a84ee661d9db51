//! Addresses that a tool must not reach: what is special by the registries of IANA, and what a
//! document blocks beside it.
//!
//! IPv6 is open only where it is global unicast and nothing special; a list of what is closed would
//! forget some. An address that carries another one (mapped, NAT64, 6to4, Teredo, ISATAP) is judged
//! by both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::host::Host;

/// Special IPv4 ranges: address, length of the prefix, name.
const SPECIAL_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this host or network"),
    ([10, 0, 0, 0], 8, "a private network"),
    ([100, 64, 0, 0], 10, "a carrier's shared network"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([168, 63, 129, 16], 32, "a cloud's metadata"),
    ([169, 254, 0, 0], 16, "link-local or metadata"),
    ([172, 16, 0, 0], 12, "a private network"),
    ([192, 0, 0, 0], 24, "reserved for protocols"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 31, 196, 0], 24, "reserved for protocols"),
    ([192, 52, 193, 0], 24, "reserved for protocols"),
    ([192, 88, 99, 0], 24, "a 6to4 relay"),
    ([192, 168, 0, 0], 16, "a private network"),
    ([192, 175, 48, 0], 24, "reserved for protocols"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved or broadcast"),
];

/// Why an address is blocked unless a document names it; none for ordinary ones.
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    (SPECIAL_V4.iter())
        .find(|(base, length, _)| (bits ^ u32::from_be_bytes(*base)) >> (32 - length) == 0)
        .map(|(_, _, name)| *name)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = nat64(address) {
        // What DNS64 gives for a public host on a network without IPv4.
        return special_v4(inner);
    }
    let [a, b, _, _, e, f, ..] = address.segments();
    match (a, b) {
        (0, 0) => Some("unspecified, loopback or reserved"),
        (0xfe80..=0xfebf, _) => Some("link-local"),
        (0xfec0..=0xfeff, _) => Some("site-local"),
        (0xfc00..=0xfdff, _) => Some("a private network"),
        (0xff00..=0xffff, _) => Some("multicast"),
        (0x2001, 0..=0x01ff) => Some("reserved for protocols"),
        (0x2001, 0x0db8) => Some("documentation"),
        (0x2002, _) => Some("6to4"),
        (0x3fff, 0..=0x0fff) => Some("documentation"),
        (0x2000..=0x3fff, _) if (e, f) == (0, 0x5efe) || (e, f) == (0x0200, 0x5efe) => {
            Some("ISATAP")
        }
        (0x2000..=0x3fff, _) => None,
        _ => Some("reserved"),
    }
}

fn nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, 0, 0, 0, 0, _, _] = address.segments() else {
        return None;
    };
    ((a, b) == (0x64, 0xff9b)).then(|| low(address))
}

/// Its last four bytes as an IPv4 address.
fn low(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// Every address that an address stands for, itself first.
fn meanings(address: IpAddr) -> Vec<IpAddr> {
    let v6 = match address.to_canonical() {
        IpAddr::V4(v4) => return vec![v4.into(), v4.to_ipv6_mapped().into()],
        IpAddr::V6(v6) => v6,
    };
    let mut all = vec![v6.into()];
    let [a, b, c, d, _, interface, ..] = v6.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x2002, _) => all.push(pair(b, c).into()),
        // Teredo: its server, and the client's address with every bit turned.
        (0x2001, 0) => all.extend::<[IpAddr; 2]>([
            pair(c, d).into(),
            Ipv4Addr::from_bits(!low(v6).to_bits()).into(),
        ]),
        (0x64, 0xff9b) => all.push(low(v6).into()),
        // IPv4-compatible and IPv4-translated.
        (0, 0) => all.push(low(v6).into()),
        _ => {}
    }
    if interface == 0x5efe {
        all.push(low(v6).into());
    }
    all
}

/// One entry of `blocked_ips`: an address in any notation, `10.*`, or `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPattern {
    base: IpAddr,
    length: u32,
}

impl AddressPattern {
    /// Whether the address, or one that it carries, is meant.
    pub fn matches(&self, address: IpAddr) -> bool {
        meanings(address).into_iter().any(|one| self.contains(one))
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - self.length).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - self.length).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn cidr(text: &str, length: &str) -> Result<Self, &'static str> {
        let base: IpAddr = text.parse().map_err(|_| NO_ADDRESS)?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let plain = !length.is_empty() && length.bytes().all(|c| c.is_ascii_digit());
        let length = length.parse().ok().filter(|length| *length <= most);
        match length {
            Some(length) if plain => Ok(Self { base, length }),
            _ => Err("has a prefix that is no number of bits"),
        }
    }

    fn starred(text: &str) -> Result<Self, &'static str> {
        let mut octets = [0; 4];
        let mut length = 0;
        let mut starred = false;
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() > 4 {
            return Err(NO_ADDRESS);
        }
        for (octet, part) in octets.iter_mut().zip(parts) {
            if part == "*" {
                starred = true;
            } else if starred || part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
                return Err("may have stars only at its end, for whole numbers");
            } else {
                *octet = part.parse().map_err(|_| NO_ADDRESS)?;
                length += 8;
            }
        }
        if length == 0 {
            return Err("blocks everything: write 0.0.0.0/0 or ::/0 if that is meant");
        }
        let base = Ipv4Addr::from(octets).into();
        Ok(Self { base, length })
    }
}

const NO_ADDRESS: &str = "is no address, e.g. 127.0.0.1, 192.168.*, 10.0.0.0/8, fd00::/8";

impl FromStr for AddressPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Some((base, length)) = text.split_once('/') {
            return Self::cidr(base, length);
        }
        if text.contains('*') {
            return Self::starred(text);
        }
        match Host::parse(text) {
            Ok(Host::Address(base)) => {
                let length = if base.is_ipv4() { 32 } else { 128 };
                Ok(Self { base, length })
            }
            Ok(Host::Name(_)) | Err(_) => Err(NO_ADDRESS),
        }
    }
}
