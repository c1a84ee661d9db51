//! Whether something grows with the runs: a straight line through the samples after the warm-up, and
//! how sure it is. A difference of two samples was the alternative; a collector that happens to run
//! between them decides it.

use serde::Serialize;

/// A line through samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    /// Growth of y a unit of x.
    pub(crate) slope: f64,
    /// Its standard error, widened where neighbouring samples resemble each other.
    pub(crate) error: f64,
    /// Growth over all samples, by the line.
    pub(crate) rise: f64,
}

/// Fewer samples give no line.
const FEWEST: usize = 6;
/// Standard errors that noise may be away from zero.
const SURE: f64 = 2.5;

impl Line {
    /// Least squares; none for fewer than six samples, or where x stands still.
    pub(crate) fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < FEWEST {
            return None;
        }
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
        let sxx: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
        if sxx <= f64::EPSILON {
            return None;
        }
        let sxy: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
        let slope = sxy / sxx;
        let rest: Vec<f64> = points
            .iter()
            .map(|(x, y)| y - my - slope * (x - mx))
            .collect();
        let squares: f64 = rest.iter().map(|r| r * r).sum();
        let independent = (n * (1.0 - resemblance(&rest, squares))).max(3.0);
        let error = (squares / n / (independent - 2.0) * n / sxx).sqrt();
        let (first, last) = (points.first()?.0, points.last()?.0);
        let rise = slope * (last - first);
        Some(Self { slope, error, rise })
    }

    /// Whether it surely grows by more than `allowed` a unit, and by more than `floor` in all: what
    /// is smaller is noise or a rounding of pages.
    pub(crate) fn grows_beyond(&self, allowed: f64, floor: f64) -> bool {
        self.slope - SURE * self.error > allowed && self.rise > floor
    }
}

/// How much of n samples is repetition: from the correlation of each rest with the one before it.
fn resemblance(rest: &[f64], squares: f64) -> f64 {
    if squares <= f64::EPSILON {
        return 0.0;
    }
    let pairs = rest.iter().zip(rest.iter().skip(1));
    let lag = pairs.map(|(a, b)| a * b).sum::<f64>() / squares;
    let lag = lag.clamp(0.0, 0.95);
    2.0 * lag / (1.0 + lag)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    /// The same disturbance in every run of the test.
    fn noise(i: u32) -> f64 {
        f64::from((i * 7_919 + 13) % 101) - 50.0
    }

    #[test]
    fn a_leak_is_found_under_noise_and_noise_is_none() {
        let leak = |per_run: f64| {
            let point = |i| {
                (
                    f64::from(i) * 100.0,
                    1e8 + per_run * f64::from(i) * 100.0 + noise(i) * 1e4,
                )
            };
            Line::through(&(0..60).map(point).collect::<Vec<_>>()).unwrap()
        };
        let (steady, leaking) = (leak(0.0), leak(1_000.0));
        assert!(!steady.grows_beyond(64.0, 4e6), "{steady:?}");
        assert!(leaking.grows_beyond(64.0, 4e6), "{leaking:?}");
        assert!((leaking.slope - 1_000.0).abs() < 3.0 * leaking.error);
        // What is allowed is no leak.
        assert!(!leaking.grows_beyond(2_000.0, 4e6));
        // A hundred bytes a run over few runs is below the floor.
        assert!(!leak(300.0).grows_beyond(64.0, 4e6));
    }

    #[test]
    fn neighbours_that_resemble_each_other_count_less() {
        let wave = |step: u32| {
            let point = |i: u32| (f64::from(i), f64::from(i / step % 2) * 10.0);
            Line::through(&(0..64).map(point).collect::<Vec<_>>()).unwrap()
        };
        assert!(wave(16).error > 2.0 * wave(1).error);
    }

    #[test]
    fn few_samples_or_none_apart_give_no_line() {
        assert_eq!(Line::through(&[(0.0, 1.0); 5]), None);
        assert_eq!(Line::through(&[(1.0, 1.0); 20]), None);
    }
}
