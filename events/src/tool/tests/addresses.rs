use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::tool::address::{AddressPattern, special};
use crate::tool::{Host, NetworkPermissions, NetworkRules};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn special_addresses_are_known() {
    for text in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2607:f8b0::5efe:7f00:1",
        "3fff::1",
        "3ffe::5efe:a00:1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(special(ip(text)).is_some(), "{text}");
    }
}

#[test]
fn ordinary_addresses_are_ordinary() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ] {
        assert_eq!(special(ip(text)), None, "{text}");
    }
}

#[test]
fn patterns_of_addresses_block_every_form_of_them() {
    let blocks = |pattern: &str, address: &str| {
        pattern
            .parse::<AddressPattern>()
            .unwrap()
            .matches(ip(address))
    };
    for (pattern, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("192.168.*", "192.168.4.5"),
        ("10.*", "10.255.0.1"),
        ("10.1.*.*", "10.1.9.9"),
        ("8.8.8.0/24", "8.8.8.8"),
        ("8.8.8.9/24", "8.8.8.8"),
        ("0.0.0.0/0", "1.2.3.4"),
        ("::/0", "1.2.3.4"),
        ("8.8.8.8", "::ffff:8.8.8.8"),
        ("8.8.*", "64:ff9b::8.8.8.8"),
        ("8.8.8.8", "2002:808:808::1"),
        ("8.8.8.8", "2001::f7f7:f7f7"),
        ("8.8.8.8", "2607:f8b0::5efe:808:808"),
        ("::ffff:8.8.0.0/112", "8.8.8.8"),
        ("fd00::/8", "fd12::1"),
        ("2001:db8::1", "2001:db8:0:0::1"),
    ] {
        assert!(blocks(pattern, address), "{pattern} {address}");
    }
    for (pattern, address) in [
        ("192.168.*", "192.169.0.1"),
        ("10.*", "100.0.0.1"),
        ("8.8.8.0/25", "8.8.8.128"),
        ("0.0.0.0/0", "2606:4700::1"),
        ("8.8.8.8", "8.8.4.4"),
    ] {
        assert!(!blocks(pattern, address), "{pattern} {address}");
    }
    for text in [
        "",
        "*",
        "*.10",
        "10.*.1",
        "1.2.3.4.*",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "300.*",
        "a.test",
        "::1/129",
        "10",
    ] {
        // A bare number is an address too (0.0.0.10), as a browser reads it.
        assert!(
            text.parse::<AddressPattern>().is_err() || text == "10",
            "{text}"
        );
    }
}

fn rules(allowed: &[&str], blocked: &[&str]) -> NetworkRules {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let network = NetworkPermissions {
        allowed_hosts: owned(allowed),
        blocked_ips: owned(blocked),
        ..NetworkPermissions::default()
    };
    network.rules().unwrap()
}

#[test]
fn a_special_address_is_reached_only_by_naming_it() {
    let rules = rules(
        &["127.0.0.1:8080", "localhost:8080", "*:8080", "[fd00::7]"],
        &[],
    );
    let reach = |host: &str, port, address: &str| {
        let host = Host::parse(host).unwrap();
        rules.host(&host, port).is_ok() && rules.address(&host, port, ip(address)).is_ok()
    };
    assert!(reach("127.0.0.1", 8080, "127.0.0.1"));
    assert!(reach("0x7f.1", 8080, "::ffff:127.0.0.1"));
    assert!(reach("fd00::7", 443, "fd00::7"));
    assert!(reach("a.test", 8080, "8.8.8.8"));
    assert!(!reach("127.0.0.1", 80, "127.0.0.1"), "another port");
    assert!(!reach("127.0.0.2", 8080, "127.0.0.2"), "another address");
    assert!(
        !reach("localhost", 8080, "127.0.0.1"),
        "a name that leads there"
    );
    assert!(
        !reach("a.test", 8080, "10.0.0.1"),
        "a name that leads inside"
    );
    assert!(!reach("127.0.0.1", 8080, "127.0.0.2"), "it leads elsewhere");
}

#[test]
fn what_a_document_blocks_stays_blocked() {
    let rules = rules(&["*", "10.1.2.3", "8.8.8.8"], &["10.*", "8.8.8.8"]);
    for (host, address) in [
        ("10.1.2.3", "10.1.2.3"),
        ("8.8.8.8", "8.8.8.8"),
        ("a.test", "8.8.8.8"),
    ] {
        let host = Host::parse(host).unwrap();
        assert!(rules.address(&host, 443, ip(address)).is_err(), "{host}");
    }
}

proptest! {
    #[test]
    fn a_name_never_leads_to_a_special_address(bits: u128, v4: u32, which: bool) {
        let address: IpAddr = if which {
            Ipv4Addr::from_bits(v4).into()
        } else {
            Ipv6Addr::from_bits(bits).into()
        };
        let rules = rules(&["*:*", &format!("{}:*", Host::Address(address))], &[]);
        let name = Host::parse("a.test").unwrap();
        let asked = rules.address(&name, 80, address);
        prop_assert_eq!(asked.is_err(), special(address).is_some());
        // Named as itself it is open, and in every form that means the same.
        let literal = Host::parse(&Host::Address(address).to_string()).unwrap();
        prop_assert!(rules.address(&literal, 80, address).is_ok());
    }

    #[test]
    fn wrapping_an_address_hides_nothing(v4: u32) {
        let inner = Ipv4Addr::from_bits(v4);
        let (high, low) = (v4 >> 16, v4 & 0xffff);
        let blocked: AddressPattern = inner.to_string().parse().unwrap();
        for text in [
            format!("::ffff:{inner}"),
            format!("::{inner}"),
            format!("::ffff:0:{inner}"),
            format!("64:ff9b::{inner}"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2001:0:{high:x}:{low:x}::"),
            format!("2001::{:x}:{:x}", high ^ 0xffff, low ^ 0xffff),
        ] {
            let address = ip(&text);
            prop_assert!(blocked.matches(address), "{}", text);
            if special(inner.into()).is_some() {
                prop_assert!(special(address).is_some(), "{}", text);
            }
        }
    }

    #[test]
    fn a_prefix_is_its_bits(base: u32, length in 0_u32..=32, other: u32) {
        let pattern: AddressPattern = format!("{}/{length}", Ipv4Addr::from_bits(base)).parse().unwrap();
        let same = length == 0 || (base ^ other) >> (32 - length) == 0;
        prop_assert_eq!(pattern.matches(Ipv4Addr::from_bits(other).into()), same);
    }
}
