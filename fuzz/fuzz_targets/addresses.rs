//! Addresses: what carries a special address is special, and a name never gets to either. The first
//! sixteen bytes are an address, the rest is a pattern.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use nexus_events::tool::address::{AddressPattern, special};
use nexus_events::tool::{Host, NetworkPermissions};

fuzz_target!(|data: &[u8]| {
    let Some((bytes, rest)) = data.split_first_chunk::<16>() else {
        return;
    };
    let address = Ipv6Addr::from(*bytes);
    if let Some(inner) = address.to_ipv4_mapped() {
        assert_eq!(
            special(address.into()).is_some(),
            special(inner.into()).is_some()
        );
    }
    let rules = NetworkPermissions {
        allowed_hosts: vec!["*:*".to_owned()],
        ..NetworkPermissions::default()
    };
    let (rules, name) = (rules.rules().unwrap(), Host::Name("a.test".to_owned()));
    let reached = rules.address(&name, 80, address.into()).is_ok();
    assert_eq!(reached, special(address.into()).is_none());
    if reached && address.to_ipv4_mapped().is_none() {
        let first = address.segments()[0];
        assert!(
            (0x2000..0x4000).contains(&first) || first == 0x64,
            "{address}"
        );
    }
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    if let Ok(pattern) = text.parse::<AddressPattern>() {
        let address = IpAddr::from(address);
        let plain = address.to_canonical();
        assert_eq!(pattern.matches(plain), pattern.matches(address), "{text:?}");
    }
});
