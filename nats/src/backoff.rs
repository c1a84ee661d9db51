//! How long to wait before trying again. Jitter is half of the delay: enough to keep many waiters
//! apart, and the delay stays recognisable in logs (full jitter would sometimes retry at once).

use std::time::Duration;

use rand::Rng;

/// Doubling delays between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
}

impl Backoff {
    /// For requests that a fail-over or a restart of the server interrupts.
    pub const REQUEST: Self = Self {
        first: Duration::from_millis(50),
        longest: Duration::from_secs(2),
    };
    /// For commands whose effect failed for the time being.
    pub const COMMAND: Self = Self {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(30),
    };
    /// For two writers of one aggregate that meet.
    pub const CONFLICT: Self = Self {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(100),
    };

    /// The delay before attempt `attempt + 2`, without jitter; `attempt` counts from zero.
    pub fn ceiling(self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt.min(30)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// The same with jitter: between half of it and all of it.
    pub fn delay(self, attempt: u32) -> Duration {
        self.ceiling(attempt)
            .mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds = |n| Backoff::COMMAND.ceiling(n).as_secs_f64();
        assert_eq!([seconds(0), seconds(1), seconds(4)], [0.2, 0.4, 3.2]);
        assert_eq!(seconds(u32::MAX), 30.0);
        let jittered = Backoff::COMMAND.delay(1).as_secs_f64();
        assert!((0.2..=0.4).contains(&jittered), "{jittered}");
    }
}
