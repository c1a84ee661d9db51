//! Samples and their quantiles, exact: every sample is kept and sorted. Histograms with buckets were
//! left out, as a run of seconds has some ten thousand samples, and a p99 that is a bucket's edge
//! cannot be compared with the next one.

use std::time::Duration;

use serde::Serialize;

/// Measured durations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    /// Adds one.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0
            .push(u64::try_from(sample.as_micros()).unwrap_or(u64::MAX));
    }

    /// Takes others in.
    pub(crate) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each one less a constant, never below zero: what is added to something that was measured
    /// without it.
    pub(crate) fn less(&self, constant_us: u64) -> Self {
        Self(
            self.0
                .iter()
                .map(|us| us.saturating_sub(constant_us))
                .collect(),
        )
    }

    /// Their quantiles; none without samples.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let sum: u128 = sorted.iter().map(|us| u128::from(*us)).sum();
        Some(Quantiles {
            n: sorted.len(),
            p50_us: rank(&sorted, 50)?,
            p95_us: rank(&sorted, 95)?,
            p99_us: rank(&sorted, 99)?,
            max_us: *sorted.last()?,
            mean_us: u64::try_from(sum / sorted.len() as u128).unwrap_or(u64::MAX),
        })
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        let mut all = Self::default();
        samples.into_iter().for_each(|sample| all.add(sample));
        all
    }
}

/// Quantiles by nearest rank: each is a sample that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    /// Samples.
    pub(crate) n: usize,
    /// Median, in microseconds.
    pub(crate) p50_us: u64,
    /// 95 of 100 are not above.
    pub(crate) p95_us: u64,
    /// 99 of 100 are not above.
    pub(crate) p99_us: u64,
    /// The largest.
    pub(crate) max_us: u64,
    /// Arithmetic mean.
    pub(crate) mean_us: u64,
}

/// The smallest sample that `percent` of all are not above.
fn rank(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn quantiles(us: impl IntoIterator<Item = u64>) -> Option<Quantiles> {
        us.into_iter()
            .map(Duration::from_micros)
            .collect::<Samples>()
            .quantiles()
    }

    #[test]
    fn quantiles_are_samples() {
        let all = quantiles((1..=200).rev()).unwrap();
        assert_eq!((all.p50_us, all.p95_us, all.p99_us), (100, 190, 198));
        assert_eq!((all.n, all.max_us, all.mean_us), (200, 200, 100));
        let one = quantiles([7]).unwrap();
        assert_eq!((one.p50_us, one.p99_us), (7, 7));
        let two = quantiles([1, 9]).unwrap();
        assert_eq!((two.p50_us, two.p95_us), (1, 9));
        assert_eq!(quantiles([]), None);
    }

    #[test]
    fn what_is_added_is_never_negative() {
        let samples: Samples = [5, 20].map(Duration::from_micros).into_iter().collect();
        let added = samples.less(10).quantiles().unwrap();
        assert_eq!((added.p50_us, added.max_us), (0, 10));
    }
}
