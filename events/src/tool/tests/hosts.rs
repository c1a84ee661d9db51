use proptest::prelude::*;

use crate::tool::Host;
use crate::tool::host::HostPattern;

fn pattern(text: &str) -> HostPattern {
    text.parse().unwrap()
}

fn matches(text: &str, host: &str, port: u16) -> bool {
    pattern(text).matches(&Host::parse(host).unwrap(), port)
}

#[test]
fn names_are_compared_in_one_form() {
    for host in [
        "api.example.com",
        "API.Example.COM",
        "api.example.com.",
        "api%2Eexample.com",
        "ａｐｉ.example.com",
        "api。example.com",
    ] {
        assert!(matches("api.example.com", host, 443), "{host}");
    }
    assert!(matches("bücher.example", "xn--bcher-kva.example", 80));
    assert!(matches("XN--bcher-KVA.example.", "bücher.example", 80));
}

#[test]
fn a_star_is_what_is_below_and_nothing_else() {
    for host in [
        "a.safe-domain.com",
        "a.b.safe-domain.com",
        "A.SAFE-domain.com.",
    ] {
        assert!(matches("*.safe-domain.com", host, 443), "{host}");
    }
    for host in [
        "safe-domain.com",
        "evilsafe-domain.com",
        "safe-domain.com.evil.test",
        "a.safe-domain.co",
        "a.safe-domain.comm",
        "127.0.0.1",
    ] {
        assert!(!matches("*.safe-domain.com", host, 443), "{host}");
    }
    assert!(matches("*", "anything.test", 80) && !matches("*", "8.8.8.8", 80));
}

#[test]
fn ports_are_those_of_the_web_unless_named() {
    assert!(matches("a.test", "a.test", 80) && matches("a.test", "a.test", 443));
    assert!(!matches("a.test", "a.test", 6379));
    assert!(matches("a.test:6379", "a.test", 6379) && !matches("a.test:6379", "a.test", 80));
    assert!(matches("*.a.test:*", "b.a.test", 1) && matches("[::1]:8080", "::1", 8080));
}

#[test]
fn an_address_counts_in_any_notation() {
    for written in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "１２７.0.0.1",
    ] {
        assert_eq!(
            Host::parse(written),
            Ok(Host::Address([127, 0, 0, 1].into())),
            "{written}"
        );
    }
}

#[test]
fn what_is_no_host_is_refused() {
    let long = format!("{}.test", "a".repeat(64));
    for host in [
        "",
        ".",
        "a..b",
        ".a.test",
        "a b",
        "user@a.test",
        "a.test/x",
        "a\0.test",
        "256.1.1.1",
        "1.2.3.4.5",
        "[::1",
        "a.test\r\nx",
        "*.a.test",
        long.as_str(),
    ] {
        assert!(Host::parse(host).is_err(), "{host:?}");
    }
}

#[test]
fn a_pattern_that_says_more_than_a_host_is_a_mistake() {
    for text in [
        "",
        "http://a.test",
        "a.test/x",
        "user@a.test",
        "a.*.test",
        "a*.test",
        "*a.test",
        "**.a.test",
        "*.",
        "*.127.0.0.1",
        "a.test:0",
        "a.test:65536",
        "a.test:+80",
        "a.test:",
        "[::1]x",
        "a test",
        "a.test?",
    ] {
        assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,5}"
}

proptest! {
    #[test]
    fn whatever_is_typed_gives_an_answer(text in "\\PC{0,40}|[0-9a-fx.:\\[\\]%*@/]{0,40}") {
        if let Ok(host) = Host::parse(&text) {
            // One form: what is shown is read as the same host.
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
        if let Ok(read) = text.parse::<HostPattern>() {
            prop_assert_eq!(read.to_string().parse(), Ok(read));
        }
    }

    #[test]
    fn a_suffix_needs_its_dot(domain in "[a-z]{1,5}\\.[a-z]{2,4}", before in label(), port in prop::sample::select(vec![80, 443])) {
        let below = pattern(&format!("*.{domain}"));
        let glued = Host::parse(&format!("{before}{domain}")).unwrap();
        let dotted = Host::parse(&format!("{before}.{domain}")).unwrap();
        let after = Host::parse(&format!("{domain}.{before}")).unwrap();
        prop_assert!(!below.matches(&glued, port));
        prop_assert!(below.matches(&dotted, port));
        let ending = format!(".{domain}");
        prop_assert!(!below.matches(&after, port) || after.to_string().ends_with(&ending));
    }

    #[test]
    fn every_notation_of_an_address_is_that_address(bits: u32) {
        let address = Host::Address(std::net::Ipv4Addr::from_bits(bits).into());
        let [a, b, c, d] = bits.to_be_bytes();
        for written in [
            format!("{a}.{b}.{c}.{d}"),
            format!("{bits}"),
            format!("{bits:#x}"),
            format!("0{bits:o}"),
            format!("{a}.{}", bits & 0xff_ffff),
            format!("{a}.{b}.{}", bits & 0xffff),
            format!("{a:#x}.0{b:o}.{c}.{d}"),
            format!("[::ffff:{a}.{b}.{c}.{d}]"),
        ] {
            prop_assert_eq!(Host::parse(&written), Ok(address.clone()), "{}", written);
        }
    }
}
