//! What all gateways together have leased of one limit. Pure: time comes in.
//!
//! A lease is so many requests that one gateway may accept within [`LEASE_S`]. It counts from when it
//! was taken until everything that may have been accepted under it is more than a minute old, so that
//! no minute, wherever it begins, has more requests than the limit. What that costs: a limit that is
//! used to the full gives `limit` requests in [`KEPT_S`] seconds and not in 60. Counting by clock
//! minutes was the alternative; it lets twice the limit pass around the turn of the minute.

use serde::{Deserialize, Serialize};

/// Seconds in which a limit counts.
pub(super) const WINDOW_S: i64 = 60;
/// How long a lease may be used, from the beginning of the second in which it was taken.
pub(super) const LEASE_S: i64 = 2;
/// By how much the clocks of gateways may differ.
const SKEW_S: i64 = 1;
/// How long a lease counts.
pub(super) const KEPT_S: i64 = WINDOW_S + LEASE_S + SKEW_S;
/// Of what is free one lease takes this part at most, unless so many requests wait already.
const SHARE: u32 = 4;

/// What was leased, by the second in which it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shared {
    leases: Vec<(i64, u32)>,
}

/// What a gateway asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) limit: u32,
    /// Requests that wait for it now.
    pub(super) waiting: u32,
    /// What will probably be wanted before the lease ends.
    pub(super) expected: u32,
}

impl Shared {
    /// Takes a lease; perhaps of nothing.
    pub(super) fn take(&mut self, now_s: i64, wish: Wish) -> u32 {
        self.leases.retain(|(taken_s, _)| taken_s + KEPT_S > now_s);
        let free = self.free(wish.limit);
        let granted = wish.expected.min(free / SHARE).max(wish.waiting).min(free);
        match self
            .leases
            .iter_mut()
            .find(|(taken_s, _)| *taken_s == now_s)
        {
            Some((_, count)) => *count += granted,
            None if granted > 0 => self.leases.push((now_s, granted)),
            None => {}
        }
        granted
    }

    /// Gives back what was not used of a lease.
    pub(super) fn give_back(&mut self, taken_s: i64, unused: u32) {
        for (_, count) in self.leases.iter_mut().filter(|lease| lease.0 == taken_s) {
            *count = count.saturating_sub(unused);
        }
        self.leases.retain(|(_, count)| *count > 0);
    }

    /// What may be leased still.
    pub(super) fn free(&self, limit: u32) -> u32 {
        let used = self.leases.iter().map(|(_, count)| u64::from(*count)).sum();
        u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(limit)
    }

    /// When the oldest lease stops to count, in seconds since the epoch.
    pub(super) fn frees_at_s(&self) -> Option<i64> {
        let oldest = self.leases.iter().map(|(taken_s, _)| *taken_s).min();
        oldest.map(|taken_s| taken_s + KEPT_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(limit: u32, waiting: u32, expected: u32) -> Wish {
        Wish {
            limit,
            waiting,
            expected,
        }
    }

    #[test]
    fn a_lease_is_a_share_of_what_is_free_unless_more_wait() {
        let mut shared = Shared::default();
        assert_eq!(shared.take(0, wish(100, 1, 1_000)), 25);
        assert_eq!(shared.take(0, wish(100, 40, 0)), 40);
        assert_eq!(shared.take(1, wish(100, 50, 0)), 35, "all that is left");
        assert_eq!(shared.take(1, wish(100, 1, 0)), 0);
        assert_eq!(shared.frees_at_s(), Some(KEPT_S));
        assert_eq!(shared.take(KEPT_S - 1, wish(100, 1, 0)), 0);
        assert_eq!(shared.take(KEPT_S, wish(100, 100, 0)), 65);
    }

    #[test]
    fn what_is_given_back_may_be_had_again() {
        let mut shared = Shared::default();
        assert_eq!(shared.take(0, wish(10, 10, 0)), 10);
        shared.give_back(0, 4);
        assert_eq!(shared.free(10), 4);
        shared.give_back(7, 4);
        assert_eq!(shared.free(10), 4, "a lease that is not known");
        assert_eq!(
            shared.take(1, wish(20, 20, 0)),
            14,
            "a limit that was raised"
        );
        assert_eq!(shared.free(5), 0, "and one that was lowered");
    }
}
