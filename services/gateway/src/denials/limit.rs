//! How many refused requests become events of their own: so many a minute from one source, so many
//! in all; the rest is counted, and the count is an event. Pure: time comes in.
//!
//! Dropping what is too much was the alternative. An audit that is silent about a flood hides what
//! it exists to show.

use std::collections::HashMap;
use std::net::IpAddr;

use nexus_events::access::DenialsCounted;
use nexus_events::{Source, Tenant, Timestamp};

use crate::source::first_bits;

/// Sources that are told apart in a window. Further ones are counted together.
const MOST_SOURCES: usize = 1_024;
/// How long is counted.
pub(crate) const WINDOW_MS: u64 = 60_000;

/// Whose log, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: Tenant,
    network: Option<IpAddr>,
}

impl Key {
    /// Whoever has an IPv6 address has 2^64 of them.
    pub(crate) fn new(tenant: Tenant, address: Option<IpAddr>) -> Self {
        let network = address.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(_) => first_bits(address, 64),
        });
        Self { tenant, network }
    }

    /// Stands for all sources that are too many to be told apart.
    fn rest() -> Self {
        Self {
            tenant: Tenant::installation(),
            network: None,
        }
    }
}

/// Counts refused requests.
#[derive(Debug)]
pub(crate) struct Limiter {
    each: u32,
    total: u32,
    windows: HashMap<Key, Window>,
    all: Window,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Timestamp,
    recorded: u32,
    more: u64,
}

impl Window {
    fn begin(since: Timestamp) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now.millis_since(self.since) >= WINDOW_MS
    }
}

impl Limiter {
    /// Records up to `each` from one source in a minute, and up to `total` in all.
    pub(crate) fn new(each: u32, total: u32) -> Self {
        Self {
            each,
            total,
            windows: HashMap::new(),
            all: Window::default(),
        }
    }

    /// Whether this one is recorded; else it is counted.
    pub(crate) fn admit(&mut self, key: &Key, now: Timestamp) -> bool {
        if self.all.is_over(now) {
            self.all = Window::begin(now);
        }
        let room = self.all.recorded < self.total;
        let each = self.each;
        let window = self.window(key, now);
        if room && window.recorded < each {
            window.recorded += 1;
            self.all.recorded += 1;
            return true;
        }
        window.more += 1;
        false
    }

    /// Counts one that was admitted and could not be recorded.
    pub(crate) fn count(&mut self, key: &Key, now: Timestamp) {
        self.window(key, now).more += 1;
    }

    /// What was counted in windows that are over; with `all`, in every window.
    pub(crate) fn counted(&mut self, now: Timestamp, all: bool) -> Vec<(Tenant, DenialsCounted)> {
        let mut out = vec![];
        self.windows.retain(|key, window| {
            let over = all || window.is_over(now);
            if over && window.more > 0 {
                let counted = DenialsCounted {
                    count: window.more,
                    since: window.since,
                    until: now,
                    source: Source::new(key.network, None),
                };
                out.push((key.tenant.clone(), counted));
            }
            !over
        });
        out
    }

    fn window(&mut self, key: &Key, now: Timestamp) -> &mut Window {
        let rest = Key::rest();
        let room = self.windows.len() < MOST_SOURCES;
        let key = match room || self.windows.contains_key(key) {
            true => key.clone(),
            false => rest,
        };
        let window = self.windows.entry(key).or_insert(Window::begin(now));
        // One that has counted stays as it is until that was recorded.
        if window.more == 0 && window.is_over(now) {
            *window = Window::begin(now);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn key(tenant: &str, address: &str) -> Key {
        Key::new(tenant.parse().unwrap(), address.parse().ok())
    }

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + 1_000 * seconds)
    }

    #[test]
    fn a_flood_is_a_few_events_and_one_count() {
        let mut limiter = Limiter::new(3, 100);
        let here = key("acme", "192.0.2.1");
        let recorded = (0..1_000).filter(|_| limiter.admit(&here, at(0))).count();
        assert_eq!(recorded, 3);
        assert!(
            limiter.admit(&key("acme", "192.0.2.2"), at(1)),
            "another source"
        );
        assert!(
            limiter.admit(&key("other", "192.0.2.1"), at(1)),
            "another tenant"
        );
        assert_eq!(limiter.counted(at(59), false), vec![]);
        let counted = limiter.counted(at(60), false);
        let [(tenant, counted)] = counted.as_slice() else {
            unreachable!("{counted:?}")
        };
        assert_eq!((tenant.as_str(), counted.count), ("acme", 997));
        assert_eq!((counted.since, counted.until), (at(0), at(60)));
        assert_eq!(counted.source.address, "192.0.2.1".parse().ok());
        assert!(limiter.admit(&here, at(61)), "a new minute");
        assert_eq!(limiter.counted(at(62), true), vec![]);
    }

    #[test]
    fn many_sources_are_bounded_too() {
        let mut limiter = Limiter::new(3, 10);
        let mut recorded = 0_u64;
        for last in 0..5_000_u32 {
            let address = IpAddr::V4(last.to_be().into());
            let from = Key::new("acme".parse().unwrap(), Some(address));
            recorded += u64::from(limiter.admit(&from, at(0)));
        }
        assert_eq!(recorded, 10);
        let counted = limiter.counted(at(60), false);
        assert!(counted.len() <= MOST_SOURCES + 1, "{}", counted.len());
        let all: u64 = counted.iter().map(|(_, counted)| counted.count).sum();
        assert_eq!(all, 5_000 - recorded, "none is lost");
        let rest = counted
            .iter()
            .find(|(tenant, _)| *tenant == Tenant::installation());
        assert_eq!(rest.unwrap().1.source, Source::default());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (a, b) = (key("acme", "2001:db8::1"), key("acme", "2001:db8::ffff:2"));
        assert_eq!(a, b);
        assert_ne!(a, key("acme", "2001:db8:0:1::1"));
    }
}
