//! Who tries credentials: so many that are not good in a minute, then that address is refused before
//! anything is looked up. A credential that was good lately passes, so that one bad client behind an
//! address does not shut out the others. Pure: time comes in. Each gateway counts by itself: what is
//! bounded is work, and 192 random bits are not guessed at any rate.

use std::net::IpAddr;

use hashlink::LruCache;

use crate::source::first_bits;

/// Addresses that are remembered; the one that is longest ago makes room.
const MOST_ADDRESSES: usize = 16_384;
const MOST_GOOD: usize = 16_384;
const WINDOW_MS: i64 = 60_000;
/// How long a credential that was good passes.
const GOOD_FOR_MS: i64 = 10 * 60_000;

/// A credential, as its digest.
pub(crate) type Shown = [u8; 32];

/// See the module.
#[derive(Debug)]
pub(super) struct Guesses {
    most: u32,
    failed: LruCache<IpAddr, (i64, u32)>,
    good: LruCache<Shown, i64>,
}

impl Guesses {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            failed: LruCache::new(MOST_ADDRESSES),
            good: LruCache::new(MOST_GOOD),
        }
    }

    /// For how many seconds this one is refused, if it is.
    pub(super) fn refuses(&mut self, from: IpAddr, shown: &Shown, now_ms: i64) -> Option<u64> {
        let (since_ms, count) = *self.failed.get(&network(from))?;
        let over_ms = since_ms + WINDOW_MS;
        if count < self.most || now_ms >= over_ms {
            return None;
        }
        let good_ms = self.good.get(shown).copied();
        if good_ms.is_some_and(|good_ms| now_ms < good_ms + GOOD_FOR_MS) {
            return None;
        }
        Some(u64::try_from(over_ms - now_ms).unwrap_or(0).div_ceil(1_000))
    }

    pub(super) fn failed(&mut self, from: IpAddr, now_ms: i64) {
        let network = network(from);
        let known = self.failed.get(&network).copied();
        let known = known.filter(|(since_ms, _)| now_ms < since_ms + WINDOW_MS);
        let (since_ms, count) = known.unwrap_or((now_ms, 0));
        let counted = (since_ms, count.saturating_add(1));
        self.failed.insert(network, counted);
    }

    pub(super) fn good(&mut self, shown: Shown, now_ms: i64) {
        self.good.insert(shown, now_ms);
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(_) => first_bits(address, 64),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn an_address_that_guesses_is_refused_for_the_rest_of_the_minute() {
        let here: IpAddr = "2001:db8::1".parse().unwrap();
        let near: IpAddr = "2001:db8::2".parse().unwrap();
        let far: IpAddr = "2001:db8:1::2".parse().unwrap();
        let mut guesses = Guesses::new(2);
        let (bad, good) = ([1; 32], [2; 32]);
        guesses.good(good, 0);
        guesses.failed(here, 0);
        assert_eq!(guesses.refuses(here, &bad, 1), None);
        guesses.failed(near, 1_000);
        assert_eq!(guesses.refuses(here, &bad, 2_000), Some(58));
        assert_eq!(guesses.refuses(far, &bad, 2_000), None);
        assert_eq!(guesses.refuses(here, &good, 2_000), None, "it was good");
        assert_eq!(guesses.refuses(here, &bad, 60_000), None, "a new minute");
    }
}
