//! Numbers that follow from a seed and from nothing else (SplitMix64): a plan must be the same on every
//! machine and with every version of a crate, for its seed is how a breach is told.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed, apart from those of the same seed for other purposes.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let fold = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(seed ^ purpose.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `from` to `to`, both included.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        let span = to.saturating_sub(from).saturating_add(1).max(1);
        from.saturating_add(self.next() % span)
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    /// One of them; none of none.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let last = u64::try_from(of.len().checked_sub(1)?).ok()?;
        of.get(usize::try_from(self.between(0, last)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_purpose_others() {
        let numbers = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            [(); 8].map(|()| random.between(10, 20))
        };
        assert_eq!(numbers(7, "plan"), numbers(7, "plan"));
        assert_ne!(numbers(7, "plan"), numbers(7, "load"));
        assert_ne!(numbers(7, "plan"), numbers(8, "plan"));
        assert!(numbers(7, "plan").iter().all(|n| (10..=20).contains(n)));
        assert_eq!(Random::new(1, "").pick::<u8>(&[]), None);
    }
}
