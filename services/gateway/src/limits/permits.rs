//! What this gateway holds of one limit: a lease, and what it last heard of the others. Pure: time
//! comes in. While a lease lasts a request costs no round trip, and a refusal none either for a
//! quarter of a second: whoever floods a gateway does not flood the bus.

use super::shared::{LEASE_S, Shared, Wish};

/// How long a limit that is used up is not asked for again; other gateways may give back.
const LOOK_AGAIN_MS: i64 = 250;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Permits {
    left: u32,
    /// When the lease was taken, and of how much.
    taken_s: i64,
    given: u32,
    /// What earlier leases did not use.
    unused: Vec<(i64, u32)>,
    free: u32,
    frees_at_s: Option<i64>,
    full_until_ms: i64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Granted,
    Full,
    /// A lease is needed to say.
    Ask,
}

impl Permits {
    pub(super) fn take(&mut self, now_ms: i64) -> Taken {
        self.expire(now_ms);
        if self.left > 0 {
            self.left -= 1;
            return Taken::Granted;
        }
        match now_ms < self.full_until_ms {
            true => Taken::Full,
            false => Taken::Ask,
        }
    }

    /// A request that had its permit was refused for another reason.
    pub(super) fn put_back(&mut self, now_ms: i64) {
        self.expire(now_ms);
        if self.lasts(now_ms) && self.left < self.given {
            self.left += 1;
        }
    }

    /// Gives back what was not used, and takes a lease: in `shared`, which is to be written, and here
    /// by [`Self::leased`] once it is.
    pub(super) fn lease(&self, shared: &mut Shared, now_ms: i64, limit: u32, waiting: u32) -> u32 {
        for (taken_s, unused) in &self.unused {
            shared.give_back(*taken_s, *unused);
        }
        let used_up = self.lasts(now_ms) && self.left == 0;
        let used = self.given - self.left;
        let expected = if used_up {
            used.saturating_mul(2)
        } else {
            used
        };
        let wish = Wish {
            limit,
            waiting: waiting.max(1),
            expected,
        };
        shared.take(now_ms.div_euclid(1_000), wish)
    }

    /// The lease was written.
    pub(super) fn leased(&mut self, shared: &Shared, now_ms: i64, limit: u32, granted: u32) {
        self.unused.clear();
        let now_s = now_ms.div_euclid(1_000);
        let same_second = self.taken_s == now_s;
        self.given = granted + if same_second { self.given } else { 0 };
        self.taken_s = now_s;
        self.left = granted;
        self.free = shared.free(limit);
        self.frees_at_s = shared.frees_at_s();
        if granted == 0 {
            self.full_until_ms = now_ms + LOOK_AGAIN_MS;
        }
    }

    /// Whether something is held that nobody may use any more.
    pub(super) fn has_unused(&mut self, now_ms: i64) -> bool {
        self.expire(now_ms);
        !self.unused.is_empty()
    }

    /// Gives back what was not used, and nothing else.
    pub(super) fn return_to(&self, shared: &mut Shared) {
        for (taken_s, unused) in &self.unused {
            shared.give_back(*taken_s, *unused);
        }
    }

    /// That was written.
    pub(super) fn returned(&mut self) {
        self.unused.clear();
    }

    /// Requests that may be made still, as far as is known here.
    pub(super) fn remaining(&self) -> u32 {
        self.free.saturating_add(self.left)
    }

    /// Seconds until some that were made stop to count.
    pub(super) fn reset_s(&self, now_ms: i64) -> u64 {
        let at_s = self.frees_at_s.unwrap_or(0);
        u64::try_from(at_s - now_ms.div_euclid(1_000))
            .unwrap_or(0)
            .max(1)
    }

    fn lasts(&self, now_ms: i64) -> bool {
        let age_s = now_ms.div_euclid(1_000) - self.taken_s;
        (0..LEASE_S).contains(&age_s)
    }

    /// A clock that was set back ends a lease too.
    fn expire(&mut self, now_ms: i64) {
        if self.lasts(now_ms) {
            return;
        }
        if self.left > 0 {
            self.unused.push((self.taken_s, self.left));
            self.given -= self.left.min(self.given);
            self.left = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    struct Gateway {
        permits: Permits,
        clock_ahead_ms: i64,
    }

    impl Gateway {
        fn accepts(&mut self, shared: &mut Shared, now_ms: i64, limit: u32) -> bool {
            let now_ms = now_ms + self.clock_ahead_ms;
            match self.permits.take(now_ms) {
                Taken::Granted => true,
                Taken::Full => false,
                Taken::Ask => {
                    let granted = self.permits.lease(shared, now_ms, limit, 1);
                    self.permits.leased(shared, now_ms, limit, granted);
                    self.permits.take(now_ms) == Taken::Granted
                }
            }
        }
    }

    /// Three gateways whose clocks differ, requests at random for five minutes: no minute has more
    /// than the limit, and the limit is used nearly to the full.
    #[test]
    fn no_minute_has_more_than_the_limit() {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let limit = rng.random_range(1..400);
            let mut shared = Shared::default();
            let mut gateways: Vec<Gateway> = [0, 400, 900]
                .map(|clock_ahead_ms| Gateway {
                    permits: Permits::default(),
                    clock_ahead_ms,
                })
                .into();
            let mut accepted = vec![];
            let mut now_ms = 1_795_000_000_123;
            while now_ms < 1_795_000_300_000 {
                now_ms += rng.random_range(0..40);
                let which = rng.random_range(0..gateways.len());
                if gateways[which].accepts(&mut shared, now_ms, limit) {
                    accepted.push(now_ms);
                }
            }
            for (index, from_ms) in accepted.iter().enumerate() {
                let rest = accepted[index..].iter();
                let in_minute = rest.take_while(|at| **at < from_ms + 60_000).count();
                assert!(in_minute <= limit as usize, "seed {seed}: {in_minute}");
            }
            let five_minutes = f64::from(limit) * 300.0 / 63.0;
            assert!(accepted.len() as f64 > 0.9 * five_minutes, "seed {seed}");
        }
    }

    #[test]
    fn a_flood_asks_the_bus_four_times_a_second_at_most() {
        let (mut shared, mut permits) = (Shared::default(), Permits::default());
        let mut asked = 0;
        for now_ms in 0..10_000 {
            if permits.take(now_ms) == Taken::Ask {
                asked += 1;
                let granted = permits.lease(&mut shared, now_ms, 100, 1);
                permits.leased(&shared, now_ms, 100, granted);
                let _ = permits.take(now_ms);
            }
        }
        assert!(asked < 40 + 30, "{asked}");
    }
}
